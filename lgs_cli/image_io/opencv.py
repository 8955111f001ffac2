"""What OpenCV reads and writes and Pillow does not, or not as fast: 16-bit color, JPEG, PNG.

It loads only when called: whoever reads other files does without.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgs_cli.errors import ImageError, OutOfMemoryError, is_out_of_memory
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
        If what comes out is of another size or kind.
    OSError
        If nothing comes out.
    """
    import cv2

    with hushed():
        encoded = np.frombuffer(data, np.uint8)
        if page == 0:  # in half the memory
            pixels = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
        else:
            _, found = cv2.imdecodemulti(encoded, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
            pixels = found[0] if len(found) == 1 else None
        if pixels is None:
            raise OSError("cannot be decoded")
    if pixels.dtype != np.uint16 or pixels.shape not in ((*size[::-1], 3), (*size[::-1], 4)):
        raise ImageError("this kind of 16-bit color is not supported")
    return _turn_in_place(pixels)


def decode_avif(data: bytes, size: tuple[int, int]) -> NDArray[Any]:
    """Decode an AVIF of 10 or 12 bits; `size` is the width and height that Pillow found.

    Returns
    -------
    ndarray
        (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, uint16, in the range of its depth.

    Raises
    ------
    ImageError
        If what comes out is of another size or kind.
    """
    import cv2

    with hushed():
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    kinds = (size[::-1], (*size[::-1], 3), (*size[::-1], 4))
    if pixels is None or pixels.dtype != np.uint16 or pixels.shape not in kinds:
        raise ImageError("this kind of deep AVIF is not supported")
    return _turned(pixels)


def encode_avif(
    pixels: NDArray[Any], depth: int, quality: int, about: tuple[bytes | None, ...]
) -> bytes:
    """Encode RGB or RGBA as AVIF of 10 or 12 bits.

    Parameters
    ----------
    pixels : ndarray
        (H, W, 3) or (H, W, 4) uint16, in the range of `depth`.
    depth : int
        10 or 12.
    quality : int
        1 to 100.
    about : tuple of (bytes or None)
        EXIF, XMP and ICC profile.

    Returns
    -------
    bytes
        The whole file.

    Raises
    ------
    OSError
        If OpenCV fails.
    """
    import cv2

    kinds = (cv2.IMAGE_METADATA_EXIF, cv2.IMAGE_METADATA_XMP, cv2.IMAGE_METADATA_ICCP)
    held = [(kind, part) for kind, part in zip(kinds, about, strict=True) if part]
    options = (cv2.IMWRITE_AVIF_QUALITY, quality, cv2.IMWRITE_AVIF_DEPTH, depth)
    with hushed():
        done, out = cv2.imencodeWithMetadata(
            ".avif",
            _turned(pixels),
            [kind for kind, _ in held],
            [np.frombuffer(part, np.uint8) for _, part in held],
            options,
        )
        if not done:
            raise OSError("cannot be encoded")
    return bytes(out)


def decode_jpeg(data: bytes) -> NDArray[Any] | None:
    """Decode a JPEG, as stored.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    ndarray or None
        (H, W, 3) uint8; None if anything about the file is not as it should be: OpenCV makes up
        what is missing, and only says so on stderr.
    """
    import cv2

    try:
        with hushed() as complaints:
            pixels = cv2.imdecode(
                np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
            )
    except Exception:
        return None
    return None if complaints else pixels


def encode(pixels: NDArray[Any], suffix: str, *options: int) -> bytes:
    """Encode gray, RGB or RGBA as the format of a suffix.

    Parameters
    ----------
    pixels : ndarray
        (H, W), (H, W, 3) or (H, W, 4); uint8 or uint16, as the format holds.
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
        If OpenCV fails.
    """
    import cv2

    with hushed():
        try:
            done, out = cv2.imencode(suffix, _turned(pixels), options)
        except cv2.error as error:
            if is_out_of_memory(error):
                raise OutOfMemoryError from error
            raise OSError("cannot be encoded") from error
        if not done:
            raise OSError("cannot be encoded")
    return bytes(out)


def encode_jpeg(
    pixels: NDArray[Any], quality: int, subsampling: int, *, progressive: bool, optimize: bool
) -> bytes:
    """Encode RGB as JPEG.

    Parameters
    ----------
    pixels : ndarray
        (H, W, 3) uint8.
    quality : int
        1 to 100.
    subsampling : int
        Of the chroma, by Pillow's numbers: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0.
    progressive : bool
        Whether the scans refine each other.
    optimize : bool
        Whether the Huffman tables are made for the picture.

    Returns
    -------
    bytes
        The whole file.

    Raises
    ------
    OSError
        If OpenCV fails.
    """
    import cv2

    factors = (
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    )
    return encode(
        pixels, ".jpg",
        cv2.IMWRITE_JPEG_QUALITY, quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factors[subsampling],
        cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive),
        cv2.IMWRITE_JPEG_OPTIMIZE, int(optimize),
    )  # fmt: skip


def _turn_in_place(pixels: NDArray[Any]) -> NDArray[Any]:
    """Turn BGR to RGB band by band: a copy of a large picture may be more than fits in memory."""
    height = max(1, _BAND // pixels[0].nbytes)
    for top in range(0, len(pixels), height):
        pixels[top : top + height] = _turned(pixels[top : top + height])
    return pixels


_BAND = 1 << 20  # bytes


def _turned(pixels: NDArray[Any]) -> NDArray[Any]:
    """Turn OpenCV's BGR to RGB or back, and leave gray and alpha."""
    import cv2

    if pixels.ndim == 2:
        return np.ascontiguousarray(pixels)
    alpha = pixels.shape[2] == 4
    return cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if alpha else cv2.COLOR_RGB2BGR)
