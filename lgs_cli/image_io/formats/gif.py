"""GIF, of which each frame has 256 colors; PNG holds the same animation without that loss."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from lgs_cli.errors import ImageError
from lgs_cli.image_io.channels import as_color, without_needless_alpha
from lgs_cli.image_io.limits import require_frames, require_pixels
from lgs_cli.image_io.metadata import GIF_COLORS, Carried, found_in
from lgs_cli.image_io.picture import Picture


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode a GIF, with all frames of an animated one.

    Raises
    ------
    ImageError
        If a frame lies outside the picture.
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
    notes: list[str] = []
    image.seek(0)  # only there are comment and XMP to be had
    about = found_in(image, notes)
    if _XMP_BLOCK in data and not about["xmp"]:
        notes.append("XMP of GIF is not carried over")
    recoded = [f"{GIF_COLORS} colors a frame, chosen anew"]
    if _ICC_BLOCK in data:
        recoded.append("ICC profile of GIF dropped")
    kept = ("loop", "comment") if len(frames) > 1 else ("loop", "comment", "duration")
    coding = {key: image.info[key] for key in kept if key in image.info}
    return Picture(
        without_needless_alpha(frames),
        "gif",
        tuple(notes),
        data,
        durations=tuple(durations) if len(frames) > 1 else (),
        loop=int(image.info.get("loop", 1)),
        coding=coding,
        recoded=tuple(recoded),
        **about,
    )


_XMP_BLOCK = b"\x21\xff\x0bXMP DataXMP"
_ICC_BLOCK = b"\x21\xff\x0bICCRGBG1012"
_LONGEST_SIDE = 65_535


def encode(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: Carried
) -> bytes:
    """Encode as GIF, each frame with a palette of its own.

    Raises
    ------
    ImageError
        If pixels are half transparent.
    """
    if max(frames[0].shape[:2]) > _LONGEST_SIDE:
        raise ImageError(f"GIF has at most {_LONGEST_SIDE:,} pixels a side; use --format png")
    images = [_paletted(as_color(frame)) for frame in frames]
    # What is clear in a frame must not show the frame before.
    clear = any("transparency" in image.info for image in images)
    options: dict[str, Any] = {"disposal": 2 if clear else 1, "optimize": False}
    if picture.format == "gif":
        options |= picture.coding
    elif picture.durations and picture.loop != 1:
        options["loop"] = picture.loop
    if picture.durations:
        options["duration"] = [10 * round(duration / 10) for duration in picture.durations]
        options |= {"save_all": True, "append_images": images[1:]}
    out = io.BytesIO()
    images[0].save(out, "GIF", **options)
    return out.getvalue()


def _paletted(pixels: NDArray[Any]) -> Image.Image:
    """Give a frame a palette: exactly its colors if it has few enough, else the best of them."""
    opaque = pixels[..., 3] if pixels.shape[2] == 4 else None
    room = GIF_COLORS
    if opaque is not None:
        if not np.isin(opaque, (0, 255)).all():
            raise ImageError("GIF has no half-transparent pixels; use --format png")
        room -= 1
    rgb = np.ascontiguousarray(pixels[..., :3])
    if opaque is not None:
        rgb[opaque == 0] = 0
    packed = rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colors, index = np.unique(packed, return_inverse=True)
    if len(colors) <= room:
        image = Image.fromarray(index.reshape(packed.shape).astype(np.uint8))
        image.putpalette(
            np.stack([colors >> 16, colors >> 8, colors], axis=1).astype(np.uint8).tobytes()
        )
    else:
        image = Image.fromarray(rgb).quantize(room, Image.Quantize.MEDIANCUT)
    if opaque is not None:
        image.paste(room, mask=Image.fromarray(255 - opaque))
        image.info["transparency"] = room
    return image
