"""A whole run: what is up to date is skipped, the rest is done, all in order."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterator, Sequence

from lgs_cli import batch
from lgs_cli.batch import Limits
from lgs_cli.files import Source
from lgs_cli.manifest import Manifest
from lgs_cli.outputs import Outputs
from lgs_cli.pipeline import Job, Result, Settings


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
        One for each source, in their order.

    Raises
    ------
    StorageError
        Where the manifest cannot be written.
    """
    # Only places in the list: a million results that wait for their turn would fill the memory.
    settled: deque[int] = deque()

    def to_do() -> Iterator[Job]:
        for index, source in enumerate(sources):
            candidate = outputs.job(index, source)
            if source.problem is not None or (not force and manifest.is_current(candidate)):
                settled.append(index)
            else:
                yield candidate

    def settle(index: int) -> Result:
        source = sources[index]
        if source.problem is not None:
            return Result(index, source.path, status="failed", error=source.problem)
        return manifest.skipped(outputs.job(index, source))

    with contextlib.closing(batch.run(to_do(), settings, limits)) as results:
        for result in results:
            while settled and settled[0] < result.index:
                yield settle(settled.popleft())
            manifest.add(result)
            yield result
    while settled:
        yield settle(settled.popleft())
