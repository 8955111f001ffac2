"""Choose the parameters of LGS for a model: clean accuracy against attacked accuracy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

from lgs_cli.defenses.chain import Step
from lgs_cli.defenses.params import LgsParams
from lgs_cli.errors import UsageError
from lgs_cli.evaluation import score
from lgs_cli.evaluation.dataset import Photograph
from lgs_cli.evaluation.defended import clean
from lgs_cli.evaluation.models import Model
from lgs_cli.evaluation.settings import AttackSpec, EvaluateParams, TuneParams
from lgs_cli.evaluation.table import Share
from lgs_cli.text import printable


@dataclass(frozen=True)
class Point:
    """One combination of parameters.

    Attributes
    ----------
    params : LgsParams
        The parameters.
    clean, attacked : Share
        Images classified rightly without and under attack.
    front : bool
        Whether it is on the Pareto front: no other point is better in one and at least as good
        in the other.
    """

    params: LgsParams
    clean: Share
    attacked: Share
    front: bool


@dataclass(frozen=True)
class Tuning:
    """What was tried, and what was chosen.

    Attributes
    ----------
    model : str
        What the user named it.
    population : str
        Which photographs it was tried on, in words.
    attack : str
        What they were attacked with.
    points : tuple of Point
        In the order of the grid.
    chosen : Point
        The one with the best weighted accuracy; of equals the closest to the defaults.
    """

    model: str
    population: str
    attack: str
    points: tuple[Point, ...]
    chosen: Point

    @property
    def options(self) -> str:
        """The chosen parameters as options of ``lgs clean``."""
        return " ".join(
            f"--{name.replace('_', '-')} {value:g}"
            for name, value in asdict(self.chosen.params).items()
        )


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


def write(tuning: Tuning) -> str:
    """Write a tuning as text: the Pareto front, and the chosen line as options to paste.

    Parameters
    ----------
    tuning : Tuning
        What to write.

    Returns
    -------
    str
        With a newline at its end.
    """
    front = sorted(
        (point for point in tuning.points if point.front),
        key=lambda point: (-point.clean.value, -point.attacked.value),
    )
    heads = ["smoothing", "threshold", "block size", "overlap", "clean", "attacked", ""]
    lines = [heads] + [
        [f"{value:g}" for value in asdict(point.params).values()]
        + [str(point.clean), str(point.attacked), "chosen" if point is tuning.chosen else ""]
        for point in front
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    body = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    head = (
        f"{tuning.model}: accuracy on {tuning.population} [95 % interval], clean and under "
        f"{tuning.attack}; the {len(front)} of {len(tuning.points)} combinations that no other "
        "beats in both"
    )
    return "\n".join([head, "", *body, "", tuning.options]) + "\n"


def to_json(tuning: Tuning) -> str:
    """Write a tuning as JSON: every point, the front marked, the chosen one as options."""
    points = [
        {
            **asdict(point.params),
            "clean": point.clean.value,
            "attacked": point.attacked.value,
            "images": point.clean.total,
            "front": point.front,
            "chosen": point is tuning.chosen,
        }
        for point in tuning.points
    ]
    return (
        json.dumps(
            {
                "model": tuning.model,
                "population": tuning.population,
                "attack": tuning.attack,
                "options": tuning.options,
                "points": points,
            },
            ensure_ascii=False,
            indent=2,
        )
        + "\n"
    )


_SIDE, _EDGE = 400, 60


def chart(tuning: Tuning) -> str:
    """Draw a tuning: clean against attacked accuracy, the front joined, the choice ringed.

    Parameters
    ----------
    tuning : Tuning
        What to draw.

    Returns
    -------
    str
        An ``<svg>`` element to put into a page; it refers to nothing outside of itself.
    """

    def at(point: Point) -> tuple[float, float]:
        return _EDGE + _SIDE * point.clean.value, 10 + _SIDE * (1 - point.attacked.value)

    parts = []
    for tick in range(0, 11, 2):
        offset = _SIDE * tick / 10
        x, y = _EDGE + offset, 10 + _SIDE - offset
        parts.append(
            f'<path d="M{x:g} 10V{10 + _SIDE}M{_EDGE} {y:g}H{_EDGE + _SIDE}" '
            f'stroke="currentColor" stroke-opacity=".12"/>'
            f'<text x="{x:g}" y="{_SIDE + 26}" text-anchor="middle">{tick / 10:g}</text>'
            f'<text x="{_EDGE - 8}" y="{y + 4:g}" text-anchor="end">{tick / 10:g}</text>'
        )
    front = sorted(at(point) for point in tuning.points if point.front)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in front)
    parts.append(f'<polyline points="{path}" fill="none" stroke="#d55e00"/>')
    for point in sorted(tuning.points, key=lambda point: point.front):
        x, y = at(point)
        title = ", ".join(
            f"{name.replace('_', ' ')} {value:g}" for name, value in asdict(point.params).items()
        )
        color = "#d55e00" if point.front else "#999999"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"><title>{escape(title)}: '
            f"clean {point.clean.value:.2f}, attacked {point.attacked.value:.2f}</title></circle>"
        )
    x, y = at(tuning.chosen)
    parts.append(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8" fill="none" stroke="#0072b2" stroke-width="2"/>'
    )
    middle = _EDGE + _SIDE / 2
    parts.append(
        f'<text x="{middle:g}" y="{_SIDE + 44}" text-anchor="middle">clean accuracy</text>'
        f'<text transform="translate(16 {10 + _SIDE / 2:g}) rotate(-90)" text-anchor="middle">'
        f"accuracy under {escape(tuning.attack)}</text>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_EDGE + _SIDE + 20} {_SIDE + 54}" '
        f'role="img" aria-label="clean against attacked accuracy" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="currentColor">'
        f"{''.join(parts)}</svg>"
    )
