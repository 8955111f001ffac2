"""The strips of a TIFF, compressed by Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import (
    ROWSPERSTRIP,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    ImageFileDirectory_v2,
    TiffImageFile,
)

from lgs_cli.image_io import pillow

_BAND = 1 << 22  # bytes that are compressed at a time: a copy of all of them may be too much


def compress(
    pixels: NDArray[Any], samples: Callable[[NDArray[Any]], NDArray[np.uint8]], **options: Any
) -> tuple[Iterator[bytes], int, ImageFileDirectory_v2]:
    """Compress an array, some rows at a time.

    Parameters
    ----------
    pixels : ndarray
        (H, W) or (H, W, C).
    samples : callable
        Turns some of the rows into what Pillow is to compress.
    **options
        Of Pillow's writer.

    Returns
    -------
    strips : iterator of bytes
        From the top, each made when its turn comes.
    height : int
        Rows of a strip; the last may have fewer.
    said : mapping
        Pillow's tags, which are the same for all strips.

    Raises
    ------
    OSError, ValueError
        Whatever Pillow's writer makes of what it cannot write.
    """
    band = max(1, _BAND // pixels[0].nbytes)
    first, said = _strips(samples(pixels[:band]), options)
    height = said[ROWSPERSTRIP]
    if band < len(pixels):
        band -= band % height
        del first[band // height :]

    def strips() -> Iterator[bytes]:
        yield from first
        for top in range(band, len(pixels), band):
            yield from _strips(samples(pixels[top : top + band]), options)[0]

    return strips(), height, said


def _strips(
    rows: NDArray[np.uint8], options: dict[str, Any]
) -> tuple[list[bytes], ImageFileDirectory_v2]:
    data = pillow.save(rows, "TIFF", **options)
    said = TiffImageFile(io.BytesIO(data)).tag_v2
    places = zip(said[STRIPOFFSETS], said[STRIPBYTECOUNTS], strict=True)
    return [data[at : at + size] for at, size in places], said
