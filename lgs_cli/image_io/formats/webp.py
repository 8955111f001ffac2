"""WebP, still and animated."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from PIL.WebPImagePlugin import WebPImageFile

from lgs_cli.errors import ImageError
from lgs_cli.image_io import pillow
from lgs_cli.image_io.channels import as_color
from lgs_cli.image_io.limits import require_frames, require_pixels
from lgs_cli.image_io.metadata import Carried, found_in, metadata_options
from lgs_cli.image_io.picture import Picture


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode a WebP, with all frames of an animated one.

    Raises
    ------
    ImageError
        If the file is shorter than it says, or holds no picture.
    """
    length = int.from_bytes(data[4:8], "little") + 8
    if length > len(data):
        raise ImageError("truncated WebP")
    chunks = _chunks(memoryview(data)[:length], 12)
    if not chunks:
        raise ImageError("truncated WebP")
    width, height = _size(*chunks[0])
    moving = [body for kind, body in chunks if kind == b"ANMF"]
    count = max(len(moving), 1)
    require_pixels(width * height * count, max_pixels)
    require_frames(count)
    coded = chunks + [chunk for body in moving for chunk in _chunks(body, 16)]
    lossless = not any(kind == b"VP8 " for kind, _ in coded)
    image = WebPImageFile(io.BytesIO(data))
    notes: list[str] = []
    frames, durations = pillow.frames_of(image, notes)
    about = found_in(image, notes)
    return Picture(
        frames,
        "webp",
        tuple(notes),
        data,
        durations=durations,
        loop=int(image.info.get("loop", 0)),
        coding={"lossless": lossless},
        **about,
    )


def _chunks(view: memoryview, at: int) -> list[tuple[bytes, memoryview]]:
    chunks = []
    while at + 8 <= len(view):
        kind, length = struct.unpack_from("<4sI", view, at)
        chunks.append((kind, view[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return chunks


def _size(kind: bytes, body: memoryview) -> tuple[int, int]:
    """Return width and height, as the first chunk says."""
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise ImageError("broken WebP: no picture in it")


def encode(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: Carried
) -> bytes:
    """Encode as WebP, without loss if the picture was a lossless one.

    Raises
    ------
    ImageError
        Above 16,383 pixels a side.
    """
    if max(frames[0].shape[:2]) > 16383:
        raise ImageError("WebP holds at most 16,383 pixels a side; use --format png")
    options: dict[str, Any]
    if quality is None and picture.format == "webp" and picture.coding["lossless"]:
        options = {"lossless": True, "exact": True, "quality": 75}
    else:
        options = {"quality": 90 if quality is None else quality}
    options |= metadata_options(carried)
    return pillow.save_frames(picture, [as_color(frame) for frame in frames], "WEBP", **options)
