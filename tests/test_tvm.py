from __future__ import annotations

import numpy as np
import pytest
from pictures import noise, photograph
from scipy.optimize import minimize as scipy_minimize
from skimage.restoration import denoise_tv_chambolle

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.tvm import TvmParams, draw_kept, minimize

TVM = DEFENSES["tvm"]


def objective(solution, channel, kept, weight, softness=0.0):
    """What is minimized, and its gradient; `softness` rounds the corners of the lengths off."""
    down, right = np.zeros(channel.shape), np.zeros(channel.shape)
    down[:-1] = np.diff(solution, axis=0)
    right[:, :-1] = np.diff(solution, axis=1)
    length = np.sqrt(down**2 + right**2 + softness**2)
    residual = kept * (solution - channel)
    gradient = residual.copy()
    if softness:
        down, right = weight * down / length, weight * right / length
        gradient -= down + right
        gradient[1:] += down[:-1]
        gradient[:, 1:] += right[:, :-1]
    return 0.5 * (residual**2).sum() + weight * length.sum(), gradient


def by_scipy(channel, kept, weight):
    """The lowest value that a quasi-Newton method finds, its lengths ever less rounded off."""
    solution = np.where(kept, channel, channel[kept].mean())
    for softness in (1e-1, 1e-2, 1e-3, 1e-4):

        def smooth(flat, softness=softness):
            value, gradient = objective(
                flat.reshape(channel.shape), channel, kept, weight, softness
            )
            return value, gradient.ravel()

        found = scipy_minimize(
            smooth, solution.ravel(), jac=True, method="L-BFGS-B",
            options={"maxiter": 600, "maxfun": 800, "ftol": 1e-12, "gtol": 1e-9},
        )  # fmt: skip
        solution = found.x.reshape(channel.shape)
    return objective(solution, channel, kept, weight)[0]


@pytest.mark.parametrize("weight", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("color", [True, False], ids=["RGB", "gray"])
def test_nothing_dropped_is_the_denoising_of_scikit_image(color, weight):
    image = photograph(1, side=64) / 255
    image = image if color else image[..., 0]
    expected = denoise_tv_chambolle(
        image, weight, eps=1e-10, max_num_iter=5000, channel_axis=-1 if color else None
    )
    params = TvmParams(drop_rate=0, weight=weight, iterations=1500)
    cleaned = TVM.apply(image, params).image
    # Their method is the slower to converge: what is left between the two is mostly its own.
    assert np.abs(cleaned - expected).max() < 5e-3
    assert np.abs(cleaned - expected).mean() < 2e-4
    assert np.abs(image - expected).mean() > 5e-3


@pytest.mark.parametrize("drop_rate", [0.0, 0.2, 0.5, 0.8])
def test_the_default_iterations_come_close_to_the_minimum(drop_rate):
    params = TvmParams(drop_rate=drop_rate)
    channel = np.ascontiguousarray(photograph(1, side=40)[..., 1] / 255)
    kept = draw_kept(channel, params)
    lowest = by_scipy(channel, kept, params.weight)
    untouched = objective(channel, channel, np.ones_like(kept), params.weight)[0]
    reached = objective(minimize(channel, kept, params), channel, kept, params.weight)[0]
    assert reached < lowest * 1.01
    assert lowest < untouched * 0.9


@pytest.mark.parametrize("drop_rate", [0.0, 0.5])
def test_more_iterations_reach_the_minimum(drop_rate):
    params = TvmParams(drop_rate=drop_rate, iterations=2000)
    channel = np.ascontiguousarray(photograph(1, side=40)[..., 1] / 255)
    kept = draw_kept(channel, params)
    reached = objective(minimize(channel, kept, params), channel, kept, params.weight)[0]
    assert reached == pytest.approx(by_scipy(channel, kept, params.weight), rel=1e-3)


def test_dropped_values_are_never_looked_at():
    params = TvmParams(drop_rate=0.5)
    channel = noise((40, 30), "float32", seed=1)
    kept = draw_kept(channel, params)
    attacked = np.where(kept, channel, 1 - channel)
    np.testing.assert_array_equal(minimize(attacked, kept, params), minimize(channel, kept, params))


@pytest.mark.parametrize("drop_rate", [0.0, 0.1, 0.5, 0.9])
def test_every_channel_drops_its_share_of_its_own(drop_rate):
    kept = draw_kept(noise((200, 200, 3), "uint8", seed=6), TvmParams(drop_rate=drop_rate))
    # Five standard deviations of a share among 40000.
    slack = 5 * np.sqrt(drop_rate * (1 - drop_rate) / 40000)
    for channel in range(3):
        assert abs((~kept[..., channel]).mean() - drop_rate) <= slack
    both = (~kept[..., 0] & ~kept[..., 1]).mean()
    assert abs(both - drop_rate**2) <= 5 * np.sqrt(drop_rate**2 / 40000)


def test_a_channel_is_never_dropped_whole():
    image = noise((1, 1, 3), "uint8", seed=8)
    for seed in range(50):
        params = TvmParams(drop_rate=0.99, seed=seed)
        assert draw_kept(image, params).all()
        np.testing.assert_array_equal(TVM.apply(image, params).image, image)


def test_the_draw_depends_on_the_image_and_the_seed_alone():
    first, second = noise((30, 20, 3), "uint8", seed=1), noise((30, 20, 3), "uint8", seed=2)
    alone = TVM.apply(second, TvmParams()).image
    TVM.apply(first, TvmParams())
    np.testing.assert_array_equal(TVM.apply(second, TvmParams()).image, alone)
    np.testing.assert_array_equal(TVM.apply(np.asfortranarray(second), TvmParams()).image, alone)
    assert (draw_kept(first, TvmParams()) != draw_kept(second, TvmParams())).any()
    assert (draw_kept(first, TvmParams()) != draw_kept(first, TvmParams(seed=1))).any()
    assert (draw_kept(first, TvmParams()) != draw_kept(1 * first[::-1], TvmParams())).any()


def test_every_run_gives_the_same_bits_wherever_its_arrays_lie():
    channel = noise((61, 47), "float32", seed=3)
    kept = draw_kept(channel, TvmParams())
    results, held = set(), []
    for size in range(24):
        held.append(np.empty(4096 + 4 * size, np.uint8))
        results.add(minimize(channel, kept, TvmParams()).tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
def test_nothing_dropped_leaves_a_flat_image_alone(dtype):
    image = np.full((9, 14, 3), 0.7 * (np.iinfo(dtype).max if dtype[0] == "u" else 1), dtype)
    assert TVM.apply(image, TvmParams(drop_rate=0)).coverage == 0


def test_a_slope_is_rebuilt_from_half_its_pixels():
    slope = np.add.outer(np.arange(60), np.arange(80)) / 140
    rebuilt = TVM.apply(slope, TvmParams(weight=1e-4)).image
    # A dropped pixel lies between its neighbors, a step of 1 / 140 apart, or a few of them.
    assert np.abs(rebuilt - slope).mean() < 0.5 / 140
    assert np.abs(rebuilt - slope).max() < 6 / 140
