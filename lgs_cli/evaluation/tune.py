"""Choose the parameters of LGS for a model: clean accuracy against attacked accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lgs_cli.defenses.chain import Step
from lgs_cli.defenses.lgs import LgsParams
from lgs_cli.errors import UsageError
from lgs_cli.evaluation import score
from lgs_cli.evaluation.dataset import Photograph
from lgs_cli.evaluation.defended import clean
from lgs_cli.evaluation.models import Model
from lgs_cli.evaluation.settings import AttackSpec, EvaluateParams, TuneParams
from lgs_cli.evaluation.table import Share
from lgs_cli.evaluation.tuning import Point, Tuning
from lgs_cli.wording import printable


def tune(
    model: Model,
    photographs: Sequence[Photograph],
    attack: AttackSpec | Path,
    params: TuneParams,
    progress: score.Progress | None = None,
) -> Tuning:
    """Try every combination of the grid.

    The attack knows nothing of the defense: the result is the best defense against such an
    attack, not against one that goes through it.

    Parameters
    ----------
    model : Model
        The model. An attack needs one with gradients; a folder does not.
    photographs : sequence of Photograph
        Labeled images.
    attack : AttackSpec or Path
        An attack to make, or a folder of attacked images.
    params : TuneParams
        The grid and the weight.
    progress : callable, optional
        Called with what is being done and how many more images, or combinations, are done.

    Returns
    -------
    Tuning

    Raises
    ------
    LgsError
        Where an input cannot be used, or LGS takes no combination of the grid.
    """
    try:
        grid = params.grid()
    except ValueError as error:
        raise UsageError(f"nothing to tune: {error}") from None
    chosen = EvaluateParams(
        count=params.count, all_images=params.all_images, batch_size=params.batch_size
    )
    images, left, population = score.choose(model, photographs, chosen)
    blind = score.attacked(model, images, left, attack, chosen, progress)
    labels = images.labels[blind.index]
    unharmed = images.pixels[blind.index]
    measured = []
    for combination in grid:
        chain = (Step("lgs", combination),)
        shares = []
        for pixels in (unharmed, blind.pixels):
            cleaned, _ = clean(pixels, chain)
            right = model.predict(cleaned, params.batch_size) == labels
            shares.append(Share(int(right.sum()), len(right)))
        measured.append((combination, shares[0], shares[1]))
        if progress is not None:
            progress("grid", 1)
    points = tuple(
        Point(
            combination,
            clean_share,
            attacked_share,
            front=not any(
                (c.hits >= clean_share.hits and a.hits > attacked_share.hits)
                or (c.hits > clean_share.hits and a.hits >= attacked_share.hits)
                for _, c, a in measured
            ),
        )
        for combination, clean_share, attacked_share in measured
    )
    weight = params.clean_weight

    def worth(point: Point) -> tuple[float, float]:
        value = weight * point.clean.value + (1 - weight) * point.attacked.value
        return round(value, 9), -_distance(point.params)

    best = max((point for point in points if point.front), key=worth)
    return Tuning(printable(model.spec), population, blind.name, points, best)


def _distance(params: LgsParams) -> float:
    """Return how far parameters are from the defaults, each relative to its default."""
    defaults = asdict(LgsParams())
    return float(sum(abs(value / defaults[name] - 1) for name, value in asdict(params).items()))
