"""The inputs of a run, found while it works."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from lgs_cli.storage.inputs import Source

# Inputs that are found before the first is worked on, and from then on before each. Up to here a
# run knows all of them, and refuses what clashes before it writes anything.
AHEAD = 100_000


class Sources:
    """Inputs in their order, of which only the next ones are in memory; iterated once.

    Parameters
    ----------
    first : iterable of Source
        Those that are found already.
    rest : iterable of Source
        Those that come after them; one is taken whenever one is given out.

    Attributes
    ----------
    count : int
        How many have been found so far.
    total : int or None
        How many there are; None as long as nobody knows.
    """

    def __init__(self, first: Iterable[Source], rest: Iterable[Source] = ()) -> None:
        self._waiting = deque(first)
        self._rest = iter(rest)
        self.count = len(self._waiting)
        self.total: int | None = None
        self._find()

    def _find(self) -> None:
        if self.total is None:
            source = next(self._rest, None)
            if source is None:
                self.total = self.count
            else:
                self._waiting.append(source)
                self.count += 1

    def __iter__(self) -> Iterator[Source]:
        while self._waiting:
            yield self._waiting.popleft()
            self._find()
