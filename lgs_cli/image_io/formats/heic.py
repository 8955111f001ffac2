"""HEIC, if the extra ``heif`` is installed: libheif by way of pillow-heif."""

from __future__ import annotations

import io
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgs_cli.errors import MissingExtraError
from lgs_cli.image_io import tiff_tags
from lgs_cli.image_io.boxes import boxes
from lgs_cli.image_io.channels import as_color
from lgs_cli.image_io.limits import require_pixels
from lgs_cli.image_io.metadata import JPEG_EXIF_HEADER, Carried, metadata_options
from lgs_cli.image_io.picture import Picture

_ORIENTATION = 274


def _library() -> ModuleType:
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingExtraError("HEIC", "pillow-heif", "heif") from error
    found: ModuleType = pillow_heif
    return found


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode the main picture of a HEIC; libheif turns it upright.

    Raises
    ------
    MissingExtraError
        If the extra is not installed.
    """
    library = _library()
    file = library.open_heif(data, convert_hdr_to_8bit=False)
    image = file[file.primary_index]
    width, height = image.size
    require_pixels(width * height, max_pixels)
    pixels = np.array(image)  # its own memory goes with the file
    notes = []
    exif = (image.info.get("exif") or b"").removeprefix(JPEG_EXIF_HEADER)
    if (upright := _upright(exif)) != exif:
        notes.append("turned upright")
    if len(file) > 1:
        notes.append("only the main picture of several was kept")
    if any(kind == b"moov" for kind, *_ in boxes(data, 0, len(data))):
        notes.append("image sequence dropped")
    held = {"depth_images": "depth image", "aux": "auxiliary images", "thumbnails": "thumbnail"}
    notes += [f"{what} dropped" for key, what in held.items() if image.info.get(key)]
    depth = int(image.info.get("bit_depth", 8))
    return Picture(
        (pixels,), "heic", tuple(notes), data,
        exif=upright or None,
        icc=image.info.get("icc_profile") or None,
        xmp=image.info.get("xmp") or None,
        coding={"chroma": image.info.get("chroma")} | ({"depth": depth} if depth > 8 else {}),
    )  # fmt: skip


def _upright(exif: bytes) -> bytes:
    """Set the orientation to 1."""
    turned = bytearray(exif)
    try:
        structure = tiff_tags.read_structure(exif)
        for entry in next(tiff_tags.read_directories(exif, []), ()):
            if entry.tag == _ORIENTATION and entry.kind == tiff_tags.SHORT and entry.number:
                turned[entry.at : entry.at + 2] = structure.pack(tiff_tags.SHORT, 1)
    except EOFError:
        pass  # nobody can read an orientation from it either
    return bytes(turned)


def encode(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: Carried
) -> bytes:
    """Encode as HEIC, with the depth and the chroma subsampling that the picture had."""
    library = _library()
    pixels = np.ascontiguousarray(as_color(frames[0]))
    height, width, channels = pixels.shape
    mode = {3: "RGB", 4: "RGBA"}[channels] + (";16" if pixels.dtype == np.uint16 else "")
    coding = picture.coding if picture.format == "heic" else {}
    options = metadata_options(carried)
    options["quality"] = 90 if quality is None else quality
    options["chroma"] = coding.get("chroma") or 444
    if carried.exif:
        options["exif"] = JPEG_EXIF_HEADER + carried.exif
    before = library.options.SAVE_HDR_TO_12_BIT
    library.options.SAVE_HDR_TO_12_BIT = coding.get("depth") == 12
    out = io.BytesIO()
    try:
        library.encode(mode, (width, height), pixels.tobytes(), out, **options)
    finally:
        library.options.SAVE_HDR_TO_12_BIT = before
    return out.getvalue()
