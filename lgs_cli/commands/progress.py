"""What a user sees on stderr of a run: a bar on a terminal, failures, the summary."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, Self

import click

from lgs_cli.commands.meter import Meter
from lgs_cli.commands.throughput import Throughput
from lgs_cli.errors import LgsError
from lgs_cli.report.summary import describe_result
from lgs_cli.wording import counted

if TYPE_CHECKING:
    from lgs_cli.batch.job import Result
    from lgs_cli.batch.workers import Cluster


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


class Amount(Protocol):
    """How many images a run has, which may find them while it works."""

    @property
    def count(self) -> int:
        """Those found so far."""
        ...

    @property
    def total(self) -> int | None:
        """All of them; None as long as nobody knows."""
        ...


class Progress:
    """A progress bar while it is entered, then the summary.

    Parameters
    ----------
    counts : Counts
        What the summary says.
    amount : Amount, int or None
        The images of the run; None if nobody will know.
    quiet : bool
        Whether to show neither.
    form : str
        One of `meter.FORMS`. JSON is also told if `quiet`.
    cluster : Cluster, optional
        What does the images: how much each of its workers does is shown as well.
    """

    def __init__(
        self,
        counts: Counts,
        amount: Amount | int | None,
        *,
        quiet: bool,
        form: str = "auto",
        cluster: Cluster | None = None,
    ) -> None:
        self._counts = counts
        self._amount = amount
        self._quiet = quiet
        self._start = time.perf_counter()
        self._meter = Meter("image", self.total, "none" if quiet and form == "auto" else form)
        self._throughput = None if cluster is None else Throughput(cluster)

    @property
    def total(self) -> int | None:
        """The images of the run, if that is known by now."""
        if self._amount is None or isinstance(self._amount, int):
            return self._amount
        return self._amount.total

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
            if self._amount is not None and not isinstance(self._amount, int):
                self._meter.expect(self._amount.count, self._amount.total)
            if self._throughput is not None:
                self._throughput.add(result)
                self._meter.note(self._throughput.text())
                self._meter.tell_also(self._throughput.facts())
            self._meter.advance()
            if result.fatal:
                raise LgsError(f"stopped: {result.error}")
            if max_failures is not None and self._counts.failed > max_failures:
                raise LgsError(f"stopped after {counted(self._counts.failed, 'failure')}")

    def __exit__(self, *exception: object) -> None:
        self._meter.__exit__(*exception)
        if self._quiet:
            return
        seconds = time.perf_counter() - self._start
        summary = f"{self._counts.summary(seconds)}{self._rest()}"
        if isinstance(exception[1], LgsError):
            exception[1].add_note(summary)  # is printed below the error, and not before it
        else:
            click.echo(summary, err=True)

    def _rest(self) -> str:
        """Say how many images a run that was cut short has left."""
        amount = self._amount
        if amount is None:
            return ""
        missing = (amount if isinstance(amount, int) else amount.count) - self._counts.total
        more = "" if self.total is not None else " or more"
        return f"; {missing:,}{more} not reached" if missing else ""
