"""The file that ``--report`` names."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Self

from lgs_cli.errors import LgsError, UsageError
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from lgs_cli.batch.job import Result
    from lgs_cli.report.records import CleanLines


class ReportFile:
    """The report: a line an image, in the order of the inputs, each as soon as its turn comes.

    At the end of a run that was cut short, what is finished out of turn is written too.

    Parameters
    ----------
    path : str
        The file, or ``"-"`` for stdout.
    clean_lines : CleanLines
        Writes the lines.
    """

    def __init__(self, path: str, clean_lines: CleanLines) -> None:
        self._path = path
        self._clean_lines = clean_lines
        self._waiting: dict[int, str] = {}
        self._next = 0
        if path == "-":
            self._file: IO[str] = sys.stdout
            return
        try:
            self._file = open(path, "w", encoding="ascii")
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise UsageError(f"--report {printable(path)}: {reason}") from None

    def __enter__(self) -> Self:
        return self

    def add(self, result: Result) -> None:
        """Write a result, if its turn has come."""
        self._waiting[result.place] = self._clean_lines.line(result)
        with self._refusals():
            while self._next in self._waiting:
                self._file.write(self._waiting.pop(self._next))
                self._next += 1
            if result.status != "skipped":  # of those there may be a million in a row
                self._file.flush()

    def start_again(self) -> None:
        """Expect the first image of another run."""
        with self._refusals():
            self._write_rest()
            self._file.flush()
        self._waiting, self._next = {}, 0

    def _write_rest(self) -> None:
        for index in sorted(self._waiting):
            self._file.write(self._waiting[index])

    def __exit__(self, *exception: object) -> None:
        with self._refusals():
            try:
                self._write_rest()
            finally:
                if self._file is not sys.stdout:
                    self._file.close()

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise LgsError(f"--report {printable(self._path)}: {reason}") from None
