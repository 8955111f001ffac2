"""How far a command is: a bar on a terminal, or lines of JSON for programs. On stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

import click

if TYPE_CHECKING:
    from tqdm import tqdm

Command = TypeVar("Command", bound=Callable[..., Any])

FORMS = ("auto", "json", "none")

# Seconds between two lines of JSON.
_PAUSE = 0.5

progress_option = click.option(
    "--progress", type=click.Choice(FORMS), default="auto", show_default=True,
    help="On stderr: a bar if that is a terminal, a JSON object a line for programs, or none.",
)  # fmt: skip


class Meter:
    """Counts of what is done, shown while it is entered.

    A JSON object has the keys ``event`` (``"progress"``), ``what`` (what is being done), ``done``,
    ``total`` (null if unknown), ``found`` (so far; null if unknown), ``unit``, ``seconds`` and
    ``seconds_left`` (null if unknown); on a cluster also ``workers`` and
    ``images_per_second_and_worker``.

    Parameters
    ----------
    unit : str
        What is counted.
    total : int or None
        How many there are.
    form : str
        One of `FORMS`.
    """

    def __init__(self, unit: str, total: int | None, form: str = "auto") -> None:
        self._unit = unit
        self._total = self._found = total
        self._json = form == "json"
        self._done = self._first = 0
        self._what = ""
        self._start = time.monotonic()
        self._said = -_PAUSE
        self._told: tuple[str, int] | None = None
        self._facts: dict[str, object] = {}
        self._bar: tqdm[NoReturn] | None = None
        if form == "auto" and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=unit, dynamic_ncols=True, leave=False)
        self._tell()

    def __enter__(self) -> Self:
        return self

    def start(self, what: str, total: int | None, done: int = 0) -> None:
        """Begin to count something else.

        Parameters
        ----------
        what : str
            What is being done, printable.
        total : int or None
            How many there are of it.
        done : int
            How many are done already; they say nothing about the pace.
        """
        self._what, self._done, self._first = what, done, done
        self._total = self._found = total
        self._start = time.monotonic()
        if self._bar is not None:
            self._bar.reset(total)
            self._bar.n = self._bar.initial = done
            self._bar.set_description(what)
        self._tell()

    def expect(self, found: int, total: int | None) -> None:
        """Say how many there are so far, and in all if that is known by now."""
        if self._bar is not None and total != self._total:
            self._bar.total = total
            self._bar.set_postfix_str("", refresh=False)
        elif self._bar is not None and total is None:
            self._bar.set_postfix_str(f"{found:,} found", refresh=False)
        self._found, self._total = found, total

    def advance(self, count: int = 1) -> None:
        """Count some more."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        self._tell()

    def note(self, text: str) -> None:
        """Show a few words behind the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def tell_also(self, facts: dict[str, object]) -> None:
        """Add these keys and values to each JSON object from now on."""
        self._facts = facts

    def clear(self) -> None:
        """Make room for a line; the bar comes back with the next count."""
        if self._bar is not None:
            self._bar.clear()

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._told != (self._what, self._done):
            self._said = -_PAUSE
            self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if not self._json or (
            now - self._said < _PAUSE and self._done not in (self._first, self._total)
        ):
            return
        self._said, self._told = now, (self._what, self._done)
        spent = now - self._start
        left = None
        if self._total is not None and self._done > self._first:
            pace = spent / (self._done - self._first)
            left = round(pace * (self._total - self._done), 1)
        record = {
            "event": "progress",
            "what": self._what,
            "done": self._done,
            "total": self._total,
            "found": self._found,
            "unit": self._unit,
            "seconds": round(spent, 1),
            "seconds_left": left,
            **self._facts,
        }
        click.echo(json.dumps(record), err=True)
