"""What OpenCV reads and writes and Pillow does not: 16-bit color, and BMP with alpha.

It loads only when called: most batches of images do without.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgs_cli.errors import ImageError
from lgs_cli.image_io.codec import hushed


def decode_deep(data: bytes, size: tuple[int, int], page: int = 0) -> NDArray[Any]:
    """Decode 16-bit color; `size` is the width and height that Pillow found."""
    import cv2

    with hushed():
        done, found = cv2.imdecodemulti(
            np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED, range=(page, page + 1)
        )
        if not done or len(found) != 1:
            raise OSError("cannot be decoded")
    pixels = found[0]
    if pixels.dtype != np.uint16 or pixels.shape not in ((*size[::-1], 3), (*size[::-1], 4)):
        raise ImageError("this kind of 16-bit color is not supported")
    return _turned(pixels)


def encode(pixels: NDArray[Any], suffix: str, *options: int) -> bytes:
    """Encode RGB or RGBA as the format of a suffix."""
    import cv2

    with hushed():
        done, out = cv2.imencode(suffix, _turned(pixels), options)
        if not done:
            raise OSError("cannot be encoded")
    return bytes(out)


def _turned(pixels: NDArray[Any]) -> NDArray[Any]:
    """Turn OpenCV's BGR to RGB or back, and leave alpha."""
    return np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])
