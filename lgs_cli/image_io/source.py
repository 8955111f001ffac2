"""The bytes of a file, if it is one."""

from __future__ import annotations

import io
import os
import stat

from lgs_cli.errors import ImageError, OutOfMemoryError
from lgs_cli.image_io.magic import format_of, why_unknown

_KINDS: dict[int, str] = {
    stat.S_IFDIR: "is a directory",
    stat.S_IFIFO: "is a FIFO",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


def read_bytes(path: str, part: tuple[int, int] | None = None) -> bytes:
    """Read an image from a regular file; if it starts like none, no more than its head.

    Parameters
    ----------
    path : str
        The file; a symbolic link is followed.
    part : tuple of int, optional
        Where in the file the image begins, and its size, both in bytes; by default it is all of it.

    Returns
    -------
    bytes
        The image; empty if it is empty.

    Raises
    ------
    ImageError
        With the reason, without the path: ``"no such file"``, ``"is a directory"``, ``"permission
        denied"``, ``"not an image"``, ``"not enough memory"``.
    """
    try:
        # stat before open: opening a FIFO or a device can block, or do things.
        _require_regular(os.stat(path).st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:
            _require_regular(os.fstat(descriptor).st_mode)
            start = 0 if part is None else part[0]
            file.seek(start)
            head = file.read(4096 if part is None else min(4096, part[1]))
            if head and format_of(head) is None:
                raise ImageError(why_unknown(head))
            file.seek(start)
            return file.read() if part is None else _read(file, part[1])
    except FileNotFoundError as error:
        reason = "broken link" if os.path.islink(path) else "no such file"
        raise ImageError(reason) from error
    except OSError as error:
        raise ImageError((error.strerror or str(error)).lower()) from error
    except ValueError as error:  # a NUL in the path
        raise ImageError("not a valid path") from error
    except MemoryError as error:
        raise OutOfMemoryError from error


def _read(file: io.FileIO, size: int) -> bytes:
    """Read so many bytes; the system gives no more than 2 GB at a time."""
    blocks = []
    while size > 0 and (block := file.read(size)):
        blocks.append(block)
        size -= len(block)
    if size > 0:
        raise ImageError("cut short while it was read")
    return b"".join(blocks)


def _require_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ImageError(_KINDS.get(stat.S_IFMT(mode), "not a regular file"))
