"""WebP: lossless or not, and what it has no room for."""

from __future__ import annotations

import numpy as np
import pytest
from image_files import opened, pillow

from lgs_cli.errors import ImageError
from lgs_cli.image_io import Picture, decode, encode, losses


def test_gray_without_a_gray_format_becomes_color(pixels: dict[str, np.ndarray]) -> None:
    gray = Picture((pixels["gray"],), "source")
    found = np.asarray(opened(encode(gray, gray.frames, format="webp")))
    assert found.shape == (*pixels["gray"].shape, 3)
    assert losses(gray, "webp") == ("gray became RGB",)


def test_webp_side_limit() -> None:
    array = np.zeros((1, 16384, 3), np.uint8)
    with pytest.raises(ImageError, match=r"16,383"):
        encode(Picture((array,), "source"), [array], format="webp")


def test_gray_profile_does_not_describe_rgb(pixels: dict[str, np.ndarray]) -> None:
    profile = bytes(16) + b"GRAY" + bytes(200)
    picture = decode(pillow(pixels["gray"], "PNG", icc_profile=profile))
    assert decode(encode(picture, picture.frames)).icc == profile
    assert decode(encode(picture, picture.frames, format="webp")).icc is None
    assert "gray profile dropped" in losses(picture, "webp")


@pytest.mark.parametrize("lossless", [False, True])
def test_webp_stays_as_lossless_as_it_was(lossless: bool, pixels: dict[str, np.ndarray]) -> None:
    rgba = pixels["rgba"]
    picture = decode(pillow(rgba, "WEBP", lossless=lossless, exact=True, quality=60))
    found = encode(picture, picture.frames)
    assert (b"VP8L" in found[:64]) == lossless
    if lossless:
        np.testing.assert_array_equal(np.asarray(opened(found)), rgba)
        assert b"VP8L" not in encode(picture, picture.frames, quality=50)[:64]
