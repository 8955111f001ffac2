"""Rows of a table of figures: each with its interval, and the bar and aim it is held against."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lgs_cli.evaluation.table import Share


@dataclass(frozen=True)
class Goal:
    """What a figure should reach."""

    bar: float
    aim: float
    at_least: bool = True

    def verdict(self, value: float) -> str:
        """Say which of the two a figure reaches."""
        reaches = (
            (lambda limit: value >= limit) if self.at_least else (lambda limit: value <= limit)
        )
        return "aim" if reaches(self.aim) else "bar" if reaches(self.bar) else "MISSED"


@dataclass(frozen=True)
class Line:
    """One row of the table.

    Attributes
    ----------
    row : str
        What was measured.
    value : float
        The figure.
    low, high : float
        Its 95 % interval; not a number where there is none.
    goal : Goal or None
        None: the figure is only reported.
    note : str
        What else there is to say.
    """

    row: str
    value: float
    low: float = math.nan
    high: float = math.nan
    goal: Goal | None = None
    note: str = ""

    def markdown(self) -> str:
        """Return the row as Markdown."""
        figure = f"{self.value:.3f}"
        if not math.isnan(self.low):
            figure += f" [{self.low:.3f}, {self.high:.3f}]"
        limits = ["–", "–", "reported"]
        if self.goal:
            sign = "≥" if self.goal.at_least else "≤"
            limits = [f"{sign} {limit:g}" for limit in (self.goal.bar, self.goal.aim)]
            limits.append(self.goal.verdict(self.value))
        return "| " + " | ".join([self.row, figure, *limits, self.note]) + " |"


def of_share(row: str, share: Share, goal: Goal | None = None, note: str = "") -> Line:
    """Return the row of a share, with Wilson's interval."""
    counts = f"{share.hits} of {share.total}"
    return Line(row, share.value, *share.interval, goal, f"{counts}; {note}" if note else counts)


def of_mean(
    row: str, values: NDArray[np.float64], goal: Goal | None = None, note: str = ""
) -> Line:
    """Return the row of a mean, with the normal interval."""
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    return Line(row, values.mean(), values.mean() - half, values.mean() + half, goal, note)


def of_ratio(
    row: str, share: Share, whole: Share, goal: Goal | None = None, note: str = ""
) -> Line:
    """Return the row of a share by another of the same pictures; the interval is the first's."""
    if not whole.hits:
        return Line(row, math.nan, note=note)
    low, high = (end / whole.value for end in share.interval)
    return Line(row, share.value / whole.value, low, high, goal, note)


def share_of(hits: NDArray[np.bool_]) -> Share:
    """Return the share of True."""
    return Share(int(hits.sum()), len(hits))
