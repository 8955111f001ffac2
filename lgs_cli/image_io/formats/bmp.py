"""BMP."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from PIL.BmpImagePlugin import BmpImageFile

from lgs_cli.image_io import opencv, pillow
from lgs_cli.image_io.channels import as_color, has_alpha
from lgs_cli.image_io.limits import require_pixels
from lgs_cli.image_io.metadata import Carried, dpi, dpi_option
from lgs_cli.image_io.picture import Picture


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode a BMP."""
    image = BmpImageFile(io.BytesIO(data))
    require_pixels(image.width * image.height, max_pixels)
    notes: list[str] = []
    image.load()
    pixels = pillow.pixels_of(image, notes)
    return Picture((pixels,), "bmp", tuple(notes), data, dpi=dpi(image))


def encode(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: Carried
) -> bytes:
    """Encode as BMP."""
    if has_alpha(frames[0]):
        # Pillow's 32-bit BMP does not say that its fourth byte is alpha; OpenCV's does.
        return opencv.encode(as_color(frames[0]), ".bmp")
    return pillow.save(frames[0], "BMP", **dpi_option(picture))
