"""The errors that a user sees, each one line long and each with its exit code."""

from __future__ import annotations


class LgsError(Exception):
    """An error whose message is meant for the user, on one line.

    Attributes
    ----------
    exit_code : int
        What ``lgs`` exits with when this error ends the run.
    """

    exit_code = 1


class UsageError(LgsError):
    """The command was asked for something it refuses to do."""

    exit_code = 2


class NoImagesError(LgsError):
    """None of the inputs holds an image."""

    exit_code = 3


class LockedError(LgsError):
    """Another run is writing into the same output directory."""

    exit_code = 4


class ImageError(LgsError):
    """One image cannot be read, processed or written; the message is the reason alone."""


class OutOfMemoryError(ImageError):
    """One image needs more memory than there is."""

    def __init__(self) -> None:
        super().__init__("not enough memory")


def is_out_of_memory(error: Exception) -> bool:
    """Say whether an exception means that there is not enough memory; OpenCV says so in words."""
    return isinstance(error, MemoryError | OutOfMemoryError) or "Insufficient memory" in str(error)


class StorageError(LgsError):
    """The disk itself refuses output (full, quota, read-only): no later image can fare better."""


class MissingExtraError(LgsError):
    """An optional dependency is not installed.

    Parameters
    ----------
    what : str
        What needs it, as the subject of a sentence: ``"a .pt2 model"``.
    package : str
        The package that is missing.
    extra : str
        The extra of ``lgs-cli`` that brings it.
    """

    exit_code = 2

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs {package}: pip install 'lgs-cli[{extra}]'")


def missing_library(error: ImportError) -> str:
    """Say what to install where a package, or a library of the system, cannot be loaded.

    Parameters
    ----------
    error : ImportError
        What an import raised.

    Returns
    -------
    str
        One line.
    """
    for library, package in _SYSTEM_PACKAGES.items():
        if library in str(error):
            return f"OpenCV needs {library} from the system: apt-get install {package}"
    return f"cannot import what lgs needs: {error}"


_SYSTEM_PACKAGES = {
    "libGL.so": "libgl1",
    "libgthread-2.0.so": "libglib2.0-0",
    "libglib-2.0.so": "libglib2.0-0",
}
