"""Jobs to results on all cores.

Joblib hands the jobs out, to worker processes of our own backend: one that dies, or is killed,
takes down one image and nobody else. The calling process decodes no image, so no image can harm it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import warnings
from collections.abc import Generator, Iterable
from importlib import import_module

from lgs_cli.batch.forkserver import ONE_THREAD
from lgs_cli.batch.job import Job, Result, Work
from lgs_cli.batch.workers import Limits, Workers


def run(jobs: Iterable[Job], work: Work, limits: Limits) -> Generator[Result]:
    """Do all jobs, and give each result as soon as it is there.

    Close the generator (``contextlib.closing``) to leave it early: that ends the workers and
    removes what they had half written.

    Parameters
    ----------
    jobs : iterable of Job
        Taken as they are needed, by one thread after another.
    work : Work
        What is done with every image.
    limits : Limits
        How many workers, and what an image may take.

    Yields
    ------
    Result
        One for each job, in no order. A job that killed its worker, or took too long, is a failed
        one.

    Raises
    ------
    LgsError
        If no worker can be started.
    """
    jobs = iter(jobs)
    first = list(itertools.islice(jobs, 3))
    if not first:
        return
    jobs = itertools.chain(first, jobs)
    with contextlib.closing(Workers(limits)) as workers:
        workers.start(min(len(first), limits.workers))
        # One image or two are done in less time than joblib takes to load.
        if limits.workers == 1 or len(first) < 3:
            for job in jobs:
                yield workers.do((work.do, (job,), {}))
        else:
            yield from _in_parallel(jobs, work, workers, limits.workers)


def _in_parallel(
    jobs: Iterable[Job], work: Work, workers: Workers, count: int
) -> Generator[Result]:
    """Do jobs by joblib, `count` at a time."""
    _load_joblib()
    from joblib import Parallel, delayed

    from lgs_cli.batch.backend import WorkersBackend

    parallel = Parallel(
        n_jobs=count,
        backend=WorkersBackend(workers),
        return_as="generator_unordered",
        batch_size=1,
        pre_dispatch=2 * count,
    )
    results = parallel(delayed(work.do)(job) for job in jobs)
    try:
        for result in results:  # noqa: UP028 ("yield from" would close it, and pass the warning on)
            yield result
    finally:
        # Joblib warns of calls that are left undone, which is what an early end asks for.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.close()


def _load_joblib() -> None:
    """Load joblib, and NumPy with it, which else would start threads that nobody needs."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        import_module("joblib")
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
