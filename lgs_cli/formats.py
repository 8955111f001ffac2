"""The formats of images and the styles of mask pictures, by name. Light: opens no pixel."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Format:
    """One image format.

    Attributes
    ----------
    name : str
        What ``--format`` takes.
    suffixes : tuple of str
        Lower case, with the dot; the first is the one that new files get.
    writable : bool
        Whether images can be written in it here.
    lossy : bool
        Whether ``--quality`` means something to it.
    alpha : bool
        Whether it holds an alpha channel.
    deep : bool
        Whether it holds 16 bits a channel.
    """

    name: str
    suffixes: tuple[str, ...]
    writable: bool = True
    lossy: bool = False
    alpha: bool = True
    deep: bool = False


HEIC_INSTALLED = find_spec("pillow_heif") is not None  # by the extra "heif"

FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format("jpeg", (".jpg", ".jpeg", ".jpe", ".jfif"), lossy=True, alpha=False),
        Format("png", (".png", ".apng"), deep=True),
        Format("webp", (".webp",), lossy=True),
        Format("tiff", (".tif", ".tiff"), deep=True),
        Format("bmp", (".bmp", ".dib")),
        Format("avif", (".avif",), lossy=True),
        Format("jp2", (".jp2", ".j2k", ".jpx"), deep=True),
        Format("pnm", (".ppm", ".pgm", ".pbm", ".pnm"), alpha=False, deep=True),
        Format("gif", (".gif",)),
        Format("heic", (".heic", ".heif", ".hif"), writable=HEIC_INSTALLED, lossy=True),
    )
}

# Of the files that are taken from directories.
SUFFIXES = frozenset(
    suffix
    for form in FORMATS.values()
    if form.name != "heic" or HEIC_INSTALLED
    for suffix in form.suffixes
)

# Larger images are refused unless the user allows them.
MAX_PIXELS = 500_000_000

JPEG_LONGEST_SIDE = 65_500  # libjpeg's own limit, in pixels

MASK_STYLES = ("heatmap", "overlay", "binary", "side-by-side")
