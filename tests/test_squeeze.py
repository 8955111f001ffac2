from __future__ import annotations

import numpy as np
import pytest
from pictures import DTYPES, SHAPES, noise, photograph
from scipy import ndimage

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.bit_depth import BitDepthParams
from lgs_cli.defenses.median import MedianParams

BIT_DEPTH, MEDIAN = DEFENSES["bit-depth"], DEFENSES["median"]
PLAIN_SHAPES = [shape for shape in SHAPES if len(shape) == 2 or shape[2] in (1, 3)]


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


def scipy_median(image, window):
    if image.ndim == 2:
        return ndimage.median_filter(image, size=window, mode="reflect")
    return np.stack([scipy_median(channel, window) for channel in np.moveaxis(image, 2, 0)], axis=2)


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5, 6, 7, 8, 15])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", PLAIN_SHAPES, ids=str)
def test_median_is_that_of_scipy(shape, dtype, window):
    image = noise(shape, dtype, seed=window)
    # SciPy has no 16-bit floats; a median is one of its values, so that wider ones lose nothing.
    wide = image.astype(np.float32) if dtype == "float16" else image
    cleaned = MEDIAN.apply(image, MedianParams(window=window)).image
    np.testing.assert_array_equal(cleaned, scipy_median(wide, window))


@pytest.mark.parametrize("window", [2, 3, 4, 5, 7])
def test_median_of_a_photograph_is_that_of_scipy(window):
    image = photograph(1)
    cleaned = MEDIAN.apply(image, MedianParams(window=window)).image
    np.testing.assert_array_equal(cleaned, scipy_median(image, window))


def test_median_over_several_bands_is_that_of_scipy(monkeypatch):
    monkeypatch.setattr("lgs_cli.defenses.median.BAND_VALUES", 3 * 40 * 16)
    image = noise((50, 40), "uint16", seed=4)
    cleaned = MEDIAN.apply(image, MedianParams(window=4)).image
    np.testing.assert_array_equal(cleaned, scipy_median(image, 4))


def test_a_lone_pixel_goes():
    image = np.full((5, 5, 3), 10, np.uint8)
    image[2, 2] = 200, 10, 90
    cleaned = MEDIAN.apply(image, MedianParams(), with_mask=True)
    assert (cleaned.image == 10).all()
    assert cleaned.coverage == 1 / 25
    assert cleaned.mask[2, 2] == 1
