from __future__ import annotations

import cv2
import numpy as np
import pytest
from pictures import noise, photograph

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.nlm import NlmParams

NLM = DEFENSES["nlm"]


def naive(image, strength, patch, search):
    """Buades' formula with a flat patch kernel, over every pair of patches: (H, W, C) to floats."""
    height, width, channels = image.shape
    reach, half = search // 2, patch // 2
    border = reach + half
    padded = np.pad(image.astype(float), ((border,) * 2, (border,) * 2, (0, 0)), mode="reflect")
    total, weights = np.zeros(image.shape), np.zeros((height, width, 1))

    def shifted(down, right):
        top, left = border + down, border + right
        return padded[top : top + height, left : left + width]

    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            distance = np.zeros((height, width))
            for row in range(-half, half + 1):
                for column in range(-half, half + 1):
                    here, there = shifted(row, column), shifted(down + row, right + column)
                    distance += ((here - there) ** 2).sum(axis=2)
            weight = np.exp(-distance / patch**2 / (strength**2 * channels))[..., np.newaxis]
            total += weight * shifted(down, right)
            weights += weight
    return total / weights


@pytest.mark.parametrize(
    ("strength", "patch", "search"), [(4, 3, 11), (12, 3, 5), (10, 5, 9), (30, 1, 3)]
)
def test_gray_is_the_naive_mean(strength, patch, search):
    image = photograph(side=64)[..., 1]
    params = NlmParams(strength=strength, patch_size=patch, search_window=search)
    expected = naive(image[..., np.newaxis], strength, patch, search)[..., 0]
    off = np.abs(NLM.apply(image, params).image - expected)
    # OpenCV counts in whole numbers and leaves out weights below a thousandth.
    assert off.mean() < 0.5
    assert np.quantile(off, 0.99) < 1.5
    assert off.mean() < np.abs(image - expected).mean() / 2


def test_color_is_the_naive_mean_of_lightness_and_of_color():
    image = photograph(2, side=64)
    lab = cv2.cvtColor(image, cv2.COLOR_LRGB2Lab)
    lightness = naive(lab[..., :1], 8, 3, 7)
    color = naive(lab[..., 1:], 8, 3, 7)
    mean = np.concatenate([lightness, color], axis=2).round().astype(np.uint8)
    expected = cv2.cvtColor(mean, cv2.COLOR_Lab2LRGB).astype(float)
    params = NlmParams(strength=8, patch_size=3, search_window=7)
    off = np.abs(NLM.apply(image, params).image - expected)
    assert off.mean() < 1
    assert off.mean() < np.abs(image - expected).mean() / 2


def test_a_flat_image_stays():
    assert NLM.apply(np.full((20, 30), 77, np.uint8), NlmParams()).coverage == 0


@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_deeper_pixels_go_through_eight_bits(dtype):
    image = noise((24, 20, 3), dtype, seed=9)
    white = np.iinfo(dtype).max if image.dtype.kind == "u" else 1
    eight_bit = np.round(image / white * 255).astype(np.uint8)
    expected = NLM.apply(eight_bit, NlmParams()).image / 255 * white
    cleaned = NLM.apply(image, NlmParams()).image
    np.testing.assert_allclose(cleaned, expected, rtol=1e-6)
