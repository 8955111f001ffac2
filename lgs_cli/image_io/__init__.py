"""Bytes to pixels and back, metadata and all. Knows no path policy.

Pillow reads and writes nearly everything. OpenCV does what Pillow cannot, which is color of more
than 8 bits, and what it does slower, which is the usual JPEG. OpenCV takes files that are cut short
or broken, so Pillow has to accept them first, or has the last word. Containers are taken apart by
hand if neither gives what is in them byte for byte: metadata of JPEG, PNG and BMP, tags of TIFF,
frames of APNG, samples of PNM. OpenCV's own readers and writers of metadata and animations lose too
much: XMP and most ICC profiles of JPEG, text chunks of PNG, fractions of a millisecond.

Each format is a module of its name, which loads when first met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lgs_cli.errors import ImageError
from lgs_cli.formats import FORMATS, MAX_PIXELS
from lgs_cli.image_io.channels import has_alpha, is_opaque, without_alpha
from lgs_cli.image_io.codec import guarded
from lgs_cli.image_io.limits import MAX_FRAMES
from lgs_cli.image_io.magic import format_of, title, why_unknown
from lgs_cli.image_io.metadata import Carried, carry
from lgs_cli.image_io.picture import Picture
from lgs_cli.image_io.source import read_bytes

__all__ = [
    "MAX_FRAMES",
    "Picture",
    "decode",
    "encode",
    "losses",
    "orientation",
    "read",
]


class _Codec(Protocol):
    """What the module of each format has.

    Both functions run under :func:`lgs_cli.image_io.codec.guarded`. What they raise themselves is
    ImageError with the reason; whatever else a library raises becomes one there.
    """

    def decode(self, data: bytes, max_pixels: int) -> Picture:
        """Decode a file in full, or not at all.

        Parameters
        ----------
        data : bytes
            The whole file; its first bytes are the format's.
        max_pixels : int
            Most pixels over all frames together, to be held against the headers before any pixel
            is decoded.

        Returns
        -------
        Picture
            Its ``data`` is `data`, its ``coding`` whatever ``encode`` of the same module needs.

        Raises
        ------
        ImageError
            If there are too many pixels or frames, the file is cut short or broken, or its
            samples are of a kind that would lose depth.
        """
        ...

    def encode(
        self,
        picture: Picture,
        frames: Sequence[NDArray[Any]],
        quality: int | None,
        carried: Carried,
    ) -> bytes:
        """Encode frames that the format is known to hold.

        Parameters
        ----------
        picture : Picture
            Where the frames come from, in this format or another, whose ``coding`` means nothing
            here: for timing, resolution, and what else is kept.
        frames : sequence of ndarray
            One array a frame, of a dtype and with channels (alpha, 16 bits) that the format has,
            but not always contiguous; (H, W), (H, W, 2), (H, W, 3) or (H, W, 4) as in `picture`.
        quality : int or None
            1 to 100; None keeps the picture's, or takes the format's default.
        carried : Carried
            The metadata to be written.

        Returns
        -------
        bytes
            The whole file.

        Raises
        ------
        ImageError
            If the format has no room for these frames after all.
        """
        ...


def _codec(name: str) -> _Codec:
    return cast(_Codec, import_module(f"{__name__}.formats.{name}"))


def read(
    path: str, *, max_pixels: int = MAX_PIXELS, part: tuple[int, int] | None = None
) -> Picture:
    """Read and decode an image file.

    Parameters
    ----------
    path : str
        The file; a symbolic link is followed. Anything but a regular file is refused, unopened.
    max_pixels : int
        Most pixels that are decoded, over all frames together.
    part : tuple of int, optional
        Where in the file the image begins, and its size, both in bytes; by default it is all of it.

    Returns
    -------
    Picture
        See there.

    Raises
    ------
    ImageError
        With the reason, without the path.
    """
    return decode(read_bytes(path, part), max_pixels=max_pixels)


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode the bytes of an image file.

    Parameters
    ----------
    data : bytes
        The whole file.
    max_pixels : int
        Most pixels that are decoded, over all frames together; checked from the headers, before
        any pixel is decoded.

    Returns
    -------
    Picture
        See there.

    Raises
    ------
    ImageError
        For whatever keeps these bytes from being decoded in full and at their full depth; the
        message is the reason: ``"truncated"``, ``"not an image"``.
    """
    if not data:
        raise ImageError("empty file")
    name = format_of(data)
    if name is None:
        raise ImageError(why_unknown(data))
    codec = _codec(name)
    with guarded(name) as said:
        picture = codec.decode(data, max_pixels)
    if said:
        picture = replace(picture, notes=tuple(dict.fromkeys((*picture.notes, *said))))
    return picture


def encode(
    picture: Picture,
    frames: Sequence[NDArray[Any]],
    *,
    format: str | None = None,
    quality: int | None = None,
    optimize: bool = False,
) -> bytes:
    """Encode cleaned frames as the picture they came from was, or in another format.

    Without a quality, JPEG to JPEG keeps the quantization tables, the chroma subsampling and the
    way of coding, a lossless WebP stays lossless, and a TIFF keeps its compression. If there is
    nothing to keep, JPEG is written at quality 95 without chroma subsampling, WebP and AVIF at 90,
    TIFF deflated. JPEG 2000 is always lossless.

    Parameters
    ----------
    picture : Picture
        As it was decoded.
    frames : sequence of ndarray
        One for each of ``picture.frames``, of the same shape and dtype.
    format : str, optional
        A name in :data:`lgs_cli.formats.FORMATS`; the picture's own by default.
    quality : int, optional
        1 to 100, for the formats that are lossy; the others pass it over.
    optimize : bool
        Whether a JPEG gets Huffman tables of its own, which makes it some 5 % smaller in half as
        much time again, to the same pixels.

    Returns
    -------
    bytes
        The whole file.

    Raises
    ------
    ImageError
        If the format cannot hold the picture: its alpha (unless it is opaque everywhere), its
        16 bits, its frames, its size.
    ValueError
        If `frames` are not like the picture's, the format is none, or the quality is out of
        range.
    """
    name = format or picture.format
    if name not in FORMATS:
        raise ValueError(f"format is {name!r}; valid is one of {', '.join(FORMATS)}")
    if quality is not None and not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; valid is 1 to 100")
    if [(f.shape, f.dtype) for f in frames] != [(f.shape, f.dtype) for f in picture.frames]:
        raise ValueError("frames differ from the picture's in number, shape or dtype")
    _require_room_for_frames(picture, name)
    if picture.coding.get("still") and name != "png":
        picture, frames = replace(picture, durations=picture.durations[1:]), frames[1:]
    if optimize and name == "jpeg":
        picture = replace(picture, coding={**picture.coding, "optimize": True})
    deep = picture.format == name and "depth" in picture.coding
    fitted = [_fitted(frame, name, deep) for frame in frames]
    codec = _codec(name)
    with guarded(name):
        return codec.encode(picture, fitted, quality, carry(picture, name))


_ANIMATED = frozenset({"png", "webp", "avif", "gif"})


def _require_room_for_frames(picture: Picture, name: str) -> None:
    count = len(picture.frames)
    if count == 1 or (picture.format == name == "tiff"):
        return
    if not picture.durations:
        raise ImageError(f"{count} pages cannot be written as {title(name)}; use --format tiff")
    if name not in _ANIMATED:
        raise ImageError(
            f"an animation of {count} frames cannot be written as {title(name)}; "
            "use --format png or webp"
        )


def _fitted(pixels: NDArray[Any], name: str, deep: bool) -> NDArray[Any]:
    """Return the pixels as a format can hold them without any loss; `deep` AVIF holds 16 bits."""
    form = FORMATS[name]
    if pixels.dtype == np.uint16 and not form.deep and not deep:
        raise ImageError(f"{title(name)} has no 16 bits a channel; use --format png")
    if has_alpha(pixels) and not form.alpha:
        if not is_opaque(pixels):
            raise ImageError(f"{title(name)} has no alpha channel; use --format png")
        return without_alpha(pixels)
    return pixels


def losses(picture: Picture, format: str | None = None) -> tuple[str, ...]:
    """Say what of a picture does not go over into a format.

    Parameters
    ----------
    picture : Picture
        As it was decoded.
    format : str, optional
        A name in :data:`lgs_cli.formats.FORMATS`; the picture's own by default.

    Returns
    -------
    tuple of str
        Such as ``"BMP has no room for EXIF"``. Empty if all goes over.
    """
    name = format or picture.format
    lost = list(carry(picture, name).losses)
    if name == picture.format:
        lost += picture.recoded
    if picture.coding.get("still") and name != "png":
        lost.append(f"{title(name)} has no room for a still beside the animation")
    return tuple(lost)


_ORIENTATION = 274  # the tag of TIFF and EXIF


def orientation(picture: Picture) -> int:
    """Tell how a picture is to be turned to stand upright; its frames are as stored.

    Parameters
    ----------
    picture : Picture
        As it was decoded.

    Returns
    -------
    int
        1 to 8 as EXIF numbers them: 1 is upright, 3 upside down, 6 to be turned clockwise, 8
        counterclockwise, the others mirrored too. 1 if EXIF says none, or is broken.
    """
    exif = Image.Exif()
    try:
        with guarded("EXIF"):
            exif.load(picture.exif or b"")
            value = exif.get(_ORIENTATION)
    except ImageError:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
