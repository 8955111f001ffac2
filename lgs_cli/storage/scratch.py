"""Directories for what a run needs while it works; one that was killed leaves none for long."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator

_PREFIX, _LOCK = ".lgs-", ".lock"


@contextlib.contextmanager
def scratch_directory(place: str | None = None) -> Iterator[str]:
    """Make a directory that is removed when it is left, and remove those of runs that were killed.

    Parameters
    ----------
    place : str, optional
        Where; by default in the directory for temporary files.

    Yields
    ------
    str
        Its path.
    """
    _remove_left_behind(place or tempfile.gettempdir())
    with contextlib.ExitStack() as stack:
        scratch = tempfile.TemporaryDirectory("", _PREFIX, place, ignore_cleanup_errors=True)
        folder = stack.enter_context(scratch)
        name = os.path.join(folder, _LOCK)
        # The system takes the lock away when the process has ended, however it did. Nobody finds
        # the file before it is locked.
        lock = stack.enter_context(open(f"{name}.new", "wb"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(lock.name, name)
        yield folder


def _remove_left_behind(place: str) -> None:
    with contextlib.suppress(OSError), os.scandir(place) as found:
        for entry in found:
            if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    _remove_if_free(entry)


def _remove_if_free(entry: os.DirEntry[str]) -> None:
    """Remove a directory of this user's whose lock nobody holds."""
    if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
        return
    lock = os.open(os.path.join(entry.path, _LOCK), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry.path, ignore_errors=True)
    finally:
        os.close(lock)
