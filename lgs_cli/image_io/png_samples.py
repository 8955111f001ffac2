"""The samples of a PNG, filtered and compressed (PNG third edition, chapters 9 and 10).

Pillow's writer takes four times as long for a photograph. OpenCV's takes half as long again for
files of the same size, and writes no gray with alpha.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lgs_cli.lazy import cv2

_BAND = 1 << 16  # bytes that are filtered at a time: they stay in the processor's cache

_MOST_MEMORY = 9  # zlib's memLevel: larger blocks

_LEFT, _UP, _AVERAGE, _PAETH = 1, 2, 3, 4  # filters, as numbered in the file


class Packing(NamedTuple):
    """How samples are compressed.

    Attributes
    ----------
    level, strategy : int
        As zlib takes them.
    filtered : bool
        Whether pixels are predicted from their neighbors first.
    """

    level: int
    strategy: int
    filtered: bool = True


PHOTOGRAPH = Packing(1, zlib.Z_RLE)  # it has no repetitions that are worth the search
NOISY_PHOTOGRAPH = Packing(1, zlib.Z_HUFFMAN_ONLY)  # not even of one byte
DRAWING = Packing(4, zlib.Z_DEFAULT_STRATEGY)
FEW_COLORS = Packing(1, zlib.Z_DEFAULT_STRATEGY, filtered=False)
FEW_GRAYS = Packing(1, zlib.Z_RLE, filtered=False)


def packing_for(pixels: NDArray[Any]) -> Packing:
    """Tell drawings from photographs by the share of pixels that are like the one to the left.

    Parameters
    ----------
    pixels : ndarray
        (H, W) or (H, W, C).

    Returns
    -------
    Packing
        The one that makes small files of such pictures in a reasonable time.
    """
    rows = pixels[::32]
    same = rows[:, 1:] == rows[:, :-1]
    if same.ndim == 3:
        same = same.all(axis=2)
    share = np.count_nonzero(same) / max(1, same.size)
    if share > 0.5:
        return DRAWING
    return PHOTOGRAPH if share > 0.03 else NOISY_PHOTOGRAPH


def compress(pixels: NDArray[Any], packing: Packing) -> Iterator[bytes]:
    """Filter and compress an array, band by band.

    Parameters
    ----------
    pixels : ndarray
        (H, W) or (H, W, C); uint8 or uint16.
    packing : Packing
        How.

    Yields
    ------
    bytes
        A part of the zlib stream that the IDAT chunks of a PNG hold.
    """
    compressor = zlib.compressobj(
        packing.level, zlib.DEFLATED, zlib.MAX_WBITS, _MOST_MEMORY, packing.strategy
    )
    width = pixels[0].nbytes
    height = max(1, _BAND // width)
    above = np.zeros(width, np.uint8)
    for top in range(0, len(pixels), height):
        band = _big_endian_bytes(pixels[top : top + height])
        if packing.filtered:
            filtered = _filtered(band, above, width // pixels.shape[1])
        else:
            filtered = _numbered(0, band)
        above = band[-1]
        if part := compressor.compress(filtered.data):
            yield part
    yield compressor.flush()


def _big_endian_bytes(rows: NDArray[Any]) -> NDArray[np.uint8]:
    order = rows.dtype.newbyteorder(">")
    return np.ascontiguousarray(rows, order).reshape(len(rows), -1).view(np.uint8)


def _numbered(number: int, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put the number of the filter before each row."""
    numbered = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    numbered[:, 0] = number
    numbered[:, 1:] = rows
    return numbered


def _filtered(rows: NDArray[np.uint8], above: NDArray[np.uint8], pixel: int) -> NDArray[np.uint8]:
    """Return what a prediction of each byte leaves, by the filter that leaves least of these rows.

    Parameters
    ----------
    rows : ndarray
        uint8 (rows, bytes).
    above : ndarray
        uint8 (bytes,): the row before the first.
    pixel : int
        Bytes in a pixel.

    Returns
    -------
    ndarray
        uint8 (rows, 1 + bytes): the number of the filter in front.
    """
    up = np.vstack((above, rows[:-1]))
    left, corner = _shifted(rows, pixel), _shifted(up, pixel)
    average = (left & up) + ((left ^ up) >> np.uint8(1))  # of two bytes, in one byte
    residuals = {
        _PAETH: rows - _paeth(left, up, corner),
        _AVERAGE: rows - average,
        _UP: rows - up,
        _LEFT: rows - left,
    }
    sizes = {
        number: cv2.norm(residual.view(np.int8), cv2.NORM_L1)
        for number, residual in residuals.items()
    }
    best = min(sizes, key=lambda number: sizes[number])
    return _numbered(best, residuals[best])


def _shifted(rows: NDArray[np.uint8], pixel: int) -> NDArray[np.uint8]:
    """Return the pixel to the left of each, black for the first."""
    shifted = np.empty_like(rows)
    shifted[:, :pixel] = 0
    shifted[:, pixel:] = rows[:, :-pixel]
    return shifted


def _paeth(
    left: NDArray[np.uint8], up: NDArray[np.uint8], corner: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Predict each byte by the one of three neighbors that is nearest to left + up - corner.

    In bytes alone, which is several times as fast as in wider numbers. The distances are
    |up - corner| of left, |left - corner| of up, and of the corner their sum; or their difference,
    if the corner lies between left and up.
    """
    of_left, of_up = cv2.absdiff(up, corner), cv2.absdiff(left, corner)
    left_is_nearer = np.asarray(cv2.compare(of_left, of_up, cv2.CMP_LE), np.uint8)
    predicted = ((left ^ up) & left_is_nearer) ^ up
    # OpenCV's differences end at 0: this one is 0 unless the corner lies between left and up.
    near = cv2.min(cv2.subtract(cv2.max(left, up), corner), cv2.subtract(corner, cv2.min(left, up)))
    of_corner = cv2.subtract(cv2.max(of_left, of_up), near)
    corner_is_nearest = cv2.compare(of_corner, near, cv2.CMP_LT)
    return np.asarray(cv2.copyTo(corner, corner_is_nearest, predicted), np.uint8)
