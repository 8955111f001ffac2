"""What ``lgs tune`` found, as text, JSON and a plot."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from html import escape

from lgs_cli.defenses.lgs import LgsParams
from lgs_cli.evaluation.table import Share


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
    """Write a tuning as JSON: every point, the front marked, the chosen one as options.

    Parameters
    ----------
    tuning : Tuning
        What to write.

    Returns
    -------
    str
        With a newline at its end.
    """
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
