"""Whether the preprocessing suits a model: another preset may suit it far better."""

from __future__ import annotations

from dataclasses import replace

from lgs_cli.defenses.preprocessing import PRESETS, Preprocessing
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.table import Share
from lgs_cli.evaluation.victim import Victim
from lgs_cli.wording import printable

SAMPLE = 50
"""On how many photographs presets are compared."""

# A model that classifies more than this rightly is not doubted.
_GOOD = 0.7


def doubt(victim: Victim, images: Images) -> str:
    """Say if another preset suits a model far better than the preprocessing it was given.

    Sizes are taken as they are; means, deviations, the order of channels and white are compared.

    Parameters
    ----------
    victim : Victim
        The model, with its preprocessing.
    images : Images
        Some labeled photographs, such as the model sees.

    Returns
    -------
    str
        A warning; empty if there is nothing to say.
    """
    given = victim.model.preprocessing
    own = _right(victim, given, images)
    if own.value > _GOOD:
        return ""
    shares = {
        name: _right(victim, replace(preset, resize=given.resize, crop=given.crop), images)
        for name, preset in PRESETS.items()
        if _numbers(preset) != _numbers(given)
    }
    best = max(shares, key=lambda name: shares[name].hits)
    if shares[best].interval[0] <= own.interval[1]:
        return ""
    return (
        f"{printable(victim.model.spec)} classifies {own.hits} of {own.total} photographs rightly, "
        f"but {shares[best].hits} with --preset {best}: is the preprocessing right?"
    )


def _numbers(preprocessing: Preprocessing) -> tuple[object, ...]:
    p = preprocessing
    return p.means, p.stds, p.channels, p.scale


def _right(victim: Victim, preprocessing: Preprocessing, images: Images) -> Share:
    model = victim.model.taking(preprocessing)
    predicted = model.predict(images.pixels, victim.batch_size)
    return Share(int((predicted == images.labels).sum()), len(images))
