"""A whole run: what is up to date is skipped, the rest is done and recorded; or all is scanned."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterator, Sequence

from lgs_cli.batch import pool
from lgs_cli.batch.job import Job, Result
from lgs_cli.batch.manifest import Manifest
from lgs_cli.batch.outputs import Outputs
from lgs_cli.batch.pipeline import Settings
from lgs_cli.batch.pool import Limits
from lgs_cli.batch.scan import ScanSettings
from lgs_cli.inputs import Source


def clean_all(
    sources: Sequence[Source],
    outputs: Outputs,
    settings: Settings,
    limits: Limits,
    manifest: Manifest,
    *,
    force: bool = False,
) -> Generator[Result]:
    """Clean all sources.

    Parameters
    ----------
    sources : sequence of Source
        The inputs.
    outputs : Outputs
        Where outputs and masks go.
    settings : Settings
        How every image is cleaned.
    limits : Limits
        How many workers, and what one may take.
    manifest : Manifest
        What is done already, open; what gets done is recorded there.
    force : bool
        Whether to do again what is up to date.

    Yields
    ------
    Result
        One for each source, as soon as it is there: ``place`` is its index in `sources`.

    Raises
    ------
    StorageError
        Where the manifest cannot be written.
    """

    def needs_work(job: Job) -> bool:
        problem = sources[job.place].problem
        return problem is None and (force or not manifest.is_current(job))

    def settled(job: Job) -> Result:
        problem = sources[job.place].problem
        if problem is not None:
            return Result(job.place, job.source, status="failed", error=problem)
        return manifest.skipped(job)

    every = (outputs.job(index, source) for index, source in enumerate(sources))
    # Only places in the list: results that wait for a slow image would fill the memory.
    passed_over: deque[int] = deque()

    def to_do(first: Job) -> Iterator[Job]:
        yield first
        for job in every:
            if needs_work(job):
                yield job
            else:
                passed_over.append(job.place)

    for job in every:
        if needs_work(job):
            break
        yield settled(job)
    else:
        return
    with contextlib.closing(pool.run(to_do(job), settings, limits)) as results:
        for result in results:
            manifest.add(result)
            yield result
            while passed_over:
                index = passed_over.popleft()
                yield settled(outputs.job(index, sources[index]))
    while passed_over:
        index = passed_over.popleft()
        yield settled(outputs.job(index, sources[index]))


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
        How many workers, and what one may take.

    Yields
    ------
    Result
        One for each source, in their order, each as soon as its turn comes.
    """
    waiting: dict[int, Result] = {}
    jobs = (
        Job(place, source.path) for place, source in enumerate(sources) if source.problem is None
    )
    with contextlib.closing(pool.run(jobs, settings, limits)) as results:
        for place, source in enumerate(sources):
            if source.problem is not None:
                yield Result(place, source.path, status="failed", error=source.problem)
                continue
            while place not in waiting:
                result = next(results)
                waiting[result.place] = result
            yield waiting.pop(place)
