"""A whole run: what is up to date is skipped, the rest is done and recorded; or all is scanned."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from lgs_cli.batch import engines
from lgs_cli.batch.job import Job, Result
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
    queue = _Queue(sources, outputs, manifest, skip)
    # The engine for clusters takes no job before the results of others are taken.
    most_out = _MOST_OUT if limits.cluster is None else sys.maxsize
    work = replace(settings, roots=outputs.directories)
    while not queue.is_over:
        # In this thread, because what is up to date needs no engine.
        first = next(queue.jobs(_FEW, 1), None)
        yield from queue.settled()
        if first is None:
            continue
        jobs = itertools.chain([first], queue.jobs(_MANY, most_out))
        with contextlib.closing(engines.run(jobs, work, limits)) as results:
            for result in results:
                job = queue.at_work.pop(result.place)
                if result.status == "done":
                    manifest.add(result)
                else:
                    result = manifest.add_failure(job, result)
                yield result
                yield from queue.settled(result.place)
        yield from queue.settled()
    if queue.trouble is not None:
        raise queue.trouble


class _Queue:
    """The jobs of a run, and its images that need no work.

    Those wait for the thread that gives results, while another one asks for the next job.
    """

    def __init__(
        self, sources: Iterable[Source], outputs: Outputs, manifest: Manifest, skip: Skip
    ) -> None:
        self._sources = enumerate(sources)
        self._outputs = outputs
        self._manifest = manifest
        self._skip = skip
        self._settled: deque[tuple[int, Source]] = deque()
        self.at_work: dict[int, Job] = {}
        self.is_over = False
        self.trouble: Exception | None = None

    def jobs(self, most_settled: int, most_out: int) -> Iterator[Job]:
        """Give the next jobs, until there are no more, or too many images wait for their turn.

        The engine then ends, the results of all are given, and another engine goes on.
        """
        try:
            while len(self._settled) < most_settled and len(self.at_work) < most_out:
                place, source = next(self._sources, (0, None))
                if source is None:
                    self.is_over = True
                    return
                job = self._job(place, source)
                if job is None:
                    self._settled.append((place, source))
                else:
                    self.at_work[place] = job
                    yield job
        except Exception as error:  # in a thread that has nobody to raise it to
            self.trouble = error
            self.is_over = True

    def _job(self, place: int, source: Source) -> Job | None:
        """Make the job of an image; None if it needs no work."""
        if source.problem is not None:
            return None
        job = self._outputs.job(place, source)
        if self._skip.current and self._manifest.is_current(job):
            return None
        if self._skip.hopeless and self._manifest.why_hopeless(job) is not None:
            return None
        return job

    def settled(self, end: int | None = None) -> Iterator[Result]:
        """Give the results of images that need no work; if there is an end, of those before it."""
        while self._settled and (end is None or self._settled[0][0] < end):
            yield self._settle(*self._settled.popleft())

    def _settle(self, place: int, source: Source) -> Result:
        if source.problem is not None:
            return Result(place, source.path, status="failed", error=source.problem)
        job = self._outputs.job(place, source)
        reason = self._manifest.why_hopeless(job) if self._skip.hopeless else None
        if reason is not None:
            return Result(place, source.path, status="unsupported", error=reason)
        return self._manifest.skipped(job)


def scan_all(
    sources: Sequence[Source], settings: ScanSettings, limits: Limits
) -> Generator[Result]:
    """Look for patches in all sources.

    Parameters
    ----------
    sources : sequence of Source
        The inputs.
    settings : ScanSettings
        The detector, and what it finds.
    limits : Limits
        How many workers, and what an image may take.

    Yields
    ------
    Result
        One for each source, in their order, each as soon as its turn comes.
    """
    early: dict[int, Result] = {}
    jobs = (
        Job(place, source.path) for place, source in enumerate(sources) if source.problem is None
    )
    with contextlib.closing(engines.run(jobs, settings, limits)) as results:
        for place, source in enumerate(sources):
            if source.problem is not None:
                yield Result(place, source.path, status="failed", error=source.problem)
                continue
            while place not in early:
                result = next(results)
                early[result.place] = result
            yield early.pop(place)
