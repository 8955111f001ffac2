"""What came of a run: counts, a summary, one line an image. Prints nothing."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

from lgs_cli.batch.job import Result
from lgs_cli.defenses.chain import Chain, describe, method_name
from lgs_cli.wording import counted, printable


@dataclass
class Report:
    """Counts of a run so far.

    Attributes
    ----------
    done, unchanged, skipped, failed : int
        Images; `unchanged` ones are done ones that the defense left as they were.
    """

    done: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0

    def add(self, result: Result) -> None:
        """Count one result."""
        if result.status == "done":
            self.done += 1
            self.unchanged += result.unchanged
        elif result.status == "skipped":
            self.skipped += 1
        else:
            self.failed += 1

    @property
    def total(self) -> int:
        """All images so far."""
        return self.done + self.skipped + self.failed

    @property
    def exit_code(self) -> int:
        """0 where no image failed, else 1."""
        return 1 if self.failed else 0

    def summary(self, seconds: float) -> str:
        """Say it all on one line.

        Parameters
        ----------
        seconds : float
            What the run took.

        Returns
        -------
        str
            For example ``240 images: 240 done (3 unchanged), 0 skipped, 0 failed in 4.2 s``.
        """
        unchanged = f" ({self.unchanged} unchanged)" if self.unchanged else ""
        return (
            f"{counted(self.total, 'image')}: {self.done} done{unchanged}, {self.skipped} skipped, "
            f"{self.failed} failed in {seconds:.1f} s"
        )


@dataclass(frozen=True)
class JsonLines:
    """Results as JSON lines.

    Attributes
    ----------
    chain : tuple of Step
        The defenses of the run.
    command : str
        The command line that was run.
    """

    chain: Chain
    command: str
    _constant: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        constant = {
            "method": method_name(self.chain),
            "params": describe(self.chain),
            "command": self.command,
        }
        object.__setattr__(self, "_constant", json.dumps(constant)[1:])

    def line(self, result: Result) -> str:
        """Write one result as a JSON object on a line of its own, ASCII only.

        Bytes of a file name that are no UTF-8 become the escapes of lone surrogates, from which
        ``os.fsencode`` makes the bytes again.
        """
        record = {
            "source": result.source,
            "output": result.output,
            "mask": result.mask,
            "status": result.status,
            "error": result.error,
            "width": result.width,
            "height": result.height,
            "format": result.format,
            "coverage": result.coverage,
            "score": result.score,
            "regions": [region._asdict() for region in result.regions],
            "unchanged": result.unchanged,
            "seconds": round(result.seconds, 6),
            "notes": result.notes,
        }
        return f"{json.dumps(record)[:-1]}, {self._constant}\n"


def describe_result(result: Result) -> str:
    """Say on one line what came of an image, for ``--verbose`` and for failures."""
    source = printable(result.source)
    if result.status == "failed":
        return f"{source}: {printable(result.error or '')}"
    assert result.output is not None
    notes = "".join(f"; {note}" for note in result.notes)
    covered = "" if result.coverage is None else f", {result.coverage:.1%} changed"
    if result.score is not None:
        regions = counted(len(result.regions), "region") if result.regions else "no region"
        covered += f", score {short_score(result.score)}, {regions}"
    return f"{source} -> {printable(result.output)}: {result.status}{covered}{notes}"


def short_score(score: float) -> str:
    """Write a score in two digits, cut and not rounded: 0.4999 is below a threshold of 0.5."""
    return f"{math.floor(round(score * 100, 6)) / 100:.2f}"


@dataclass
class ScanReport:
    """Counts of a scan so far.

    Attributes
    ----------
    found, clean, failed : int
        Images with a patch, without one, and those that could not be looked at.
    moved, unmoved : int
        Of those with a patch, the ones that were moved away, and the ones that could not be.
    """

    found: int = 0
    clean: int = 0
    failed: int = 0
    moved: int = 0
    unmoved: int = 0

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
        """0 where no image failed and none was left where it should have gone, else 1."""
        return 1 if self.failed or self.unmoved else 0

    def summary(self, seconds: float) -> str:
        """Say it all on one line.

        Parameters
        ----------
        seconds : float
            What the scan took.

        Returns
        -------
        str
            For example ``240 images: 3 with a patch, 236 without, 1 failed in 1.2 s``.
        """
        moves = [f"{self.moved} moved"] * bool(self.moved)
        moves += [f"{self.unmoved} not moved"] * bool(self.unmoved)
        parenthesis = f" ({', '.join(moves)})" if moves else ""
        return (
            f"{counted(self.total, 'image')}: {self.found} with a patch{parenthesis}, "
            f"{self.clean} without, {self.failed} failed in {seconds:.1f} s"
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
        ``0.98  a.jpg  x=12,y=30,w=64,h=64 (0.98)``. Ends in a line feed and holds no other.
    """
    assert result.score is not None
    regions = (
        f"x={region.x},y={region.y},w={region.width},h={region.height} "
        f"({short_score(region.score)})"
        for region in result.regions
    )
    return "\t".join([short_score(result.score), printable(result.source), *regions]) + "\n"


def scan_json(result: Result, **more: str | None) -> str:
    """Write the result of a scan as a JSON object on a line of its own, ASCII only.

    Parameters
    ----------
    result : Result
        Done or failed.
    **more : str or None
        What else the object holds.

    Returns
    -------
    str
        The line; names of files as in :meth:`JsonLines.line`.
    """
    record = {
        "source": result.source,
        "status": result.status,
        "error": result.error,
        "score": result.score,
        "regions": [region._asdict() for region in result.regions],
        "width": result.width,
        "height": result.height,
        **more,
    }
    return json.dumps(record) + "\n"
