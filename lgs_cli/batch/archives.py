"""Archives of images: each is cleaned image by image, and written whole or not at all.

The images become files in a hidden directory beside the output, and plain jobs: what guards a run
over files guards them too.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import stat
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from lgs_cli.batch import engines
from lgs_cli.batch.job import Job, Result, failed
from lgs_cli.batch.manifest import Manifest
from lgs_cli.batch.pipeline import CleanSettings, stamp
from lgs_cli.batch.workers import Limits
from lgs_cli.errors import ImageError, LgsError
from lgs_cli.storage import create, remove_temporary, temporary_path, write_error
from lgs_cli.storage.archives.archive import Archive, Member
from lgs_cli.storage.archives.opening import Opening


@dataclass(frozen=True)
class ArchiveRun:
    """What is the same for every archive of a run.

    Attributes
    ----------
    opening : Opening
        How archives are read.
    settings : CleanSettings
        How every image is cleaned.
    limits : Limits
        How many workers, and what an image may take.
    manifest : Manifest
        Which archives are done already, open; what gets done is recorded there.
    """

    opening: Opening
    settings: CleanSettings
    limits: Limits
    manifest: Manifest

    def is_current(self, job: Job) -> bool:
        """Say whether nothing has changed since an archive was done."""
        if not self.manifest.is_current(job):
            return False
        known = self.manifest.entry(job)
        return known is not None and tuple(known.notes) == self.opening.note()


def clean_archives(
    jobs: Sequence[Job], run: ArchiveRun, *, force: bool = False
) -> Generator[Result]:
    """Clean the images of archives.

    Parameters
    ----------
    jobs : sequence of Job
        The archives, and where they and the archives of their masks go.
    run : ArchiveRun
        How.
    force : bool
        Whether to do again what is up to date.

    Yields
    ------
    Result
        One for each image. Those that are done come when their archive is written; an archive
        that cannot be read or written fails with all its images. ``place`` counts the images, first
        those that are up to date.

    Raises
    ------
    StorageError
        If the manifest cannot be written.
    """
    places = itertools.count()
    to_do: list[Job] = []
    for job in jobs:
        if force or not run.is_current(job):
            to_do.append(job)
        else:
            yield from _skipped(job, run, places)

    # Filled by whichever thread of the pool asks for the next job, and read by this one.
    at_work: deque[_Cleaning] = deque()
    owners: dict[int, _Cleaning] = {}

    def images() -> Iterator[Job]:
        for job in to_do:
            cleaning = _Cleaning(job, run, places)
            at_work.append(cleaning)
            for image in cleaning.images():
                owners[image.place] = cleaning
                yield image

    try:
        with contextlib.closing(engines.run(images(), run.settings, run.limits)) as results:
            for result in results:
                yield from owners.pop(result.place).take(result)
                while at_work and at_work[0].is_complete:
                    yield from at_work[0].finish()
                    at_work.popleft()
        while at_work:
            yield from at_work[0].finish()
            at_work.popleft()
    finally:
        for cleaning in at_work:
            cleaning.close()


def _skipped(job: Job, run: ArchiveRun, places: Iterator[int]) -> Iterator[Result]:
    try:
        archive = run.opening.open(job.source)
    except (LgsError, OSError) as error:
        yield failed(job._replace(place=next(places)), _error(error), 0.0)
        return
    with contextlib.closing(archive):
        for member in archive.members:
            yield Result(next(places), *_paths(job, member), status="skipped")


def _paths(job: Job, member: Member) -> tuple[str, str]:
    """Name an image, and what becomes of it."""
    return f"{job.source}/{member.name}", f"{job.output}/{member.new_name}"


def _error(error: Exception) -> Exception:
    """Say of an error of reading what one says of images."""
    if isinstance(error, OSError):
        return ImageError((error.strerror or str(error)).lower())
    return error


@dataclass
class _Cleaning:
    """One archive at work."""

    job: Job
    run: ArchiveRun
    places: Iterator[int]
    archive: Archive | None = None
    found: tuple[int | None, int | None] = (None, None)
    is_given_out: bool = False
    # Place of each image that went out to its index in the archive; index to what came of it.
    indices: dict[int, int] = field(default_factory=dict)
    done: dict[int, Result] = field(default_factory=dict)
    failures: int = 0
    # Images that never went out.
    refused: list[Result] = field(default_factory=list)
    problem: Exception | None = None

    def __post_init__(self) -> None:
        assert self.job.output is not None
        self.folder = temporary_path(self.job.output).removesuffix(".tmp") + ".members"

    @property
    def is_complete(self) -> bool:
        """Whether all images have gone out, and all results have come back."""
        return self.is_given_out and len(self.indices) == len(self.done) + self.failures

    def images(self) -> Iterator[Job]:
        """Write each image to a file of its own, and give its job."""
        try:
            self.found = stamp(self.job.source)
            self.archive = self.run.opening.open(self.job.source)
            self._make_folder()
            for index, member in enumerate(self.archive.members):
                if member.problem is not None:
                    self._refuse(member)
                    continue
                data = self.archive.read(index)
                if data is None:
                    continue
                path = os.path.join(self.folder, str(index))
                _write_file(path, data)
                place = next(self.places)
                self.indices[place] = index
                mask = None if self.job.mask is None else path + ".mask"
                yield Job(place, path, path + ".out", mask)
        except Exception as error:  # in a thread that has nobody to raise it to
            self.problem = _error(error)
        finally:
            self.is_given_out = True

    def _make_folder(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)  # of a run that was killed
        try:
            os.makedirs(os.path.dirname(self.folder) or os.curdir, exist_ok=True)
            os.mkdir(self.folder, 0o700)
        except OSError as error:
            raise write_error(error, self.folder) from error

    def _refuse(self, member: Member) -> None:
        source, _ = _paths(self.job, member)
        self.refused.append(
            Result(next(self.places), source, status="failed", error=member.problem)
        )

    def take(self, result: Result) -> Iterator[Result]:
        """Take the result of an image, and pass it on if it failed."""
        assert self.archive is not None
        index = self.indices[result.place]
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.folder, str(index)))
        source, output = _paths(self.job, self.archive.members[index])
        if result.status == "done":
            self.done[index] = result._replace(source=source, output=output, mask=self.job.mask)
        else:
            self.failures += 1
            yield result._replace(source=source)

    def finish(self) -> Iterator[Result]:
        """Write the archive, and give the results that are left."""
        try:
            if self.problem is None:
                self._write()
        except Exception as error:
            self.problem = _error(error)
        self.close()
        yield from self.refused
        results = [self.done[index] for index in sorted(self.done)]
        if self.problem is None:
            yield from results
            return
        if not results:
            results = [Result(next(self.places), self.job.source)]
        for result in results:
            yield failed(Job(result.place, result.source), self.problem, result.seconds)

    def _write(self) -> None:
        """Write the archive, and that of the masks; record it if nothing is missing."""
        assert self.archive is not None
        assert self.job.output is not None
        now = os.stat(self.job.source)
        if now.st_size != self.found[0] or self.found[1] not in (None, now.st_mtime_ns):
            raise ImageError("the archive changed while it was read")
        mode = stat.S_IMODE(now.st_mode) & 0o666
        mask_size = None
        if self.job.mask is not None:
            with _whole(self.job.mask, mode) as file:
                self.archive.write_masks(file, lambda index: self._read(index, ".mask"))
                mask_size = file.tell()
        with _whole(self.job.output, mode) as file:
            self.archive.rewrite(file, lambda index: self._read(index, ".out"))
            size = file.tell()
        if self.failures or self.refused:
            return
        record = Result(
            self.job.place, self.job.source, self.job.output, self.job.mask,
            notes=self.run.opening.note(),
            source_size=self.found[0], source_mtime_ns=self.found[1],
            output_size=size,
            output_mtime_ns=os.stat(self.job.output).st_mtime_ns, mask_size=mask_size,
        )  # fmt: skip
        self.run.manifest.add(record)

    def _read(self, index: int, suffix: str) -> bytes | None:
        if index not in self.done:
            return None
        with open(os.path.join(self.folder, str(index)) + suffix, "rb") as file:
            return file.read()

    def close(self) -> None:
        """Remove the files of the images, and close the archive."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.archive is not None:
            self.archive.close()


def _write_file(path: str, data: bytes) -> None:
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError as error:
        raise write_error(error, path) from error


@contextlib.contextmanager
def _whole(path: str, mode: int) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name when it is whole, or not at all."""
    temporary = temporary_path(path)
    try:
        os.makedirs(os.path.dirname(path) or os.curdir, exist_ok=True)
        with open(create(temporary, mode), "wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException as error:
        remove_temporary(path)
        if isinstance(error, OSError):
            raise write_error(error, path) from error
        raise
