from __future__ import annotations

import numpy as np
import pytest
from pictures import noise, photograph

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.bit_depth import BitDepthParams

BIT_DEPTH = DEFENSES["bit-depth"]


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_round_to_the_nearest_level(dtype, bits):
    white = np.iinfo(dtype).max
    image = np.arange(white + 1, dtype=dtype).reshape(-1, 256)
    top = 2**bits - 1
    expected = np.round(np.round(image / white * top) / top * white).astype(dtype)
    cleaned = BIT_DEPTH.apply(image, BitDepthParams(bits=bits)).image
    np.testing.assert_array_equal(cleaned, expected)
    assert len(np.unique(cleaned)) == 2**bits


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_round_to_the_nearest_level(dtype, bits):
    image = noise((31, 33, 3), dtype, seed=7)
    image[0, 0] = 0, 0.5, 1
    levels = (np.arange(2**bits) / (2**bits - 1)).astype(dtype)
    cleaned = BIT_DEPTH.apply(image, BitDepthParams(bits=bits)).image
    assert np.isin(cleaned, levels).all()
    step = 1 / (2**bits - 1)
    assert np.abs(cleaned.astype(float) - image).max() <= step / 2 + np.finfo(dtype).eps
    np.testing.assert_array_equal(cleaned[0, 0, ::2], [0, 1])


def test_by_hand():
    image = np.array([[0, 18, 19, 54, 55, 128, 237, 255]], np.uint8)
    # 255 / 7 = 36.43: half a level is 18.2, one and a half are 54.6, six and a half 236.8.
    expected = [[0, 0, 36, 36, 73, 146, 255, 255]]
    cleaned = BIT_DEPTH.apply(image, BitDepthParams(bits=3), with_mask=True)
    np.testing.assert_array_equal(cleaned.image, expected)
    assert cleaned.coverage == 6 / 8


def test_eight_bits_leave_an_eight_bit_image_alone():
    image = photograph()
    cleaned = BIT_DEPTH.apply(image, BitDepthParams(bits=8))
    np.testing.assert_array_equal(cleaned.image, image)
    assert cleaned.coverage == 0
