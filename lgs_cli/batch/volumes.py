"""A record in volumes: the file that is appended to, and the full ones in a directory beside it.

The file stays where it is, because it is locked, and marks a directory of outputs. Once it is full,
its lines are copied into a volume, and then it is emptied. A kill in between leaves some lines
twice, which does no harm: the later one counts, and the earlier one goes when the record is read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lgs_cli.batch.record_file import append, blocks_of, lines_of, no_record, open_record
from lgs_cli.storage import create, temporary_path

# Bytes after which a volume is full: three million images.
FULL = 1 << 30
# Bytes of all volumes, so that a place and a length have room in 63 bits.
_LARGEST = 1 << 43

_NAME = re.compile(r"[0-9]{4,9}\.jsonl")
_TEMPORARY = temporary_path("volume")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Volume(NamedTuple):
    """An open volume.

    Attributes
    ----------
    start : int
        The place of its first byte: the volumes are counted through, as if they were one file.
    file : int
        Its descriptor.
    name : str or None
        Its name in the directory of volumes; None for the file that is appended to.
    """

    start: int
    file: int
    name: str | None = None


class Volumes:
    """All volumes of a record, from the oldest to the file that is appended to.

    Parameters
    ----------
    path : str
        The file that is appended to.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._folder_path = path.removesuffix(".jsonl") + ".volumes"
        self._folder = -1
        self._all: list[_Volume] = []
        self._limit = FULL
        # One thread appends, while another one may read a line.
        self._moving = threading.Lock()

    def open(self, file: int) -> None:
        """Begin with the file that is appended to, open; it is closed with this."""
        self._all = [_Volume(0, file)]

    @property
    def file(self) -> int:
        """The descriptor of the file that is appended to."""
        return self._all[-1].file

    @property
    def has_other_names(self) -> bool:
        """Whether the file may be part of a backup by hard links, or not be a record at all."""
        return os.fstat(self.file).st_nlink > 1

    def close(self) -> None:
        """Close all files."""
        for volume in self._all:
            os.close(volume.file)
        self._all = []
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Open what volumes there are, and read all lines, the oldest first.

        Yields
        ------
        place : int
            Where the line begins.
        line : bytes
            See :func:`~lgs_cli.batch.record_file.lines_of`.
        """
        self._open_full()
        for volume in self._all:
            for offset, line in lines_of(volume.file):
                yield volume.start + offset, line

    def line(self, place: int, length: int) -> bytes:
        """Read a line again; something else, or less, if somebody has changed the file."""
        with self._moving:
            volume = self._all[self._number(place)]
            return os.pread(volume.file, length, place - volume.start)

    def append(self, lines: bytes) -> None:
        """Write whole lines to the end."""
        append(self.file, lines)
        if os.fstat(self.file).st_size < self._limit:
            return
        # A disk that has no room for a copy may still have room for many more lines.
        with contextlib.suppress(OSError):
            if not self.has_other_names:
                self._move_on()
        self._limit = os.fstat(self.file).st_size + FULL

    def move_into(self, other: Volumes) -> None:
        """Append all lines to another record; each volume is removed once they are safe there."""
        other._end_torn_line()
        for name in self._names():
            file = self._open(name)
            try:
                other._take(file)
            finally:
                os.close(file)
            os.unlink(name, dir_fd=self._folder)
        self._remove_folder()
        other._take(self.file)
        os.unlink(self._path)

    def remove_temporary(self) -> None:
        """Remove what a run that was killed has left."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary_path(self._path))
        if self._find_folder():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_TEMPORARY, dir_fd=self._folder)
            self._remove_folder()

    def extents(self, lines: Iterable[tuple[int, int]]) -> list[tuple[int, int, bool]]:
        """Say where each volume lies, and whether it holds more than some lines.

        Parameters
        ----------
        lines : iterable of tuple
            Place and length of each of these lines, in any order.

        Returns
        -------
        list of tuple
            Of each volume, the oldest first: where it begins, where it ends, and whether there is
            more in it.
        """
        used = [0] * len(self._all)
        for place, length in lines:
            used[self._number(place)] += length
        sizes = [os.fstat(volume.file).st_size for volume in self._all]
        return [
            (volume.start, volume.start + size, size > known)
            for volume, size, known in zip(self._all, sizes, used, strict=True)
        ]

    def rewrite(self, number: int, lines: Iterable[bytes]) -> None:
        """Put a file of other lines in the place of a volume, counted from the oldest."""
        old = self._all[number]
        self._all[number] = old._replace(file=self._write(old.name, lines))
        os.close(old.file)

    def remove_empty(self) -> None:
        """Remove volumes without a line."""
        for volume in self._all[:-1]:
            if volume.name is not None and os.fstat(volume.file).st_size == 0:
                os.unlink(volume.name, dir_fd=self._folder)
                self._all.remove(volume)
                os.close(volume.file)
        self._remove_folder()

    def _number(self, place: int) -> int:
        return bisect_right(self._all, place, key=_start_of) - 1

    def _open_full(self) -> None:
        while len(self._all) > 1:
            os.close(self._all.pop(0).file)
        start = 0
        for name in self._names():
            self._all.insert(-1, _Volume(start, self._open(name), name))
            start += os.fstat(self._all[-2].file).st_size
        self._all[-1] = self._all[-1]._replace(start=start)
        if start + os.fstat(self.file).st_size > _LARGEST:
            raise no_record(self._folder_path, f"larger than {_LARGEST >> 40} TB")

    def _open(self, name: str, flags: int = os.O_RDONLY) -> int:
        return open_record(os.path.join(self._folder_path, name), flags, self._folder)

    def _names(self) -> list[str]:
        """Name the full volumes, the oldest first."""
        if not self._find_folder():
            return []
        return sorted(filter(_NAME.fullmatch, os.listdir(self._folder)), key=_number_in)

    def _find_folder(self) -> bool:
        """Open the directory of volumes, if it is there."""
        if self._folder < 0:
            try:
                self._folder = os.open(self._folder_path, _FOLDER)
            except FileNotFoundError:
                return False
            except NotADirectoryError:  # nor is a link
                raise no_record(self._folder_path, "not a directory") from None
        return True

    def _remove_folder(self) -> None:
        """Remove the directory of volumes, if it is empty."""
        if self._folder >= 0:
            with contextlib.suppress(OSError):
                os.rmdir(self._folder_path)
                os.close(self._folder)
                self._folder = -1

    def _move_on(self) -> None:
        """Copy what is in the file into volumes, and then empty it."""
        if not self._find_folder():
            mode = stat.S_IMODE(os.fstat(self.file).st_mode)
            os.mkdir(self._folder_path, mode | (mode & 0o444) >> 2 | 0o700)
            self._find_folder()
        names = self._names()
        number = 1 + (_number_in(names[-1]) if names else 0)
        current = self._all[-1]
        start = current.start
        moved: list[_Volume] = []
        blocks = blocks_of(current.file)
        try:
            for block in blocks:
                name = f"{number + len(moved):04}.jsonl"
                moved.append(_Volume(start, self._write(name, _until_full(block, blocks)), name))
                start += os.fstat(moved[-1].file).st_size
            os.fsync(self._folder)
        except BaseException:
            for volume in moved:
                os.close(volume.file)
                os.unlink(str(volume.name), dir_fd=self._folder)
            raise
        with self._moving:
            self._all[-1:] = [*moved, current._replace(start=start)]
            os.ftruncate(current.file, 0)

    def _end_torn_line(self) -> None:
        size = os.fstat(self.file).st_size
        if size > 0 and os.pread(self.file, 1, size - 1) != b"\n":
            self.append(b"\n")

    def _take(self, file: int) -> None:
        """Append the lines of another file."""
        for block in blocks_of(file):
            self.append(block[: block.rfind(b"\n") + 1])  # the last line may be torn
        os.fsync(self.file)

    def _write(self, name: str | None, lines: Iterable[bytes]) -> int:
        """Write a volume that is there whole or not at all, and give its descriptor."""
        folder = None if name is None else self._folder
        temporary = temporary_path(self._path) if name is None else _TEMPORARY
        file = -1
        try:
            os.close(create(temporary, stat.S_IMODE(os.fstat(self.file).st_mode), folder))
            file = open_record(temporary, os.O_RDWR | os.O_APPEND, folder)
            fcntl.flock(file, fcntl.LOCK_EX)  # before it takes the place of one that is locked
            with open(file, "wb", closefd=False) as written:
                written.writelines(lines)
            os.fsync(file)  # the only other copy is about to go
            os.replace(temporary, name or self._path, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            if file >= 0:
                os.close(file)
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        return file


def _start_of(volume: _Volume) -> int:
    return volume.start


def _number_in(name: str) -> int:
    return int(name.partition(".")[0])


def _until_full(block: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Give a block, and more of them until a volume is full."""
    size = 0
    while block:
        yield block
        size += len(block)
        block = next(blocks, b"") if size < FULL else b""
