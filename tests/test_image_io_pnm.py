"""PBM, PGM and PPM."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lgs_cli.errors import ImageError
from lgs_cli.image_io import decode


@pytest.mark.parametrize(
    ("data", "expected", "note"),
    [
        (b"P1\n# c\n3 2\n101 0 1 0", [[0, 255, 0], [255, 0, 255]], "1 bit became 8-bit gray"),
        (b"P4\n3 2\n\xa0\x40", [[0, 255, 0], [255, 0, 255]], "1 bit became 8-bit gray"),
        (b"P2 3 1 4 0 1 4\n", [[0, 64, 255]], "maximum 4 became 255"),
        (b"P5 3 1 100\n\x00\x32\x64", [[0, 128, 255]], "maximum 100 became 255"),
        (b"P3\n1 1\n255\n1 2 #x\n3", [[[1, 2, 3]]], "plain PNM became binary"),
        (b"P2 3 1 255 0000000000255 00000000000 007", [[255, 0, 7]], "plain PNM became binary"),
        (b"P5 000000000002 1 0000000000100\n\x32\x64", [[128, 255]], "maximum 100 became 255"),
    ],
)
def test_pnm_kinds(data: bytes, expected: Any, note: str) -> None:
    picture = decode(data)
    assert note in picture.notes
    np.testing.assert_array_equal(picture.frames[0], np.array(expected, np.uint8))


ONE_OF_EACH_KIND = [
    b"P1\n3 1\n101\n",
    b"P2\n3 1\n255\n1 2 3\n",
    b"P3\n1 1\n255\n1 2 3\n",
    b"P4\n9 1\n\xa0\x00",
    b"P5\n3 1\n255\n123",
    b"P6\n1 1\n65535\n112233",
]


@pytest.mark.parametrize("first", ONE_OF_EACH_KIND)
@pytest.mark.parametrize("second", ONE_OF_EACH_KIND)
def test_several_images_in_one_file_are_refused(first: bytes, second: bytes) -> None:
    decode(first)
    for between in (b"", b"\n", b" \r\n"):
        with pytest.raises(ImageError) as caught:
            decode(first + between + second)
        assert str(caught.value) == "several images in one PNM are not supported"


@pytest.mark.parametrize("image", ONE_OF_EACH_KIND)
@pytest.mark.parametrize(
    "trail", [b"\n\n", b"\0\0", b"\nPhoto", b"\nP5", b"\n# P5 1 1\n", b"\nxP5 1 1"]
)
def test_what_trails_and_is_no_image_changes_nothing(image: bytes, trail: bytes) -> None:
    np.testing.assert_array_equal(decode(image + trail).frames[0], decode(image).frames[0])


@pytest.mark.parametrize(
    "token", [b"x", b"0x1", b"00000000000x", b"-0000000000001", b"99999999999"]
)
def test_what_is_no_sample_is_refused(token: bytes) -> None:
    with pytest.raises(ImageError, match=r"a sample (is not a number|lies outside 0 to 255)"):
        decode(b"P2 2 1 255\n1 " + token)
