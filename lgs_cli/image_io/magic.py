"""Which format a file is in, by its first bytes, and what the formats are called."""

from __future__ import annotations

import re

_MAGIC: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("jpeg", re.compile(rb"\xff\xd8\xff")),
    ("png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("webp", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    ("tiff", re.compile(rb"II\*\0|MM\0\*|II\+\0\x08\0\0\0|MM\0\+\0\x08\0\0")),
    ("bmp", re.compile(rb"BM.{8}", re.DOTALL)),
    ("gif", re.compile(rb"GIF8[79]a")),
    ("avif", re.compile(rb".{4}ftyp(avif|avis)", re.DOTALL)),
    ("avif", re.compile(rb".{4}ftyp(mif1|msf1|miaf).{0,64}avi[fs]", re.DOTALL)),
    ("heic", re.compile(rb".{4}ftyp(hei[cmxs]|hev[cmxs]|mif1|msf1)", re.DOTALL)),
    ("jp2", re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51")),
    ("pnm", re.compile(rb"P[1-6][\s#]")),
)

# Seen in photo folders, and worth a better word than "not an image".
_FOREIGN: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("JPEG XL", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL ")),
    ("Photoshop", re.compile(rb"8BPS")),
    ("PDF", re.compile(rb"%PDF")),
    ("SVG", re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg", re.DOTALL)),
    ("PFM", re.compile(rb"P[fF][\s#]")),
    ("PAM", re.compile(rb"P7[\s#]")),
    ("a tar archive among images", re.compile(rb".{257}ustar", re.DOTALL)),
    ("a Parquet table among images", re.compile(rb"PAR1")),
    ("a ZIP archive", re.compile(rb"PK\x03\x04")),
    ("gzip", re.compile(rb"\x1f\x8b")),
)

_TITLES = {"jp2": "JPEG 2000", "webp": "WebP"}


def format_of(data: bytes) -> str | None:
    """Name the format of a file that starts like this; None if it is none of ours.

    Parameters
    ----------
    data : bytes
        The file, or its first 4,096 bytes.

    Returns
    -------
    str or None
        A name in :data:`lgs_cli.formats.FORMATS`.
    """
    return next((name for name, magic in _MAGIC if magic.match(data)), None)


def why_unknown(data: bytes) -> str:
    """Say what a file of no format of ours is instead.

    Parameters
    ----------
    data : bytes
        The file, or its first 4,096 bytes; not empty.

    Returns
    -------
    str
        ``"HEIC is not supported"`` or its like; ``"not an image"`` if it is nothing known.
    """
    for name, magic in _FOREIGN:
        if magic.match(data[:4096]):
            return f"{name} is not supported"
    return "not an image"


def title(name: str) -> str:
    """Write a format's name as people do.

    Parameters
    ----------
    name : str
        Such as ``"jp2"``.

    Returns
    -------
    str
        Such as ``"JPEG 2000"``; in capitals if there is nothing better.
    """
    return _TITLES.get(name, name.upper())
