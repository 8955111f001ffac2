"""GIF: frames, their timing, and a frame that lies outside the picture."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from image_files import animation, timing
from PIL import Image

from lgs_cli.errors import ImageError
from lgs_cli.image_io import decode, encode, losses


@pytest.mark.parametrize("target", ["png", "webp", "avif"])
def test_gif_becomes_another_animation(target: str, rgb: np.ndarray) -> None:
    frames = [np.roll(rgb, 9 * shift, axis=1) for shift in range(3)]
    source = animation(frames, "GIF", duration=[50, 60, 70], loop=0)
    picture = decode(source)
    assert picture.frames[0].shape == rgb.shape
    found = encode(picture, picture.frames, format=target)
    assert timing(found)[0] == [50, 60, 70]
    assert losses(picture, target) == ()
    if target == "png":
        for index, frame in enumerate(decode(found).frames):
            image = Image.open(io.BytesIO(source))
            image.seek(index)
            np.testing.assert_array_equal(frame, np.asarray(image.convert("RGB")))
    with pytest.raises(ImageError, match="GIF cannot be written"):
        encode(picture, picture.frames)


def test_gif_frame_outside_the_picture_is_refused(rgb: np.ndarray) -> None:
    """Pillow lets such a frame enlarge the picture: a bomb of a few hundred bytes."""
    frames = [rgb[:20, :20], rgb[20:40, 20:40]]
    data = bytearray(animation(frames, "GIF", duration=50))
    at = data.rindex(b"\x2c\0\0\0\0\x14\0\x14\0")
    data[at + 5 : at + 9] = struct.pack("<HH", 60_000, 60_000)
    with pytest.raises(ImageError, match="a frame lies outside the picture"):
        decode(bytes(data))
