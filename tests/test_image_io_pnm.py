"""PBM, PGM and PPM."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lgs_cli.image_io import decode


@pytest.mark.parametrize(
    ("data", "expected", "note"),
    [
        (b"P1\n# c\n3 2\n101 0 1 0", [[0, 255, 0], [255, 0, 255]], "1 bit became 8-bit gray"),
        (b"P4\n3 2\n\xa0\x40", [[0, 255, 0], [255, 0, 255]], "1 bit became 8-bit gray"),
        (b"P2 3 1 4 0 1 4\n", [[0, 64, 255]], "maximum 4 became 255"),
        (b"P5 3 1 100\n\x00\x32\x64", [[0, 128, 255]], "maximum 100 became 255"),
        (b"P3\n1 1\n255\n1 2 #x\n3", [[[1, 2, 3]]], "plain PNM became binary"),
    ],
)
def test_pnm_kinds(data: bytes, expected: Any, note: str) -> None:
    picture = decode(data)
    assert note in picture.notes
    np.testing.assert_array_equal(picture.frames[0], np.array(expected, np.uint8))
