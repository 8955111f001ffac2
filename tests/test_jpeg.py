from __future__ import annotations

import io

import numpy as np
import pytest
from pictures import DTYPES, noise, photograph
from PIL import Image

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.jpeg import JpegParams

JPEG = DEFENSES["jpeg"]


def through_pillow(image, quality):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as decoded:
        return np.asarray(decoded)


@pytest.mark.parametrize("quality", [1, 30, 75, 100])
def test_a_photograph_comes_out_as_from_pillow(quality):
    image = photograph()
    for pixels in (image, image[..., 1]):
        cleaned = JPEG.apply(pixels, JpegParams(quality=quality)).image
        np.testing.assert_array_equal(cleaned, through_pillow(pixels, quality))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (17, 9), (9, 17, 3), (8, 16, 3), (1, 33, 3)], ids=str)
def test_any_dtype_goes_through_eight_bits(shape, dtype):
    image = noise(shape, dtype, seed=2)
    white = np.iinfo(dtype).max if image.dtype.kind == "u" else 1
    eight_bit = np.round(image.astype(float) / white * 255).astype(np.uint8)
    expected = (through_pillow(eight_bit, 50) / 255 * white).astype(float)
    expected = expected.round() if image.dtype.kind == "u" else expected
    cleaned = JPEG.apply(image, JpegParams(quality=50)).image
    np.testing.assert_array_equal(cleaned, expected.astype(dtype))


def test_the_default_quality_is_30():
    image = photograph(3)
    np.testing.assert_array_equal(JPEG.apply(image, JpegParams()).image, through_pillow(image, 30))


def test_what_no_jpeg_can_hold_is_refused():
    with pytest.raises(ValueError, match=r"shape is \(65501, 1\); .* 65500 pixels a side"):
        JPEG.apply(np.zeros((65501, 1), np.uint8), JpegParams())
    assert JPEG.apply(np.zeros((65500, 1), np.uint8), JpegParams()).coverage == 0
