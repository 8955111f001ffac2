"""JPEG 2000, in its file format or as a bare codestream."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from lgs_cli.errors import ImageError
from lgs_cli.image_io import opencv, pillow
from lgs_cli.image_io.boxes import boxes
from lgs_cli.image_io.limits import require_pixels
from lgs_cli.image_io.metadata import Carried, dpi
from lgs_cli.image_io.picture import Picture


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode a JPEG 2000; its metadata is not read, but noted.

    Raises
    ------
    ImageError
        Of more than 8 bits that are not 16.
    """
    raw = data.startswith(b"\xff\x4f")
    stream, notes = (0, []) if raw else _contents(data)
    count = int.from_bytes(data[stream + 40 : stream + 42])
    depths = {(data[stream + 42 + 3 * i] & 0x7F) + 1 for i in range(count)}
    image = Jpeg2KImageFile(io.BytesIO(data))
    require_pixels(image.width * image.height, max_pixels)
    right, bottom, left, top = struct.unpack_from(">IIII", data, stream + 8)
    require_pixels((right - left) * (bottom - top), max_pixels)  # the box may say otherwise
    wanting = {depth for depth in depths if 8 < depth != 16}
    if wanting:
        raise ImageError(f"{max(wanting)}-bit JPEG 2000 is not supported")
    image.load()
    if max(depths) == 16 and count > 1:
        pixels = opencv.decode_deep(data, image.size)
    else:
        pixels = pillow.pixels_of(image, notes)
    return Picture((pixels,), "jp2", tuple(notes), data, dpi=dpi(image), coding={"no_jp2": raw})


_UUIDS = {
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "XMP",
    b"JpgTiffExif->JP2": "EXIF",
}


def _contents(data: bytes) -> tuple[int, list[str]]:
    """Return where the codestream starts, and what is to be said of what lies beside it."""
    streams: list[int] = []
    held = []
    waiting = [(0, len(data))]
    while waiting:
        for kind, start, stop in boxes(data, *waiting.pop()):
            if kind == b"asoc":  # holds boxes that belong together
                waiting.append((start, stop))
            elif kind == b"jp2c":
                streams.append(start)
            elif kind == b"jp2h":
                inner = boxes(data, start, stop)
                if any(kind == b"colr" and data[at] == 2 for kind, at, _ in inner):
                    held.append("ICC")
            elif kind == b"uuid":
                held.append(_UUIDS.get(data[start : start + 16], "other metadata"))
            elif kind == b"xml ":
                held.append("XML")
    notes = [f"{what} of JPEG 2000 is not carried over" for what in dict.fromkeys(held)]
    if len(streams) > 1:
        notes.append("only the first picture of several was kept")
    return streams[0] if streams else 0, notes


def encode(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: Carried
) -> bytes:
    """Encode as JPEG 2000 without loss, as a bare codestream if the picture was one.

    Raises
    ------
    ImageError
        For 16-bit gray with alpha.
    """
    pixels = frames[0]
    raw = bool(picture.coding.get("no_jp2"))
    if pixels.dtype == np.uint16 and pixels.ndim == 3:
        if pixels.shape[2] == 2:
            raise ImageError("16-bit gray with alpha cannot be written as JPEG 2000")
        import cv2

        suffix = ".j2k" if raw else ".jp2"
        return opencv.encode(pixels, suffix, cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000)
    color = pixels.ndim == 3 and pixels.shape[2] >= 3
    return pillow.save(pixels, "JPEG2000", irreversible=False, mct=int(color), no_jp2=raw)
