"""Choose the parameters of LGS for a model: clean accuracy against attacked accuracy."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgs_cli.defenses.chain import Step
from lgs_cli.defenses.lgs import LgsParams
from lgs_cli.errors import UsageError
from lgs_cli.evaluation import provenance
from lgs_cli.evaluation.columns import column
from lgs_cli.evaluation.dataset import Photograph
from lgs_cli.evaluation.provenance import DataHash
from lgs_cli.evaluation.selection import choose
from lgs_cli.evaluation.specs import AttackSpec
from lgs_cli.evaluation.table import Share
from lgs_cli.evaluation.victim import Victim
from lgs_cli.lazy import np
from lgs_cli.params import Params, parameter, text
from lgs_cli.wording import in_columns, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _numbers(value: str) -> tuple[float, ...]:
    return tuple(float(part) for part in value.split(","))


def _is_numbers(value: str) -> bool:
    try:
        return bool(_numbers(value))
    except ValueError:
        return False


def _numbers_of(default: str, help: str) -> Any:
    return text(default, help, "numbers separated by commas", _is_numbers)


@dataclass(frozen=True)
class TuneParams(Params):
    """Which parameters of LGS are tried.

    Attributes
    ----------
    smoothing, threshold, block_size, overlap : str
        Values to try, separated by commas. Combinations that LGS does not take are left out.
    clean_weight : float
        How much accuracy on clean images counts against accuracy on attacked ones, 0 to 1: the
        share of clean images among those to come.
    count : int
        Photographs to try on; 0: all.
    all_images : bool
        Whether photographs that the undefended model classifies wrongly are tried, too.
    """

    smoothing: str = _numbers_of("1,1.7,2.3,3,5", "Smoothing factors λ to try.")
    threshold: str = _numbers_of("0.05,0.1,0.15,0.2", "Thresholds γ to try.")
    block_size: str = _numbers_of("10,15,20", "Block sizes τ in pixels to try.")
    overlap: str = _numbers_of("0,5", "Overlaps o in pixels to try.")
    clean_weight: float = parameter(
        0.5, "Weight of clean against attacked accuracy.", at_least=0, at_most=1
    )
    count: int = parameter(64, "Photographs to try on; 0: all.", at_least=0)
    all_images: bool = parameter(False, "Try also what the undefended model classifies wrongly.")

    def grid(self) -> list[LgsParams]:
        """Return every combination that LGS takes; the last axis, the overlap, changes fastest.

        Raises
        ------
        ValueError
            If it takes none of them.
        """
        axes = (self.smoothing, self.threshold, self.block_size, self.overlap)
        combinations, reason = [], ""
        for smoothing, threshold, block_size, overlap in product(*map(_numbers, axes)):
            try:
                combinations.append(
                    LgsParams(smoothing, threshold, _whole(block_size), _whole(overlap))
                )
            except ValueError as error:
                reason = str(error)
        if not combinations:
            raise ValueError(reason)
        return combinations


def _whole(number: float) -> int:
    if not number.is_integer():
        raise ValueError(f"{number:g} is no whole number of pixels")
    return int(number)


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
class GridSearch:
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
    unseparated : int
        How many of the other points differ from it by no more than chance explains.
    provenance : dict
        Where the figures are from, as plain values.
    """

    model: str
    population: str
    attack: str
    points: tuple[Point, ...]
    chosen: Point
    unseparated: int = 0
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> str:
        """The chosen parameters as options of ``lgs clean``."""
        return " ".join(
            f"--{name.replace('_', '-')} {value:g}"
            for name, value in asdict(self.chosen.params).items()
        )


def search_grid(
    victim: Victim,
    photographs: Sequence[Photograph],
    source: AttackSpec | Path,
    params: TuneParams,
) -> GridSearch:
    """Try every combination of parameters of LGS.

    The attack knows nothing of the defense: the result is the best defense against such an
    attack, not against one that goes through it.

    Parameters
    ----------
    victim : Victim
        The model, without defenses. An attack needs one with gradients; a folder does not.
    photographs : sequence of Photograph
        Labeled images.
    source : AttackSpec or Path
        An attack to make, or a folder of attacked images.
    params : TuneParams
        The grid and the weight.

    Raises
    ------
    LgsError
        If an input cannot be used, or LGS takes no combination of the grid.
    """
    try:
        grid = params.grid()
    except ValueError as error:
        raise UsageError(f"nothing to tune: {error}") from None
    selection = choose(victim, photographs, params.count, all_images=params.all_images)
    attacked = column(victim, selection, source)
    labels = selection.chosen.labels[attacked.index]
    unharmed = selection.chosen.pixels[attacked.index]
    measured, outcomes = [], []
    victim.progress.start("grid", len(grid))
    for combination in grid:
        defended = victim.behind((Step("lgs", combination),))
        right = [defended.predict(pixels) == labels for pixels in (unharmed, attacked.pixels)]
        clean, hit = (Share(int(one.sum()), len(one)) for one in right)
        measured.append((combination, clean, hit))
        outcomes.append(np.concatenate(right))
        victim.progress.advance()
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
    settled = outcomes[points.index(best)]
    data = DataHash()
    data.update(selection.chosen)
    return GridSearch(
        printable(victim.model.spec),
        selection.population,
        attacked.name,
        points,
        best,
        unseparated=sum(_may_be_chance(settled, other) for other in outcomes) - 1,
        provenance=provenance.describe(victim, data, [] if isinstance(source, Path) else [source]),
    )


def _may_be_chance(outcomes: NDArray[np.bool_], others: NDArray[np.bool_]) -> bool:
    """Say whether two defenses may be equally good: the two-sided sign test at 5 %."""
    better, worse = int((outcomes & ~others).sum()), int((others & ~outcomes).sum())
    trials = better + worse
    tail = sum(math.comb(trials, k) for k in range(min(better, worse) + 1))
    return bool(2 * tail > 0.05 * 2**trials)


def _distance(params: LgsParams) -> float:
    """Return how far parameters are from the defaults, each relative to its default."""
    defaults = asdict(LgsParams())
    return float(sum(abs(value / defaults[name] - 1) for name, value in asdict(params).items()))


def write(search: GridSearch) -> str:
    """Write a grid search as text: the Pareto front, and the choice as options to paste.

    Of combinations with the same figures only the chosen one, or the closest to the defaults, has
    a line.
    """
    front = [point for point in search.points if point.front]
    alike: dict[tuple[int, int], list[Point]] = defaultdict(list)
    for point in sorted(
        front, key=lambda point: (point is not search.chosen, _distance(point.params))
    ):
        alike[point.clean.hits, point.attacked.hits].append(point)
    lines = [["smoothing", "threshold", "block size", "overlap", "clean", "attacked", ""]]
    for _, points in sorted(alike.items(), reverse=True):
        note = ["chosen"] if points[0] is search.chosen else []
        note += [f"{len(points) - 1} more alike"] if len(points) > 1 else []
        lines.append(
            [f"{value:g}" for value in asdict(points[0].params).values()]
            + [str(points[0].clean), str(points[0].attacked), ", ".join(note)]
        )
    caption = (
        f"{search.model}: accuracy on {search.population} [95 % interval], clean and under "
        f"{search.attack}; the {len(front)} of {len(search.points)} combinations that no other "
        "beats in both"
    )
    doubt = []
    if search.unseparated:
        doubt = [
            f"{search.unseparated} of the {len(search.points) - 1} other combinations differ from "
            "the chosen one by no more than chance explains (sign test, 5 %): more photographs "
            "(--count) may separate them",
            "",
        ]
    return "\n".join([caption, "", *in_columns(lines), "", *doubt, search.options]) + "\n"


def to_json(search: GridSearch) -> str:
    """Write a grid search as JSON: every point, the front marked, the choice as options."""
    points = [
        {
            **asdict(point.params),
            "clean": point.clean.value,
            "attacked": point.attacked.value,
            "images": point.clean.total,
            "front": point.front,
            "chosen": point is search.chosen,
        }
        for point in search.points
    ]
    return (
        json.dumps(
            {
                "model": search.model,
                "population": search.population,
                "attack": search.attack,
                "options": search.options,
                "unseparated": search.unseparated,
                "provenance": search.provenance,
                "points": points,
            },
            ensure_ascii=False,
            indent=2,
        )
        + "\n"
    )
