"""The kernel, held to its definition evaluated naively in float64."""

from __future__ import annotations

import itertools
import subprocess
import sys
from functools import cache

import numpy as np
import optional_data
import pytest
from pictures import DTYPES, PHOTOGRAPHS, SAMPLES, SHAPES, noise, photograph, whole_photograph
from PIL import Image
from reference import (
    attenuated,
    blocks,
    gradient_magnitude,
    in_unit_range,
    local_gradients_smoothing,
)

from lgs_cli.defenses import lgs
from lgs_cli.defenses.lgs import LgsParams, apply

# One level of the integers; for floats the precision of the float32 mask, or of float16 itself.
TOLERANCE = {"uint8": 1, "uint16": 1, "float16": 1e-3, "float32": 1e-6, "float64": 1e-6}

PARAMETERS = [
    {},
    {"smoothing": 0.7},
    {"smoothing": 50},
    {"smoothing": 0},
    {"threshold": 0},
    {"threshold": 0.03, "smoothing": 5},
    {"threshold": 0.4},
    {"threshold": 1},
    {"block_size": 1, "overlap": 0},
    {"block_size": 2, "overlap": 1},
    {"block_size": 7, "overlap": 6, "threshold": 0.2},
    {"block_size": 16, "overlap": 0},
    {"block_size": 23, "overlap": 10, "threshold": 0.15},
    {"block_size": 100_000, "overlap": 99_999, "threshold": 0.02},
]


def assert_follows_the_definition(image, parameters):
    cleaned, mask, coverage = apply(image, LgsParams(**parameters), with_mask=True)
    wanted, wanted_mask = local_gradients_smoothing(image, **parameters)

    assert cleaned.shape == image.shape
    assert cleaned.dtype == image.dtype
    if image.dtype.kind == "u":
        levels = np.rint(wanted * np.iinfo(image.dtype).max)
        difference = np.abs(cleaned.astype(np.int64) - levels.astype(np.int64))
    else:
        difference = np.abs(cleaned.astype(np.float64) - wanted)
    assert difference.max() <= TOLERANCE[image.dtype.name]
    if image.ndim == 3 and image.shape[2] in (2, 4):
        np.testing.assert_array_equal(cleaned[..., -1], image[..., -1])

    assert mask.dtype == np.float32
    assert mask.shape == image.shape[:2]
    np.testing.assert_allclose(mask, wanted_mask, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(mask > 0, wanted_mask > 0)
    assert coverage == pytest.approx(np.mean(wanted_mask > 0), abs=1e-12)


def test_a_row_worked_out_by_hand():
    # |∇I| = 1 0 1 0 0, so g is the same; blocks of 2 at 0, 2 and, flush with the end, 3 have the
    # means 1/2, 1/2 and 0; 0.4 g leaves 0.6 of 255, which is 153.
    image = np.array([[0, 255, 255, 0, 0]], np.uint8)
    cleaned, mask, coverage = apply(
        image, LgsParams(smoothing=0.4, block_size=2, overlap=0), with_mask=True
    )
    np.testing.assert_array_equal(cleaned, [[0, 255, 153, 0, 0]])
    np.testing.assert_allclose(mask, [[0.4, 0, 0.4, 0, 0]], rtol=1e-6)
    assert coverage == 2 / 5


def test_colors_worked_out_by_hand():
    # 153 is 0.6 and 204 is 0.8: at the top left dx² + dy² = 0.36 + 0.64, at the bottom left both
    # channels change to the right, again 0.36 + 0.64; the right column has no gradient.
    image = np.array([[[0, 0, 0], [153, 0, 0]], [[0, 204, 0], [153, 0, 0]]], np.uint8)
    cleaned, mask, _ = apply(
        image, LgsParams(smoothing=0.5, block_size=1, overlap=0), with_mask=True
    )
    np.testing.assert_allclose(mask, [[0.5, 0], [0.5, 0]], rtol=1e-6)
    np.testing.assert_array_equal(cleaned, [[[0, 0, 0], [153, 0, 0]], [[0, 102, 0], [153, 0, 0]]])


def test_the_block_flush_with_the_end_counts():
    # Blocks of 3 at 0 and, flush, at 1; g = 0 0 0 1 1 0 has means 0 at 0 and 2/3 at 3.
    image = np.array([[0, 0, 0, 0, 255, 0]], np.uint8)
    params = LgsParams(smoothing=1, threshold=0.5, block_size=3, overlap=0)
    cleaned, _, coverage = apply(image, params)
    np.testing.assert_array_equal(cleaned, [[0, 0, 0, 0, 0, 0]])
    assert coverage == 2 / 6
    # The same with two pixels over, which only a flush block covers: 0-2, and 2-4.
    image = np.array([[0, 0, 0, 255, 255]], np.uint8)
    assert apply(image, params).coverage == 0
    assert apply(image, LgsParams(threshold=0.3, block_size=3, overlap=0)).coverage == 1 / 5


@pytest.mark.parametrize(
    ("marked", "size", "threshold"),
    [(1, 2, 0.5), (1, 4, 0.25), (1, 10, 0.1), (2, 10, 0.2), (3, 10, 0.3), (7, 10, 0.7)],
)
def test_a_mean_equal_to_the_threshold_is_not_kept(marked, size, threshold):
    # `marked` of the `size` pixels of the block have g = 1, the others 0.
    row = np.zeros(size, np.uint8)
    row[: marked + 1] = np.arange(marked + 1) % 2 * 255
    row[marked + 1 :] = row[marked]
    above = LgsParams(threshold=threshold, block_size=size, overlap=0)
    below = LgsParams(threshold=threshold - 1e-9, block_size=size, overlap=0)
    assert apply(row[None], above).coverage == 0
    assert apply(row[None], below).coverage == marked / size


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("parameters", [{}, {"block_size": 4, "overlap": 2, "threshold": 0.3}])
def test_every_kind_of_array(shape, dtype, parameters):
    image = noise(shape, dtype, seed=21)
    before = image.copy()
    image.flags.writeable = False
    assert_follows_the_definition(image, parameters)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 97), (97, 1), (2, 2), (14, 16), (15, 15), (16, 31), (299, 299)], ids=str
)
def test_photographs_of_odd_sizes(size, parameters):
    whole = photograph(index=1)
    assert_follows_the_definition(whole[: size[0], : size[1]], parameters)


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
@pytest.mark.parametrize("kind", ["gray", "RGB", "RGBA", "16 bit", "float"])
def test_photographs_of_every_kind(kind, parameters):
    whole = photograph(index=3, side=180)
    image = {
        "gray": whole[..., 1],
        "RGB": whole,
        "RGBA": np.dstack([whole, whole[::-1, :, 0]]),
        "16 bit": whole.astype(np.uint16) * 257 - whole[::-1],
        "float": whole.astype(np.float32) / 255,
    }[kind]
    assert_follows_the_definition(image, parameters)


@pytest.mark.parametrize("name", [*PHOTOGRAPHS, "camera", "coins", "moon", "brick"])
def test_whole_photographs(name):
    assert_follows_the_definition(whole_photograph(name), {})


def test_many_whole_photographs():
    for path in optional_data.photographs()[::24] or sorted(SAMPLES.rglob("*.jpg")):
        with Image.open(path) as picture:
            assert_follows_the_definition(np.asarray(picture.convert("RGB")), {})


@cache
def mosaic(rows: int = 4000, columns: int = 6000, tile: int = 500):
    """A photograph of 24 megapixels, as far as texture and sharpness go."""
    whole = [Image.fromarray(whole_photograph(name)) for name in PHOTOGRAPHS]
    turns = [None, Image.Transpose.ROTATE_90, Image.Transpose.FLIP_LEFT_RIGHT]
    tiles = itertools.cycle(
        np.asarray((picture if turn is None else picture.transpose(turn)).resize((tile, tile)))
        for turn in turns
        for picture in whole
    )
    return np.vstack(
        [np.hstack([next(tiles) for _ in range(columns // tile)]) for _ in range(rows // tile)]
    )


def test_a_photograph_of_24_megapixels():
    image = mosaic()
    assert image.shape == (4000, 6000, 3)
    strips = [slice(top, top + 250) for top in range(0, 4000, 250)]
    # As reference.local_gradients_smoothing does it, strip by strip, sums from a table of sums.
    g = np.vstack(
        [
            gradient_magnitude(in_unit_range(image[strip.start : strip.stop + 1]))[:250]
            for strip in strips
        ]
    )
    assert g.min() == 0
    g /= g.max()
    table = np.zeros((4001, 6001))
    np.cumsum(np.cumsum(g, axis=0), axis=1, out=table[1:, 1:])
    tops, bottoms = np.array(blocks(4000, 15, 5)).T
    lefts, rights = np.array(blocks(6000, 15, 5)).T
    lines = table[bottoms] - table[tops]
    means = (lines[:, rights] - lines[:, lefts]) / 15**2
    kept = np.zeros(g.shape, bool)
    for row, column in np.argwhere(means > 0.1):
        kept[tops[row] : bottoms[row], lefts[column] : rights[column]] = True

    cleaned, mask, coverage = apply(image, LgsParams(), with_mask=True)
    assert coverage == pytest.approx(np.count_nonzero(g[kept]) / g.size, abs=1e-12)
    for strip in strips:
        wanted, wanted_mask = attenuated(image[strip], g[strip], kept[strip], 2.3)
        wanted *= 255
        assert np.abs(cleaned[strip] - np.rint(wanted)).max() <= 1
        np.testing.assert_allclose(mask[strip], wanted_mask, rtol=0, atol=1e-6)


@pytest.mark.parametrize("band_pixels", [1, 1000, 10**9])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_bands_make_no_difference(monkeypatch, band_pixels, kind):
    image = photograph(index=4).astype(kind)
    if kind == np.float32:
        image /= 255
    params = LgsParams(block_size=17, overlap=3, threshold=0.15)
    usual = apply(image, params, with_mask=True)
    monkeypatch.setattr(lgs, "BAND_PIXELS", band_pixels)
    banded = apply(image, params, with_mask=True)
    assert banded.image.tobytes() == usual.image.tobytes()
    assert banded.mask.tobytes() == usual.mask.tobytes()
    assert banded.coverage == usual.coverage
    assert 0 < usual.coverage < 1


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_magnitudes_computed_twice_make_no_difference(monkeypatch, kind, parameters):
    image = photograph(index=4, side=150).astype(kind)
    if kind == np.float32:
        image /= 255
    params = LgsParams(**parameters)
    usual = apply(image, params)
    monkeypatch.setattr(lgs, "KEPT_BYTES", 0)
    for band_pixels in (1, 3000, 10**9):
        monkeypatch.setattr(lgs, "BAND_PIXELS", band_pixels)
        found = apply(image, params)
        assert found.image.tobytes() == usual.image.tobytes()
        assert found.coverage == usual.coverage


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 2), (40, 50, 3), (40, 50, 4)], ids=str)
def test_memory_layout_makes_no_difference(shape, dtype):
    image = noise(shape, dtype, seed=3)
    view = np.zeros((2 * shape[0], 3 * shape[1], *shape[2:]), dtype)[::2, ::-3]
    view[:] = image
    params = LgsParams(block_size=8, overlap=1)
    expected = apply(image, params, with_mask=True)
    for other in (view, np.asfortranarray(image)):
        found = apply(other, params, with_mask=True)
        np.testing.assert_array_equal(found.image, expected.image)
        np.testing.assert_array_equal(found.mask, expected.mask)
        np.testing.assert_array_equal(other, image)


def test_the_mask_is_optional():
    image = photograph()
    without = apply(image, LgsParams())
    with_mask = apply(image, LgsParams(), with_mask=True)
    assert without.mask is None
    assert with_mask.mask is not None
    assert without.coverage == with_mask.coverage
    np.testing.assert_array_equal(without.image, with_mask.image)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_image_stays(dtype):
    image = np.full((30, 40, 3), 1 if "float" in dtype else 200, dtype)
    cleaned, mask, coverage = apply(image, LgsParams(threshold=0), with_mask=True)
    np.testing.assert_array_equal(cleaned, image)
    assert coverage == 0
    assert not mask.any()


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((4, 4), np.int32), TypeError, "int32"),
        (np.zeros((4, 4), bool), TypeError, "bool"),
        (np.zeros(4, np.uint8), ValueError, r"shape is \(4,\)"),
        (np.zeros((4, 4, 5), np.uint8), ValueError, r"shape is \(4, 4, 5\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, "not empty"),
        (np.array([[0.5, np.nan]]), ValueError, "must lie in"),
        (np.array([[0.5, np.inf]], np.float32), ValueError, "must lie in"),
        (np.array([[0.5, 1.001]]), ValueError, "must lie in"),
        (np.array([[0.5, -0.001]], np.float16), ValueError, "must lie in"),
    ],
    ids=["int32", "bool", "1-D", "5 channels", "empty", "NaN", "infinite", "above", "below"],
)
def test_what_is_no_image_is_refused(image, error, message):
    with pytest.raises(error, match=message):
        apply(image, LgsParams())


MEMORY = r"""
import re, sys
import numpy as np
from lgs_cli.defenses.lgs import apply
from lgs_cli.defenses.lgs import LgsParams

def peak():
    # Not getrusage: what it tells, a process inherits from the one that started it.
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024

height, width = map(int, sys.argv[1:])
rng = np.random.default_rng(1)
apply(rng.integers(0, 256, (64, 64, 3), np.uint8), LgsParams(), with_mask=True)
image = rng.integers(0, 256, (height, width, 3), np.uint8)
before = peak()
cleaned = apply(image, LgsParams(), with_mask=True)
used = peak() - before
assert cleaned.coverage > 0.9
print(used - cleaned.image.nbytes)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_grows_linearly_and_slowly():
    sizes = [(3000, 4000), (4000, 6000), (200, 60_000)]
    for height, width in sizes:
        command = [sys.executable, "-c", MEMORY, str(height), str(width)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        per_pixel = int(run.stdout) / (height * width)
        # The mask alone is 4 bytes a pixel.
        assert 3.5 < per_pixel < 20, (height, width)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_largest_smoothing_factor_blackens_blocks_and_nothing_else(dtype):
    image = np.full((40, 60), 200, dtype) if dtype != np.float32 else np.full((40, 60), 0.5, dtype)
    image[:15:2, :15:2] = image[1:15:2, 1:15:2] = 0
    cleaned, mask, _ = apply(image, LgsParams(smoothing=1e60, threshold=0.2), with_mask=True)
    assert np.array_equal(cleaned[20:, 20:], image[20:, 20:])
    assert np.isfinite(mask).all()
    assert not mask[20:, 20:].any()
    assert not cleaned[:14, :14].any()
