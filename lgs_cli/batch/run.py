"""A whole run: what is up to date is skipped, the rest is done and recorded; or all is scanned."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace

from lgs_cli.batch import engines
from lgs_cli.batch.early import Early
from lgs_cli.batch.job import Job, Result, Work
from lgs_cli.batch.manifest import Manifest
from lgs_cli.batch.outputs import Outputs
from lgs_cli.batch.pipeline import CleanSettings
from lgs_cli.batch.scan import ScanSettings
from lgs_cli.batch.workers import Limits
from lgs_cli.storage.inputs import Source

# Images that need no work, and wait for their turn: without an engine, and while one is at work.
_FEW, _MANY = 100, 100_000
# Images that are at work on this machine, or done and not given yet, because nobody takes them.
_MOST_OUT = 20_000


@dataclass(frozen=True)
class Skip:
    """Which images are not worked on.

    Attributes
    ----------
    current : bool
        Those that are done, and nothing has changed since.
    hopeless : bool
        Those of which an earlier run found that they cannot be cleaned, and nothing has changed.
    """

    current: bool = True
    hopeless: bool = False


def clean_all(
    sources: Iterable[Source],
    outputs: Outputs,
    settings: CleanSettings,
    limits: Limits,
    manifest: Manifest,
    skip: Skip = Skip(),
) -> Generator[Result]:
    """Clean all sources.

    Parameters
    ----------
    sources : iterable of Source
        The inputs. One is taken when the work gets to it, by one thread after another.
    outputs : Outputs
        Where outputs and masks go.
    settings : CleanSettings
        How every image is cleaned.
    limits : Limits
        How many workers, and what an image may take.
    manifest : Manifest
        What is done already, open; what gets done is recorded there.
    skip : Skip
        Which images are not worked on.

    Yields
    ------
    Result
        One for each source: ``place`` counts them from 0. An image that is done comes as soon as it
        is there, one that needs no work when its turn has come.

    Raises
    ------
    StorageError
        If the manifest cannot be written.
    """
    if manifest.is_old and outputs.masks is not None:
        sources = list(sources)
        # From the end, because the names of old masks may be the new names of others before them.
        for place in reversed(range(len(sources))):
            manifest.adopt_mask(outputs.job(place, sources[place]))
    queue = _Cleaning(sources, outputs, manifest, skip)
    work = replace(settings, roots=outputs.directories)
    with contextlib.closing(queue.results(work, limits)) as results:
        for _, result in results:
            yield result


def scan_all(
    sources: Iterable[Source], settings: ScanSettings, limits: Limits
) -> Generator[tuple[Source, Result]]:
    """Look for patches in all sources.

    Parameters
    ----------
    sources : iterable of Source
        The inputs. One is taken when the work gets to it, by one thread after another.
    settings : ScanSettings
        The detector, and what it finds.
    limits : Limits
        How many workers, and what an image may take.

    Yields
    ------
    source : Source
        Each of them, in their order, as soon as its turn comes.
    result : Result
        What came of it: ``place`` counts them from 0.

    Raises
    ------
    StorageError
        If many results have to wait for one, and the disk refuses.
    """
    place = 0
    with (
        contextlib.closing(_Queue(sources).results(settings, limits)) as results,
        contextlib.closing(Early()) as early,
    ):
        for source, result in results:
            early.add(source, result)
            while (next_one := early.pop(place)) is not None:
                yield next_one
                place += 1


class _Queue:
    """The jobs of a run, and its images that need no work: here only those that cannot be read.

    They wait for the thread that gives results, while another one asks for the next job.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = enumerate(sources)
        self._settled: deque[tuple[int, Source]] = deque()
        self._at_work: dict[int, Source] = {}
        self._is_over = False
        self._trouble: Exception | None = None

    def results(self, work: Work, limits: Limits) -> Generator[tuple[Source, Result]]:
        """Do the jobs, and give what comes of all images."""
        # The engine for clusters takes no job before the results of others are taken.
        most_out = _MOST_OUT if limits.cluster is None else sys.maxsize
        while not self._is_over:
            # In this thread, because what needs no work needs no engine.
            first = next(self._jobs(_FEW, 1), None)
            yield from self._settled_ones()
            if first is None:
                continue
            jobs = itertools.chain([first], self._jobs(_MANY, most_out))
            with contextlib.closing(engines.run(jobs, work, limits)) as results:
                for result in results:
                    source = self._at_work.pop(result.place)
                    yield source, self._ended(source, result)
                    yield from self._settled_ones(result.place)
            yield from self._settled_ones()
        if self._trouble is not None:
            raise self._trouble

    def _jobs(self, most_settled: int, most_out: int) -> Iterator[Job]:
        """Give the next jobs, until there are no more, or too many images wait for their turn.

        The engine then ends, the results of all are given, and another engine goes on.
        """
        try:
            while len(self._settled) < most_settled and len(self._at_work) < most_out:
                place, source = next(self._sources, (0, None))
                if source is None:
                    self._is_over = True
                    return
                job = None if source.problem is not None else self._job(place, source)
                if job is None:
                    self._settled.append((place, source))
                else:
                    self._at_work[place] = source
                    yield job
        except Exception as error:  # in a thread that has nobody to raise it to
            self._trouble = error
            self._is_over = True

    def _settled_ones(self, end: int | None = None) -> Iterator[tuple[Source, Result]]:
        """Give what comes of images that need no work; if there is an end, of those before it."""
        while self._settled and (end is None or self._settled[0][0] < end):
            place, source = self._settled.popleft()
            yield source, self._settle(place, source)

    def _job(self, place: int, source: Source) -> Job | None:
        """Make the job of an image that may be read; None if it needs no work."""
        return Job(place, source.path)

    def _settle(self, place: int, source: Source) -> Result:
        """Give the result of an image that needs no work."""
        return Result(place, source.path, status="failed", error=source.problem)

    def _ended(self, source: Source, result: Result) -> Result:
        """Take note of what came of a job."""
        return result


class _Cleaning(_Queue):
    """The images of a run that writes, and skips what is done already."""

    def __init__(
        self, sources: Iterable[Source], outputs: Outputs, manifest: Manifest, skip: Skip
    ) -> None:
        super().__init__(sources)
        self._outputs = outputs
        self._manifest = manifest
        self._skip = skip

    def _job(self, place: int, source: Source) -> Job | None:
        job = self._outputs.job(place, source)
        if self._skip.current and self._manifest.is_current(job):
            return None
        if self._skip.hopeless and self._manifest.why_hopeless(job) is not None:
            return None
        return job

    def _settle(self, place: int, source: Source) -> Result:
        if source.problem is not None:
            return super()._settle(place, source)
        job = self._outputs.job(place, source)
        reason = self._manifest.why_hopeless(job) if self._skip.hopeless else None
        if reason is not None:
            return Result(place, source.path, status="unsupported", error=reason)
        return self._manifest.skipped(job)

    def _ended(self, source: Source, result: Result) -> Result:
        if result.status == "done":
            self._manifest.add(result)
            return result
        return self._manifest.add_failure(self._outputs.job(result.place, source), result)
