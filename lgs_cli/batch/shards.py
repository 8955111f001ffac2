"""One of several runs that share the work: which images are its own, and its record beside theirs.

A run over all images locks the manifest of the output directory for itself. Runs over shards hold
that lock together, and each records what it does in a file of its own. Whoever comes later, with
another number of shards or with none, first moves those files into the manifest.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lgs_cli.batch.entry import Entry
from lgs_cli.batch.job import Job
from lgs_cli.batch.manifest import NAME, Manifest
from lgs_cli.batch.pipeline import CleanSettings
from lgs_cli.batch.record_file import open_record
from lgs_cli.batch.volumes import Volumes
from lgs_cli.errors import LgsError, LockedError
from lgs_cli.storage.inputs import Source
from lgs_cli.wording import printable

DIRECTORY = ".lgs-shards"

_FILE = re.compile(r"[0-9]+-of-[0-9]+\.jsonl")


@dataclass(frozen=True)
class Shard:
    """One of the parts that images are divided into.

    Attributes
    ----------
    number : int
        Which one, from 1.
    count : int
        How many there are.
    """

    number: int
    count: int

    def holds(self, relative: str) -> bool:
        """Say whether an image belongs to this part.

        Its path below the input directory decides, without the suffix: whatever ``--format`` says,
        an output has the part of its source, and two sources of one output have the same part.

        Parameters
        ----------
        relative : str
            The path.

        Returns
        -------
        bool
            True for exactly one of the parts, the same one in every process and on every machine.
        """
        stem = os.fsencode(os.path.splitext(relative)[0])
        digest = hashlib.blake2b(stem, digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1

    def part_of(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Give the sources that belong to this part, in their order."""
        return (source for source in sources if self.holds(source.relative))


class SharedManifest(Manifest):
    """The record of an output directory that several runs may write to at a time.

    Parameters
    ----------
    directory : str
        The output directory.
    settings : CleanSettings
        How this run cleans.
    shard : Shard or None
        Which images it cleans; None for all of them.
    """

    def __init__(self, directory: str, settings: CleanSettings, shard: Shard | None) -> None:
        name = NAME if shard is None else f"{DIRECTORY}/{shard.number}-of-{shard.count}.jsonl"
        super().__init__(directory, settings, name)
        self._shard = shard
        self._settings = settings
        self._of_all = self._directory + NAME
        self._shards = os.path.join(self._directory + DIRECTORY, "")
        self._shared = Volumes(self._of_all)
        # The newest first: what one of them says of an image, the later ones no longer know.
        self._records: list[Manifest] = [self]

    @property
    def exists(self) -> bool:
        """Whether some run has written into the directory."""
        return os.path.lexists(self._of_all)

    def open(self, *, wait: bool) -> None:
        """Lock what this run needs for itself, and read what all runs have done before.

        Parameters
        ----------
        wait : bool
            Whether to wait for another run to end.

        Raises
        ------
        LockedError
            If a run over all images is at work, or one over this shard, or one over another number
            of shards, and `wait` is false.
        StorageError, ImageError
            If the directory cannot be written; the message names it.
        """
        try:
            if self._shard is None:
                self._lock_all(wait)
                self._absorb(self._volumes, self._shard_files())
                self._load()
                return
            os.makedirs(self._directory, exist_ok=True)
            self._shard_files()  # refuses a link in the place of the directory
            os.makedirs(self._shards, exist_ok=True)
            self._shared.open(self._lock(self._of_all, fcntl.LOCK_SH, wait))
            while (path := self._start()) is not None:
                os.close(self._lock(path, fcntl.LOCK_EX, wait))
        except OSError as error:
            raise self._refusal(error) from error
        self._peek_into(self._of_all)

    def _start(self) -> str | None:
        """Lock the file of this shard; or give the path of one that another run has locked.

        One run after another does this, so that no two with different numbers of shards start.
        """
        with contextlib.ExitStack() as stack:
            door = self._lock(self._shards + "lock", fcntl.LOCK_EX, wait=True)
            stack.callback(os.close, door)
            end = f"-of-{self._count}.jsonl"
            others = [path for path in self._shard_files() if not path.endswith(end)]
            for path in others:
                try:
                    stack.callback(os.close, self._lock(path, fcntl.LOCK_EX, wait=False))
                except LockedError:
                    return path
            self._absorb(self._shared, others)
            try:
                super().open(wait=False)
            except LockedError:
                return self._path
        return None

    def peek(self) -> None:
        """Read what is there without locking or writing anything."""
        super().peek()
        files = [path for path in self._shard_files() if path != self._path]
        with contextlib.suppress(OSError):
            files.sort(key=os.path.getmtime, reverse=True)
        for path in files:
            self._peek_into(path)
        if self._shard is None:
            self._records.append(self._records.pop(0))
        else:
            self._peek_into(self._of_all)

    def close(self) -> None:
        """Give the locks back."""
        for record in self._records:
            Manifest.close(record)
        self._shared.close()

    @property
    def warning(self) -> str | None:
        """What is to be said of what was read; None if there is nothing."""
        others = [record.warning for record in self._records if record is not self]
        return "; ".join(filter(None, [super().warning, *others])) or None

    def knows(self, job: Job) -> bool:
        """Say whether anything is recorded of an image."""
        return any(Manifest.knows(record, job) for record in self._records)

    def is_current(self, job: Job) -> bool:
        """Say whether nothing has changed since an image was done."""
        return Manifest.is_current(self._record_of(job), job)

    def entry(self, job: Job) -> Entry | None:
        """Give what is recorded of an image."""
        return Manifest.entry(self._record_of(job), job)

    def entries(self) -> Iterator[Entry]:
        """Give all that was recorded when the run began."""
        for place, record in enumerate(self._records):
            newer = self._records[:place]
            for known in Manifest.entries(record):
                job = Job(0, "", self._directory + known.output)
                if not any(Manifest.knows(other, job) for other in newer):
                    yield known

    def _record_of(self, job: Job) -> Manifest:
        """Find the newest record that knows an image."""
        if len(self._records) == 1:
            return self
        return next((record for record in self._records if Manifest.knows(record, job)), self)

    @property
    def _count(self) -> int:
        assert self._shard is not None
        return self._shard.count

    def _shard_files(self) -> list[str]:
        """List the files of all shards, which end in the manifest and are removed."""
        if os.path.islink(self._shards[:-1]):
            raise LgsError(f"{printable(self._shards[:-1])}: a link, and no directory of lgs")
        try:
            names = sorted(os.listdir(self._shards))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [self._shards + name for name in names if _FILE.fullmatch(name)]

    def _peek_into(self, path: str) -> None:
        record = Manifest(self._directory, self._settings, path.removeprefix(self._directory))
        record.peek()
        self._records.append(record)

    def _absorb(self, into: Volumes, paths: list[str]) -> None:
        """Move the lines of some files to the end of the manifest.

        What is killed midway does it again from the start; the same line twice does no harm.
        """
        for path in paths:
            with contextlib.closing(Volumes(path)) as volumes:
                volumes.open(open_record(path, os.O_RDONLY))
                volumes.move_into(into)
