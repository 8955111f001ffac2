"""Whole files or none: atomic writes, and which write errors mean that the disk itself is done."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os

from lgs_cli.errors import ImageError, StorageError
from lgs_cli.wording import printable

# What no other file of the same run would be spared.
_DISK_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.EFBIG,
    errno.ENXIO,
    errno.ENODEV,
    errno.ESTALE,
    errno.EMFILE,
    errno.ENFILE,
    # A directory that can no longer be written to refuses all its files.
    errno.EACCES,
    errno.EPERM,
}


def write(path: str, data: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    The bytes go to a temporary file beside it, which then takes its name; an existing file, or
    link, is replaced, never written through. Missing directories are made. The data is not forced
    to the medium (fsync): after a power cut a rerun finds the size wrong and writes it again, and
    forcing each of a million files would cost more than the cleaning.

    Parameters
    ----------
    path : str
        The file to write.
    data : bytes
        What it will hold.

    Raises
    ------
    StorageError
        Where the disk refuses: full, quota, read-only, no permission, input/output error.
    ImageError
        Where this one file cannot be written: name too long, a directory in its place.
    """
    temporary = temporary_path(path)
    try:
        try:
            file = open(temporary, "wb", opener=_open_no_link)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            file = open(temporary, "wb", opener=_open_no_link)
        with file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise write_error(error, path) from error
        raise


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def temporary_path(path: str) -> str:
    """Name the temporary file of an output.

    It depends on the output alone, so whoever writes that output next replaces what a killed
    process left, and its length does not depend on that of the name.

    Parameters
    ----------
    path : str
        The output.

    Returns
    -------
    str
        A hidden file in the same directory.
    """
    directory, name = os.path.split(path)
    digest = hashlib.blake2b(os.fsencode(name), digest_size=12).hexdigest()
    return os.path.join(directory, f".lgs-{digest}.tmp")


def write_error(error: OSError, path: str) -> StorageError | ImageError:
    """Turn an error of a write into one that says whether the disk or only this file is at fault.

    Parameters
    ----------
    error : OSError
        What the write raised.
    path : str
        What was being written.

    Returns
    -------
    StorageError or ImageError
        To raise, with the reason on one line.
    """
    reason = (os.strerror(error.errno) if error.errno else str(error)).lower()
    if error.errno in _DISK_ERRORS:
        directory = printable(os.path.dirname(path) or os.curdir)
        return StorageError(f"cannot write into {directory}: {reason}")
    return ImageError(f"cannot write: {reason}")
