"""What `localize` makes of pictures whose patches are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lgs_cli.defenses import localize
from lgs_cli.defenses.defense import Region
from lgs_cli.defenses.localize import LocalizeParams
from lgs_cli.defenses.repair import repair
from lgs_cli.evaluation.models.model import Model

Pixels = NDArray[np.uint8]

# As far as `localize` enlarges what it found before it repairs, in pixels of pictures this small.
_DILATION = 3


@dataclass(frozen=True, eq=False)
class Judged:
    """One set of pictures behind the defense.

    Attributes
    ----------
    right, repaired : ndarray
        bool (N,): classified rightly behind the defense, and with the true mask repaired the way
        the defense repairs.
    scores : ndarray
        float (N,): how suspicious each picture is.
    overlaps : ndarray
        float (N,): intersection over union of the boxes found with the boxes around the true
        patches; 0 where nothing was found.
    """

    right: NDArray[np.bool_]
    repaired: NDArray[np.bool_]
    scores: NDArray[np.float64]
    overlaps: NDArray[np.float64]


def judge(
    model: Model,
    pixels: Pixels,
    labels: NDArray[np.int64],
    masks: Sequence[Pixels],
    params: LocalizeParams,
) -> Judged:
    """Run the defense over pictures, and classify what comes out.

    Parameters
    ----------
    model : Model
        The classifier.
    pixels : ndarray
        uint8 (N, H, W, 3) RGB.
    labels : ndarray
        int64 (N,): what the pictures show.
    masks : sequence of ndarray
        uint8 (H, W): 1 where the patch lies.
    params : LocalizeParams
        The defense's parameters.
    """
    cleaned = [localize.apply(image, params) for image in pixels]
    known = [with_true_mask(image, mask, params) for image, mask in zip(pixels, masks, strict=True)]
    overlaps = [overlap(c.regions, mask) for c, mask in zip(cleaned, masks, strict=True)]
    return Judged(
        model.predict(np.stack([c.image for c in cleaned])) == labels,
        model.predict(np.stack(known)) == labels,
        np.array([c.score for c in cleaned], np.float64),
        np.array(overlaps),
    )


def with_true_mask(image: Pixels, mask: Pixels, params: LocalizeParams) -> Pixels:
    """Repair a picture as the defense would if it found just the true patches."""
    size = 2 * _DILATION + 1
    enlarged = cv2.dilate(mask, np.ones((size, size), np.uint8))
    windows = [
        (slice(top, top + height), slice(left, left + width))
        for left, top, width, height in boxes(enlarged)
    ]
    return repair(image, enlarged, windows, params.fill)


def boxes(mask: Pixels) -> list[tuple[int, int, int, int]]:
    """Return left, top, width and height of the box around each connected part of a mask."""
    _, _, found, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    return [(int(b[0]), int(b[1]), int(b[2]), int(b[3])) for b in found[1:]]


def overlap(regions: Sequence[Region], mask: Pixels) -> float:
    """Return the intersection over union of boxes found with those around the true patches."""
    found, true = np.zeros_like(mask), np.zeros_like(mask)
    for region in regions:
        _fill(found, region[:4])
    for box in boxes(mask):
        _fill(true, box)
    union = np.count_nonzero(found | true)
    return np.count_nonzero(found & true) / union if union else 0.0


def _fill(mask: Pixels, box: tuple[int, int, int, int]) -> None:
    left, top, width, height = box
    mask[top : top + height, left : left + width] = 1


def area_under_curve(attacked: NDArray[np.float64], clean: NDArray[np.float64]) -> float:
    """Return how often an attacked picture has the higher score, ties counting half."""
    above = attacked[:, None] > clean
    same = attacked[:, None] == clean
    return float(above.mean() + same.mean() / 2)
