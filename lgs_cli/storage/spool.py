"""Paths that wait for the end of a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import IO

from lgs_cli.errors import StorageError

# Paths in memory.
MOST = 10_000
_BLOCK = 1 << 20  # bytes


class Spool:
    """Paths in the order in which they came: in memory, and in a temporary file if there are many.

    Nobody else can see that file, and the system removes it with the process.
    """

    def __init__(self) -> None:
        self._recent: list[str] = []
        self._file: IO[bytes] | None = None
        self._count = 0

    def append(self, path: str) -> None:
        """Keep one more.

        Raises
        ------
        StorageError
            If the disk refuses.
        """
        self._count += 1
        self._recent.append(path)
        if len(self._recent) >= MOST:
            self._spill()

    def _spill(self) -> None:
        from tempfile import TemporaryFile  # takes long to load, and is seldom needed

        with refusals():
            if self._file is None:
                self._file = TemporaryFile()
            self._file.write(b"".join(os.fsencode(path) + b"\0" for path in self._recent))
            self._file.flush()
        self._recent = []

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        """Give all, once none are added any more."""
        if self._file is not None:
            self._file.seek(0)
            rest = b""
            while data := self._file.read(_BLOCK):
                *paths, rest = (rest + data).split(b"\0")
                yield from map(os.fsdecode, paths)
        yield from self._recent

    def close(self) -> None:
        """Forget all."""
        if self._file is not None:
            self._file.close()


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Make an error of the disk for temporary files a StorageError that says so."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise StorageError(
            f"cannot write into the directory for temporary files (TMPDIR): {reason}"
        ) from error
