"""Which output and mask each input has, and whether they may be written; opens no pixel."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from lgs_cli.batch.job import Job
from lgs_cli.errors import UsageError
from lgs_cli.formats import FORMATS
from lgs_cli.storage import create_new, folder_mode, would_overwrite
from lgs_cli.storage.inputs import MANIFEST, Source
from lgs_cli.wording import printable

# Bytes of a name, on all file systems in use.
_LONGEST_NAME = 255


class Outputs:
    """The places of all outputs.

    Parameters
    ----------
    directory : str
        The output directory.
    masks : str or None
        The masks directory; None if no masks are wanted.
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
            The source's relative path under the masks directory, with ``.png`` after its suffix.
        """
        name = source.relative
        if self.format is not None:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() not in FORMATS[self.format].suffixes:
                name = stem + FORMATS[self.format].suffixes[0]
        output = self._prefixes[0] + name
        if self.masks is None:
            return output, None
        return output, self._prefixes[1] + mask_name(source.relative)

    def job(self, place: int, source: Source) -> Job:
        """Make the job of a source, the `place`-th of the run."""
        return Job(place, source.path, *self.of(source))

    def prepare(self, sources: Iterable[Source]) -> None:
        """Make the directories, no more open than those of the inputs, and mark them as outputs.

        What cannot be made says so when it is written to.

        Parameters
        ----------
        sources : iterable of Source
            The inputs.
        """
        mode = folder_mode({source.root for source in sources})
        for directory in self.directories:
            with contextlib.suppress(OSError):
                os.makedirs(directory or os.curdir, mode, exist_ok=True)
                os.close(create_new(os.path.join(directory, MANIFEST), mode & 0o666))

    def check(
        self,
        inputs: Iterable[str],
        sources: Iterable[Source],
        others: Sequence[str] = (),
        *,
        write: bool = True,
    ) -> None:
        """Refuse a run that would overwrite an input, or one output with another.

        Parameters
        ----------
        inputs : iterable of str
            The inputs as the user gave them.
        sources : iterable of Source
            What they hold.
        others : sequence of str
            More files that the run writes.
        write : bool
            Whether a file may be made, and removed, to learn if the file system folds case. Without
            it names that differ only in case are let pass.

        Raises
        ------
        UsageError
            Naming the two files that clash.
        """
        sources = [source for source in sources if source.problem is None]
        for directory in self.directories:
            existing = _nearest_existing(directory)
            if not os.path.isdir(existing):
                raise UsageError(f"{printable(existing)} is not a directory")
            for path in inputs:
                if os.path.isdir(path) and os.path.realpath(path) == os.path.realpath(directory):
                    raise UsageError(f"{printable(path)} is both an input and where outputs go")
        self._refuse_overwriting(sources, others)
        self._refuse_clashes(sources, others, None if write else False)

    def refuse_strangers(self, inputs: Iterable[str], sources: Iterable[Source]) -> None:
        """Refuse to replace files in a directory that no run has written to, inside an input.

        What lies there is never walked, so that it may well be photographs of the user's.

        Parameters
        ----------
        inputs : iterable of str
            The inputs as the user gave them.
        sources : iterable of Source
            What they hold.

        Raises
        ------
        UsageError
            Naming the first such file.
        """
        roots = tuple(os.path.join(os.path.realpath(path), "") for path in inputs)
        inside = [os.path.realpath(path).startswith(roots) for path in self.directories]
        if not any(inside):
            return
        for source in sources:
            for path, exposed in zip(filter(None, self.of(source)), inside, strict=True):
                if exposed and os.path.lexists(path):
                    raise UsageError(
                        f"{printable(path)} is there already, inside an input, and not of lgs: "
                        "choose another directory"
                    )

    def _refuse_overwriting(self, sources: Sequence[Source], others: Sequence[str]) -> None:
        """Refuse an output that is an input, also through links."""
        real = _RealPaths()
        # Hashes, because the paths themselves would fill the memory of a run over a million files.
        read = set()
        for source in sources:
            read.add(hash(real(source.path)))
            if source.link:
                read.add(hash(os.path.realpath(source.path)))
        for path in others:
            if hash(real(path)) in read or hash(os.path.realpath(path)) in read:
                raise would_overwrite(path)
        bases = [os.path.join(os.path.realpath(path), "") for path in self.directories]
        for source in sources:
            for path, prefix, base in zip(
                filter(None, self.of(source)), self._prefixes, bases, strict=True
            ):
                place = real(path)
                if path.startswith(prefix) and place != base + path[len(prefix) :]:
                    raise UsageError(
                        f"{printable(path)} would be written through a link below "
                        f"{printable(prefix[:-1])}"
                    )
                if hash(place) in read:
                    raise would_overwrite(path)

    def _refuse_clashes(
        self, sources: Sequence[Source], others: Sequence[str], folds: bool | None
    ) -> None:
        """Refuse two sources with one output, or two that the file system takes for one."""
        reserved = {hash(os.path.normpath(path)) for path in others}
        exact: set[int] = set()
        folded: set[int] = set()
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
                        folds = folds_case(self.directory)
                    if folds:
                        raise self._clash(path, sources, str.casefold)
                folded.add(fold)

    def _places(self, source: Source) -> Iterator[str]:
        return map(os.path.normpath, filter(None, self.of(source)))

    def _clash(self, path: str, sources: Sequence[Source], key: Callable[[str], str]) -> UsageError:
        pair = [
            source
            for source in sources
            for place in self._places(source)
            if key(place) == key(path)
        ]
        first, second = (printable(source.path) for source in pair[:2])
        if pair[0] is pair[1]:
            second = "its mask"
        elif first == second:
            return UsageError(f"{first} is given twice")
        return UsageError(f"{first} and {second} would both be written to {printable(path)}")


def mask_name(relative: str) -> str:
    """Name the mask of an image, by its path below the input directory.

    The suffix stays, because ``x.jpg`` and ``x.png`` may lie side by side.

    Parameters
    ----------
    relative : str
        The image's path.

    Returns
    -------
    str
        The mask's path below the masks directory. A name that would be too long is cut, and ends
        in a digest of all of it.
    """
    directory, name = os.path.split(relative)
    data = os.fsencode(name)
    if len(data) + len(".png") > _LONGEST_NAME:
        end = "-" + hashlib.blake2b(data, digest_size=8).hexdigest() + ".png"
        cut = data[: _LONGEST_NAME - len(end)]
        return os.path.join(directory, os.fsdecode(cut) + end)
    return relative + ".png"


def old_mask_name(relative: str) -> str:
    """Name the mask of an image as version 0.1.0 did: without the suffix of the image."""
    return os.path.splitext(relative)[0] + ".png"


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


def folds_case(directory: str) -> bool:
    """Say whether the file system of a directory takes ``A`` and ``a`` for one name.

    A file is made there, and removed.
    """
    directory = _nearest_existing(directory)
    import tempfile  # takes longer to load than all of this file, and is seldom needed

    try:
        with tempfile.NamedTemporaryFile(prefix=".lgs-case-", dir=directory) as probe:
            name = os.path.basename(probe.name)
            return os.path.exists(os.path.join(directory, name.upper()))
    except OSError:  # nothing can be written there: the run will say so
        return False


def _nearest_existing(path: str) -> str:
    """Find what is there already of a path that is going to be made."""
    while path and not os.path.lexists(path):
        path = os.path.dirname(path)
    return path or os.curdir
