"""AVIF, still and animated; stills of 10 and 12 bits too."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile

from lgs_cli.errors import ImageError
from lgs_cli.image_io import opencv, pillow
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
        For animations of 10 and 12 bits.
    """
    coded = _flags(data)
    depth = max(map(_depth, coded), default=8)
    image = AvifImageFile(io.BytesIO(data))
    require_pixels(image.width * image.height * image.n_frames, max_pixels)
    require_frames(image.n_frames)
    notes: list[str] = []
    recoded: list[str] = []
    coding: dict[str, Any] = {}
    durations: tuple[float, ...] = ()
    if depth == 8:
        frames, durations = pillow.frames_of(image, notes)
        if coded and not coded[0] & 0x10:  # which is gray
            coding["subsampling"] = {0: "4:4:4", 8: "4:2:2"}.get(coded[0] & 0x0C, "4:2:0")
    elif image.n_frames > 1:
        raise ImageError(f"animated {depth}-bit AVIF is not supported")
    else:
        frames = (_wide(opencv.decode_avif(data, image.size), depth),)
        coding["depth"] = depth
        if coded[0] & 0x0C:
            recoded.append("chroma subsampling became 4:4:4")
    return Picture(
        frames, "avif", tuple(notes), data, durations=durations, coding=coding,
        recoded=tuple(recoded), **found_in(image, notes),
    )  # fmt: skip


def _depth(flags: int) -> int:
    return (12 if flags & 0x20 else 10) if flags & 0x40 else 8


def _wide(pixels: NDArray[Any], depth: int) -> NDArray[Any]:
    """Spread samples of 10 or 12 bits over 16."""
    return pixels << (16 - depth) | pixels >> (2 * depth - 16)


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
    """Encode as AVIF, with the depth and the chroma subsampling that the picture had."""
    quality = 90 if quality is None else quality
    coding: Mapping[str, Any] = {"subsampling": "4:4:4"}
    if picture.format == "avif":
        coding = picture.coding
    if "depth" in coding:
        narrow = as_color(frames[0]) >> (16 - coding["depth"])
        about = (carried.exif, carried.xmp, carried.icc)
        file = opencv.encode_avif(narrow, coding["depth"], quality, about)
        return _with_colors_of(picture, file)
    gray = frames[0].ndim == 2
    options: dict[str, Any] = {"quality": quality, **metadata_options(carried)}
    if not gray:
        options |= coding
    if carried.exif:
        options["exif"] = _WholeExif(carried.exif)
    arrays = frames if gray else [as_color(frame) for frame in frames]
    return _with_colors_of(picture, pillow.save_frames(picture, arrays, "AVIF", **options))


class _WholeExif(Image.Exif):
    """EXIF that Pillow passes on as it is: it would leave out the thumbnail.

    The encoder takes the orientation from it by itself.
    """

    def __init__(self, block: bytes) -> None:
        super().__init__()
        self._block = block

    def __bool__(self) -> bool:
        return True  # it shows no tags to count

    def tobytes(self, offset: int = 8) -> bytes:
        return self._block


def _with_colors_of(picture: Picture, file: bytes) -> bytes:
    """Copy color primaries and transfer function, which say what the samples mean in HDR."""
    said = _COLORS.search(picture.data) if picture.format == "avif" else None
    return _COLORS.sub(rb"\g<1>" + said[2], file) if said else file


_COLORS = re.compile(rb"(colrnclx)(.{4})", re.DOTALL)
