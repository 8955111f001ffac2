"""What all archives have in common, and how they are named. Opens none."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from typing import IO, NamedTuple, Protocol

from lgs_cli.errors import ImageError

SUFFIXES = (".tar", ".parquet")

_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)")
_BRACES = re.compile(r"\{([^{}]*)\}")


class Member(NamedTuple):
    """An image in an archive.

    Attributes
    ----------
    name : str
        What to call it.
    new_name : str
        The same after cleaning, which may give it another format.
    problem : str or None
        Why it cannot be cleaned, if that is plain without its bytes.
    """

    name: str
    new_name: str
    problem: str | None = None


class MissingImageError(ImageError):
    """An image that an archive names and does not hold."""


class Part(NamedTuple):
    """Bytes of a file: from where on, and how many."""

    start: int
    size: int


Bytes = Callable[[int], bytes | None]
"""Gives what takes the place of the image of that index; None leaves it out."""


class Archive(Protocol):
    """A file of images, open for reading.

    What is wrong with it as a whole raises ImageError or OSError, from any method.
    """

    @property
    def members(self) -> list[Member]:
        """The images, in order."""
        ...

    def image(self, index: int) -> Part | bytes | None:
        """Say where in the file an image lies, or read it; None if there is none after all.

        Quick if they are asked for in order. Raises MissingImageError if it lies elsewhere.
        """
        ...

    def rewrite(self, file: IO[bytes], cleaned: Bytes) -> None:
        """Write an archive like this one, but with other images in it."""
        ...

    def write_masks(self, file: IO[bytes], masks: Bytes) -> None:
        """Write an archive of pictures of masks, under the names of the images."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def is_archive(path: str) -> bool:
    """Say whether a path names an archive, by its suffix; a directory is none."""
    return os.path.splitext(path)[1].lower() in SUFFIXES and not os.path.isdir(path)


def expand(pattern: str) -> list[str]:
    """Write out the braces of a pattern, as WebDataset does.

    Parameters
    ----------
    pattern : str
        Such as ``"shard-{000..999}.tar"`` or ``"{train,val}.tar"``.

    Returns
    -------
    list of str
        The paths, in order. The pattern alone if it has no such braces, or is a file's name.
    """
    if os.path.lexists(pattern):
        return [pattern]
    parts = _BRACES.split(pattern)
    choices = [_choices(part) if place % 2 else [part] for place, part in enumerate(parts)]
    return ["".join(words) for words in itertools.product(*choices)]


def _choices(inside: str) -> list[str]:
    match = _RANGE.fullmatch(inside)
    if match is None:
        return inside.split(",") if "," in inside else [f"{{{inside}}}"]
    first, last = map(int, match.groups())
    digits = max(len(word) for word in match.groups()) if _is_padded(*match.groups()) else 0
    step = 1 if last >= first else -1
    return [f"{number:0{digits}}" for number in range(first, last + step, step)]


def _is_padded(*words: str) -> bool:
    return any(word.startswith("0") and len(word) > 1 for word in words)
