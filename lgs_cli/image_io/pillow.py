"""Pillow's images to arrays and back."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from lgs_cli.errors import ImageError
from lgs_cli.image_io.picture import Picture

# What each of Pillow's modes becomes, and what is to be said of it.
_MODES = {
    "L": ("L", None),
    "LA": ("LA", None),
    "RGB": ("RGB", None),
    "RGBA": ("RGBA", None),
    "1": ("L", "1 bit became 8-bit gray"),
    "P": ("RGB", "palette became RGB"),
    "PA": ("RGBA", "palette became RGB"),
    "CMYK": ("RGB", "CMYK became RGB"),
    "YCbCr": ("RGB", None),
    "La": ("LA", None),
    "RGBa": ("RGBA", None),
    "RGBX": ("RGB", None),
}


_BAND = 1 << 18  # pixels


def pixels_of(image: Image.Image, notes: list[str]) -> NDArray[Any]:
    """Turn an image into an array of the kinds that :class:`Picture` knows.

    Parameters
    ----------
    image : PIL.Image.Image
        Opened, or loaded already.
    notes : list of str
        Gets a line if the samples become others: ``"palette became RGB"``.

    Returns
    -------
    ndarray
        (H, W), (H, W, 2), (H, W, 3) or (H, W, 4) of uint8, or (H, W) or (H, W, 2) of uint16; a
        transparent color has become alpha. May be read-only.

    Raises
    ------
    ImageError
        For samples of 32 bits and floating point, and for colors such as Lab.
    OSError
        If the file is cut short or broken.
    """
    mode = image.mode
    if mode.startswith("I;16"):
        return _deep_gray(image)
    if mode in ("I", "F"):
        kind = "32-bit integer" if mode == "I" else "floating-point"
        raise ImageError(f"{kind} samples are not supported")
    if mode not in _MODES:
        raise ImageError(f"{mode} colors are not supported")
    target, note = _MODES[mode]
    if note:
        notes.append(note)
    if "transparency" in image.info:
        target = {"L": "LA", "RGB": "RGBA"}.get(target, target)
        if mode == "1":  # Pillow has no way from there to alpha
            image = image.convert("L")
    return _array(image if image.mode == target else image.convert(target))


def _array(image: Image.Image) -> NDArray[Any]:
    """Copy the pixels of an image into an array, band by band: Pillow needs twice their size."""
    height = max(8, _BAND // max(1, image.width))
    if image.height <= height:
        return np.asarray(image)
    channels = len(image.getbands())
    size = image.height, image.width
    pixels = np.empty(size if channels == 1 else (*size, channels), np.uint8)
    for top in range(0, image.height, height):
        bottom = min(top + height, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels


def _deep_gray(image: Image.Image) -> NDArray[Any]:
    gray = np.asarray(image).astype(np.uint16, copy=False)
    if "transparency" not in image.info:
        return gray
    clear = gray == image.info["transparency"]
    return np.dstack([gray, np.where(clear, 0, 65535).astype(np.uint16)])


def frames_of(
    image: ImageFile.ImageFile, notes: list[str]
) -> tuple[tuple[NDArray[Any], ...], tuple[float, ...]]:
    """Return every frame, and the milliseconds each shows if there are several.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        Opened.
    notes : list of str
        As in :func:`pixels_of`, once for each frame.

    Returns
    -------
    frames : tuple of ndarray
        As :func:`pixels_of` returns them, composited.
    durations : tuple of float
        In milliseconds; empty if there is one frame.

    Raises
    ------
    ImageError, OSError
        As :func:`pixels_of`.
    """
    count = getattr(image, "n_frames", 1)
    frames, durations = [], []
    for index in range(count):
        image.seek(index)
        image.load()
        frames.append(pixels_of(image, notes))
        durations.append(float(image.info.get("duration", 0)))
    return tuple(frames), tuple(durations) if count > 1 else ()


def save(pixels: NDArray[Any], format: str, **options: Any) -> bytes:
    """Encode one array.

    Parameters
    ----------
    pixels : ndarray
        Of a shape and dtype that Pillow and the format know; not always contiguous.
    format : str
        Pillow's name of it.
    **options
        Of Pillow's writer.

    Returns
    -------
    bytes
        The whole file.

    Raises
    ------
    OSError, ValueError, struct.error
        Whatever Pillow's writer makes of what it cannot write.
    """
    out = io.BytesIO()
    # libjpeg cannot optimize a file, or order it progressively, that its block does not hold.
    # Pillow guesses 2 bytes a pixel; the bound of libjpeg-turbo's tjBufSize is 2 a sample.
    with _blocks_of(2 * pixels.nbytes if format == "JPEG" else 0):
        _image(pixels).save(out, format, **options)
    return out.getvalue()


def save_frames(
    picture: Picture, frames: Sequence[NDArray[Any]], format: str, **options: Any
) -> bytes:
    """Encode the frames of a picture, as an animation if it is one.

    Parameters
    ----------
    picture : Picture
        For timing and loop.
    frames : sequence of ndarray
        One if the picture is a still; as :func:`save` takes them.
    format : str
        Pillow's name of it; one that knows animations if the picture is one.
    **options
        Of Pillow's writer.

    Returns
    -------
    bytes
        The whole file.

    Raises
    ------
    OSError, ValueError, struct.error
        As :func:`save`.
    """
    if picture.durations:
        options["save_all"] = True
        options["append_images"] = [_image(frame) for frame in frames[1:]]
        options["duration"] = [round(duration) for duration in picture.durations]
        options["loop"] = picture.loop
    return save(frames[0], format, **options)


def _image(pixels: NDArray[Any]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels))


@contextlib.contextmanager
def _blocks_of(size: int) -> Iterator[None]:
    """Have Pillow's encoders fill blocks of at least so many bytes."""
    before = ImageFile.MAXBLOCK
    ImageFile.MAXBLOCK = max(before, size)
    try:
        yield
    finally:
        ImageFile.MAXBLOCK = before
