"""GIF, which is read and not written: 256 colors would undo what a defense does."""

from __future__ import annotations

import io

import numpy as np
from PIL.GifImagePlugin import GifImageFile

from lgs_cli.errors import ImageError
from lgs_cli.image_io.channels import without_needless_alpha
from lgs_cli.image_io.limits import require_frames, require_pixels
from lgs_cli.image_io.metadata import found_in
from lgs_cli.image_io.picture import Picture


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode a GIF, with all frames of an animated one.

    Raises
    ------
    ImageError
        Where a frame lies outside the picture.
    """
    image = GifImageFile(io.BytesIO(data))
    require_pixels(image.width * image.height, max_pixels)
    require_pixels(image.width * image.height * image.n_frames, max_pixels)
    require_frames(image.n_frames)
    frames, durations = [], []
    size = image.size
    for index in range(image.n_frames):
        image.seek(index)
        if image.size != size:  # Pillow lets the picture grow, to any size
            raise ImageError("broken GIF: a frame lies outside the picture")
        image.load()
        frames.append(np.asarray(image.convert("RGBA")))
        durations.append(float(image.info.get("duration", 0)))
    notes = ["palette became RGB"]
    about = found_in(image, notes)
    return Picture(
        without_needless_alpha(frames),
        "gif",
        tuple(notes),
        data,
        durations=tuple(durations) if len(frames) > 1 else (),
        loop=int(image.info.get("loop", 1)),
        **about,
    )
