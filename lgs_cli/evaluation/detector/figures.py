"""How well a trained detector does on photographs that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lgs_cli.defenses import localize
from lgs_cli.defenses.localize import LocalizeParams
from lgs_cli.evaluation.detector import scenes
from lgs_cli.evaluation.detector.scenes import Pixels
from lgs_cli.evaluation.table import Share


@dataclass(frozen=True)
class Figures:
    """How well a detector does at the default threshold.

    Attributes
    ----------
    flagged : Share
        Photographs without a patch in which it finds one.
    found : Share
        Images with pasted patches in which it finds one.
    overlap : float
        Mean intersection over union of what is found and what was pasted, in [0, 1].
    """

    flagged: Share
    found: Share
    overlap: float


def judge(
    detector: Path, photos: Sequence[Pixels], patches: Sequence[Pixels], seed: int
) -> Figures:
    """Measure a detector as `localize` uses it.

    Parameters
    ----------
    detector : Path
        Its file.
    photos : sequence of ndarray
        uint8 (H, W, 3) RGB photographs that it was not trained on.
    patches : sequence of ndarray
        uint8 (h, w, 3) RGB: pasted, as are textures.
    seed : int
        Seed of every draw.

    Returns
    -------
    Figures
    """
    params = LocalizeParams(detector=str(detector))
    draw = np.random.default_rng([seed, 3])
    flagged = [bool(localize.find(photo, params).regions) for photo in photos]
    found, overlaps = [], []
    for photo in photos:
        picture, pasted = scenes.patched(scenes.crop(photo, draw), patches, draw)
        regions = localize.find(picture, params).regions
        mask = np.zeros(picture.shape[:2], bool)
        for region in regions:
            rows = slice(region.y, region.y + region.height)
            mask[rows, region.x : region.x + region.width] = True
        truth = pasted > 0.5
        found.append(bool(regions))
        overlaps.append((mask & truth).sum() / max((mask | truth).sum(), 1))
    return Figures(
        Share(sum(flagged), len(flagged)), Share(sum(found), len(found)), float(np.mean(overlaps))
    )
