"""BMP, with its ICC profile if it has one."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from PIL.BmpImagePlugin import BmpImageFile

from lgs_cli.image_io import pillow
from lgs_cli.image_io.channels import as_color, has_alpha
from lgs_cli.image_io.limits import require_pixels
from lgs_cli.image_io.metadata import Carried, dpi, dpi_option
from lgs_cli.image_io.picture import Picture

_FILE_HEADER = 14  # bytes; offsets of a profile count from its end
_V4, _V5 = 108, 124  # sizes of the headers that know of color spaces
_COLOR_SPACE, _INTENT, _PROFILE = 56, 108, 112  # places in them
_EMBEDDED, _LINKED, _CALIBRATED = b"DEBM", b"KNIL", b"\0\0\0\0"
_SRGB = b"BGRs"
_BITFIELDS = 3
_INCH = 0.0254  # meters
_PHOTOGRAPHIC = 4  # LCS_GM_IMAGES


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode a BMP."""
    image = BmpImageFile(io.BytesIO(data))
    require_pixels(image.width * image.height, max_pixels)
    notes: list[str] = []
    image.load()
    pixels = pillow.pixels_of(image, notes)
    icc, recoded = _profile(data)
    return Picture(
        (pixels,), "bmp", tuple(notes), data, icc=icc, dpi=dpi(image), recoded=tuple(recoded)
    )


def _profile(data: bytes) -> tuple[bytes | None, list[str]]:
    """Return the ICC profile, and what is to be said of a color space that is none."""
    header = data[_FILE_HEADER : _FILE_HEADER + _V5]
    size = int.from_bytes(header[:4], "little")
    kind = header[_COLOR_SPACE : _COLOR_SPACE + 4]
    if size >= _V4 and kind == _CALIBRATED and any(header[_COLOR_SPACE + 4 : _V4]):
        return None, ["calibrated colors of BMP dropped"]
    if size < _V5 or len(header) < _V5 or kind not in (_EMBEDDED, _LINKED):
        return None, []
    if kind == _LINKED:
        return None, ["linked ICC profile dropped"]
    at, length = struct.unpack_from("<II", header, _PROFILE)
    profile = data[_FILE_HEADER + at : _FILE_HEADER + at + length]
    return (
        (profile, []) if profile and len(profile) == length else (None, ["ICC profile is broken"])
    )


def encode(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: Carried
) -> bytes:
    """Encode as BMP."""
    if has_alpha(frames[0]):
        plain = _with_alpha(as_color(frames[0]), picture.dpi)
    else:
        plain = pillow.save(frames[0], "BMP", **dpi_option(picture))
    return _with_profile(plain, carried.icc) if carried.icc else plain


def _with_alpha(pixels: NDArray[Any], resolution: tuple[float, float] | None) -> bytes:
    """Encode RGBA: Pillow, and OpenCV before 5, do not say that the fourth byte is alpha."""
    height, width = pixels.shape[:2]
    rows = pixels[::-1, :, [2, 1, 0, 3]].tobytes()
    per_meter = (round(value / _INCH) for value in resolution or (0, 0))
    header = struct.pack(
        "<IiiHHIIiiII4I4s", _V4, width, height, 1, 32, _BITFIELDS, len(rows), *per_meter, 0, 0,
        0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000, _SRGB,
    ).ljust(_V4, b"\0")  # fmt: skip
    start = _FILE_HEADER + _V4
    return struct.pack("<2sIII", b"BM", start + len(rows), 0, start) + header + rows


def _with_profile(plain: bytes, profile: bytes) -> bytes:
    """Put the profile behind the pixels, and make the header one that knows of it."""
    start, size = struct.unpack_from("<II", plain, 10)
    header = bytearray(plain[_FILE_HEADER : _FILE_HEADER + size].ljust(_V5, b"\0"))
    rest = plain[_FILE_HEADER + size :]
    struct.pack_into("<I", header, 0, _V5)
    header[_COLOR_SPACE : _COLOR_SPACE + 4] = _EMBEDDED
    struct.pack_into("<III", header, _INTENT, _PHOTOGRAPHIC, _V5 + len(rest), len(profile))
    length = _FILE_HEADER + _V5 + len(rest) + len(profile)
    file = struct.pack("<2sIII", plain[:2], length, 0, start + _V5 - size)
    return file + header + rest + profile
