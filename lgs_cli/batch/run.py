"""A whole run: what is up to date is skipped, the rest is done and recorded; or all is scanned."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from lgs_cli.batch import engines
from lgs_cli.batch.job import Job, Result
from lgs_cli.batch.manifest import Manifest
from lgs_cli.batch.outputs import Outputs
from lgs_cli.batch.pipeline import CleanSettings
from lgs_cli.batch.scan import ScanSettings
from lgs_cli.batch.workers import Limits
from lgs_cli.storage.inputs import Source


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
    sources: Sequence[Source],
    outputs: Outputs,
    settings: CleanSettings,
    limits: Limits,
    manifest: Manifest,
    skip: Skip = Skip(),
) -> Generator[Result]:
    """Clean all sources.

    Parameters
    ----------
    sources : sequence of Source
        The inputs.
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
        One for each source: ``place`` is its index in `sources`. An image that is done comes as
        soon as it is there, one that needs no work when its turn has come.

    Raises
    ------
    StorageError
        If the manifest cannot be written.
    """

    def job_of(place: int) -> Job:
        return outputs.job(place, sources[place])

    def needs_work(place: int) -> bool:
        if sources[place].problem is not None:
            return False
        job = job_of(place)
        if skip.current and manifest.is_current(job):
            return False
        return not (skip.hopeless and manifest.why_hopeless(job) is not None)

    def settle(place: int) -> Result:
        """Give the result of an image that needs no work."""
        source = sources[place]
        if source.problem is not None:
            return Result(place, source.path, status="failed", error=source.problem)
        job = job_of(place)
        reason = manifest.why_hopeless(job) if skip.hopeless else None
        if reason is not None:
            return Result(place, source.path, status="unsupported", error=reason)
        return manifest.skipped(job)

    if manifest.is_old and outputs.masks is not None:
        # From the end, because the names of old masks may be the new names of others before them.
        for place in reversed(range(len(sources))):
            manifest.adopt_mask(job_of(place))

    # Places instead of jobs, whose paths would take up the memory of a run over a million files.
    to_do: list[int] = []
    settled: deque[int] = deque()
    for place in range(len(sources)):
        (to_do if needs_work(place) else settled).append(place)

    def settle_before(end: int) -> Iterator[Result]:
        while settled and settled[0] < end:
            yield settle(settled.popleft())

    yield from settle_before(to_do[0] if to_do else len(sources))
    work = replace(settings, roots=outputs.directories)
    with contextlib.closing(engines.run(map(job_of, to_do), work, limits)) as results:
        for result in results:
            if result.status == "done":
                manifest.add(result)
            else:
                result = manifest.add_failure(job_of(result.place), result)
            yield result
            yield from settle_before(result.place)
    yield from settle_before(len(sources))


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
