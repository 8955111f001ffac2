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
    """Decode 16-bit color; `size` is the width and height that Pillow found.

    Parameters
    ----------
    data : bytes
        The whole file, which Pillow has accepted: OpenCV takes some that are cut short.
    size : tuple of int
        Width and height that Pillow found.
    page : int
        Which page of a TIFF, from 0.

    Returns
    -------
    ndarray
        (H, W, 3) RGB or (H, W, 4) RGBA, uint16.

    Raises
    ------
    ImageError
        Where what comes out is of another size or kind.
    OSError
        Where nothing comes out.
    """
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
    """Encode RGB or RGBA as the format of a suffix.

    Parameters
    ----------
    pixels : ndarray
        (H, W, 3) or (H, W, 4); uint8 or uint16, as the format holds.
    suffix : str
        Such as ``".bmp"``.
    *options : int
        OpenCV's flags and their values by turns.

    Returns
    -------
    bytes
        The whole file.

    Raises
    ------
    OSError
        Where OpenCV fails.
    """
    import cv2

    with hushed():
        done, out = cv2.imencode(suffix, _turned(pixels), options)
        if not done:
            raise OSError("cannot be encoded")
    return bytes(out)


def _turned(pixels: NDArray[Any]) -> NDArray[Any]:
    """Turn OpenCV's BGR to RGB or back, and leave alpha."""
    return np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])
