"""What is known of paths or URLs, any number of them: a small number of each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from lgs_cli.batch.index import Index, key_of

_KEYS = (1 << 63) - 1
_BITS_OF_PLACE = 63  # which an Index keeps apart
_BITS_OF_STATE = 48
_BYTES_OF_DIGEST = 10

LARGEST = (1 << _BITS_OF_PLACE + _BITS_OF_STATE) - 1


class PathTable:
    """Paths to numbers from 0 to `LARGEST`; the paths themselves are not kept.

    The keys of an :class:`Index` are short, so that two paths may have the same: a digest of 80
    bits beside the number tells them apart, and the second takes the next key that is free.
    """

    def __init__(self) -> None:
        self._index = Index()

    def __setitem__(self, path: str, number: int) -> None:
        key, _ = self._find(path)
        self._enter(key, path, number)

    def setdefault(self, path: str, number: int) -> int | None:
        """Enter a path that is not there, and give None; else give the number that it has.

        Raises
        ------
        StorageError
            If the disk for temporary files refuses.
        """
        key, known = self._find(path)
        if known is None:
            self._enter(key, path, number)
        return known

    def get(self, path: str) -> int | None:
        """Give the number of a path; None if there is none."""
        return self._find(path)[1]

    def __contains__(self, path: str) -> bool:
        return self.get(path) is not None

    def _enter(self, key: int, path: str, number: int) -> None:
        place, state = number & (1 << _BITS_OF_PLACE) - 1, number >> _BITS_OF_PLACE
        self._index[key] = (_digest(path) << _BITS_OF_STATE | state) << 64 | place

    def _find(self, path: str) -> tuple[int, int | None]:
        """Give the key that a path has or would have, and its number if it is there."""
        key, digest = key_of(path), _digest(path)
        while (value := self._index.get(key)) is not None:
            if value >> 64 + _BITS_OF_STATE == digest:
                return key, _number(value)
            key = key + 1 & _KEYS
        return key, None

    def numbers(self) -> Iterator[int]:
        """Give the numbers of all paths, in the order of their lowest 63 bits."""
        return map(_number, self._index.values())

    def close(self) -> None:
        """Forget all."""
        self._index.close()


def _number(value: int) -> int:
    state = value >> 64 & (1 << _BITS_OF_STATE) - 1
    return state << _BITS_OF_PLACE | value & (1 << _BITS_OF_PLACE) - 1


def _digest(path: str) -> int:
    data = os.fsencode(path)
    return int.from_bytes(hashlib.blake2b(data, digest_size=_BYTES_OF_DIGEST).digest(), "big")
