"""Which inputs there are; opens no pixel."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from lgs_cli.formats import SUFFIXES
from lgs_cli.storage.missing import missing
from lgs_cli.storage.spool import Spool

# The record that a run leaves in each directory that it writes to.
MANIFEST = ".lgs-manifest.jsonl"


class Source(NamedTuple):
    """One input.

    Attributes
    ----------
    root : str
        The directory that was given, or that the file lies in; with a separator at its end.
    relative : str
        The path below `root`, and below the output directory.
    problem : str or None
        Why it cannot be an image file, if that is clear without opening it.
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
        ``*`` matches slashes too. A file is taken if one of `include` matches, or there is
        none, and none of `exclude` does; a directory that `exclude` matches is not walked.
        ``sub/`` and ``./sub`` mean ``sub``, and ``**/`` also matches no directory at all.
    include_outputs : bool
        Whether directories below that hold outputs of an earlier run are walked. One that is given
        by name always is.
    """

    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include_outputs: bool = False

    def __post_init__(self) -> None:
        for name in ("include", "exclude"):
            object.__setattr__(self, name, _normal(getattr(self, name)))

    def takes(self, relative: str) -> bool:
        """Say whether a file is taken, by its path below the input directory."""
        return os.path.splitext(relative)[1].lower() in SUFFIXES and self.matches(relative)

    def matches(self, relative: str) -> bool:
        """Say whether a file is taken if it is of a kind that can be."""
        included = not self.include or _matches(self.include, os.path.basename(relative), relative)
        return included and not self.leaves_out(relative)

    def leaves_out(self, relative: str) -> bool:
        """Say whether `exclude` matches a file or directory."""
        return bool(self.exclude) and _matches(self.exclude, os.path.basename(relative), relative)


@dataclass
class PassedOver:
    """What a walk came across and did not take, though the user may think that it did.

    Attributes
    ----------
    files : list of str or Spool
        Files of other kinds, unless `include` or `exclude` says that they are not wanted.
    folders : list of str
        Directories that hold outputs of an earlier run.
    said : int
        How many of these the user has been told of.
    """

    files: list[str] | Spool = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    said: int = 0

    def close(self) -> None:
        """Forget the files."""
        if isinstance(self.files, Spool):
            self.files.close()


def _normal(patterns: tuple[str, ...]) -> tuple[str, ...]:
    plain = [os.path.normpath(pattern) for pattern in patterns]
    return (*plain, *(pattern[3:] for pattern in plain if pattern.startswith("**/")))


def _matches(patterns: tuple[str, ...], name: str, relative: str) -> bool:
    return any(fnmatchcase(name, glob) or fnmatchcase(relative, glob) for glob in patterns)


def find(
    inputs: Iterable[str],
    listed: Iterable[str],
    selection: Selection,
    never: Iterable[str],
    passed_over: PassedOver | None = None,
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
    passed_over : PassedOver, optional
        Gets what is not taken.

    Yields
    ------
    Source
        In the order of the inputs, and sorted by name within each directory.

    Raises
    ------
    UsageError
        If one of `inputs` does not exist.
    """
    walk = _Walk(
        selection,
        frozenset(os.path.realpath(path) for path in never),
        PassedOver() if passed_over is None else passed_over,
    )
    inputs = list(inputs)
    for path in inputs:  # before any is worked on
        if not os.path.lexists(path):
            raise missing(path)
    for path in inputs:
        if os.path.isdir(path):
            yield from walk.of(_as_root(path))
        else:
            directory, name = os.path.split(path)
            yield Source(_as_root(directory), name)
    for path in listed:
        if "://" in path and not os.path.lexists(path):
            yield Source("", path, "a URL: give it as INPUT, and not in a list")
            continue
        normal = os.path.normpath(path)
        if os.path.isabs(normal) or normal.split(os.sep)[0] == os.pardir:
            root, relative = os.path.split(normal)
        else:
            root, relative = "", normal
        if relative == os.pardir:
            yield from walk.of(_as_root(normal))
        elif os.path.isdir(path):
            root, prefix = _as_root(root), "" if relative == os.curdir else relative
            yield from walk.of(root, prefix)
        else:
            yield Source(_as_root(root), relative)


def _as_root(directory: str) -> str:
    return directory if not directory or directory.endswith(os.sep) else directory + os.sep


@dataclass(frozen=True)
class _Walk:
    """A walk over directories and those in them, which does not follow links to directories."""

    selection: Selection
    closed: frozenset[str]
    passed_over: PassedOver

    def of(self, root: str, below: str = "") -> Iterator[Source]:
        """Give the images of a directory that was given by name, and of those in it."""
        # Trees may be deeper than Python's own stack: this one holds half-read directories.
        waiting = [self._list(root, below, named=True)]
        while waiting:
            found = next(waiting[-1], None)
            if found is None:
                waiting.pop()
            elif isinstance(found, Source):
                yield found
            else:
                waiting.append(self._list(root, found))

    def _list(self, root: str, below: str, *, named: bool = False) -> Iterator[Source | str]:
        """Give the images of one directory, and the paths of the directories in it, by name."""
        path = root + below or os.curdir
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            reason = (error.strerror or "").lower()
            yield Source(root, below, f"cannot list the directory: {reason}")
            return
        if not (named or self.selection.include_outputs) and any(
            entry.name == MANIFEST for entry in found
        ):
            self.passed_over.folders.append(path)
            return
        real = os.path.realpath(path)
        for entry in found:
            if entry.name.startswith("."):
                continue
            relative = os.path.join(below, entry.name)
            if not _is_directory(entry):
                if self.selection.takes(relative):
                    yield Source(root, relative, None, entry.is_symlink())
                elif self.selection.matches(relative):
                    self.passed_over.files.append(root + relative)
            elif self.selection.takes(relative):
                yield Source(root, relative, "a directory, not an image file")
            elif (
                self.selection.recursive
                and not entry.is_symlink()
                and not self.selection.leaves_out(relative)
                and os.path.join(real, entry.name) not in self.closed
            ):
                yield relative


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links: reading the file will say so
        return False
