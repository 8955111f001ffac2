"""BMP: its ICC profile."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from image_files import ICC, by_opencv, opened, pillow

from lgs_cli.image_io import decode, encode, losses


def v5(pixels: np.ndarray, kind: bytes, profile: bytes) -> bytes:
    """A BMP whose header is a BITMAPV5HEADER (wingdi.h), written by hand."""
    height, width = pixels.shape[:2]
    rows = [row[:, ::-1].tobytes() for row in pixels[::-1]]
    body = b"".join(row + bytes(-len(row) % 4) for row in rows)
    header = struct.pack(
        "<IiiHHIIiiII16s4s36s12sIIII",
        124, width, height, 1, 24, 0, len(body), 3780, 3780, 0, 0, bytes(16), kind, bytes(36),
        bytes(12), 4, 124 + len(body), len(profile), 0,
    )  # fmt: skip
    assert len(header) == 124
    size = 14 + len(header) + len(body) + len(profile)
    return struct.pack("<2sIII", b"BM", size, 0, 14 + 124) + header + body + profile


def profile_of(data: bytes) -> bytes:
    at, size = struct.unpack_from("<II", data, 14 + 112)
    assert data[14 + 56 : 14 + 60] == b"DEBM"
    return data[14 + at : 14 + at + size]


def test_profile_goes_over(rgb: np.ndarray) -> None:
    source = v5(rgb, b"DEBM", ICC)
    picture = decode(source)
    np.testing.assert_array_equal(picture.frames[0], rgb)
    assert picture.icc == ICC
    found = encode(picture, picture.frames)
    assert profile_of(found) == ICC
    np.testing.assert_array_equal(by_opencv(found), rgb)
    assert opened(found).info["dpi"] == opened(source).info["dpi"]
    assert losses(picture) == ()
    assert decode(encode(picture, picture.frames, format="png")).icc == ICC


@pytest.mark.parametrize("kind", ["gray", "rgb", "rgba"])
def test_profile_of_another_format_goes_over(kind: str, pixels: dict[str, np.ndarray]) -> None:
    picture = decode(pillow(pixels[kind], "PNG", icc_profile=ICC))
    found = encode(picture, picture.frames, format="bmp")
    assert profile_of(found) == ICC
    shown = by_opencv(found)
    if kind == "gray":
        shown = shown[..., 0] if shown.ndim == 3 else shown
    np.testing.assert_array_equal(shown, pixels[kind])
    assert losses(picture, "bmp") == ()


def test_resolution_goes_over_with_alpha(pixels: dict[str, np.ndarray]) -> None:
    picture = decode(pillow(pixels["rgba"], "PNG", dpi=(300, 150)))
    found = opened(encode(picture, picture.frames, format="bmp"))
    assert found.mode == "RGBA"
    assert found.info["dpi"] == pytest.approx((300, 150), abs=0.02)  # whole pixels a meter


def test_profile_that_is_a_link_is_noted(rgb: np.ndarray) -> None:
    picture = decode(v5(rgb, b"KNIL", b"c:\\profile.icc\0"))
    assert picture.icc is None
    assert losses(picture) == ("linked ICC profile dropped",)
