"""An archive at work: its images become jobs, and what comes of them files until all are done.

What guards a run over files guards those over archives too. An archive in a store is copied here
first, as a whole; of a Parquet file of which nothing is written only the column of images is read.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from lgs_cli.batch.job import Job, Result, failed
from lgs_cli.batch.pipeline import stamp
from lgs_cli.batch.workers import Limits
from lgs_cli.errors import ImageError
from lgs_cli.storage import temporary_path, write_error
from lgs_cli.storage.archives.archive import Archive, Member, MissingImageError, Part
from lgs_cli.storage.archives.opening import Opening
from lgs_cli.storage.stores import store
from lgs_cli.storage.stores.listing import States
from lgs_cli.storage.stores.store import is_remote


@dataclass(frozen=True)
class Reading:
    """How the archives of a run are read.

    Attributes
    ----------
    opening : Opening
        How one is opened.
    states : States
        In which state those in stores were listed.
    limits : Limits
        How many workers, and what an image may take.
    scratch : str
        A directory for the images of archives that go nowhere, or into a store.
    """

    opening: Opening
    states: States
    limits: Limits
    scratch: str

    def folder_of(self, job: Job) -> str:
        """Name a directory for the images of an archive; beside the output if that is a file."""
        if job.output is None or is_remote(job.output):
            return os.path.join(self.scratch, str(job.place))
        return temporary_path(job.output).removesuffix(".tmp") + ".members"


@dataclass
class Unpacking:
    """One archive.

    Parameters
    ----------
    job : Job
        The archive, and where it and the archive of its masks go, if they do.
    reading : Reading
        How it is read.
    places : iterator of int
        Gives each image its place.
    """

    job: Job
    reading: Reading
    places: Iterator[int]
    folder: str = field(init=False)
    archive: Archive | None = field(default=None, init=False)
    # Why the archive as a whole cannot be read or written, and the place of the result of that.
    problem: Exception | None = field(default=None, init=False)
    problem_place: int = field(default=-1, init=False)
    # Images that never went out.
    refused: list[Result] = field(default_factory=list, init=False)
    is_given_out: bool = field(default=False, init=False)
    # Place of each image that went out to its index in the archive.
    indices: dict[int, int] = field(default_factory=dict, init=False)
    came_back: int = field(default=0, init=False)
    # Size of the archive, and what tells its versions apart, as they were before it was read.
    state: tuple[int | None, int | None] = field(default=(None, None), init=False)
    _copy: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.folder = self.reading.folder_of(self.job)

    @property
    def is_complete(self) -> bool:
        """Whether all images have gone out, and all results have come back."""
        return self.is_given_out and len(self.indices) == self.came_back

    @property
    def local(self) -> str:
        """The archive as a file."""
        return self._copy or self.job.source

    def fetch(self) -> None:
        """Copy an archive in a store here; note the state of the archive before it is read."""
        try:
            self._make_folder()
            if not is_remote(self.job.source):
                self.state = stamp(self.job.source)
                return
            self.state = self.reading.states.state(self.job.source) or (None, None)
            if not self._reads_ranges:
                suffix = os.path.splitext(self.job.source)[1]
                self._copy = os.path.join(self.folder, "archive" + suffix)
                store.download(self.job.source, self._copy)
        except Exception as error:  # in a thread that has nobody to raise it to
            self.problem = as_problem(error)

    @property
    def _reads_ranges(self) -> bool:
        """Whether it reads parts of an object: but for the images all of a table stays unread."""
        return self.job.output is None and self.job.source.lower().endswith(".parquet")

    def require_unchanged(self) -> None:
        """Raise ImageError if the archive is another one by now."""
        size, time = self.state
        if is_remote(self.job.source):
            found = store.find_one(self.job.source)
            same = found is not None and (found.size, found.tag) == (size, time)
        else:
            now = os.stat(self.job.source)
            same = now.st_size == size and time in (None, now.st_mtime_ns)
        if not same:
            raise ImageError("the archive changed while it was read")

    def images(self) -> Iterator[Job]:
        """Give the job of each image; one that is no part of a file gets a file of its own."""
        try:
            if self.problem is not None:
                return
            whole = self._copy or not is_remote(self.job.source)
            parts = None if whole else store.open_ranges(self.job.source)
            self.archive = self.reading.opening.open(self.local, parts)
            for index, member in enumerate(self.archive.members):
                if member.problem is not None:
                    self._refuse(member)
                    continue
                try:
                    image = self.archive.image(index)
                except MissingImageError as error:
                    self._refuse(member._replace(problem=str(error)))
                    continue
                if image is None:
                    continue
                path = os.path.join(self.folder, str(index))
                output = None if self.job.output is None else path + ".out"
                job = Job(
                    next(self.places), path, output,
                    None if self.job.mask is None else path + ".mask",
                )  # fmt: skip
                if isinstance(image, Part):
                    job = job._replace(source=self.local, part=image)
                else:
                    _write_file(path, image)
                self.indices[job.place] = index
                yield job
        except Exception as error:  # in a thread that has nobody to raise it to
            self.problem = as_problem(error)
        finally:
            if self.problem is not None:
                self.problem_place = next(self.places)
            self.is_given_out = True

    def _make_folder(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)  # of a run that was killed
        try:
            os.makedirs(os.path.dirname(self.folder) or os.curdir, exist_ok=True)
            os.mkdir(self.folder, 0o700)
        except OSError as error:
            raise write_error(error, self.folder) from error

    def _refuse(self, member: Member) -> None:
        source, _ = paths_of(self.job, member)
        self.refused.append(
            Result(next(self.places), source, status="failed", error=member.problem)
        )

    def take(self, result: Result) -> tuple[int, Result]:
        """Take the result of an image: give its index, and the result under its own name."""
        assert self.archive is not None
        index = self.indices[result.place]
        self.came_back += 1
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.folder, str(index)))
        source, output = paths_of(self.job, self.archive.members[index])
        if result.output is None:
            return index, result._replace(source=source)
        return index, result._replace(source=source, output=output, mask=self.job.mask)

    def came(self, result: Result) -> Iterator[Result]:
        """Pass the result of an image on."""
        yield self.take(result)[1]

    def finish(self) -> Iterator[Result]:
        """Give the results that are left."""
        self.close()
        yield from self.refused
        if self.problem is not None:
            yield failed(Job(self.problem_place, self.job.source), self.problem, 0.0)

    def close(self) -> None:
        """Remove the files of the images, and close the archive."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.archive is not None:
            self.archive.close()


One = TypeVar("One", bound=Unpacking)


def fetched_ahead(unpackings: Iterable[One]) -> Iterator[One]:
    """Fetch each archive in a store while the images of the one before are worked on."""
    waiting = iter(unpackings)

    def begin() -> tuple[One, threading.Thread] | None:
        unpacking = next(waiting, None)
        if unpacking is None:
            return None
        # A daemon, so that a run that is ended does not wait for a slow store.
        thread = threading.Thread(target=unpacking.fetch, daemon=True)
        if is_remote(unpacking.job.source):
            thread.start()
        else:
            unpacking.fetch()  # a process without threads can fork workers
        return unpacking, thread

    ahead = begin()
    while ahead is not None:
        unpacking, thread = ahead
        if thread.ident is not None:
            thread.join()
        ahead = begin()
        yield unpacking


def paths_of(job: Job, member: Member) -> tuple[str, str]:
    """Name an image of an archive, and what becomes of it."""
    return f"{job.source}/{member.name}", f"{job.output}/{member.new_name}"


def as_problem(error: Exception) -> Exception:
    """Say of an error of reading what one says of images."""
    if isinstance(error, OSError):
        return ImageError((error.strerror or str(error)).lower())
    return error


def _write_file(path: str, data: bytes) -> None:
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError as error:
        raise write_error(error, path) from error
