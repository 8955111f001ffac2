"""Images behind a defense. NumPy alone: scoring needs no torch."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from lgs_cli.defenses.chain import Chain


def clean(pixels: NDArray[np.uint8], chain: Chain) -> tuple[NDArray[np.uint8], list[float]]:
    """Run a chain of defenses over images.

    Parameters
    ----------
    pixels : ndarray
        uint8 (N, H, W, 3) RGB.
    chain : tuple of Step
        What is applied, in order.

    Returns
    -------
    pixels : ndarray
        uint8 (N, H, W, 3).
    seconds : list of float
        Wall time for each image.
    """
    cleaned, seconds = [], []
    for image in pixels:
        started = time.perf_counter()
        for step in chain:
            image = step.defense.apply(image, step.params).image
        seconds.append(time.perf_counter() - started)
        cleaned.append(image)
    return np.stack(cleaned), seconds
