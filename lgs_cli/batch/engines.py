"""What does the jobs of a run: the processes of this machine, or a cluster.

An engine is a function like :func:`lgs_cli.batch.pool.run`. Another one is a file, and a line here.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable

from lgs_cli.batch import pool
from lgs_cli.batch.job import Job, Result, Work
from lgs_cli.batch.workers import Limits


def run(jobs: Iterable[Job], work: Work, limits: Limits) -> Generator[Result]:
    """Do all jobs on the engine that the limits name; see :func:`lgs_cli.batch.pool.run`."""
    if limits.cluster is None:
        return pool.run(jobs, work, limits)
    from lgs_cli.batch import cluster

    return cluster.run(jobs, work, limits)
