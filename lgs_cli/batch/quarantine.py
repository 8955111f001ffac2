"""A directory that suspicious files are moved to; no file in it is ever replaced."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil

from lgs_cli.errors import ImageError, UsageError
from lgs_cli.storage import create, temporary_path
from lgs_cli.storage.inputs import Source
from lgs_cli.wording import printable


class Quarantine:
    """The directory; it is made when something is moved there.

    Parameters
    ----------
    directory : str
        Its path.
    inputs : iterable of str
        The inputs as the user gave them.

    Raises
    ------
    UsageError
        If it is no directory, or one of the inputs.
    """

    def __init__(self, directory: str, inputs: tuple[str, ...]) -> None:
        self._directory = directory
        self._real = os.path.join(os.path.realpath(directory), "")
        if os.path.lexists(directory) and not os.path.isdir(directory):
            raise UsageError(f"--move-to {printable(directory)}: not a directory")
        for path in inputs:
            if os.path.isdir(path) and os.path.join(os.path.realpath(path), "") == self._real:
                raise UsageError(f"{printable(path)} is both an input and where files are moved")

    def take(self, source: Source) -> str:
        """Move a file here, to its path below the input directory.

        Within a file system the file itself is moved. To another one it is copied, and removed when
        the copy is complete: if the run is killed meanwhile, the file is in both places.

        Parameters
        ----------
        source : Source
            The file.

        Returns
        -------
        str
            Its new path.

        Raises
        ------
        ImageError
            If it stays; the message is the reason alone.
        """
        target = os.path.join(self._directory, source.relative)
        directory = os.path.dirname(target)
        try:
            if os.path.islink(source.path):
                raise ImageError("a link, and is not moved")
            if not os.path.join(os.path.realpath(directory), "").startswith(self._real):
                raise ImageError(f"{printable(directory)} leads out of the directory")
            with contextlib.suppress(FileExistsError):  # what is there says so when it is entered
                os.makedirs(directory)
            if os.path.lexists(target):
                raise FileExistsError
            try:
                _rename(source.path, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _copy(source.path, target)
        except FileExistsError:
            raise ImageError(f"{printable(target)} is there already") from None
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ImageError(f"cannot move to {printable(target)}: {reason}") from error
        return target


def _rename(source: str, target: str) -> None:
    """Rename a file, and replace none: FileExistsError if there is one of the new name."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise
        # No hard links on this file system, or none to a file of somebody else's.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        try:
            os.rename(source, target)
        except OSError:
            os.unlink(target)
            raise
    else:
        _unlink(source, target)


def _copy(source: str, target: str) -> None:
    temporary = temporary_path(target)
    try:
        with (
            open(source, "rb", opener=_no_link) as old,
            open(create(temporary, 0o600), "wb") as new,
        ):
            shutil.copyfileobj(old, new)
            new.flush()
            # The only other copy is about to go.
            os.fsync(new.fileno())
        shutil.copystat(source, temporary)
        _rename(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    _unlink(source, target)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _unlink(source: str, target: str) -> None:
    """Remove the old name; if that is not allowed, the new one."""
    try:
        os.unlink(source)
    except OSError:
        os.unlink(target)
        raise
