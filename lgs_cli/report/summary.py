"""A run in words for a terminal: counts, a summary, a line an image. Prints nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lgs_cli.batch.job import Result
from lgs_cli.wording import counted, printable


@dataclass
class CleanCounts:
    """Counts of a run so far.

    Attributes
    ----------
    done, unchanged, skipped, unsupported, failed : int
        Images; `unchanged` ones are done ones that the defense left as they were.
    other_kinds : int
        Files that are none of these: what they hold is not supported.
    """

    done: int = 0
    unchanged: int = 0
    skipped: int = 0
    unsupported: int = 0
    failed: int = 0
    other_kinds: int = 0

    def add(self, result: Result) -> None:
        """Count one result."""
        if result.status == "done":
            self.done += 1
            self.unchanged += result.unchanged
        elif result.status == "skipped":
            self.skipped += 1
        elif result.status == "unsupported":
            self.unsupported += 1
        else:
            self.failed += 1

    @property
    def total(self) -> int:
        """All images so far."""
        return self.done + self.skipped + self.unsupported + self.failed

    @property
    def exit_code(self) -> int:
        """0 if no image failed, else 1."""
        return 1 if self.failed else 0

    def summary(self, seconds: float) -> str:
        """Return ``240 images: 240 done (3 unchanged), 0 skipped, 0 failed in 4.2 s``."""
        unchanged = f" ({self.unchanged} unchanged)" if self.unchanged else ""
        unsupported = f"{self.unsupported} unsupported, " if self.unsupported else ""
        return (
            f"{counted(self.total, 'image')}: {self.done} done{unchanged}, {self.skipped} skipped, "
            f"{unsupported}{self.failed} failed in {seconds:.1f} s{_other_kinds(self.other_kinds)}"
        )


def _other_kinds(number: int) -> str:
    kinds = "another kind" if number == 1 else "other kinds"
    return f"; {counted(number, 'file')} of {kinds} passed over" if number else ""


def describe_result(result: Result) -> str:
    """Say on one line what came of an image, for ``--verbose`` and for failures."""
    source = printable(result.source)
    if result.status in ("failed", "unsupported"):
        stale = "; the output of an earlier run is still there" if result.stale else ""
        kind = "unsupported, " if result.status == "unsupported" else ""
        return f"{source}: {kind}{printable(result.error or '')}{stale}"
    assert result.output is not None
    notes = "".join(f"; {note}" for note in result.notes)
    covered = "" if result.coverage is None else f", {result.coverage:.1%} changed"
    if result.score is not None:
        regions = counted(len(result.regions), "region") if result.regions else "no region"
        page = f" on page {result.page}" if result.regions and result.page else ""
        covered += f", score {short_score(result.score)}, {regions}{page}"
    return f"{source} -> {printable(result.output)}: {result.status}{covered}{notes}"


def short_score(score: float) -> str:
    """Write a score in two digits, cut and not rounded: 0.4999 is below a threshold of 0.5."""
    return f"{math.floor(round(score * 100, 6)) / 100:.2f}"


@dataclass
class ScanCounts:
    """Counts of a scan so far.

    Attributes
    ----------
    found, clean, failed : int
        Images with a patch, without one, and those that could not be looked at.
    moved, unmoved : int
        Of those with a patch, the ones that were moved away, and the ones that could not be.
    other_kinds : int
        Files that are none of these: what they hold is not supported.
    """

    found: int = 0
    clean: int = 0
    failed: int = 0
    moved: int = 0
    unmoved: int = 0
    other_kinds: int = 0

    def add(self, result: Result) -> None:
        """Count one result."""
        if result.status == "failed":
            self.failed += 1
        elif result.regions:
            self.found += 1
        else:
            self.clean += 1

    @property
    def total(self) -> int:
        """All images so far."""
        return self.found + self.clean + self.failed

    @property
    def exit_code(self) -> int:
        """0 if no image failed and none could not be moved, else 1."""
        return 1 if self.failed or self.unmoved else 0

    def summary(self, seconds: float) -> str:
        """Return ``240 images: 3 with a patch, 236 without, 1 failed in 1.2 s``."""
        moves = [f"{self.moved} moved"] * bool(self.moved)
        moves += [f"{self.unmoved} not moved"] * bool(self.unmoved)
        parenthesis = f" ({', '.join(moves)})" if moves else ""
        return (
            f"{counted(self.total, 'image')}: {self.found} with a patch{parenthesis}, "
            f"{self.clean} without, {self.failed} failed in {seconds:.1f} s"
            f"{_other_kinds(self.other_kinds)}"
        )


def scan_text(result: Result) -> str:
    """Write what was found in an image as a line of columns, tabs between them.

    Parameters
    ----------
    result : Result
        Done.

    Returns
    -------
    str
        Score, path, and a column for each region, the surest first:
        ``0.98  a.jpg  x=12,y=30,w=64,h=64 (0.98)``; with ``page=2,`` before the x if the image has
        several pages. Ends in a line feed and holds no other.
    """
    assert result.score is not None
    page = f"page={result.page}," if result.page else ""
    regions = (
        f"{page}x={region.x},y={region.y},w={region.width},h={region.height} "
        f"({short_score(region.score)})"
        for region in result.regions
    )
    return "\t".join([short_score(result.score), printable(result.source), *regions]) + "\n"
