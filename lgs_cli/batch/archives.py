"""Runs over archives of images: each is cleaned image by image, and written whole or not at all."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from lgs_cli.batch import engines
from lgs_cli.batch.job import Job, Result, Work, failed
from lgs_cli.batch.manifest import Manifest
from lgs_cli.batch.member_index import MemberIndex
from lgs_cli.batch.pipeline import CleanSettings
from lgs_cli.batch.scan import ScanSettings
from lgs_cli.batch.unpacking import Reading, Unpacking, as_problem, fetched_ahead, paths_of
from lgs_cli.batch.workers import Limits
from lgs_cli.errors import LgsError
from lgs_cli.storage import create, remove_temporary, temporary_path, write_error
from lgs_cli.storage.stores import store
from lgs_cli.storage.stores.store import is_remote


@dataclass(frozen=True)
class ArchiveRun:
    """What is the same for every archive of a run that cleans.

    Attributes
    ----------
    reading : Reading
        How archives are read.
    settings : CleanSettings
        How every image is cleaned.
    manifest : Manifest
        Which archives are done already, open; what gets done is recorded there.
    index : MemberIndex or None
        The images of archives that are done, if some archive is in a store.
    """

    reading: Reading
    settings: CleanSettings
    manifest: Manifest
    index: MemberIndex | None = None

    def is_current(self, job: Job) -> bool:
        """Say whether nothing has changed since an archive was done; reads none."""
        if not self.manifest.is_current(job):
            return False
        known = self.manifest.entry(job)
        if known is None or tuple(known.notes) != self.reading.opening.note():
            return False
        return self.index is None or self.index.holds(job)

    def skipped(self, job: Job, places: Iterator[int]) -> Iterator[Result]:
        """Give the results of an archive that is current."""
        try:
            if self.index is not None:
                for result in self.index.read(job):
                    yield result._replace(place=next(places))
                return
            archive = self.reading.opening.open(job.source)
        except (LgsError, OSError) as error:
            yield failed(job._replace(place=next(places)), as_problem(error), 0.0)
            return
        with contextlib.closing(archive):
            for member in archive.members:
                yield Result(next(places), *paths_of(job, member), status="skipped")


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
            yield from run.skipped(job, places)
    archives = (_Cleaning(job, run.reading, places, run) for job in to_do)
    yield from _follow(archives, run.settings, run.reading.limits)


def scan_archives(
    jobs: Sequence[Job], reading: Reading, settings: ScanSettings
) -> Generator[Result]:
    """Look for patches in the images of archives.

    Parameters
    ----------
    jobs : sequence of Job
        The archives.
    reading : Reading
        How they are read.
    settings : ScanSettings
        The detector, and what it finds.

    Yields
    ------
    Result
        One for each image, in their order, each as soon as its turn comes; one for an archive that
        cannot be read.
    """
    places = itertools.count()
    archives = (Unpacking(job, reading, places) for job in jobs)
    early: dict[int, Result] = {}
    turn = 0
    with contextlib.closing(_follow(archives, settings, reading.limits)) as results:
        for result in results:
            early[result.place] = result
            while turn in early:
                yield early.pop(turn)
                turn += 1


def _follow(archives: Iterator[Unpacking], work: Work, limits: Limits) -> Generator[Result]:
    """Work through archives, one after the other; give what each makes of its results."""
    # Filled by whichever thread of the pool asks for the next job, and read by this one.
    at_work: deque[Unpacking] = deque()
    owners: dict[int, Unpacking] = {}

    def noted() -> Iterator[Unpacking]:
        for archive in archives:
            at_work.append(archive)
            yield archive

    def images() -> Iterator[Job]:
        for archive in fetched_ahead(noted()):
            for image in archive.images():
                owners[image.place] = archive
                yield image

    try:
        with contextlib.closing(engines.run(images(), work, limits)) as results:
            for result in results:
                yield from owners.pop(result.place).came(result)
                while at_work and at_work[0].is_complete:
                    yield from at_work[0].finish()
                    at_work.popleft()
        while at_work:
            yield from at_work[0].finish()
            at_work.popleft()
    finally:
        for archive in at_work:
            archive.close()


@dataclass
class _Cleaning(Unpacking):
    """One archive that is cleaned."""

    run: ArchiveRun
    # Index of each image that is done to what came of it.
    done: dict[int, Result] = field(default_factory=dict, init=False)

    def came(self, result: Result) -> Iterator[Result]:
        """Take the result of an image, and pass it on if it failed."""
        index, result = self.take(result)
        if result.status == "done":
            self.done[index] = result
        else:
            yield result

    def finish(self) -> Iterator[Result]:
        """Write the archive, and give the results that are left."""
        try:
            if self.problem is None:
                self._write()
        except Exception as error:
            self.problem = as_problem(error)
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
        archive, mask, output = self.archive, self.job.mask, self.job.output
        assert archive is not None
        assert output is not None
        self.require_unchanged()
        mask_size = None
        if mask is not None:
            with self._whole(mask) as file:
                archive.write_masks(file, lambda index: self._read(index, ".mask"))
                mask_size = file.tell()
        with self._whole(output) as file:
            archive.rewrite(file, lambda index: self._read(index, ".out"))
            size = file.tell()
        if len(self.done) < self.came_back or self.refused:
            return
        if self.run.index is not None:
            results = [self.done[index] for index in sorted(self.done)]
            self.run.index.write(self.job, results)
        record = Result(
            self.job.place, self.job.source, output, mask,
            notes=self.reading.opening.note(),
            source_size=self.state[0], source_mtime_ns=self.state[1],
            output_size=size,
            output_mtime_ns=None if is_remote(output) else os.stat(output).st_mtime_ns,
            mask_size=mask_size,
        )  # fmt: skip
        self.run.manifest.add(record)

    def _read(self, index: int, suffix: str) -> bytes | None:
        if index not in self.done:
            return None
        with open(os.path.join(self.folder, str(index)) + suffix, "rb") as file:
            return file.read()

    @contextlib.contextmanager
    def _whole(self, path: str) -> Iterator[IO[bytes]]:
        """Open a file that appears under its name, or as an object, when it is whole."""
        if not is_remote(path):
            with _whole_file(path, stat.S_IMODE(os.stat(self.local).st_mode) & 0o666) as file:
                yield file
            return
        near = os.path.join(self.folder, "whole")
        with open(near, "wb") as file:
            yield file
        store.upload(near, path)
        os.unlink(near)


@contextlib.contextmanager
def _whole_file(path: str, mode: int) -> Iterator[IO[bytes]]:
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
