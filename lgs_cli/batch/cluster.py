"""Jobs to results on a Dask cluster: the second engine, beside the local pool.

Chunks of images are Dask's tasks. Only a few are out at a time, so that neither the scheduler nor
the process here holds many; more are cut as results come. A chunk whose worker is lost is done
again by Dask itself, three times as it is configured by default; then each of its images goes out
alone. If the scheduler is lost, all chunks that were out go to the one that takes its place.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import time
import uuid
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

from lgs_cli import __version__
from lgs_cli.batch.chunks import Chunk, do_chunk
from lgs_cli.batch.job import Job, Result, Work
from lgs_cli.batch.workers import Limits
from lgs_cli.errors import LgsError, MissingExtraError, UsageError
from lgs_cli.storage.scratch import scratch_directory

# Tasks that are out: so many a thread of the cluster, and never more than so many.
_TASKS_A_THREAD = 3
_MOST_TASKS = 1000
# Seconds that a task should take: long against Dask's own work, short against a run.
_TASK_SECONDS = 0.25
# Tasks a second that leave the scheduler at ease.
_TASKS_A_SECOND = 200
_FIRST_CHUNK, _LONGEST_CHUNK = 4, 256
# Images that are looked ahead for, to see the end coming.
_AHEAD = 1000
# Seconds between two looks at how many threads the cluster has.
_LOOK = 1.0
# Seconds to wait for a scheduler that takes the place of another.
_RECONNECT = 120


class _SchedulerLostError(Exception):
    """The scheduler is gone, and what was out with it."""


def run(jobs: Iterable[Job], work: Work, limits: Limits) -> Generator[Result]:
    """Do all jobs on a cluster; see :func:`lgs_cli.batch.pool.run`.

    Parameters
    ----------
    jobs : iterable of Job
        Taken as they are needed. Workers find their paths as this process does, from its current
        directory.
    work : Work
        What is done with every image.
    limits : Limits
        The cluster, and what an image may take.

    Yields
    ------
    Result
        One for each job, in no order.

    Raises
    ------
    LgsError
        If there is no scheduler, or a worker has another version of lgs.
    """
    waiting = iter(jobs)
    first = next(waiting, None)
    if first is None:
        return
    with contextlib.closing(_Tasks(itertools.chain([first], waiting), work, limits)) as tasks:
        tasks.connect(0)
        while True:
            try:
                yield from tasks.follow()
                return
            except _SchedulerLostError:
                tasks.connect(_RECONNECT)


class _Tasks:
    """The chunks of a run, and the client that sends them out."""

    def __init__(self, jobs: Iterator[Job], work: Work, limits: Limits) -> None:
        self._jobs = jobs
        alone = replace(limits, workers=1, cluster=None)
        self._chunk = Chunk((), work, alone, os.getcwd(), __version__)
        assert limits.cluster is not None
        self._limits, self._cluster = limits, limits.cluster
        self._name = uuid.uuid4().hex[:12]
        self._numbers = itertools.count()
        self._ready: deque[Job] = deque()
        self._out: dict[str, tuple[Job, ...]] = {}
        self._again: deque[tuple[Job, ...]] = deque()
        self._stack = contextlib.ExitStack()
        self._client: Any = None
        self._threads = 0
        self._looked = 0.0
        self._image_seconds: float | None = None

    def connect(self, patience: float) -> None:
        """Find the scheduler, or start one for ``local``; what was out goes out again."""
        distributed = _distributed()
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._again.extend(self._out.values())
        self._out.clear()
        self._disconnect()
        kind = LgsError if patience else UsageError
        deadline = time.monotonic() + patience
        while True:
            try:
                address = self._cluster.address
                where = self._local() if address == "local" else address
                self._client = distributed.Client(where, timeout=5, set_as_default=False)
                return
            except RuntimeError as error:
                raise kind(f"--cluster {address}: {_reason(error)}") from error
            except (OSError, ValueError) as error:
                if time.monotonic() > deadline or isinstance(error, ValueError):
                    reason = f"--cluster {address}: no Dask scheduler there"
                    raise kind(reason) from error
            time.sleep(0.2)

    def _local(self) -> Any:
        """Start a cluster in this process, which nobody else can give work to.

        A worker hands images to processes of its own, so threads do for workers.
        """
        # The ports for its state, without which none starts, are for this machine, and say nothing.
        here = "127.0.0.1:0"
        silent: dict[str, list[str]] = {
            f"distributed.{one}.http.routes": [] for one in ("scheduler", "worker")
        }
        folder = self._stack.enter_context(scratch_directory())
        with import_module("dask").config.set(silent):
            cluster = _distributed().LocalCluster(
                n_workers=1,
                threads_per_worker=self._limits.workers,
                processes=False,
                dashboard_address=here,
                worker_dashboard_address=here,
                memory_limit=0,
                local_directory=folder,
                silence_logs=logging.CRITICAL,
            )
        self._stack.callback(cluster.close, timeout=2)
        return cluster

    def follow(self) -> Iterator[Result]:
        """Send chunks out and give their results, until there are no more."""
        ended = _distributed().as_completed(loop=self._client.loop)
        try:
            self._send(ended)
            while self._out:
                future = next(ended)
                jobs = self._out[future.key]
                if future.status not in ("finished", "error"):
                    raise _SchedulerLostError
                yield from self._results(future, jobs)
                del self._out[future.key]
                future.release()
                self._send(ended)
        except OSError as error:  # of which a closed connection is one
            raise _SchedulerLostError from error

    def _results(self, future: Any, jobs: tuple[Job, ...]) -> Iterator[Result]:
        error = future.exception()
        if error is None:
            results = future.result()
            spent = sum(result.seconds for result in results) / len(results)
            before = spent if self._image_seconds is None else self._image_seconds
            self._image_seconds = (before + spent) / 2
            yield from results
        elif not isinstance(error, _distributed().KilledWorker):
            raise LgsError(f"--cluster {self._cluster.address}: {_reason(error)}") from error
        elif len(jobs) > 1:
            self._again.extend((job,) for job in jobs)
        else:
            reason = "each worker of the cluster that had it was lost"
            yield Result(jobs[0].place, jobs[0].source, status="failed", error=reason)

    def _send(self, ended: Any) -> None:
        """Send out as many chunks as the cluster should have."""
        if time.monotonic() - self._looked > _LOOK:
            self._cluster.workers = self._threads = sum(self._client.nthreads().values())
            self._looked = time.monotonic()
        most = min(_TASKS_A_THREAD * max(self._threads, 1), _MOST_TASKS)
        while len(self._out) < most and (jobs := self._next_jobs()):
            key = f"lgs-{self._name}-{next(self._numbers)}"
            self._out[key] = jobs
            chunk = self._chunk._replace(jobs=jobs)
            ended.add(self._client.submit(do_chunk, chunk, key=key, pure=False))

    def _next_jobs(self) -> tuple[Job, ...]:
        if self._again:
            return self._again.popleft()
        size = _FIRST_CHUNK
        if self._image_seconds is not None:
            task = max(_TASK_SECONDS, self._threads / _TASKS_A_SECOND)
            size = int(task / max(self._image_seconds, 1e-6))
        size = min(max(size, 1), _LONGEST_CHUNK)
        shares = 2 * max(self._threads, 1)
        ahead = max(min(size * shares, _AHEAD), size)
        self._ready.extend(itertools.islice(self._jobs, max(ahead - len(self._ready), 0)))
        if len(self._ready) < ahead:  # the last ones: all threads should end together
            size = min(size, max(len(self._ready) // shares, 1))
        return tuple(self._ready.popleft() for _ in range(min(size, len(self._ready))))

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):  # it may have lost its scheduler
                client.close(timeout=2)
        self._stack.close()

    def close(self) -> None:
        """Have all tasks canceled: workers drop what waits, and end after the image at hand."""
        self._disconnect()


def _distributed() -> Any:
    try:
        return import_module("distributed")
    except ImportError:
        raise MissingExtraError("--cluster", "distributed", "dask") from None


def _reason(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"a worker cannot import what it needs: {error}"
    return " ".join(str(error).split()) or type(error).__name__
