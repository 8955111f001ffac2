"""The file that a record is in: opened, locked, read and written, and never trusted.

Whoever may write to the output directory may put anything in its place.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from typing import IO

from lgs_cli.errors import LgsError, LockedError
from lgs_cli.wording import printable

# Bytes of a line, and of a file.
LONGEST = (1 << 20) - 1
_LARGEST = 1 << 40

BLOCK = 1 << 20  # bytes


def open_record(path: str, flags: int, folder: int | None = None) -> int:
    """Open a record, if it is a file and no link to one.

    Parameters
    ----------
    path : str
        The file.
    flags : int
        Of ``os.open``.
    folder : int, optional
        The descriptor of the directory that it lies in, so that no link leads to another one.

    Returns
    -------
    int
        Its descriptor.

    Raises
    ------
    LgsError
        If it is something else, or too large.
    OSError
        If it cannot be opened.
    """
    try:
        # A FIFO, or a device, must not be waited for.
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        name = path if folder is None else os.path.basename(path)
        file = os.open(name, flags, 0o666, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise no_record(path, "not a file") from None
        raise
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        os.close(file)
        raise no_record(path, "not a file")
    if found.st_size > _LARGEST:
        os.close(file)
        raise no_record(path, f"larger than {_LARGEST >> 40} TB")
    return file


def no_record(path: str, reason: str) -> LgsError:
    """Give the error of what cannot be a record, or a part of one."""
    return LgsError(f"{printable(path)}: {reason}, so not the record of a run; remove it")


def lock_record(path: str, kind: int, *, wait: bool) -> int:
    """Open a record, locked; it is made if it is not there.

    Parameters
    ----------
    path : str
        The file.
    kind : int
        ``fcntl.LOCK_EX`` or ``fcntl.LOCK_SH``.
    wait : bool
        Whether to wait for another run to end.

    Returns
    -------
    int
        Its descriptor.

    Raises
    ------
    LockedError
        If another run has locked it, and `wait` is false.
    LgsError
        If it is something else than a file.
    OSError
        If it cannot be opened.
    """
    while True:
        file = open_record(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            fcntl.flock(file, kind | (0 if wait else fcntl.LOCK_NB))
            # Whoever held the lock may have put another file in the place of this one.
            if os.path.samestat(os.fstat(file), os.lstat(path)):
                return file
        except BlockingIOError:
            os.close(file)
            raise LockedError("--wait waits for it") from None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def lines_of(file: int) -> Iterator[tuple[int, bytes]]:
    """Read a record from its beginning.

    Parameters
    ----------
    file : int
        Its descriptor.

    Yields
    ------
    offset : int
        Where a line begins.
    line : bytes
        The line, with its line feed unless a killed run has left it torn. One that is too long
        comes as a question mark and a line feed.
    """
    offset = 0
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, "rb", closefd=False) as lines:
        while line := lines.readline(LONGEST):
            if len(line) == LONGEST:
                yield offset, b"?" + _rest(line, lines)[-1:]
                offset = lines.tell()
            else:
                yield offset, line
                offset += len(line)


def blocks_of(file: int) -> Iterator[bytes]:
    """Read a record from its beginning, many lines at a time; the last one may be torn."""
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, "rb", closefd=False) as lines:
        while block := lines.read(BLOCK):
            yield block + lines.readline(LONGEST)


def append(file: int, data: bytes) -> None:
    """Write all of it to the end of a record."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _rest(line: bytes, lines: IO[bytes]) -> bytes:
    """Read on to the end of a line that is too long; give the last part of it."""
    while line and not line.endswith(b"\n"):
        line = lines.readline(LONGEST)
    return line
