"""EXIF, ICC profile, XMP and resolution: what is found in a file, and what a format takes over."""

from __future__ import annotations

from typing import Any, NamedTuple

from PIL import Image

from lgs_cli.errors import ImageError
from lgs_cli.image_io.magic import title
from lgs_cli.image_io.picture import Picture
from lgs_cli.image_io.tiff_tags import read_directories

JPEG_SEGMENT = 65_533  # bytes in one, after its length
JPEG_EXIF_HEADER = b"Exif\0\0"
JPEG_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_ICC_PIECE = JPEG_SEGMENT - 14  # of a profile, which may lie in 255 segments

GIF_COLORS = 256

_NOTHING = {"EXIF": 0, "ICC profile": 0, "XMP": 0}

# Most bytes that a format holds of each, if there is a limit.
_ROOM: dict[str, dict[str, int]] = {
    "jpeg": {
        "EXIF": JPEG_SEGMENT - len(JPEG_EXIF_HEADER),
        "ICC profile": 255 * JPEG_ICC_PIECE,
        "XMP": JPEG_SEGMENT - len(JPEG_XMP_HEADER),
    },
    "bmp": {"EXIF": 0, "XMP": 0},
    "gif": _NOTHING,
    "jp2": _NOTHING,
    "pnm": _NOTHING,
}


class Carried(NamedTuple):
    """The metadata that a format takes over, and what of the picture it does not."""

    exif: bytes | None
    icc: bytes | None
    xmp: bytes | None
    losses: tuple[str, ...]


def carry(picture: Picture, name: str) -> Carried:
    """Tell what metadata of a picture goes over into a format.

    Parameters
    ----------
    picture : Picture
        As it was decoded.
    name : str
        The format to write, a name in :data:`lgs_cli.formats.FORMATS`.

    Returns
    -------
    Carried
        EXIF, ICC profile and XMP, each as the picture has it, or None if there is none, no room,
        or, for a gray profile, no gray; and a line for each that is lost.
    """
    held = {"EXIF": picture.exif, "ICC profile": picture.icc, "XMP": picture.xmp}
    losses = []
    if name != picture.format or name == "gif":
        for what, room in _ROOM.get(name, {}).items():
            if len(held[what] or b"") > room:
                held[what] = None
                size = " of this size" if room else ""
                losses.append(f"{title(name)} has no room for {what}{size}")
        if only_here := picture.coding.get("only here"):
            losses.append(f"{title(name)} has no room for TIFF tags: {', '.join(only_here)}")
    if name == "tiff" != picture.format and held["EXIF"]:
        held["EXIF"], lost = _exif_for_tiff(held["EXIF"])
        losses += lost
    if _gray_becomes_color(picture, name):
        losses.append("gray became RGB")
        icc = held["ICC profile"]
        if icc and icc[16:20] == b"GRAY":
            held["ICC profile"] = None
            losses.append("gray profile dropped")
    if name == "gif" != picture.format:
        losses.append(f"colors became {GIF_COLORS} a frame")
        if any(duration % 10 for duration in picture.durations):
            losses.append("frame durations were rounded to 10 ms")
    return Carried(held["EXIF"], held["ICC profile"], held["XMP"], tuple(losses))


def _exif_for_tiff(exif: bytes) -> tuple[bytes | None, list[str]]:
    """Return EXIF that can become tags of a TIFF, and what of it cannot."""
    lost: list[str] = []
    try:
        directories = list(read_directories(exif, lost))
    except (EOFError, ImageError):
        return None, ["EXIF is broken; dropped"]
    if len(directories) > 1:
        lost.append("TIFF has no room for the EXIF thumbnail")
    return exif, lost


def _gray_becomes_color(picture: Picture, name: str) -> bool:
    pixels = picture.frames[0]
    if pixels.ndim == 2:
        return name in ("webp", "heic")
    return pixels.shape[2] == 2 and name in ("webp", "avif", "bmp", "heic")


def found_in(image: Image.Image, notes: list[str]) -> dict[str, Any]:
    """Return the metadata that Pillow found in a file, as :class:`Picture` takes it.

    Parameters
    ----------
    image : PIL.Image.Image
        Opened, with its ``info`` complete: some formats have metadata behind the pixels.
    notes : list of str
        Gets a line if something found does not fit the pixels any more.

    Returns
    -------
    dict
        ``exif``, ``icc``, ``xmp`` (bytes or None) and ``dpi``.
    """
    exif = image.info.get("exif")
    icc = image.info.get("icc_profile")
    if icc and image.mode == "CMYK":
        icc = None
        notes.append("CMYK profile dropped")
    return {
        "exif": exif.removeprefix(JPEG_EXIF_HEADER) or None if exif else None,
        "icc": icc or None,
        "xmp": as_bytes(image.info.get("xmp")),
        "dpi": dpi(image),
    }


def as_bytes(value: Any) -> bytes | None:
    """Return the bytes of what Pillow may hand over as text, or as a part of a buffer.

    Parameters
    ----------
    value : str, bytes-like or None
        Text is encoded as UTF-8.

    Returns
    -------
    bytes or None
        None for None and for what is empty.
    """
    return (value.encode() if isinstance(value, str) else bytes(value)) if value else None


def dpi(image: Image.Image) -> tuple[float, float] | None:
    """Return the resolution that Pillow found in a file, if it makes sense.

    Parameters
    ----------
    image : PIL.Image.Image
        Opened.

    Returns
    -------
    tuple of float or None
        Horizontal and vertical, in pixels an inch, between 0 and 65,536.
    """
    try:
        x, y = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 0 < x < 65536 and 0 < y < 65536 else None


def dpi_option(picture: Picture) -> dict[str, Any]:
    """Return a picture's resolution as options for Pillow's writers.

    Parameters
    ----------
    picture : Picture
        As it was decoded.

    Returns
    -------
    dict
        ``dpi``, or nothing if none is known.
    """
    return {"dpi": picture.dpi} if picture.dpi else {}


def metadata_options(carried: Carried) -> dict[str, Any]:
    """Return metadata as options for Pillow's writers.

    Parameters
    ----------
    carried : Carried
        What goes over.

    Returns
    -------
    dict
        ``exif``, ``icc_profile`` and ``xmp``, as far as there are.
    """
    options = {"exif": carried.exif, "icc_profile": carried.icc, "xmp": carried.xmp}
    return {key: value for key, value in options.items() if value}
