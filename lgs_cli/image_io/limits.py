"""How many pixels and frames are decoded, whatever the headers of a file say."""

from __future__ import annotations

from PIL import Image

from lgs_cli.errors import ImageError

MAX_FRAMES = 10_000
_MAX_PARTS = 50_000

Image.MAX_IMAGE_PIXELS = None  # the limit is --max-pixels, checked here


def require_pixels(count: int, max_pixels: int) -> None:
    """Refuse more pixels than are allowed, over all frames together.

    Parameters
    ----------
    count : int
        Width times height, times the number of frames.
    max_pixels : int
        Most that are allowed.

    Raises
    ------
    ImageError
        If there are more; the message names both numbers and the option.
    """
    if count > max_pixels:
        raise ImageError(f"{count:,} pixels are more than --max-pixels {max_pixels:,}")


def require_frames(count: int) -> None:
    """Refuse more frames or pages than any honest file has.

    Parameters
    ----------
    count : int
        How many there are.

    Raises
    ------
    ImageError
        Above ``MAX_FRAMES``.
    """
    if count > MAX_FRAMES:
        raise ImageError(f"{count:,} frames are more than {MAX_FRAMES:,}")


def require_parts(count: int, size: int) -> None:
    """Refuse a file of more chunks or segments than any honest one has: each takes time to read.

    Parameters
    ----------
    count : int
        How many there are.
    size : int
        Bytes of the file; a large picture may lie in many chunks.

    Raises
    ------
    ImageError
        Above 50,000, and one for each 512 bytes.
    """
    limit = _MAX_PARTS + size // 512
    if count > limit:
        raise ImageError(f"its parts are more than {limit:,}")
