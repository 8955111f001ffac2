"""Which inputs there are; opens no pixel."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from lgs_cli.errors import UsageError
from lgs_cli.formats import SUFFIXES
from lgs_cli.wording import printable


class Source(NamedTuple):
    """One input.

    Attributes
    ----------
    root : str
        The directory that was given, or that the file lies in; with a separator at its end.
    relative : str
        The path below `root`, and below the output directory.
    problem : str or None
        Why it is no image file, where that is plain without opening it.
    link : bool
        Whether it may be a symbolic link.
    """

    root: str
    relative: str
    problem: str | None = None
    link: bool = True

    @property
    def path(self) -> str:
        """The path to open."""
        return self.root + self.relative


@dataclass(frozen=True)
class Selection:
    """Which files of a directory are taken.

    Attributes
    ----------
    recursive : bool
        Whether directories below are walked.
    include, exclude : tuple of str
        Shell patterns, matched against the name and against the path below the input directory;
        ``*`` matches slashes too. A file is taken where one of `include` matches, or there is
        none, and none of `exclude` does; a directory that `exclude` matches is not walked.
        ``sub/`` and ``./sub`` mean ``sub``, and ``**/`` also matches no directory at all.
    """

    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("include", "exclude"):
            object.__setattr__(self, name, _normal(getattr(self, name)))

    def takes(self, relative: str) -> bool:
        """Say whether a file is taken, by its path below the input directory."""
        name = os.path.basename(relative)
        if os.path.splitext(name)[1].lower() not in SUFFIXES:
            return False
        included = not self.include or _matches(self.include, name, relative)
        return included and not self.leaves_out(relative)

    def leaves_out(self, relative: str) -> bool:
        """Say whether `exclude` matches a file or directory."""
        return bool(self.exclude) and _matches(self.exclude, os.path.basename(relative), relative)


def _normal(patterns: tuple[str, ...]) -> tuple[str, ...]:
    plain = [os.path.normpath(pattern) for pattern in patterns]
    return (*plain, *(pattern[3:] for pattern in plain if pattern.startswith("**/")))


def _matches(patterns: tuple[str, ...], name: str, relative: str) -> bool:
    return any(fnmatchcase(name, glob) or fnmatchcase(relative, glob) for glob in patterns)


def find(
    inputs: Iterable[str], listed: Iterable[str], selection: Selection, never: Iterable[str]
) -> Iterator[Source]:
    """Find all inputs, in order.

    Parameters
    ----------
    inputs : iterable of str
        Files and directories as the user gave them. What lies below a directory keeps its path
        below it; a file keeps its name.
    listed : iterable of str
        Paths from a list. A relative one keeps its path, others their name. One that does not
        exist is a source all the same, and fails when it is read.
    selection : Selection
        Which files of directories are taken. Files given by name are always taken.
    never : iterable of str
        Directories that are never walked: those the run writes to.

    Yields
    ------
    Source
        In the order of the inputs, and sorted by name within each directory.

    Raises
    ------
    UsageError
        Where one of `inputs` does not exist.
    """
    closed = frozenset(os.path.realpath(path) for path in never)
    for path in inputs:
        if os.path.isdir(path):
            yield from _walk(_as_root(path), "", selection, closed)
        elif os.path.lexists(path):
            directory, name = os.path.split(path)
            yield Source(_as_root(directory), name)
        else:
            raise UsageError(f"{printable(path)}: no such file or directory")
    for path in listed:
        normal = os.path.normpath(path)
        if os.path.isabs(normal) or normal.split(os.sep)[0] == os.pardir:
            root, relative = os.path.split(normal)
        else:
            root, relative = "", normal
        if relative == os.pardir:
            yield from _walk(_as_root(normal), "", selection, closed)
        elif os.path.isdir(path):
            root, prefix = _as_root(root), "" if relative == os.curdir else relative
            yield from _walk(root, prefix, selection, closed)
        else:
            yield Source(_as_root(root), relative)


def _as_root(directory: str) -> str:
    return directory if not directory or directory.endswith(os.sep) else directory + os.sep


def _walk(root: str, below: str, selection: Selection, closed: frozenset[str]) -> Iterator[Source]:
    """Walk a directory and those in it, without following links to directories."""
    # Trees may be deeper than Python's own stack: what waits is a stack of half-read directories.
    waiting: list[Iterator[Source | str]] = [_list(root, below, selection, closed)]
    while waiting:
        found = next(waiting[-1], None)
        if found is None:
            waiting.pop()
        elif isinstance(found, Source):
            yield found
        else:
            waiting.append(_list(root, found, selection, closed))


def _list(
    root: str, below: str, selection: Selection, closed: frozenset[str]
) -> Iterator[Source | str]:
    """Give the images of one directory, and the paths of the directories in it, by name."""
    try:
        with os.scandir(root + below or os.curdir) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield Source(root, below, f"cannot list the directory: {(error.strerror or '').lower()}")
        return
    real = os.path.realpath(root + below or os.curdir)
    for entry in found:
        relative = os.path.join(below, entry.name)
        if entry.name.startswith("."):
            continue
        if not _is_directory(entry):
            if selection.takes(relative):
                yield Source(root, relative, None, entry.is_symlink())
        elif selection.takes(relative):
            yield Source(root, relative, "a directory, not an image file")
        elif (
            selection.recursive
            and not entry.is_symlink()
            and not selection.leaves_out(relative)
            and os.path.join(real, entry.name) not in closed
        ):
            yield relative


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links: reading the file will say so
        return False
