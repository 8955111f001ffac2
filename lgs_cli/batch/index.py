"""A table of what is known of paths: in memory, and beyond some size in a temporary file."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lgs_cli.errors import StorageError

if TYPE_CHECKING:
    import sqlite3

# Entries in memory, some 190 bytes each; and kilobytes of the file that are held there.
MOST = 500_000
_CACHE = 32_768

_SELECT = "SELECT place, state FROM entries WHERE key = ?"
_SELECT_ORDERED = (
    "SELECT key, place, state FROM entries WHERE place >= ? AND place < ? ORDER BY place"
)

_WORD = (1 << 64) - 1
_SIGNED = (1 << 63) - 1  # what SQLite holds
_BITS_OF_NAME = 43
_NAME, _FOLDER = (1 << _BITS_OF_NAME) - 1, (1 << 20) - 1


def key_of(path: str) -> int:
    """Hash a path to 63 bits; those of one directory are neighbors, and so are read together."""
    folder, _, name = path.rpartition("/")
    return (hash(folder) & _FOLDER) << _BITS_OF_NAME | hash(name) & _NAME


class Index:
    """Keys of 63 bits to values of 192 bits; ordered by the lowest 64 bits, which are below 2**63.

    Whatever goes beyond `MOST` entries is in a table of SQLite that nobody else can see, and that
    the system removes with the process. One thread writes; several may read.
    """

    def __init__(self) -> None:
        self._recent: dict[int, int] = {}
        self._disk: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def __setitem__(self, key: int, value: int) -> None:
        self._recent[key] = value
        if len(self._recent) >= MOST:
            self._spill()

    def get(self, key: int) -> int | None:
        """Give the value of a key; None if there is none."""
        value = self._recent.get(key)
        if value is not None or self._disk is None:
            return value
        try:  # _refusals takes longer than SQLite
            with self._lock:
                found = self._disk.execute(_SELECT, (key,))
                row = found.fetchone()
        except Exception as error:
            raise _refusal(error) from error
        return None if row is None else _joined(*row)

    def __contains__(self, key: int) -> bool:
        return self.get(key) is not None

    def __delitem__(self, key: int) -> None:
        self._recent.pop(key, None)
        if self._disk is not None:
            with self._lock, _refusals():
                self._disk.execute("DELETE FROM entries WHERE key = ?", (key,))

    def __len__(self) -> int:
        if self._disk is None:
            return len(self._recent)
        self._spill()
        with _refusals():
            count: int = self._disk.execute("SELECT count(*) FROM entries").fetchone()[0]
        return count

    def items(self, first: int = 0, end: int = _SIGNED) -> Iterator[tuple[int, int]]:
        """Give keys and values, in the order of the values' lowest 64 bits.

        Parameters
        ----------
        first, end : int
            What these bits are at the least, and what they are below.
        """
        if self._disk is None:
            chosen = (item for item in self._recent.items() if first <= item[1] & _WORD < end)
            yield from sorted(chosen, key=lambda item: item[1] & _WORD)
            return
        self._spill()
        with _refusals():
            for key, *value in self._disk.execute(_SELECT_ORDERED, (first, end)):
                yield key, _joined(*value)

    def values(self) -> Iterator[int]:
        """Give all values, in the same order."""
        return (value for _, value in self.items())

    def places(self) -> Iterator[int]:
        """Give the lowest 64 bits of all values, in no order."""
        if self._disk is None:
            yield from (value & _WORD for value in self._recent.values())
            return
        self._spill()
        with _refusals():
            yield from (place for (place,) in self._disk.execute("SELECT place FROM entries"))

    def close(self) -> None:
        """Forget all."""
        self._recent = {}
        if self._disk is not None:
            self._disk.close()
            self._disk = None

    def _spill(self) -> None:
        """Move what is in memory to the disk."""
        rows = (
            (key, value & _WORD, (value >> 64).to_bytes(16, "big"))
            for key, value in sorted(self._recent.items())
        )
        with self._lock, _refusals():
            if self._disk is None:
                self._disk = _table()
            with self._disk:
                self._disk.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", rows)
        self._recent = {}


def _joined(place: int, state: bytes) -> int:
    return int.from_bytes(state, "big") << 64 | place


def _table() -> sqlite3.Connection:
    import sqlite3  # of no use to nearly all runs

    table = sqlite3.connect("", check_same_thread=False)  # "": a file without a name
    for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE}"):
        table.execute(f"PRAGMA {setting}")
    table.execute("CREATE TABLE entries (key INTEGER PRIMARY KEY, place INTEGER, state BLOB)")
    return table


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        raise _refusal(error) from error


def _refusal(error: Exception) -> StorageError:
    return StorageError(f"cannot write into the directory for temporary files (TMPDIR): {error}")
