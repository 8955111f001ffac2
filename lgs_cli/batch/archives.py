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
from lgs_cli.batch.run import Skip
from lgs_cli.batch.scan import ScanSettings
from lgs_cli.batch.unpacking import Reading, Unpacking, as_problem, fetched_ahead, paths_of
from lgs_cli.batch.workers import Limits
from lgs_cli.errors import LgsError
from lgs_cli.storage import create, remove_temporary, temporary_path, write_error
from lgs_cli.storage.stores import store
from lgs_cli.storage.stores.store import is_remote
from lgs_cli.wording import counted, printable

# Begins what the record says of an image that an archive lost; of more than so many it says
# nothing.
_LEFT_OUT = "left out: "
_MOST_LEFT_OUT = 1000


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
        if not self.manifest.is_current(job) or not self._is_chosen_alike(job):
            return False
        return self.index is None or self.index.holds(job)

    def is_settled(self, job: Job) -> bool:
        """Say whether nothing has changed since an archive was done but for hopeless images."""
        known = self.manifest.entry(job) if self.manifest.knows(job) else None
        if known is None or self.manifest.why_hopeless(job) is None:
            return False
        assert job.output is not None
        try:
            if os.stat(job.output).st_size != known.output_size:
                return False
            if job.mask is not None:
                mask = self.settings.mask_style, os.stat(job.mask).st_size
                if known.mask is None or mask != known.mask[:2]:
                    return False
        except OSError:
            return False
        return self._is_chosen_alike(job)

    def skips(self, job: Job, skip: Skip) -> bool:
        """Say whether an archive is not worked on."""
        if not skip.current:
            return False
        return self.is_current(job) or (skip.hopeless and self.is_settled(job))

    def _is_chosen_alike(self, job: Job) -> bool:
        """Say whether the images that were chosen are those that are chosen now."""
        known = self.manifest.entry(job)
        if known is None:
            return False
        chosen = tuple(note for note in known.notes if not note.startswith(_LEFT_OUT))
        return chosen == self.reading.opening.note()

    def skipped(self, job: Job, places: Iterator[int]) -> Iterator[Result]:
        """Give the results of an archive that is not worked on."""
        try:
            if self.index is not None:
                for result in self.index.read(job):
                    yield result._replace(place=next(places))
                return
            archive = self.reading.opening.open(job.source)
        except (LgsError, OSError) as error:
            yield failed(job._replace(place=next(places)), as_problem(error), 0.0)
            return
        known = self.manifest.entry(job)
        lost = [] if known is None else [one for one in known.notes if one.startswith(_LEFT_OUT)]
        with contextlib.closing(archive):
            for member in archive.members:
                result = Result(next(places), *paths_of(job, member), status="skipped")
                said = _left_out(member.name, "")
                reasons = (note.removeprefix(said) for note in lost if note.startswith(said))
                if (reason := next(reasons, None)) is not None:
                    result = result._replace(output=None, status="unsupported", error=reason)
                yield result


def clean_archives(jobs: Sequence[Job], run: ArchiveRun, skip: Skip) -> Generator[Result]:
    """Clean the images of archives.

    Parameters
    ----------
    jobs : sequence of Job
        The archives, and where they and the archives of their masks go.
    run : ArchiveRun
        How.
    skip : Skip
        Which archives are not worked on.

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
        if run.skips(job, skip):
            yield from run.skipped(job, places)
        else:
            to_do.append(job)
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
    # What is said of each image that will always fail.
    left_out: list[str] = field(default_factory=list, init=False)

    def came(self, result: Result) -> Iterator[Result]:
        """Take the result of an image, and pass it on if it failed."""
        index, result = self.take(result)
        if result.status == "done":
            self.done[index] = result
            return
        if result.hopeless:
            assert self.archive is not None
            self.left_out.append(_left_out(self.archive.members[index].name, result.error or ""))
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
        lost = self.came_back - len(self.done) + len(self.refused)
        for result in self.refused:
            name = result.source.removeprefix(self.job.source)[1:]
            self.left_out.append(_left_out(name, result.error or ""))
        may_do_better = len(self.left_out) < lost or self.run.index is not None
        if lost and (may_do_better or lost > _MOST_LEFT_OUT):
            return
        if self.run.index is not None:
            results = [self.done[index] for index in sorted(self.done)]
            self.run.index.write(self.job, results)
        record = Result(
            self.job.place, self.job.source, output, mask,
            error=f"{counted(lost, 'image')} left out" if lost else None,
            notes=(*self.reading.opening.note(), *self.left_out),
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


def _left_out(name: str, reason: str) -> str:
    return f"{_LEFT_OUT}{printable(name)}: {reason}"


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
