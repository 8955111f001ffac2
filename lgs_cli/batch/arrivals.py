"""Which files have come into directories, and are written to their end."""

from __future__ import annotations

import os
from collections.abc import Iterable

from lgs_cli.storage.inputs import Source

_Stamp = tuple[int, int, int]


class Arrivals:
    """Files as one look after the other finds them.

    A file counts as finished if two looks in a row find it with the same size and times: whoever
    writes it has paused for as long as lies between the looks.
    """

    def __init__(self) -> None:
        # Hashes, because the paths themselves would fill the memory.
        self._last: dict[int, _Stamp] = {}
        self._taken: dict[int, _Stamp] = {}

    def finished(self, sources: Iterable[Source]) -> list[Source]:
        """Look at all files once more.

        Parameters
        ----------
        sources : iterable of Source
            All that are there.

        Returns
        -------
        list of Source
            Those that are finished, and have not been given as they are now.
        """
        seen: dict[int, _Stamp] = {}
        taken: dict[int, _Stamp] = {}
        new = []
        for source in sources:
            stamp = _stamp(source)
            if stamp is None:
                continue
            key = hash(source.path)
            seen[key] = stamp
            if self._taken.get(key) == stamp:
                taken[key] = stamp
            elif self._last.get(key) == stamp:
                taken[key] = stamp
                new.append(source)
        self._last, self._taken = seen, taken
        return new


def _stamp(source: Source) -> _Stamp | None:
    """Take what a write changes; None for a file that has gone."""
    try:
        found = os.stat(source.path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino
