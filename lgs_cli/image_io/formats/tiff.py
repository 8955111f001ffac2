"""TIFF: pages of any kind, each with its own tags and compression."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import AppendingTiffWriter, ImageFileDirectory_v2, TiffImageFile

from lgs_cli.errors import ImageError
from lgs_cli.image_io import opencv, pillow
from lgs_cli.image_io.limits import require_frames, require_pixels
from lgs_cli.image_io.metadata import Carried, as_bytes, dpi
from lgs_cli.image_io.picture import Picture

_WIDTH, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR = 256, 258, 262, 277, 284
_STRIPS, _STRIP_SIZES, _PREDICTOR, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 273, 279, 317, 338, 339
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_ORIENTATION, _XMP, _ICC = 274, 700, 34675
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 34665, 34853, 40965

_SUB_IFDS = frozenset({_EXIF_IFD, _GPS_IFD})

# Resolution travels as Picture.dpi; names and numbers of pages mean nothing elsewhere.
_OF_THE_PAGE = frozenset({269, _X_RESOLUTION, _Y_RESOLUTION, 285, _RESOLUTION_UNIT, 297})

# Tags that describe the picture, not how its samples lie in the file; EXIF knows them too.
_DESCRIPTIVE = frozenset(
    {270, 271, 272, _ORIENTATION, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096)}
    | _SUB_IFDS
)
# Those that only a TIFF takes: IPTC, Photoshop, GeoTIFF and GDAL.
_TIFF_ONLY = frozenset({33723, 34377, 33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113})

_KEPT = _DESCRIPTIVE | _OF_THE_PAGE | _TIFF_ONLY | {_XMP, _ICC}

_PREDICTED = frozenset({"tiff_lzw", "tiff_adobe_deflate", "tiff_deflate"})
_COMPRESSIONS = _PREDICTED | {"raw", "packbits", "lzma", "zstd", "jpeg"}


class _Page(NamedTuple):
    tags: ImageFileDirectory_v2
    compression: str


# ----------------------------------------------------------------------------------- decoding


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode a TIFF, with all its pages.

    Raises
    ------
    ImageError
        For floating-point samples, more than 16 bits, 16-bit color that lies in planes or is not
        RGB or RGBA, and a chain of pages without end.
    """
    upright = _upright(data)
    # Tags are read from the file as it is, pixels from its upright copy.
    described = TiffImageFile(io.BytesIO(data))
    image = TiffImageFile(io.BytesIO(upright))
    size = 0
    for index in range(image.n_frames):
        image.seek(index)
        size += image.width * image.height
        require_pixels(size, max_pixels)
    notes: list[str] = []
    recoded: list[str] = []
    frames, pages = [], []
    for index in range(image.n_frames):
        described.seek(index)
        tags, compression = _tags_of(described), described.info.get("compression", "raw")
        image.seek(index)
        frames.append(_pixels(image, upright, index, notes))
        if image.mode == "CMYK" and tags.get(_ICC):
            del tags[_ICC]
            notes.append("CMYK profile dropped")
        if not _can_write(compression, frames[-1]):
            recoded.append(f"compression {compression} became deflate")
            compression = "tiff_adobe_deflate"
        pages.append(_Page(tags, compression))
    tags = pages[0].tags
    return Picture(
        tuple(frames),
        "tiff",
        tuple(dict.fromkeys(notes)),
        data,
        exif=_exif(tags),
        icc=as_bytes(tags.get(_ICC)),
        xmp=as_bytes(tags.get(_XMP)),
        dpi=dpi(described),
        coding={"pages": pages},
        recoded=tuple(dict.fromkeys(recoded)),
    )


def _upright(data: bytes) -> bytes:
    """Return the file with every page's orientation set to 1.

    Pillow rotates a TIFF's pixels by its orientation, and OpenCV fails on some; here pixels are
    wanted as they are stored. The walk also bounds the chain of pages before Pillow follows it.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    count_format, entry_size, offset_format = ("Q", 20, "Q") if big else ("H", 12, "I")
    turned = bytearray()
    seen: set[int] = set()
    (at,) = struct.unpack_from(order + offset_format, data, 8 if big else 4)
    while at and at not in seen:
        seen.add(at)
        require_frames(len(seen))
        try:
            (count,) = struct.unpack_from(order + count_format, data, at)
            first = at + struct.calcsize(count_format)
            (after,) = struct.unpack_from(order + offset_format, data, first + count * entry_size)
        except (struct.error, OverflowError):
            raise ImageError("truncated TIFF") from None
        for entry in range(first, first + count * entry_size, entry_size):
            tag, kind = struct.unpack_from(order + "HH", data, entry)
            value_at = entry + (12 if big else 8)
            size = {1: "B", 3: "H", 4: "I"}.get(kind)
            if tag == _ORIENTATION and size:
                turned = turned or bytearray(data)
                struct.pack_into(order + size, turned, value_at, 1)
        at = after
    return bytes(turned) or data


def _pixels(image: TiffImageFile, data: bytes, index: int, notes: list[str]) -> NDArray[Any]:
    tags = image.tag_v2
    bits = tags.get(_BITS, (1,))
    samples = tags.get(_SAMPLES, 1)
    photometric = tags.get(_PHOTOMETRIC, 0)
    if max(tags.get(_SAMPLE_FORMAT, (1,))) == 3:
        raise ImageError("floating-point samples are not supported")
    if max(bits) > 16:
        raise ImageError(f"{max(bits)}-bit samples are not supported")
    deep_color = max(bits) == 16 and samples > 1
    if deep_color and (photometric != 2 or tags.get(_PLANAR, 1) != 1 or samples > 4):
        raise ImageError("16-bit TIFF is supported as gray, RGB and RGBA, not in planes")
    image.load()
    if deep_color:
        return opencv.decode_deep(data, image.size, index)
    pixels = pillow.pixels_of(image, notes)
    if pixels.dtype == np.uint16:
        if bits[0] == 12:
            notes.append("12 bits became 16 bits")
            pixels = pixels << 4 | pixels >> 8
        if photometric == 0:  # white is zero, which Pillow turns round at 8 bits only
            pixels = 65535 - pixels
    elif bits[0] in (2, 4) and image.mode == "L":
        notes.append(f"{bits[0]} bits became 8-bit gray")
    return pixels


def _can_write(compression: str, pixels: NDArray[Any]) -> bool:
    if compression == "jpeg":
        return pixels.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2] == 3)
    return compression in _COMPRESSIONS


# --------------------------------------------------------------------------------------- tags


def _tags_of(image: TiffImageFile) -> ImageFileDirectory_v2:
    """Copy the descriptive tags of a page, of which none says where or how samples lie."""
    tags = ImageFileDirectory_v2()
    _copy(image.tag_v2, tags, _KEPT - _SUB_IFDS)
    _copy_sub_ifds(image.getexif(), tags)
    return tags


def _copy(
    source: ImageFileDirectory_v2, target: ImageFileDirectory_v2, tags: Iterable[int]
) -> None:
    """Copy those of the tags that there are, with their types."""
    for tag in tags:
        if tag in source:
            target[tag] = source[tag]
            target.tagtype[tag] = source.tagtype[tag]


def _copy_sub_ifds(exif: Image.Exif, target: ImageFileDirectory_v2) -> None:
    for tag in _SUB_IFDS:
        directory = dict(exif.get_ifd(tag))
        if _INTEROP_IFD in directory:
            directory[_INTEROP_IFD] = dict(exif.get_ifd(_INTEROP_IFD))
            if not directory[_INTEROP_IFD]:
                del directory[_INTEROP_IFD]
        if directory:
            target[tag] = directory


def _exif(tags: ImageFileDirectory_v2) -> bytes | None:
    """Turn a page's descriptive tags into an EXIF block, for formats other than TIFF."""
    exif = ImageFileDirectory_v2()
    _copy(tags, exif, _DESCRIPTIVE)
    if not len(exif):
        return None
    out = io.BytesIO()
    exif.save(out)
    return out.getvalue()


def _tags_from(picture: Picture, carried: Carried) -> ImageFileDirectory_v2:
    """Turn another format's metadata into tags."""
    tags = ImageFileDirectory_v2()
    if carried.exif:
        exif = Image.Exif()
        exif.load(carried.exif)
        for tag in (_DESCRIPTIVE | _OF_THE_PAGE) - _SUB_IFDS:
            if tag in exif:
                tags[tag] = exif[tag]
        _copy_sub_ifds(exif, tags)
    if picture.dpi:
        tags[_X_RESOLUTION], tags[_Y_RESOLUTION] = picture.dpi
        tags[_RESOLUTION_UNIT] = 2  # inch
    if carried.icc:
        tags[_ICC], tags.tagtype[_ICC] = carried.icc, 7
    if carried.xmp:
        tags[_XMP], tags.tagtype[_XMP] = carried.xmp, 1
    return tags


# ----------------------------------------------------------------------------------- encoding


def encode(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: Carried
) -> bytes:
    """Encode as TIFF, each page with the tags and the compression it had."""
    if picture.format == "tiff":
        pages = picture.coding["pages"]
    else:
        pages = [_Page(_tags_from(picture, carried), "tiff_adobe_deflate")]
    out = io.BytesIO()
    with AppendingTiffWriter(out) as writer:
        for pixels, page in zip(frames, pages, strict=True):
            tags, strips = _strips(pixels, page.compression, quality)
            _copy(page.tags, tags, page.tags)
            tags.save(writer)
            writer.write(strips)
            writer.newFrame()
    return out.getvalue()


def _strips(
    pixels: NDArray[Any], compression: str, quality: int | None
) -> tuple[ImageFileDirectory_v2, bytes]:
    """Compress an array; return the tags that say how, and the strips one after the other.

    Pillow cannot write 16-bit color, nor an Exif directory in a compressed TIFF. So it only
    compresses here: 16-bit color as one gray sample after the other, told from color by the tags
    alone.
    """
    options: dict[str, Any] = {"compression": compression}
    if compression == "jpeg":
        options["quality"] = 95 if quality is None else quality
    deep_color = pixels.dtype == np.uint16 and pixels.ndim == 3
    predicted = compression in _PREDICTED
    if deep_color:
        height, width, channels = pixels.shape
        plain = pixels
        if predicted:  # TIFF 6.0, section 14: horizontal differencing
            plain = pixels.copy()
            plain[:, 1:] -= pixels[:, :-1]
        data = pillow.save(plain.reshape(height, width * channels), "TIFF", **options)
    else:
        if predicted:
            options["tiffinfo"] = {_PREDICTOR: 2}
        data = pillow.save(pixels, "TIFF", **options)
    written = TiffImageFile(io.BytesIO(data)).tag_v2
    tags = ImageFileDirectory_v2()
    _copy(written, tags, written)
    if deep_color:
        tags[_WIDTH], tags[_BITS], tags[_SAMPLES] = width, (16,) * channels, channels
        tags[_PHOTOMETRIC] = 2 if channels >= 3 else 1
        if channels in (2, 4):
            tags[_EXTRA_SAMPLES] = 2
        if predicted:
            tags[_PREDICTOR] = 2
    places = zip(written[_STRIPS], written[_STRIP_SIZES], strict=True)
    strips = [data[at : at + size] for at, size in places]
    ends = np.cumsum([0, *(len(strip) for strip in strips)]).tolist()
    tags[_STRIPS] = tuple(ends[:-1])
    tags.tagtype[_STRIPS] = 4
    return tags, b"".join(strips)
