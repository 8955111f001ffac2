from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from pictures import DTYPES, SHAPES, noise, photograph

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.defense import Defense
from lgs_cli.defenses.pixels import finish, from_uint8, to_uint8
from lgs_cli.params import Params

# Local Gradients Smoothing has a mask of its own, and its own tests.
RIVALS = [name for name in DEFENSES if name != "lgs"]


@pytest.fixture
def default_params(tiny_model):
    """The parameters of a defense with the defaults of all but the model, which has none."""

    def make(defense: Defense) -> Params:
        own = {"model": str(tiny_model), "resize": 0, "crop": 0}
        return defense.params(**own if defense.name == "double-mask" else {})

    return make


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", RIVALS)
def test_contract(name, shape, dtype, default_params):
    defense = DEFENSES[name]
    params = default_params(defense)
    image = noise(shape, dtype, seed=11)
    original = image.copy()
    image.flags.writeable = False

    image_only = defense.apply(image, params)
    cleaned, mask, coverage = defense.apply(image, params, with_mask=True)

    np.testing.assert_array_equal(image, original)
    assert cleaned.shape == shape
    assert cleaned.dtype == image.dtype
    assert cleaned.astype(float).min() >= 0
    assert cleaned.astype(float).max() <= (np.iinfo(dtype).max if image.dtype.kind == "u" else 1)
    if len(shape) == 3 and shape[2] in (2, 4):
        np.testing.assert_array_equal(cleaned[..., -1], image[..., -1])

    changed = (cleaned != image).reshape(*shape[:2], -1).any(axis=2)
    assert coverage == changed.mean()
    assert mask.dtype == np.float32
    np.testing.assert_array_equal(mask > 0, changed)
    assert mask.max() == (1 if changed.any() else 0)

    assert image_only.mask is None
    assert image_only.coverage == coverage
    np.testing.assert_array_equal(image_only.image, cleaned)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RIVALS)
def test_alpha_and_a_channel_axis_make_no_difference(name, dtype, default_params):
    defense = DEFENSES[name]
    params = default_params(defense)
    rgba = noise((12, 15, 4), dtype, seed=5)
    gray_alpha = rgba[..., 2:]

    color = defense.apply(rgba[..., :3], params).image
    np.testing.assert_array_equal(defense.apply(rgba, params).image[..., :3], color)

    gray = defense.apply(gray_alpha[..., 0], params).image
    with_alpha = defense.apply(gray_alpha, params).image
    with_axis = defense.apply(gray_alpha[..., :1], params).image
    np.testing.assert_array_equal(with_alpha[..., 0], gray)
    np.testing.assert_array_equal(with_axis[..., 0], gray)


# Bit depth reduction is not among them: it may as well strengthen noise that crosses a level.
@pytest.mark.parametrize("name", ["jpeg", "tvm", "median", "nlm"])
def test_noise_on_a_photograph_gets_weaker(name):
    defense = DEFENSES[name]
    clean = photograph(1, side=128).astype(float)
    attacked = clean + np.random.default_rng(3).choice([-12, 12], clean.shape)
    attacked = np.clip(attacked, 0, 255)
    cleaned = defense.apply(attacked.astype(np.uint8), defense.params()).image
    # Along the noise: what is left of it, whatever happens to the picture's own detail.
    pattern = attacked - clean
    left = np.vdot(cleaned - clean, pattern) / np.vdot(pattern, pattern)
    assert left < 0.8


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((4, 4), np.int32), TypeError, "int32"),
        (np.zeros((4, 4), ">f4"), TypeError, ">f4"),
        (np.zeros(4, np.uint8), ValueError, r"shape is \(4,\)"),
        (np.zeros((4, 4, 5), np.uint8), ValueError, r"shape is \(4, 4, 5\)"),
        (np.zeros((0, 4), np.uint8), ValueError, "not empty"),
        (np.full((4, 4), np.nan), ValueError, "must lie in"),
        (np.full((4, 4), 1.5, np.float32), ValueError, "must lie in"),
    ],
    ids=["int32", "big-endian", "1-D", "5 channels", "empty", "NaN", "above 1"],
)
def test_what_is_no_image_is_refused(name, image, error, message, default_params):
    defense = DEFENSES[name]
    with pytest.raises(error, match=message):
        defense.apply(image, default_params(defense))


def test_registry_loads_no_heavy_module():
    script = (
        "import sys, lgs_cli.defenses;"
        "print(sorted({'numpy', 'cv2', 'PIL', 'scipy'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_mask_is_the_largest_change_of_a_pixel_over_the_largest_of_all():
    image = np.zeros((2, 2, 4), np.uint16)
    color = np.zeros((2, 2, 3), np.uint16)
    color[0, 0] = 100, 400, 3
    color[1, 1] = 0, 0, 100
    cleaned = finish(image, color, with_mask=True)
    np.testing.assert_array_equal(cleaned.mask, np.array([[1, 0], [0, 0.25]], np.float32))
    assert cleaned.coverage == 0.5


def test_the_smallest_float_change_still_counts():
    image = np.zeros((1, 3))
    color = np.array([[1.0, 5e-324, 0.0]])
    cleaned = finish(image, color, with_mask=True)
    assert cleaned.coverage == 2 / 3
    np.testing.assert_array_equal(cleaned.mask > 0, [[True, True, False]])


def test_eight_bits_there_and_back():
    levels = np.arange(256, dtype=np.uint8)
    deep = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(from_uint8(levels, np.dtype(np.uint16)), levels.astype(int) * 257)
    np.testing.assert_array_equal(to_uint8(deep), np.round(deep / 257))
    for dtype in DTYPES:
        np.testing.assert_array_equal(to_uint8(from_uint8(levels, np.dtype(dtype))), levels)
