"""Images cleaned in place: whole at any moment, and with the original kept if that is wanted."""

from __future__ import annotations

import filecmp
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lgs_cli.batch.entry import Entry
from lgs_cli.batch.job import Job, Result
from lgs_cli.batch.manifest import Manifest
from lgs_cli.batch.outputs import Outputs, mask_name
from lgs_cli.batch.pipeline import CleanSettings, process
from lgs_cli.errors import ImageError, OutOfMemoryError, UsageError
from lgs_cli.formats import SUFFIXES
from lgs_cli.storage import Like, would_overwrite, write
from lgs_cli.storage.inputs import Source
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from lgs_cli.image_io import Picture

NAME = ".lgs-in-place.jsonl"

# Each holds a file open.
_MOST_DIRECTORIES = 100


@dataclass(frozen=True)
class InPlace(CleanSettings):
    """How every image of a run is replaced.

    Attributes
    ----------
    backup : str or None
        What the name of an original gets at its end; None keeps no originals.
    """

    backup: str | None = None

    def do(self, job: Job) -> Result:
        """Clean one image, and note what it is from now on."""
        before = _identity(job.source)
        result = process(job, self)
        if result.status != "done":
            return result
        found = os.stat(job.source)
        return result._replace(
            source_size=found.st_size,
            source_mtime_ns=found.st_mtime_ns,
            output_size=found.st_size,
            unchanged=before == _identity(job.source),
        )

    def read(self, job: Job) -> Picture:
        """Read the original: the backup, if an earlier run has made one and replaced the image.

        Raises
        ------
        ImageError
            If it cannot be read.
        """
        from lgs_cli import image_io

        backup = self._backup_of(job)
        if backup is None or not _differ(job.source, backup):
            return super().read(job)
        super().read(job)  # if it has turned bad, that is the reason to give
        try:
            return image_io.read(backup, max_pixels=self.max_pixels)
        except OutOfMemoryError:
            raise
        except ImageError:
            raise _in_the_way(backup) from FileExistsError()  # no fault of the image

    def store(self, job: Job, data: bytes, mask: bytes | None) -> None:
        """Replace an image, unless nothing has changed, and write its mask.

        Parameters
        ----------
        job : Job
            The image.
        data : bytes
            What it becomes.
        mask : bytes or None
            Its mask.

        Raises
        ------
        ImageError
            If there is a backup of that name, but the image is neither what it holds nor what
            cleaning it gives.
        StorageError
            If the disk refuses.
        """
        path = job.source
        with open(path, "rb") as file:
            before = file.read()
        if before == data:  # also if a run has done it, but was killed, or is to be forced
            self.store_mask(job, mask)
            return
        backup = self._backup_of(job)
        if backup is not None and not _keep(path, before, backup):
            raise _in_the_way(backup)
        try:
            self.store_mask(job, mask)
            like = Like(path, times=self.preserve_times)
            write(path, data, like=like, mode=stat.S_IMODE(os.stat(path).st_mode))
        except BaseException:
            if backup is not None and _holds(path, before):
                os.unlink(backup)
            raise

    def _backup_of(self, job: Job) -> str | None:
        return None if self.backup is None else job.source + self.backup


def _in_the_way(backup: str) -> ImageError:
    return ImageError(
        f"{printable(backup)} is there already and holds something else: move it away, or "
        "choose another --backup"
    )


def _keep(path: str, data: bytes, backup: str) -> bool:
    """Give an image a second name, or else make a copy of it; False if another file is there."""
    try:
        os.link(path, backup, follow_symlinks=False)
    except FileExistsError:
        # A killed run leaves a backup of what it did not get to replace.
        return os.path.isfile(backup) and _holds(backup, data)
    except OSError:  # no hard links on this file system, or none to a file of somebody else's
        write(backup, data)
        shutil.copystat(path, backup)
    return True


def _identity(path: str) -> tuple[int, int, int] | None:
    """Give what tells a replaced file from the one before, on file systems of all kinds."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None  # reading it will say why
    return found.st_ino, found.st_size, found.st_mtime_ns


def _differ(path: str, other: str) -> bool:
    """Say whether two files are there and hold different things."""
    try:
        return os.path.isfile(other) and not filecmp.cmp(path, other, shallow=False)
    except (OSError, ValueError):
        return False  # reading it will say why


def _holds(path: str, data: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read() == data


class Originals(Outputs):
    """The inputs as the places of the outputs.

    Parameters
    ----------
    masks : str or None
        The masks directory, if masks are wanted.
    """

    def __init__(self, masks: str | None) -> None:
        super().__init__(os.curdir, masks, None)

    @property
    def directories(self) -> tuple[str, ...]:
        """The directories that are written to, but those of the inputs."""
        return () if self.masks is None else (self.masks,)

    def of(self, source: Source) -> tuple[str, str | None]:
        """Name the image itself, and its mask."""
        if self.masks is None:
            return source.path, None
        return source.path, os.path.join(self.masks, mask_name(source.relative))

    def check(
        self,
        inputs: Iterable[str],
        sources: Iterable[Source],
        others: Sequence[str] = (),
        *,
        write: bool = True,
    ) -> None:
        """Refuse a run that would replace an image with something other than itself.

        Raises
        ------
        UsageError
            Naming the file.
        """
        images: set[int] = set()
        for source in sources:
            place = hash(os.path.realpath(source.path))
            if place in images:
                raise UsageError(f"{printable(source.path)} is given twice")
            images.add(place)
        masks: set[int] = set()
        for source in sources:
            for path in filter(None, (self.of(source)[1],)):
                place = hash(os.path.realpath(path))
                if place in images:
                    raise UsageError(f"{printable(path)} is an input; its mask would replace it")
                if place in masks:
                    raise UsageError(f"{printable(path)} would be written twice")
                masks.add(place)
        for path in others:
            if hash(os.path.realpath(path)) in images | masks:
                raise would_overwrite(path)


def are_told_apart(inputs: Sequence[str], masks: str | None, others: Iterable[str]) -> bool:
    """Say whether images may be replaced before all are known: :meth:`Originals.check` would pass.

    Of one directory each image is found once. No mask is in the place of one, because the directory
    of masks is not walked, unless all lies in it.

    Parameters
    ----------
    inputs : sequence of str
        All inputs, as the user gave them.
    masks : str or None
        The masks directory, if masks are wanted.
    others : iterable of str
        More files that the run writes.
    """
    if len(inputs) != 1 or not os.path.isdir(inputs[0]):
        return False
    if any(os.path.splitext(path)[1].lower() in SUFFIXES for path in others):
        return False
    root = os.path.join(os.path.realpath(inputs[0]), "")
    return masks is None or not root.startswith(os.path.join(os.path.realpath(masks), ""))


def without_links(sources: Iterable[Source]) -> Iterator[Source]:
    """Let links fail: what they lead to may lie anywhere, and is not what the user named."""
    for source in sources:
        if source.problem is None and source.link and os.path.islink(source.path):
            source = source._replace(problem="a link; name the file that it leads to")
        yield source


class Records(Manifest):
    """What earlier runs have cleaned in place: a record in each directory given.

    An image is current if a run with the same settings has cleaned it, and nobody has touched it
    since.

    Parameters
    ----------
    sources : iterable of Source
        The inputs.
    settings : CleanSettings
        How this run cleans.

    Raises
    ------
    UsageError
        If the files lie in too many directories.
    """

    def __init__(self, sources: Iterable[Source], settings: CleanSettings) -> None:
        roots = sorted({source.root for source in sources}, key=len, reverse=True)
        if len(roots) > _MOST_DIRECTORIES:
            raise UsageError(
                f"the files lie in {len(roots)} directories; --in-place takes "
                f"{_MOST_DIRECTORIES}: name directories above them"
            )
        self._records = {root: Manifest(root or os.curdir, settings, NAME) for root in roots}

    @property
    def exists(self) -> bool:
        """Whether what is there may be replaced: that is what the user asked for."""
        return True

    def _of(self, job: Job) -> Manifest:
        return next(record for root, record in self._records.items() if job.source.startswith(root))

    def open(self, *, wait: bool) -> None:
        """Lock the directories, and read what is there."""
        for record in self._records.values():
            record.open(wait=wait)

    def peek(self) -> None:
        """Read what is there without locking."""
        for record in self._records.values():
            record.peek()

    def close(self) -> None:
        """Give the locks back."""
        for record in self._records.values():
            record.close()

    def is_current(self, job: Job) -> bool:
        """Say whether an image has been cleaned, and not touched since."""
        return self._of(job).is_current(job)

    def skipped(self, job: Job) -> Result:
        """Give the result of an image that was found to be current."""
        return self._of(job).skipped(job)

    def add(self, result: Result) -> None:
        """Record an image that was cleaned."""
        self._of(Job(result.place, result.source)).add(result)

    def knows(self, job: Job) -> bool:
        """Say whether anything is recorded of an image."""
        return self._of(job).knows(job)

    def entry(self, job: Job) -> Entry | None:
        """Give what is recorded of an image."""
        return self._of(job).entry(job)

    def why_hopeless(self, job: Job) -> str | None:
        """Say why an image cannot be cleaned, if an earlier run has found that out."""
        return self._of(job).why_hopeless(job)

    def add_failure(self, job: Job, result: Result) -> Result:
        """Record an image that will always fail, but not if it still is as a run has cleaned it.

        A failure leaves the image as it was, so that the record of its cleaning stays true.
        """
        record = self._of(job)
        if result.hopeless and not _is_cleaned(record.entry(job), job.source):
            record.add_failure(job, result)
        return result._replace(stale=False)


def _is_cleaned(known: Entry | None, path: str) -> bool:
    """Say whether an image is what a run made of it, with whatever settings."""
    if known is None or not known.is_done:
        return False
    try:
        found = os.stat(path)
    except OSError:
        return False
    return (known.source_size, known.source_mtime_ns) == (found.st_size, found.st_mtime_ns)
