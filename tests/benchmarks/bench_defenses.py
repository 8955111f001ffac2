"""Every rival defense beside the fastest public implementations: paired runs, medians, ratios.

``python tests/benchmarks/bench_defenses.py [IMAGE]``; without one, scikit-image's astronaut. One
core, in its own time, so that what else the machine does counts little. The defenses' times include
the coverage, which the others do not compute.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage import data, filters
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.tvm import TvmParams
from lgs_cli.params import Params

Pixels = NDArray[Any]


class Row(NamedTuple):
    """One comparison; times are medians in milliseconds."""

    defense: str
    rival: str
    ours: float
    theirs: float
    ratio: float
    note: str


def rows(image: Pixels, repeats: int = 15) -> Iterator[Row]:
    """Compare every defense with its rivals over one uint8 RGB image."""
    for name, params, rivals in (
        ("jpeg", {}, {"Pillow": _jpeg_pillow, "OpenCV": _jpeg_opencv}),
        ("bit-depth", {}, {"NumPy": _bit_depth_numpy}),
        ("median", {"window": 2}, {"SciPy": lambda x: _median_scipy(x, 2)}),
        (
            "median",
            {"window": 3},
            {
                "SciPy": lambda x: _median_scipy(x, 3),
                "scikit-image": _median_skimage,
                "OpenCV": lambda x: cv2.medianBlur(x, 3),
            },
        ),
        ("median", {"window": 4}, {"SciPy": lambda x: _median_scipy(x, 4)}),
        (
            "median",
            {"window": 5},
            {
                "SciPy": lambda x: _median_scipy(x, 5),
                "OpenCV": lambda x: cv2.medianBlur(x, 5),
            },
        ),
        ("nlm", {}, {"scikit-image": _nlm_skimage, "OpenCV": _nlm_opencv}),
    ):
        defense = DEFENSES[name]
        settings = defense.params(**params)
        note = ", ".join(f"{key} {value}" for key, value in params.items())
        for rival, function in rivals.items():
            yield _row(name, settings, rival, function, image, repeats, note)
    scaled = (image / 255).astype(np.float32)
    for weight in (0.01, 0.03, 0.1, 0.3):
        settings, gap = _equal_objective(scaled, weight)
        note = f"weight {weight}, {settings.iterations} iterations, objective {gap:+.2%}"
        yield _row(
            "tvm",
            settings,
            "scikit-image",
            lambda x, weight=weight: denoise_tv_chambolle(x, weight, channel_axis=-1),
            scaled,
            repeats,
            note,
        )


def _row(
    name: str,
    params: Params,
    rival: str,
    function: Callable[[Pixels], Any],
    image: Pixels,
    repeats: int,
    note: str,
) -> Row:
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(_milliseconds(lambda: DEFENSES[name].apply(image, params)))
        theirs.append(_milliseconds(lambda: function(image)))
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return Row(name, rival, statistics.median(ours), statistics.median(theirs), ratio, note)


def _milliseconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return (time.process_time() - start) * 1e3


def _equal_objective(image: Pixels, weight: float) -> tuple[TvmParams, float]:
    """Find the fewest iterations that get as low as scikit-image does by default."""
    target = _objective(denoise_tv_chambolle(image, weight, channel_axis=-1), image, weight)
    for iterations in range(1, 1000):
        params = TvmParams(drop_rate=0, weight=weight, iterations=iterations)
        reached = _objective(DEFENSES["tvm"].apply(image, params).image, image, weight)
        if reached <= target:
            return params, reached / target - 1
    raise RuntimeError(f"the objective {target} was not reached")


def _objective(solution: Pixels, image: Pixels, weight: float) -> float:
    solution = solution.astype(float)
    down = np.diff(solution, axis=0, append=solution[-1:])
    right = np.diff(solution, axis=1, append=solution[:, -1:])
    return float(0.5 * ((solution - image) ** 2).sum() + weight * np.hypot(down, right).sum())


def _jpeg_pillow(image: Pixels) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=30)
    return np.asarray(Image.open(stream))


def _jpeg_opencv(image: Pixels) -> Pixels:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 30])
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _bit_depth_numpy(image: Pixels) -> Pixels:
    return np.round(np.round(image / 255 * 7) / 7 * 255).astype(np.uint8)


def _median_scipy(image: Pixels, window: int) -> Pixels:
    return ndimage.median_filter(image, size=(window, window, 1))


def _median_skimage(image: Pixels) -> Pixels:
    footprint = np.ones((3, 3), bool)
    return np.stack([filters.rank.median(image[..., c], footprint) for c in range(3)], axis=-1)


def _nlm_skimage(image: Pixels) -> Pixels:
    return denoise_nl_means(
        image, patch_size=3, patch_distance=5, h=4 / 255, fast_mode=True, channel_axis=-1
    )


def _nlm_opencv(image: Pixels) -> Pixels:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    smoothed = cv2.fastNlMeansDenoisingColored(bgr, None, 4, 4, 3, 11)
    return cv2.cvtColor(smoothed, cv2.COLOR_BGR2RGB)


def main() -> None:
    """Print the comparisons."""
    cv2.setNumThreads(1)
    if len(sys.argv) > 1:
        with Image.open(sys.argv[1]) as opened:
            image = np.asarray(opened.convert("RGB"))
    else:
        image = data.astronaut()[:299, :299].copy()
    print(f"{image.shape[1]}×{image.shape[0]} RGB, one core")
    print(f"{'defense':10} {'rival':13} {'ours ms':>8} {'theirs':>8} {'ratio':>6}")
    for row in rows(image):
        print(
            f"{row.defense:10} {row.rival:13} {row.ours:8.2f} {row.theirs:8.2f} {row.ratio:6.2f}"
            f"  {row.note}"
        )


if __name__ == "__main__":
    main()
