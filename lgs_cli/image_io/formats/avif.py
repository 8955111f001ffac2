"""AVIF at 8 bits, still and animated."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from PIL.AvifImagePlugin import AvifImageFile

from lgs_cli.errors import ImageError
from lgs_cli.image_io import pillow
from lgs_cli.image_io.boxes import boxes
from lgs_cli.image_io.channels import as_color
from lgs_cli.image_io.limits import require_frames, require_pixels
from lgs_cli.image_io.metadata import Carried, found_in, metadata_options
from lgs_cli.image_io.picture import Picture


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode an AVIF, with all frames of an animated one.

    Raises
    ------
    ImageError
        Of 10 and 12 bits, which Pillow would cut to 8.
    """
    coded = _flags(data)
    for flags in coded:
        if flags & 0x40:
            depth = 12 if flags & 0x20 else 10
            raise ImageError(f"{depth}-bit AVIF is not supported; it would lose its depth")
    image = AvifImageFile(io.BytesIO(data))
    require_pixels(image.width * image.height * image.n_frames, max_pixels)
    require_frames(image.n_frames)
    notes: list[str] = []
    frames, durations = pillow.frames_of(image, notes)
    about = found_in(image, notes)
    coding = {}
    if coded and not coded[0] & 0x10:  # which is gray
        coding["subsampling"] = {0: "4:4:4", 8: "4:2:2"}.get(coded[0] & 0x0C, "4:2:0")
    return Picture(frames, "avif", tuple(notes), data, durations=durations, coding=coding, **about)


def _flags(data: bytes) -> list[int]:
    """Return depth and subsampling of each coded item, as its av1C box packs them in one byte."""
    headers = [
        data[start:stop]
        for kind, start, stop in boxes(data, 0, len(data))
        if kind in (b"meta", b"moov")
    ]
    return [
        header[at.end() + 2]
        for header in headers
        for at in re.finditer(rb"av1C", header)
        if len(header) >= at.end() + 4
    ]


def encode(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: Carried
) -> bytes:
    """Encode as AVIF, with the chroma subsampling that the picture had where it was one."""
    options: dict[str, Any] = {"quality": 90 if quality is None else quality}
    gray = frames[0].ndim == 2
    if not gray:
        options |= picture.coding if picture.format == "avif" else {"subsampling": "4:4:4"}
    options |= metadata_options(carried)
    arrays = frames if gray else [as_color(frame) for frame in frames]
    return pillow.save_frames(picture, arrays, "AVIF", **options)
