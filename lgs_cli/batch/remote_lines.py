"""The lines of a record that lies in objects: a copy of them in a temporary file."""

from __future__ import annotations

import contextlib
import itertools
import os
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import IO

from lgs_cli.batch import entry
from lgs_cli.batch.entry import Entry
from lgs_cli.batch.path_table import PathTable
from lgs_cli.storage.spool import refusals
from lgs_cli.storage.stores import store

# Of a line; its length and its place in the file go into one number.
_BITS_OF_LENGTH = 24
_LONGEST = (1 << _BITS_OF_LENGTH) - 1


class LinesRead:
    """The last line of each output, in the order in which the lines were read.

    Nobody else can see the file, and the system removes it with the process.
    """

    def __init__(self) -> None:
        self._places = PathTable()
        self._file: IO[bytes] | None = None
        self._end = 0
        # Where in the file the lines of each object end.
        self._ends: list[int] = []

    def add_from(self, url: str) -> None:
        """Add the lines of an object; what is none of lgs counts for nothing.

        Raises
        ------
        StorageError
            If the disk for temporary files refuses.
        ImageError
            If the object cannot be read.
        """
        with contextlib.ExitStack() as stack:
            near = stack.enter_context(_scratch())
            store.download(url, near.name)
            lines = stack.enter_context(open(near.name, "rb"))
            while line := lines.readline(_LONGEST):
                known = entry.read(line)
                if known is not None:
                    self._add(known.output, line)
        if self._file is not None:
            with refusals():
                self._file.flush()
        self._ends.append(self._end)

    def _add(self, output: str, line: bytes) -> None:
        with refusals():
            if self._file is None:
                self._file = TemporaryFile()
            self._file.write(line)
        self._places[output] = self._end << _BITS_OF_LENGTH | len(line)
        self._end += len(line)

    def entry(self, output: str) -> Entry | None:
        """Give what the last line of an output says."""
        place = self._places.get(output)
        return None if place is None else entry.read(self._line(place))

    def entries(self) -> Iterator[Entry]:
        """Give what the last line of each output says."""
        for place in self._places.numbers():
            known = entry.read(self._line(place))
            if known is not None:
                yield known

    def _line(self, place: int) -> bytes:
        assert self._file is not None
        return os.pread(self._file.fileno(), place & _LONGEST, place >> _BITS_OF_LENGTH)

    @property
    def sizes(self) -> list[int]:
        """Bytes of the lines of each object, in the order in which they were added."""
        return [end - start for start, end in itertools.pairwise((0, *self._ends))]

    def bytes_in_force(self) -> list[int]:
        """Count for each object the bytes of lines that no later one has replaced."""
        found = [0] * len(self._ends)
        for place in self._places.numbers():
            found[self._object_of(place)] += place & _LONGEST
        return found

    def _object_of(self, place: int) -> int:
        return bisect_right(self._ends, place >> _BITS_OF_LENGTH)

    def write(self, objects: Collection[int], name: Callable[[], str], most: int) -> None:
        """Write the last line of each output that is in one of some objects into new ones.

        Parameters
        ----------
        objects : collection of int
            Numbers of objects, from 0 in the order in which they were added.
        name : callable
            Gives the URL of a new object.
        most : int
            Bytes after which an object ends.

        Raises
        ------
        StorageError, ImageError
            As :func:`lgs_cli.storage.stores.store.write`, or if the disk for temporary files
            refuses.
        """
        places = (one for one in self._places.numbers() if self._object_of(one) in objects)
        place = next(places, None)
        while place is not None:
            with _scratch() as near:
                with refusals():
                    while place is not None and near.tell() < most:
                        near.write(self._line(place))
                        place = next(places, None)
                    near.flush()
                store.upload(near.name, name())

    def close(self) -> None:
        """Forget all."""
        self._places.close()
        if self._file is not None:
            self._file.close()


@contextlib.contextmanager
def _scratch() -> Iterator[IO[bytes]]:
    with refusals():
        near = NamedTemporaryFile()
    with near:
        yield near
