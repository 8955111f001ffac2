"""Whole files or none: atomic writes, and which write errors mean that the disk itself is done."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from lgs_cli.errors import ImageError, LgsError, StorageError, UsageError
from lgs_cli.wording import printable

# A directory is opened to be searched; it need not be one that may be listed.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC

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


@dataclass(frozen=True)
class Like:
    """What a new file takes over from the file that it is made of.

    Attributes
    ----------
    source : str
        That file. The new one, and the directories that are made for it, get the permissions of
        their models, as far as the umask allows.
    root : str or None
        A directory above the new file that is there already. Nothing is written through a link
        below it, also not through one that somebody puts there meanwhile.
    times : bool
        Whether the new file also gets the times of the source.
    """

    source: str
    root: str | None = None
    times: bool = False


def write(path: str, data: bytes, *, like: Like | None = None, mode: int | None = None) -> None:
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
    like : Like, optional
        The file that it is made of.
    mode : int, optional
        Its permissions, whatever the umask says; by default those of `like`, or what the umask
        leaves.

    Raises
    ------
    StorageError
        If the disk refuses: full, quota, read-only, no permission, input/output error.
    ImageError
        If this one file cannot be written: name too long, a directory in its place.
    """
    directory, name = os.path.split(path)
    try:
        folder = _open_folder(directory, like)
        try:
            _write_in(folder, name, data, like, mode)
        finally:
            os.close(folder)
    except OSError as error:
        raise write_error(error, path) from error


def write_result(path: str, data: bytes) -> None:
    """Write a file that is no image of a batch, as `write` does: its errors name the file."""
    try:
        write(path, data)
    except ImageError as error:
        raise LgsError(f"{printable(path)}: {error}") from error


def _write_in(folder: int, name: str, data: bytes, like: Like | None, mode: int | None) -> None:
    """Write a file in an open directory."""
    temporary = temporary_path(name)
    model = None
    if like is not None:
        with contextlib.suppress(OSError):  # it has gone since it was read
            model = os.stat(like.source)
    try:
        permissions = 0o666 if model is None else model.st_mode & 0o777
        with open(create(temporary, permissions, folder), "wb") as file:
            file.write(data)
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            if like is not None and like.times and model is not None:
                os.utime(file.fileno(), ns=(model.st_atime_ns, model.st_mtime_ns))
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


def create(path: str, mode: int = 0o666, folder: int | None = None) -> int:
    """Create a file, in place of what a killed process may have left under its name.

    Whatever has that name loses it, and is never written to: it may be a link to something else, or
    another name of it.

    Parameters
    ----------
    path : str
        A name that is ours: see :func:`temporary_path`.
    mode : int
        The permissions, of which the umask takes away.
    folder : int, optional
        The descriptor of the directory, if `path` is not from the current one.

    Returns
    -------
    int
        A descriptor to write to.

    Raises
    ------
    OSError
        If it cannot be created.
    """
    try:
        return create_new(path, mode, folder)
    except FileExistsError:
        os.unlink(path, dir_fd=folder)
        return create_new(path, mode, folder)


def create_new(path: str, mode: int = 0o666, folder: int | None = None) -> int:
    """Create a file as :func:`create` does, but fail if there is anything of that name."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, mode, dir_fd=folder)


def _open_folder(directory: str, like: Like | None) -> int:
    """Open a directory to write in; it is made if it is not there."""
    above, below = directory, []
    if like is not None and like.root is not None:
        root = os.path.join(like.root, "")
        if os.path.join(directory, "").startswith(root):
            above, below = root, [part for part in directory[len(root) :].split(os.sep) if part]
    try:
        folder = os.open(above or os.curdir, _FOLDER)
    except FileNotFoundError:
        os.makedirs(above, exist_ok=True)
        folder = os.open(above, _FOLDER)
    for depth, part in enumerate(below, 1):
        assert like is not None
        try:
            inner = _open_inner(part, folder, like.source, len(below) - depth)
        finally:
            os.close(folder)
        folder = inner
    return folder


def _open_inner(name: str, folder: int, source: str, height: int) -> int:
    """Open a directory in another one; its model is so high above the directory of the source."""
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        model = os.path.dirname(source)
        for _ in range(height):
            model = os.path.dirname(model)
        with contextlib.suppress(FileExistsError):  # another worker has just made it
            os.mkdir(name, folder_mode([model]), dir_fd=folder)
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)


def folder_mode(models: Iterable[str]) -> int:
    """Give the permissions of a directory that is to be no more open than others.

    Parameters
    ----------
    models : iterable of str
        Those others; what cannot be looked at counts for nothing.

    Returns
    -------
    int
        Its owner may always read and write it.
    """
    mode = 0o777
    for model in models:
        with contextlib.suppress(OSError):
            mode &= os.stat(model or os.curdir).st_mode
    return mode | 0o700


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


def remove_temporary(path: str) -> None:
    """Remove what a process that was killed has left of an output."""
    with contextlib.suppress(OSError):
        os.unlink(temporary_path(path))


def remove_unchanged(
    root: str, relative: str, stamp: tuple[int | None, int | None], *, rehearse: bool = False
) -> bool | None:
    """Remove a file if it is still the one that was written, and follow no link to it.

    Parameters
    ----------
    root : str
        A directory.
    relative : str
        The file below it.
    stamp : tuple of int or None
        Size in bytes, and time of the last change in nanoseconds, as they were then.
    rehearse : bool
        Whether to leave it there, if it is.

    Returns
    -------
    bool or None
        Whether it is removed; None if there is no such file.

    Raises
    ------
    StorageError
        If the disk refuses.
    """
    *parts, name = relative.split(os.sep)
    try:
        folder = os.open(root or os.curdir, _FOLDER)
        try:
            for part in parts:
                inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = inner
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) or (found.st_size, found.st_mtime_ns) != stamp:
                return False
            if not rehearse:
                os.unlink(name, dir_fd=folder)
            return True
        finally:
            os.close(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise write_error(error, os.path.join(root, relative)) from error


def refuse_overwriting(
    outputs: Iterable[str | os.PathLike[str] | None],
    inputs: Iterable[str | os.PathLike[str] | None],
) -> None:
    """Refuse to write over an input, or twice to one file, before anything is computed.

    Parameters
    ----------
    outputs : iterable of path or None
        Files that will be written.
    inputs : iterable of path or None
        Files that are read.

    Raises
    ------
    UsageError
        Naming the file.
    """
    read = {os.path.realpath(path) for path in inputs if path is not None}
    written: set[str] = set()
    for path in outputs:
        if path is None:
            continue
        real = os.path.realpath(path)
        if real in read:
            raise would_overwrite(os.fspath(path))
        if real in written:
            raise UsageError(f"{printable(os.fspath(path))} would be written twice")
        if os.path.isdir(real):
            raise UsageError(f"{printable(os.fspath(path))} is a directory")
        written.add(real)


def would_overwrite(path: str) -> UsageError:
    """Say that an output is an input."""
    return UsageError(f"{printable(path)} is an input; it would be overwritten")


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
