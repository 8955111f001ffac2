from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from pictures import attacked

from lgs_cli import visualize
from lgs_cli.formats import MASK_STYLES

# The ends of matplotlib's inferno, as published with the colormap (rounded to 8 bits).
INFERNO_0 = (0, 0, 4)
INFERNO_1 = (252, 255, 164)


def gradient_mask(height: int, width: int) -> np.ndarray:
    mask = np.linspace(0, 1, height * width, dtype=np.float32).reshape(height, width)
    mask[0, 0] = 0
    return mask


def random_image(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(7)
    if dtype.startswith("float"):
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("style", MASK_STYLES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,), (4,)])
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (130, 1), (33, 47)])
def test_every_style_draws_every_kind_of_image(style, dtype, channels, size):
    image = random_image((*size, *channels), dtype)
    before = image.copy()
    picture = visualize.render(style, image, gradient_mask(*size), image)
    assert picture.dtype == np.uint8
    assert np.array_equal(image, before)
    if style == "binary":
        assert picture.shape == size
    elif style == "side-by-side":
        assert picture.shape[::2] == (size[0], 3)
        assert picture.shape[1] > 3 * size[1]
    else:
        assert picture.shape == (*size, 3)


def test_heatmap_goes_from_black_to_pale_yellow_in_rgb_order():
    picture = visualize.heatmap(np.array([[0, 1]], np.float32))
    assert np.abs(picture[0].astype(int) - (INFERNO_0, INFERNO_1)).max() <= 1


def test_heatmap_grows_lighter_with_the_mask():
    picture = visualize.heatmap(np.linspace(0, 1, 256, dtype=np.float32)[None])
    luma = picture[0] @ [0.299, 0.587, 0.114]
    assert (np.diff(luma) > -1).all()
    assert luma[-1] - luma[0] > 230


def test_binary_is_white_exactly_where_the_mask_is_positive():
    mask = np.array([[0, 1e-7, 0.5, 1]], np.float32)
    image = np.zeros((1, 4, 3), np.uint8)
    assert visualize.render("binary", image, mask, image).tolist() == [[0, 255, 255, 255]]


def test_side_by_side_shows_original_heatmap_and_cleaned_in_this_order():
    image = random_image((20, 30, 3), "uint8")
    cleaned = 255 - image
    mask = gradient_mask(20, 30)
    picture = visualize.render("side-by-side", image, mask, cleaned)
    assert np.array_equal(picture[:, :30], image)
    assert np.array_equal(picture[:, -30:], cleaned)
    middle = (picture.shape[1] - 30) // 2
    assert np.array_equal(picture[:, middle : middle + 30], visualize.heatmap(mask))


@pytest.mark.parametrize("dtype", ["uint16", "float16", "float32"])
def test_deep_images_are_scaled_not_clipped(dtype):
    levels = np.arange(256, dtype=np.uint8)[None]
    deep = levels.astype("uint16") * 257 if dtype == "uint16" else (levels / 255).astype(dtype)
    assert np.array_equal(visualize.to_rgb8(deep)[..., 1], levels)


def test_transparent_pixels_show_a_checkerboard_and_opaque_ones_the_image():
    image = np.zeros((32, 32, 4), np.uint8)
    image[16:, :, 0] = 200
    image[16:, :, 3] = 255
    picture = visualize.to_rgb8(image)
    assert (picture[16:] == (200, 0, 0)).all()
    assert set(np.unique(picture[:16])) == {204, 255}


def test_to_rgb8_never_returns_a_view():
    image = random_image((5, 6, 3), "uint8")
    visualize.to_rgb8(image)[:] = 0
    assert image.any()


def test_overlay_colors_the_noise_and_grays_the_rest_of_a_photograph():
    for index in range(4):
        clean, image = attacked(index)
        mask = (image != clean).any(2).astype(np.float32)
        picture = visualize.render("overlay", image, mask, image).astype(int)
        saturation = np.ptp(picture, 2)
        assert saturation[mask == 1].min() > saturation[mask == 0].mean() + 50
        # What is not masked is still the photograph: same structure, less light.
        gray = image.mean(2)[mask == 0]
        shown = picture.mean(2)[mask == 0]
        assert np.corrcoef(gray, shown)[0, 1] > 0.95
        assert 0.6 < shown.mean() / gray.mean() < 0.9


def test_refuses_an_unknown_style_and_mismatched_sizes():
    image, mask = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.float32)
    with pytest.raises(ValueError, match=r"'rainbow'.*heatmap, overlay, binary, side-by-side"):
        visualize.render("rainbow", image, mask, image)
    with pytest.raises(ValueError, match="sizes differ"):
        visualize.render("heatmap", image, mask[:3], image)
    with pytest.raises(ValueError, match="sizes differ"):
        visualize.render("side-by-side", image, mask, image[:, :2])


def test_the_style_names_load_no_heavy_module():
    code = (
        "import sys; from lgs_cli.formats import MASK_STYLES;"
        "print(*({'numpy', 'cv2', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
