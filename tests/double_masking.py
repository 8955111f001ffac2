"""Pictures for the tiny model, and double masking by the book."""

from __future__ import annotations

import numpy as np

from lgs_cli.defenses.masking import MaskParams
from lgs_cli.defenses.preprocessing import fit, seen
from lgs_cli.evaluation import models

RED, GREEN, BLUE = range(3)


def spots(seed: int, size: tuple[int, int] = (40, 60), tint: int = 4) -> np.ndarray:
    """A picture of noise with a little more red than green and blue."""
    picture = np.random.default_rng(seed).integers(70, 150, (*size, 3))
    picture[..., RED] += tint
    return picture.astype(np.uint8)


def patched(picture: np.ndarray, channel: int, box=(slice(14, 20), slice(30, 36))) -> np.ndarray:
    picture = picture.copy()
    picture[box] = 0
    picture[(*box, channel)] = 255
    return picture


def answer(model: models.Model, pixels: np.ndarray) -> int:
    """What the model says of a picture that goes through its preprocessing."""
    return int(model.predict(fit(pixels, model.preprocessing)[None])[0])


def double_masking(model: models.Model, pixels: np.ndarray, params: MaskParams) -> int:
    """The certified defense, by the book: algorithm 1 of PatchCleanser."""
    masks = params.masks(seen(*pixels.shape[:2], model.preprocessing))

    def under(*which: int) -> int:
        masked = pixels.copy()
        for mask in which:
            masked[masks[mask]] = 128
        return answer(model, masked)

    ones = [under(mask) for mask in range(len(masks))]
    majority = max(sorted(set(ones), key=ones.index), key=ones.count)
    for mask, label in enumerate(ones):
        if label != majority and {under(mask, other) for other in range(len(masks))} == {label}:
            return label
    return majority
