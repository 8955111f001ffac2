"""TIFF: pages of any kind, each with its own tags and compression.

Pillow decodes and compresses; OpenCV decodes 16-bit color. Tags go over as they are, see
:mod:`lgs_cli.image_io.tiff_tags`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import COMPRESSION_INFO, TiffImageFile

from lgs_cli.errors import ImageError
from lgs_cli.image_io import opencv, pillow, tiff_tags
from lgs_cli.image_io.limits import require_pixels
from lgs_cli.image_io.metadata import Carried, dpi
from lgs_cli.image_io.picture import Picture
from lgs_cli.image_io.tiff_strips import compress
from lgs_cli.image_io.tiff_tags import (
    BYTE,
    EXIF_IFD,
    GPS_IFD,
    LONG,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Entry,
    Page,
    Structure,
    bytes_entry,
    name_of,
    new_entry,
)

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 256, 257, 258, 259, 262, 277
_ROWS, _PLANAR, _PREDICTOR, _TILE_WIDTH, _SUB_IFDS = 278, 284, 317, 322, 330
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _JPEG_TABLES = 338, 339, 347
_CHROMA_SUBSAMPLING, _CHROMA_POSITION, _BLACK_WHITE = 530, 531, 532
_STRIPS, _STRIP_SIZES, _DEPTH = 273, 279, 32997
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_ORIENTATION, _XMP, _ICC, _MAKER_NOTE = 274, 700, 34675, 37500

# How the pixels are stored; said anew when they are.
_STORAGE = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, 263, 264, 265, 266, _STRIPS, _SAMPLES}
    | {_ROWS, _STRIP_SIZES, _PLANAR, 288, 289, 292, 293, _PREDICTOR, 320, _TILE_WIDTH, 323, 324}
    | {325, 326, 327, 328, _EXTRA_SAMPLES, _SAMPLE_FORMAT, 346, _JPEG_TABLES, *range(512, 522)}
    | {529, _CHROMA_SUBSAMPLING, _CHROMA_POSITION, _BLACK_WHITE, 559, _DEPTH, 32998}
)
# Numbers and names of samples: true only as long as the samples are the same.
_OF_THE_SAMPLES = frozenset({280, 281, 290, 291, 301, 332, 333, 334, 336, 340, 341, 342})

# Resolution travels as Picture.dpi; roles, names and numbers of pages mean nothing elsewhere.
_OF_THE_PAGE = frozenset({254, 255, 269, _X_RESOLUTION, _Y_RESOLUTION, 285, _RESOLUTION_UNIT, 297})
# What EXIF has room for too.
_DESCRIPTIVE = frozenset(
    {270, 271, 272, _ORIENTATION, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096)}
    | {EXIF_IFD, GPS_IFD}
)
_EXIF_ROOM = 60_000  # a maker note farther back would make EXIF too large for JPEG

_DEFLATE = "tiff_adobe_deflate"
_NUMBERS = {
    "raw": 1, "tiff_lzw": 5, "jpeg": 7, _DEFLATE: 8, "packbits": 32773, "tiff_deflate": 32946,
    "lzma": 34925, "zstd": 50000,
}  # fmt: skip
_PREDICTED = frozenset({"tiff_lzw", _DEFLATE, "tiff_deflate"})


class _Coding(NamedTuple):
    """A page's tags, compression, and what its alpha means (None for the usual)."""

    entries: tuple[Entry, ...]
    compression: str
    alpha: int | None = None


# ----------------------------------------------------------------------------------- decoding


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode a TIFF, with all its pages.

    Raises
    ------
    ImageError
        For big-endian BigTIFF, more than 16 bits, floating-point, signed and complex samples, color
        of 9 to 16 bits
        that is not RGB or RGBA of 16, or lies in planes; and for a chain of pages without end.
    """
    broken: list[str] = []
    structure = tiff_tags.read_structure(data)
    if structure.big and structure.order == ">":  # Pillow takes it for something else
        raise ImageError("big-endian BigTIFF is not supported")
    directories = list(tiff_tags.read_directories(data, broken))
    upright = _upright(data, directories, structure)
    image = _opened(upright, directories[0], structure)
    if image.n_frames != len(directories):
        raise ImageError("broken TIFF: its pages cannot be counted")
    size = 0
    for index, entries in enumerate(directories):
        _seek(image, index, entries, structure)
        size += image.width * image.height
        require_pixels(size, max_pixels)
    notes: list[str] = []
    recoded = broken
    frames, pages = [], []
    for index, entries in enumerate(directories):
        _seek(image, index, entries, structure)
        frames.append(_pixels(image, upright, index, notes))
        kept, lost = _kept(image, entries, frames[-1])
        recoded += lost
        compression = image.info.get("compression", "raw")
        if not _can_write(compression, frames[-1]):
            recoded.append(f"compression {compression} became deflate")
            compression = _DEFLATE
        deep = frames[-1].dtype == np.uint16
        alpha = image.tag_v2.get(_EXTRA_SAMPLES, (2,))[0] if deep else None
        pages.append(_Coding(kept, compression, alpha))
    first = pages[0].entries
    exif, only_here = _exif(structure, first)
    values = {entry.tag: entry.value for entry in first}
    image.seek(0)
    return Picture(
        tuple(frames),
        "tiff",
        tuple(dict.fromkeys(notes)),
        data,
        exif=exif,
        icc=values.get(_ICC) or None,
        xmp=values.get(_XMP) or None,
        dpi=dpi(image),
        coding={"pages": pages, "structure": structure, "only here": only_here},
        recoded=tuple(dict.fromkeys(recoded)),
    )


def _upright(data: bytes, directories: Sequence[Sequence[Entry]], structure: Structure) -> bytes:
    """Return the file with every page's orientation set to 1.

    Pillow rotates a TIFF's pixels by its orientation, and OpenCV fails on some; here pixels are
    wanted as they are stored.
    """
    turned = bytearray()
    for entries in directories:
        for entry in entries:
            if entry.tag == _ORIENTATION and entry.number and entry.kind in (BYTE, SHORT, LONG):
                turned = turned or bytearray(data)
                one = structure.pack(entry.kind, 1)
                turned[entry.at : entry.at + len(one)] = one
    return bytes(turned) or data


def _opened(data: bytes, entries: Sequence[Entry], structure: Structure) -> TiffImageFile:
    try:
        return TiffImageFile(io.BytesIO(data))
    except SyntaxError as error:
        raise _not_supported(entries, structure) or error from None


def _seek(image: TiffImageFile, index: int, entries: Sequence[Entry], structure: Structure) -> None:
    try:
        image.seek(index)
    except SyntaxError as error:
        raise _not_supported(entries, structure) or error from None


_SAMPLE_KINDS = {2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex "}
_COLORS = {2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "Lab", 10: "Lab"}
_COLORS |= {32803: "color filter array", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw"}


def _not_supported(entries: Sequence[Entry], structure: Structure) -> ImageError | None:
    """Name the kind of a TIFF that Pillow does not know: ``"12-bit RGB"``."""
    said = {entry.tag: tiff_tags.number_of(structure, entry) for entry in entries}
    if not said.keys() >= {_WIDTH, _HEIGHT, _PHOTOMETRIC}:
        return None
    compression = said.get(_COMPRESSION, 1)
    if compression not in COMPRESSION_INFO:
        return ImageError(f"TIFF compression {compression} is not supported")
    bits, samples = said.get(_BITS, 1), said.get(_SAMPLES, 1)
    kind = _SAMPLE_KINDS.get(said.get(_SAMPLE_FORMAT, 1), "")
    color = _COLORS.get(said[_PHOTOMETRIC], "gray")
    planar = "planar " if said.get(_PLANAR, 1) == 2 else ""
    return ImageError(
        f"{planar}{bits}-bit {kind}{color} TIFF with {samples} channel{'s' * (samples != 1)} "
        "is not supported"
    )


def _pixels(image: TiffImageFile, data: bytes, index: int, notes: list[str]) -> NDArray[Any]:
    tags = image.tag_v2
    bits = tags.get(_BITS, (1,))
    samples = tags.get(_SAMPLES, 1)
    photometric = tags.get(_PHOTOMETRIC, 0)
    if tags.get(_DEPTH, 1) != 1:
        raise ImageError("TIFF with several layers of pixels is not supported")
    kind = _SAMPLE_KINDS.get(max(tags.get(_SAMPLE_FORMAT, (1,))))
    if kind:
        raise ImageError(f"{max(bits)}-bit {kind}samples are not supported")
    if max(bits) > 16:
        raise ImageError(f"{max(bits)}-bit samples are not supported")
    deep_color = max(bits) == 16 and samples > 1
    if deep_color and tags.get(_PLANAR, 1) != 1:
        raise ImageError("16-bit color in planes is not supported")
    if deep_color and (photometric != 2 or samples > 4):
        color = _COLORS.get(photometric, "gray")
        raise ImageError(f"16-bit {color} TIFF with {samples} channels is not supported")
    # The pixels of the usual single page only show that it is whole: they go before others come.
    (TiffImageFile(io.BytesIO(data)) if deep_color and index == 0 else image).load()
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


def _kept(
    image: TiffImageFile, entries: Sequence[Entry], pixels: NDArray[Any]
) -> tuple[tuple[Entry, ...], list[str]]:
    """Return the tags that stay true of a page, and what is to be said of the others."""
    tags = image.tag_v2
    bits = set(tags.get(_BITS, (1,)))
    same = bits == {8 * pixels.itemsize} and tags.get(_PHOTOMETRIC) in (1, 2)
    kept, lost = [], []
    for entry in entries:
        if entry.tag == _SUB_IFDS or (entry.directory is None and entry.kind in (13, 18)):
            lost.append(f"{name_of(entry.tag)} dropped: it holds other images")
        elif entry.tag == _ICC and image.mode == "CMYK":
            lost.append("CMYK profile dropped")
        elif entry.tag in _OF_THE_SAMPLES and not same:
            lost.append(f"{name_of(entry.tag)} dropped: the samples are others")
        elif entry.tag not in _STORAGE:
            kept.append(entry)
    if _TILE_WIDTH in tags:
        lost.append("tiles became strips")
    if tags.get(_PLANAR, 1) == 2 and pixels.ndim == 3:
        lost.append("planes became pixels side by side")
    return tuple(kept), lost


def _can_write(compression: str, pixels: NDArray[Any]) -> bool:
    if compression == "jpeg":
        return pixels.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2] == 3)
    return compression in _NUMBERS


# --------------------------------------------------------------------------------------- tags


def _exif(structure: Structure, entries: Sequence[Entry]) -> tuple[bytes | None, list[str]]:
    """Return a page's tags as EXIF, for other formats, and the names of those it has no room for.

    EXIF has offsets of 32 bits, and an end, which a maker note that stays in its place may exceed.
    """
    taken = [entry for entry in entries if entry.tag in _DESCRIPTIVE]
    elsewhere = _DESCRIPTIVE | _OF_THE_PAGE | {_XMP, _ICC}
    left = [name_of(entry.tag) for entry in entries if entry.tag not in elsewhere]
    if not taken:
        return None, left
    for at, entry in enumerate(taken):
        if entry.tag == EXIF_IFD and entry.directory:
            inside = [_movable(part, left) for part in entry.directory]
            taken[at] = entry._replace(directory=tuple(inside))
    return tiff_tags.write(Structure(structure.order), [Page(taken)]), left


def _movable(entry: Entry, left: list[str]) -> Entry:
    if entry.tag == _MAKER_NOTE and entry.at + len(entry.value) > _EXIF_ROOM:
        left.append("offsets inside MakerNote")
        return entry._replace(at=0)
    return entry


def _coding_from(picture: Picture, carried: Carried) -> tuple[Structure, _Coding]:
    """Turn another format's metadata into tags."""
    structure = Structure()
    tags: dict[int, Entry] = {}
    if carried.exif:
        structure = tiff_tags.read_structure(carried.exif)
        entries = next(tiff_tags.read_directories(carried.exif, []), ())
        tags = {entry.tag: entry for entry in entries if entry.tag not in _STORAGE | {_SUB_IFDS}}
    if picture.dpi:
        for tag, value in zip((_X_RESOLUTION, _Y_RESOLUTION), picture.dpi, strict=True):
            ratio = Fraction(value).limit_denominator(10_000)
            tags[tag] = new_entry(structure, tag, RATIONAL, *ratio.as_integer_ratio())
        tags[_RESOLUTION_UNIT] = new_entry(structure, _RESOLUTION_UNIT, SHORT, 2)  # inch
    if carried.icc:
        tags[_ICC] = bytes_entry(_ICC, UNDEFINED, carried.icc)
    if carried.xmp:
        tags[_XMP] = bytes_entry(_XMP, BYTE, carried.xmp)
    return structure, _Coding(tuple(tags.values()), _DEFLATE)


# ----------------------------------------------------------------------------------- encoding


def encode(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: Carried
) -> bytes:
    """Encode as TIFF, each page with the tags and the compression it had."""
    if picture.format == "tiff":
        structure, codings = picture.coding["structure"], picture.coding["pages"]
    else:
        structure, coding = _coding_from(picture, carried)
        codings = [coding]
    pages = []
    for pixels, coding in zip(frames, codings, strict=True):
        if coding.compression == "jpeg":
            page = _jpeg_page(structure, pixels, quality)
        else:
            page = _page(structure, pixels, coding)
        pages.append(Page([*coding.entries, *page.entries], page.strips))
    return tiff_tags.write(structure, pages)


def _page(structure: Structure, pixels: NDArray[Any], coding: _Coding) -> Page:
    """Compress an array, in the byte order of the file.

    Pillow cannot write 16-bit color, nor another byte order. So it only compresses here: each byte
    as one gray pixel, told from what it is by the tags alone.
    """
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    tags = _size_tags(structure, pixels, coding.compression)
    tags[_PHOTOMETRIC] = new_entry(structure, _PHOTOMETRIC, SHORT, 2 if channels >= 3 else 1)
    if channels in (2, 4):
        alpha = 2 if coding.alpha is None else coding.alpha
        tags[_EXTRA_SAMPLES] = new_entry(structure, _EXTRA_SAMPLES, SHORT, alpha)
    predicted = coding.compression in _PREDICTED
    if predicted:
        tags[_PREDICTOR] = new_entry(structure, _PREDICTOR, SHORT, 2)
    order = pixels.dtype.newbyteorder(structure.order)

    def samples(rows: NDArray[Any]) -> NDArray[np.uint8]:
        if predicted:  # TIFF 6.0, section 14: horizontal differencing
            before, rows = rows, rows.copy()
            rows[:, 1:] -= before[:, :-1]
        return np.ascontiguousarray(rows, order).reshape(len(rows), -1).view(np.uint8)

    strips, height, _ = compress(pixels, samples, compression=coding.compression)
    tags[_ROWS] = new_entry(structure, _ROWS, LONG, height)
    return Page(list(tags.values()), strips)


def _jpeg_page(structure: Structure, pixels: NDArray[Any], quality: int | None) -> Page:
    quality = 95 if quality is None else quality
    strips, height, said = compress(pixels, np.asarray, compression="jpeg", quality=quality)
    tags = _size_tags(structure, pixels, "jpeg")
    numbers = {_ROWS: (height,), _PHOTOMETRIC: (said[_PHOTOMETRIC],)}
    if _CHROMA_SUBSAMPLING in said:
        numbers[_CHROMA_SUBSAMPLING] = said[_CHROMA_SUBSAMPLING]
    for tag, values in numbers.items():
        tags[tag] = new_entry(structure, tag, SHORT, *values)
    if _BLACK_WHITE in said:
        ratios = [number for value in said[_BLACK_WHITE] for number in (round(value), 1)]
        tags[_BLACK_WHITE] = new_entry(structure, _BLACK_WHITE, RATIONAL, *ratios)
    if _JPEG_TABLES in said:
        tags[_JPEG_TABLES] = bytes_entry(_JPEG_TABLES, UNDEFINED, said[_JPEG_TABLES])
    return Page(list(tags.values()), strips)


def _size_tags(structure: Structure, pixels: NDArray[Any], compression: str) -> dict[int, Entry]:
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    numbers = {
        _WIDTH: (width,),
        _HEIGHT: (height,),
        _BITS: (8 * pixels.itemsize,) * channels,
        _COMPRESSION: (_NUMBERS[compression],),
        _SAMPLES: (channels,),
        _PLANAR: (1,),
    }
    return {
        tag: new_entry(structure, tag, LONG if tag in (_WIDTH, _HEIGHT) else SHORT, *values)
        for tag, values in numbers.items()
    }
