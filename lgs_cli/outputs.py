"""Which output and mask each input has, and whether they may be written; opens no pixel."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence

from lgs_cli.errors import UsageError
from lgs_cli.files import Source
from lgs_cli.formats import FORMATS
from lgs_cli.pipeline import Job
from lgs_cli.text import printable


class Outputs:
    """The places of all outputs.

    Parameters
    ----------
    directory : str
        The output directory.
    masks : str or None
        The masks directory, where masks are wanted.
    format : str or None
        A name of ``FORMATS`` that all outputs get; None keeps each image's own.
    """

    def __init__(self, directory: str, masks: str | None, format: str | None) -> None:
        self.directory = directory
        self.masks = masks
        self.format = format
        self._prefixes = [os.path.join(path, "") for path in self.directories]

    @property
    def directories(self) -> tuple[str, ...]:
        """The directories that are written to."""
        return (self.directory,) if self.masks is None else (self.directory, self.masks)

    def of(self, source: Source) -> tuple[str, str | None]:
        """Name the output and the mask of a source.

        Parameters
        ----------
        source : Source
            An input.

        Returns
        -------
        output : str
            The source's relative path under the output directory, with the format's suffix.
        mask : str or None
            The same under the masks directory, ending in ``.png``.
        """
        name = source.relative
        if self.format is None and self.masks is None:  # by the million
            return self._prefixes[0] + name, None
        stem, suffix = os.path.splitext(name)
        if self.format is not None and suffix.lower() not in FORMATS[self.format].suffixes:
            name = stem + FORMATS[self.format].suffixes[0]
        output = self._prefixes[0] + name
        return output, None if self.masks is None else self._prefixes[1] + stem + ".png"

    def job(self, index: int, source: Source) -> Job:
        """Make the job of a source, the `index`-th of the run."""
        return Job(index, source.path, *self.of(source))

    def check(
        self, inputs: Iterable[str], sources: Sequence[Source], others: Sequence[str] = ()
    ) -> None:
        """Refuse a run that would overwrite an input, or one output with another.

        Parameters
        ----------
        inputs : iterable of str
            The inputs as the user gave them.
        sources : sequence of Source
            What they hold.
        others : sequence of str
            More files that the run writes.

        Raises
        ------
        UsageError
            Naming the two files that clash.
        """
        for directory in self.directories:
            if os.path.lexists(directory) and not os.path.isdir(directory):
                raise UsageError(f"{printable(directory)} is not a directory")
            for path in inputs:
                if os.path.isdir(path) and os.path.realpath(path) == os.path.realpath(directory):
                    raise UsageError(f"{printable(path)} is both an input and where outputs go")
        self._refuse_overwriting(sources, others)
        self._refuse_clashes(sources, others)

    def _refuse_overwriting(self, sources: Sequence[Source], others: Sequence[str]) -> None:
        """Refuse an output that is an input, also where links lead to it."""
        real = _RealPaths()
        # Hashes, because the paths themselves would fill the memory of a run over a million files.
        read = set()
        for source in sources:
            read.add(hash(real(source.path)))
            if source.link:
                read.add(hash(os.path.realpath(source.path)))
        for path in others:
            if hash(real(path)) in read or hash(os.path.realpath(path)) in read:
                raise UsageError(f"{printable(path)} is an input; it would be overwritten")
        bases = [os.path.join(os.path.realpath(path), "") for path in self.directories]
        for source in sources:
            for path, base in zip(filter(None, self.of(source)), bases, strict=True):
                place = real(path)
                if not place.startswith(base):
                    raise UsageError(
                        f"{printable(path)} would be written through a link out of "
                        f"{printable(base[:-1])}"
                    )
                if hash(place) in read:
                    raise UsageError(f"{printable(path)} is an input; it would be overwritten")

    def _refuse_clashes(self, sources: Sequence[Source], others: Sequence[str]) -> None:
        """Refuse two sources with one output, or two that the file system takes for one."""
        reserved = {hash(os.path.normpath(path)) for path in others}
        exact: set[int] = set()
        folded: set[int] = set()
        folds: bool | None = None
        for source in sources:
            for path in self._places(source):
                if hash(path) in reserved:
                    raise UsageError(f"{printable(path)} would be written twice")
                if hash(path) in exact:
                    raise self._clash(path, sources, str)
                exact.add(hash(path))
                if folds is False:
                    continue
                fold = hash(path.casefold())
                if fold in folded:
                    if folds is None:
                        folds = _folds_case(self.directory)
                    if folds:
                        raise self._clash(path, sources, str.casefold)
                folded.add(fold)

    def _places(self, source: Source) -> Iterator[str]:
        return map(os.path.normpath, filter(None, self.of(source)))

    def _clash(self, path: str, sources: Sequence[Source], key: Callable[[str], str]) -> UsageError:
        pair = [
            source.path
            for source in sources
            if any(key(place) == key(path) for place in self._places(source))
        ]
        names = " and ".join(printable(name) for name in dict.fromkeys(pair[:2]))
        return UsageError(f"{names} would both be written to {printable(path)}")


class _RealPaths:
    """Resolve the links in the directory of a path; each directory once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __call__(self, path: str) -> str:
        end = path.rfind(os.sep) + 1
        directory = path[:end]
        real = self._known.get(directory)
        if real is None:
            real = self._known[directory] = os.path.join(os.path.realpath(directory), "")
        return real + path[end:]


def _folds_case(directory: str) -> bool:
    """Say whether the file system of a directory takes ``A`` and ``a`` for one name."""
    directory = os.path.abspath(directory)
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    with tempfile.NamedTemporaryFile(prefix=".lgs-case-", dir=directory) as probe:
        name = os.path.basename(probe.name)
        return os.path.exists(os.path.join(directory, name.upper()))
