"""A run's JSONL report, read back: what ``lgs clean --report`` and ``lgs scan --json`` write."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lgs_cli.defenses.defense import Region
from lgs_cli.errors import LgsError

STATUSES = ("done", "skipped", "failed")


@dataclass(frozen=True)
class Entry:
    """One image of a run, as its line of the report says.

    Attributes
    ----------
    source, status : str
        The file read; ``"done"``, ``"skipped"`` or ``"failed"``.
    output, mask, error, format, method : str or None
        The files written, why the image failed, its format, the defense.
    width, height : int or None
        In pixels.
    coverage : float or None
        Share of pixels with mask > 0, in [0, 1].
    score : float or None
        How suspicious the image is, in [0, 1], where that was looked at.
    regions : tuple of Region
        The patches found, in pixels as stored.
    moved_to : str or None
        Where the file read lies since.
    unchanged : bool
        Whether the output is the input's bytes.
    seconds : float or None
        Time spent on the image.
    params : dict
        The defense's parameters.
    notes : tuple of str
        What the run said about the image besides.
    """

    source: str
    status: str
    output: str | None = None
    mask: str | None = None
    error: str | None = None
    format: str | None = None
    method: str | None = None
    width: int | None = None
    height: int | None = None
    coverage: float | None = None
    unchanged: bool = False
    seconds: float | None = None
    params: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    score: float | None = None
    regions: tuple[Region, ...] = ()
    moved_to: str | None = None

    @property
    def is_clear(self) -> bool:
        """Whether patches were looked for, and none was found."""
        return self.score is not None and not self.regions


@dataclass(frozen=True)
class Run:
    """One run of ``lgs``.

    Attributes
    ----------
    name : str
        The report's file name.
    entries : tuple of Entry
        One an image, in input order.
    commands : tuple of str
        The command line; several where the file was put together from several runs.
    """

    name: str
    entries: tuple[Entry, ...]
    commands: tuple[str, ...] = ()


def read_run(path: Path) -> Run:
    """Read the JSONL that ``lgs clean --report`` or ``lgs scan --json`` writes.

    Parameters
    ----------
    path : Path
        One JSON object an image, one a line.

    Returns
    -------
    Run
        The images in the file's order.

    Raises
    ------
    LgsError
        Where the file cannot be read, or a line is not such an object; names file and line.
    """
    entries: list[Entry] = []
    commands: dict[str, None] = {}
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line.decode().strip(), parse_constant=_refuse_constant)
                    if not isinstance(record, dict):
                        raise ValueError("not an object")
                    entries.append(_entry(record))
                    if isinstance(record.get("command"), str):
                        commands.setdefault(record["command"])
                except (ValueError, RecursionError) as error:
                    reason = str(error)
                    if isinstance(error, json.JSONDecodeError):  # which counts lines of its own
                        reason = f"{error.msg}, column {error.colno}"
                    raise LgsError(f"{path}, line {number}: {reason}") from error
    except OSError as error:
        raise LgsError(f"{path}: {error.strerror}") from error
    return Run(path.name, tuple(entries), tuple(commands))


def by_interest(entries: Sequence[Entry]) -> list[int]:
    """Sort images, the most suspicious first, or, where none has a score, the most changed.

    Parameters
    ----------
    entries : sequence of Entry
        The images.

    Returns
    -------
    list of int
        Their places; those without a value last.
    """
    scored = any(entry.score is not None for entry in entries)

    def key(index: int) -> float:
        value = entries[index].score if scored else entries[index].coverage
        return 1.0 if value is None else -value

    return sorted(range(len(entries)), key=key)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _entry(record: dict[str, Any]) -> Entry:
    source, status = _get(record, "source", str), _get(record, "status", str)
    if source is None:
        raise ValueError('no "source"')
    if status not in STATUSES:
        raise ValueError(f'"status" is {json.dumps(status)}; valid is {", ".join(STATUSES)}')
    texts = ("output", "mask", "error", "format", "method", "moved_to")
    return Entry(
        source,
        status,
        **{name: _get(record, name, str) for name in texts},
        width=_get(record, "width", int),
        height=_get(record, "height", int),
        coverage=_share(record, "coverage"),
        score=_share(record, "score"),
        regions=tuple(_region(region) for region in _get(record, "regions", list, default=[])),
        unchanged=_get(record, "unchanged", bool, default=False),
        seconds=_get(record, "seconds", int, float),
        params=_get(record, "params", dict, default={}),
        notes=tuple(str(note) for note in _get(record, "notes", list, default=[])),
    )


def _get(record: dict[str, Any], name: str, *types: type, default: Any = None) -> Any:
    value = record.get(name)
    if value is None:
        return default
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ValueError(f"{json.dumps(name)} is {json.dumps(value)[:80]}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{json.dumps(name)} is out of range")
    return value


def _share(record: dict[str, Any], name: str) -> float | None:
    share: float | None = _get(record, name, int, float)
    if share is not None and not 0 <= share <= 1:
        raise ValueError(f"{json.dumps(name)} is {share}; valid is 0 to 1")
    return share


def _region(region: object) -> Region:
    if not isinstance(region, dict):
        raise ValueError('"regions" holds what is no object')
    x, y, width, height = (_get(region, name, int, default=-1) for name in Region._fields[:4])
    score = _share(region, "score")
    if score is None or min(x, y, width, height) < 0:
        raise ValueError(f'"regions" holds {json.dumps(region)[:80]}')
    return Region(x, y, width, height, score)
