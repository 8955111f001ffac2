"""Results that are there before their turn."""

from __future__ import annotations

import os
import pickle
from typing import IO, TYPE_CHECKING

from lgs_cli.batch.index import Index
from lgs_cli.storage.spool import refusals

if TYPE_CHECKING:
    from lgs_cli.batch.job import Result
    from lgs_cli.storage.inputs import Source

# In memory, some 2 kilobytes each.
MOST = 10_000


class Early:
    """Images and their results until they are asked for: few in memory, others in a temporary file.

    An image may take as long as a million others, and the workers do not wait for it. Nobody else
    can see the file, and the system removes it with the process.
    """

    def __init__(self) -> None:
        self._near: dict[int, tuple[Source, Result]] = {}
        self._far = Index()  # where in the file each begins
        self._file: IO[bytes] | None = None
        self._count = 0  # of those in the file

    def add(self, source: Source, result: Result) -> None:
        """Keep one more.

        Raises
        ------
        StorageError
            If the disk refuses.
        """
        if len(self._near) < MOST:
            self._near[result.place] = source, result
            return
        from tempfile import TemporaryFile  # takes long to load, and is seldom needed

        with refusals():
            if self._file is None:
                self._file = TemporaryFile()
            start = self._file.seek(0, os.SEEK_END)
            pickle.dump((source, result), self._file)
            self._file.flush()
        self._far[result.place] = start
        self._count += 1

    def pop(self, place: int) -> tuple[Source, Result] | None:
        """Give the image of this place and its result, and forget them; None if it is not there."""
        if place in self._near:
            return self._near.pop(place)
        start = self._far.get(place) if self._count else None
        if start is None or self._file is None:
            return None
        self._file.seek(start)
        found: tuple[Source, Result] = pickle.load(self._file)
        del self._far[place]
        self._count -= 1
        if not self._count:
            self._file.truncate(0)
        return found

    def close(self) -> None:
        """Forget all."""
        self._far.close()
        if self._file is not None:
            self._file.close()
