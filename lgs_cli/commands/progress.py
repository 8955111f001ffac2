"""What a user sees on stderr of a run: a bar on a terminal, failures, the summary."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, Self

import click

from lgs_cli.commands.meter import Meter
from lgs_cli.errors import LgsError
from lgs_cli.report.summary import describe_result
from lgs_cli.wording import counted

if TYPE_CHECKING:
    from lgs_cli.batch.job import Result


class Counts(Protocol):
    """What counts the images of a run."""

    @property
    def failed(self) -> int:
        """Those that failed so far."""
        ...

    @property
    def total(self) -> int:
        """All so far."""
        ...

    def add(self, result: Result) -> None:
        """Count one."""
        ...

    def summary(self, seconds: float) -> str:
        """Say on one line what came of them."""
        ...


class Progress:
    """A progress bar while it is entered, then the summary.

    Parameters
    ----------
    counts : Counts
        What the summary says.
    total : int or None
        The images of the run; None if nobody knows.
    quiet : bool
        Whether to show neither.
    form : str
        One of `meter.FORMS`. JSON is also told if `quiet`.
    """

    def __init__(
        self, counts: Counts, total: int | None, *, quiet: bool, form: str = "auto"
    ) -> None:
        self._counts = counts
        self._total = total
        self._quiet = quiet
        self._start = time.perf_counter()
        self._meter = Meter("image", total, "none" if quiet and form == "auto" else form)

    def __enter__(self) -> Self:
        return self

    def clear(self) -> None:
        """Make room for a line; the bar comes back with the next image."""
        self._meter.clear()

    def say(self, line: str) -> None:
        """Print a line on stderr."""
        self.clear()
        click.echo(line, err=True)

    def follow(self, results: Iterable[Result], max_failures: int | None) -> Iterator[Result]:
        """Count results and say which failed, until they end or a failure ends the run.

        Parameters
        ----------
        results : iterable of Result
            As they come.
        max_failures : int or None
            How many may fail before that ends the run; None for any number.

        Yields
        ------
        Result
            Each of them.

        Raises
        ------
        LgsError
            If a failure ends the run.
        """
        for result in results:
            self._counts.add(result)
            # What ends the run is said once, as its end.
            if result.status == "failed" and not result.fatal:
                self.say(f"lgs: {describe_result(result)}")
            yield result
            self._meter.advance()
            if result.fatal:
                raise LgsError(f"stopped: {result.error}")
            if max_failures is not None and self._counts.failed > max_failures:
                raise LgsError(f"stopped after {counted(self._counts.failed, 'failure')}")

    def __exit__(self, *exception: object) -> None:
        self._meter.__exit__(*exception)
        if not self._quiet:
            seconds = time.perf_counter() - self._start
            missing = 0 if self._total is None else self._total - self._counts.total
            end = f"; {missing:,} not reached" if missing else ""
            click.echo(f"{self._counts.summary(seconds)}{end}", err=True)
