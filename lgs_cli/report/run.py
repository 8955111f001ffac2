"""A whole report, read once: its totals, and the images that a page has room for."""

from __future__ import annotations

import heapq
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from lgs_cli.errors import LgsError
from lgs_cli.report.records import Record, read_line
from lgs_cli.wording import counted

BINS = 20
# What one page has room for, of images that failed and of others.
_ROOM = 19_000_000
_LONGEST_LINE = 1 << 20
_SETTINGS, _LONG_SETTING, _COMMANDS = 100, 2000, 10
# About what a page needs for an image beside its texts.
_OVERHEAD = 120


@dataclass
class Totals:
    """What all images of a run come to. It takes 16 bytes an image, however many there are.

    Attributes
    ----------
    statuses : Counter
        Images by status.
    unchanged : int
        Images done that the defense left as they were.
    coverages, seconds : array
        Of each image that has one.
    scores, coverage_bins : list of int
        Images by score and by coverage above 0, in :data:`BINS` equal steps from 0 to 1.
    scored, found : int
        Images in which patches were looked for, and were found.
    written : int
        Images with an output or a coverage.
    settings : Counter
        Images by method and parameters, the latter as JSON. None counts those whose settings are
        too long, or beyond the first 100.
    commands : list of str
        The first command lines that were run.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    unchanged: int = 0
    coverages: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    score_bins: list[int] = field(default_factory=lambda: [0] * BINS)
    coverage_bins: list[int] = field(default_factory=lambda: [0] * BINS)
    scored: int = 0
    found: int = 0
    written: int = 0
    settings: Counter[tuple[str, str] | None] = field(default_factory=Counter)
    commands: list[str] = field(default_factory=list)

    @property
    def images(self) -> int:
        """All records, those of files that were passed over too."""
        return self.statuses.total()

    @property
    def description(self) -> str:
        """How many images there are, and how many files that were passed over."""
        passed_over = self.statuses["unsupported"]
        images = counted(self.images - passed_over, "image")
        return f"{images} and {counted(passed_over, 'other file')}" if passed_over else images

    @property
    def is_scan(self) -> bool:
        """Whether patches were looked for in these images, and nothing else was done."""
        return bool(self.scored) and not self.written

    def add(self, record: Record) -> None:
        """Count one image."""
        self.statuses[record.status] += 1
        self.unchanged += record.status == "done" and record.unchanged
        self.written += record.output is not None or record.coverage is not None
        self.scored += record.score is not None
        self.found += bool(record.regions)
        if record.coverage is not None:
            self.coverages.append(record.coverage)
            if record.coverage > 0:
                self.coverage_bins[min(int(record.coverage * BINS), BINS - 1)] += 1
        if record.score is not None:
            self.score_bins[min(int(record.score * BINS), BINS - 1)] += 1
        if record.seconds is not None:
            self.seconds.append(record.seconds)


@dataclass(frozen=True)
class Run:
    """One run of ``lgs``, or several whose reports were put together.

    Attributes
    ----------
    name : str
        The report's file name.
    totals : Totals
        Of all images.
    records : tuple of Record
        The images, in the order of the report. Of very many, those that failed first, and those
        with the highest score or else coverage.
    bad_lines : int
        Lines that are not the record of an image.
    """

    name: str
    totals: Totals
    records: tuple[Record, ...]
    bad_lines: int = 0

    def by_interest(self) -> list[int]:
        """Sort the records' places: the highest score first, or coverage if none has a score.

        Those without a value are last.
        """
        return sorted(range(len(self.records)), key=lambda place: _dullness(self.records[place]))


def _dullness(record: Record) -> tuple[float, float]:
    score = -1.0 if record.score is None else record.score
    coverage = -1.0 if record.coverage is None else record.coverage
    return -score, -coverage


def read_runs(paths: Sequence[Path], complain: Callable[[str], None]) -> Run:
    """Read what ``lgs clean --report`` and ``lgs scan --json`` write, several files as one run.

    Parameters
    ----------
    paths : sequence of Path
        Files of one JSON object an image, one a line.
    complain : callable
        Called for each line that is not such an object, with a message on one line.

    Returns
    -------
    Run
        The other lines.

    Raises
    ------
    LgsError
        If a file cannot be read.
    """
    bad = 0

    def refuse(message: str) -> None:
        nonlocal bad
        bad += 1
        complain(message)

    name = paths[0].name + (f" and {counted(len(paths) - 1, 'other')}" if paths[1:] else "")
    run = collect(name, chain.from_iterable(_read(path, refuse) for path in paths))
    return replace(run, bad_lines=bad)


def _read(path: Path, refuse: Callable[[str], None]) -> Iterator[tuple[Record, str | None]]:
    number = 0
    try:
        with path.open("rb") as lines:
            while line := lines.readline(_LONGEST_LINE):
                number += 1
                try:
                    if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                        _skip_line(lines)
                        raise ValueError("longer than 1 MB")
                    if line.strip():
                        yield read_line(line)
                except ValueError as error:
                    refuse(f"{path}, line {number}: {error}")
    except OSError as error:
        raise LgsError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _skip_line(lines: BinaryIO) -> None:
    while (rest := lines.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
        pass


def collect(name: str, records: Iterable[tuple[Record, str | None]]) -> Run:
    """Count records, and keep as many as a page has room for.

    Parameters
    ----------
    name : str
        What to call the run.
    records : iterable of (Record, str or None)
        The images, each with the command line that was run.
    """
    totals = Totals()
    failed, others = _Shelf(), _Shelf()
    known: dict[tuple[str, str], Record] = {}
    for place, (record, command) in enumerate(records):
        totals.add(record)
        known_commands = totals.commands
        if command and command not in known_commands and len(known_commands) < _COMMANDS:
            known_commands.append(command)
        setting = record.method or "", json.dumps(record.params)
        if setting in known or (len(known) < _SETTINGS and len("".join(setting)) < _LONG_SETTING):
            # One copy for all: this is most of what a record takes.
            first = known.setdefault(setting, record)
            record = replace(record, method=first.method, params=first.params)
            totals.settings[setting] += 1
        else:
            record = replace(record, method=None, params={})
            totals.settings[None] += 1
        if record.status == "failed":
            failed.put((0.0, 0.0), place, record)
        else:
            others.put(_dullness(record), place, record)
    kept = sorted([*failed.items(), *others.items()], key=lambda item: item[0])
    return Run(name, totals, tuple(record for _, record in kept))


class _Shelf:
    """Keeps the records of least dullness, the first ones of the same, in limited room."""

    def __init__(self) -> None:
        # The dullest on top.
        self._heap: list[tuple[tuple[float, float], int, Record]] = []
        self._used = 0

    def put(self, dullness: tuple[float, float], place: int, record: Record) -> None:
        """Keep a record, and drop the dullest ones if there is no more room."""
        item = (-dullness[0], -dullness[1]), -place, record
        self._used += _size(record)
        heapq.heappush(self._heap, item)
        while self._used > _ROOM and len(self._heap) > 1:
            self._used -= _size(heapq.heappop(self._heap)[2])

    def items(self) -> list[tuple[int, Record]]:
        """List place and record of each."""
        return [(-place, record) for _, place, record in self._heap]


def _size(record: Record) -> int:
    """Return about how many bytes of a page a record takes."""
    paths = record.source, record.output, record.mask, record.moved_to
    texts = (*paths, record.error, record.format, *record.notes)
    return _OVERHEAD + sum(len(text) for text in texts if text) + 24 * len(record.regions)
