from __future__ import annotations

import numpy as np
import pytest
from pictures import DTYPES, SHAPES, noise, photograph
from scipy import ndimage

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.median import MedianParams

MEDIAN = DEFENSES["median"]
PLAIN_SHAPES = [shape for shape in SHAPES if len(shape) == 2 or shape[2] in (1, 3)]


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
