"""JPEG: its coding and its metadata are kept, so that only the pixels change.

OpenCV decodes and encodes the usual kind, to the same pixels and bytes as Pillow in two thirds of
the time; Pillow reads the header, and does the rest.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from lgs_cli.errors import ImageError
from lgs_cli.formats import JPEG_LONGEST_SIDE
from lgs_cli.image_io import opencv, pillow
from lgs_cli.image_io.codec import hushed
from lgs_cli.image_io.limits import require_parts, require_pixels
from lgs_cli.image_io.metadata import (
    JPEG_EXIF_HEADER,
    JPEG_ICC_PIECE,
    JPEG_XMP_HEADER,
    Carried,
    dpi_option,
    found_in,
)
from lgs_cli.image_io.picture import Picture


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode a JPEG; of several pictures in one file, the first."""
    notes: list[str] = []
    segments = _split(data)
    image = JpegImageFile(io.BytesIO(data))
    require_pixels(image.width * image.height, max_pixels)
    pixels = opencv.decode_jpeg(data) if image.mode == "RGB" else None
    if pixels is None or pixels.shape[1::-1] != image.size:
        image.decodermaxblock = max(len(data), image.decodermaxblock)  # one pass, not 64 KB a time
        pixels = pillow.pixels_of(image, notes)
    if "mp" in image.info:
        notes.append("only the first picture of several was kept")
    about = found_in(image, notes)
    coding, recoded = _coding(image)
    for marker, _ in segments:
        if how := _RARE_CODINGS.get(marker):
            recoded = (*recoded, how)
    return Picture((pixels,), "jpeg", tuple(notes), data, coding=coding, recoded=recoded, **about)


_LOSSLESS, _ARITHMETIC = "lossless JPEG became lossy", "arithmetic coding became Huffman coding"
_RARE_CODINGS = {
    0xC3: _LOSSLESS, 0xC7: _LOSSLESS, 0xCB: _LOSSLESS, 0xCF: _LOSSLESS,
    0xC9: _ARITHMETIC, 0xCA: _ARITHMETIC, 0xCD: _ARITHMETIC, 0xCE: _ARITHMETIC,
}  # fmt: skip


def _coding(image: JpegImageFile) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Say in Pillow's words how a JPEG was coded, and in ours what it has no words for."""
    layers = image.layer[:3]
    tables = [image.quantization[layer[3]] for layer in layers if layer[3] in image.quantization]
    while len(tables) > 1 and tables[-1] == tables[-2]:
        tables.pop()  # Pillow gives the last table to all components that are left
    coding: dict[str, Any] = {"qtables": tables} if tables else {"quality": 95}
    recoded: tuple[str, ...] = ()
    if len(layers) == 3:
        # The coarsest of libjpeg's usual samplings that loses nothing of the input's chroma.
        wide = layers[0][1] // max(layers[1][1], layers[2][1], 1)
        high = layers[0][2] // max(layers[1][2], layers[2][2], 1)
        subsampling = (2 if high >= 2 else 1) if wide >= 2 else 0
        coding["subsampling"] = subsampling
        luma, name = _SUBSAMPLINGS[subsampling]
        if tables and [layer[1:3] for layer in layers] != [luma, (1, 1), (1, 1)]:
            recoded = (f"chroma subsampling became {name}",)
        if image.mode == "RGB" and _stored_as_rgb(image):
            coding["keep_rgb"] = True
    coding["progressive"] = bool(image.info.get("progressive"))
    return coding, recoded


# By Pillow's numbers: the sampling factors of luma beside chroma of (1, 1), and what it is called.
_SUBSAMPLINGS = (((1, 1), "4:4:4"), ((2, 1), "4:2:2"), ((2, 2), "4:2:0"))


def _stored_as_rgb(image: JpegImageFile) -> bool:
    """Tell an RGB JPEG from the usual YCbCr by libjpeg's own rule."""
    if "jfif" in image.info:
        return False
    if "adobe_transform" in image.info:
        return bool(image.info["adobe_transform"] == 0)
    return bytes(layer[0] for layer in image.layer) == b"RGB"


def encode(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: Carried
) -> bytes:
    """Encode as JPEG, coded as the picture was if that was a JPEG."""
    options = dict(picture.coding)
    if picture.format != "jpeg":
        options = {"quality": 95, "subsampling": 0, **dpi_option(picture)}
        options["optimize"] = picture.coding.get("optimize", False)
    if quality is not None:
        options.pop("qtables", None)
        options["quality"] = quality
    plain = _encode(frames[0], options)
    # Behind the start, the JFIF segment goes first, then metadata, then what the encoder wrote.
    stop = 4 + int.from_bytes(plain[4:6]) if plain[2:4] == b"\xff\xe0" else 2
    jfif, about = [plain[2:stop]], _segments(carried)
    if picture.format == "jpeg":
        own = _split(picture.data)
        jfif = [_segment(0xE0, body) for marker, body in own if marker == 0xE0]
        about = [_segment(marker, body) for marker, body in own if _is_kept(marker, body, carried)]
        stop = stop if jfif else 2
    return b"".join((plain[:2], *jfif, *about, memoryview(plain)[stop:]))


def _encode(pixels: NDArray[Any], options: Mapping[str, Any]) -> bytes:
    """Encode pixels, given Pillow's options."""
    quality = options.get("quality")
    if "qtables" in options:
        luma, *chroma = map(tuple, options["qtables"])
        quality = _qualities().get((luma, *(chroma or [luma])))
    if max(pixels.shape[:2]) > JPEG_LONGEST_SIDE:
        raise ImageError(f"JPEG has at most {JPEG_LONGEST_SIDE:,} pixels a side; use --format png")
    if pixels.ndim == 2 or quality is None or options.keys() & {"keep_rgb", "dpi"}:
        with hushed():
            return pillow.save(pixels, "JPEG", **options)
    return opencv.encode_jpeg(
        pixels,
        quality,
        options.get("subsampling", 2),
        progressive=options.get("progressive", False),
        optimize=options.get("optimize", False),
    )


@functools.cache
def _qualities() -> dict[tuple[tuple[int, ...], ...], int]:
    """Map the quantization tables that libjpeg makes for each quality to that quality.

    At quality 50 they are those of the standard (ITU-T T.81, annex K.1); the others are scaled.
    """
    black = np.zeros((8, 8, 3), np.uint8)
    data = opencv.encode_jpeg(black, 50, 0, progressive=False, optimize=False)
    standard = np.array(list(JpegImageFile(io.BytesIO(data)).quantization.values()))
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    tables = np.clip((standard * scale[:, None, None] + 50) // 100, 1, 255)
    pairs = (tuple(map(tuple, pair)) for pair in tables.tolist())
    return dict(zip(pairs, quality.tolist(), strict=True))


def _is_kept(marker: int, body: bytes, carried: Carried) -> bool:
    if marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
        return carried.icc is not None
    if marker == 0xE2 and body.startswith(b"MPF\0"):  # an index of pictures that are not kept
        return False
    if marker == 0xEE and body.startswith(b"Adobe"):  # how the old pixels were coded
        return False
    return 0xE1 <= marker <= 0xEF or marker == 0xFE


def _segments(carried: Carried) -> list[bytes]:
    """Write metadata from another format as segments."""
    segments = []
    if carried.exif:
        segments.append(_segment(0xE1, JPEG_EXIF_HEADER + carried.exif))
    if carried.xmp:
        segments.append(_segment(0xE1, JPEG_XMP_HEADER + carried.xmp))
    if carried.icc:
        starts = range(0, len(carried.icc), JPEG_ICC_PIECE)
        for number, at in enumerate(starts, 1):
            head = b"ICC_PROFILE\0" + bytes((number, len(starts)))
            segments.append(_segment(0xE2, head + carried.icc[at : at + JPEG_ICC_PIECE]))
    return segments


def _split(data: bytes) -> list[tuple[int, bytes]]:
    """Find marker and body of each segment before the first scan."""
    found: list[tuple[int, bytes]] = []
    at = 2
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            return found
        marker = data[at + 1]
        if marker in (0x00, 0xFF):
            at += 1 if marker else 2
            continue
        if marker in (0xDA, 0xD9):
            return found
        if 0xD0 <= marker <= 0xD8 or marker == 0x01:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4])
        if length < 2 or at + 2 + length > len(data):
            return found
        found.append((marker, data[at + 4 : at + 2 + length]))
        require_parts(len(found), len(data))
        at += 2 + length


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
