"""The far end of a cluster: images done on one of its workers, which must not die of them.

Dask's worker is a process with threads, and forks badly. So each of its threads has an ``lgs``
process beside it, this module run as a program, which keeps a crash-proof worker as the local pool
does. It ends when Dask's worker does, and after a while without work.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import select
import subprocess
import sys
import threading
from importlib import import_module
from typing import IO, Any, NamedTuple, NoReturn, cast

from lgs_cli import __version__, signals
from lgs_cli.batch.job import Job, Result, Work
from lgs_cli.batch.worker import send
from lgs_cli.batch.workers import Limits, Workers
from lgs_cli.errors import LgsError

# Seconds without work after which a process ends.
_IDLE = 60
# Images that go to it at a time.
_TOGETHER = 8


class Chunk(NamedTuple):
    """Some images, and what is done with each.

    Attributes
    ----------
    jobs : tuple of Job
        The images.
    work : Work
        What is done.
    limits : Limits
        What an image may take.
    folder : str
        The directory where relative paths start.
    version : str
        The version of lgs that sends it.
    """

    jobs: tuple[Job, ...]
    work: Work
    limits: Limits
    folder: str
    version: str


def do_chunk(chunk: Chunk) -> list[Result]:
    """Do the jobs of a chunk, one after the other: a task of Dask.

    Parameters
    ----------
    chunk : Chunk
        Its jobs.

    Returns
    -------
    list of Result
        One for each, in their order; fewer if the task is canceled meanwhile, and nobody will look.

    Raises
    ------
    LgsError
        If this machine is not like that of the client.
    """
    if chunk.version != __version__:
        raise LgsError(f"a worker has lgs {__version__}, and this is {chunk.version}")
    if not os.path.isdir(chunk.folder):
        raise LgsError(f"a worker has no directory {chunk.folder}: the file system must be shared")
    is_canceled = _cancellation()
    results: list[Result] = []
    while len(results) < len(chunk.jobs) and not is_canceled():
        results += _do(chunk.jobs[len(results) :][:_TOGETHER], chunk)
    return results


def _cancellation() -> Any:
    """Give a function that says whether nobody waits for the task of this thread any more."""
    worker: Any = import_module("distributed.worker")
    tasks, key = worker.get_worker().state.tasks, worker.thread_state.key

    def is_canceled() -> bool:
        task = tasks.get(key)
        return task is None or task.state != "executing"

    return is_canceled


_idle: list[_Helper] = []


@atexit.register
def _close_idle() -> None:
    while _idle:
        _idle.pop().close()


def _do(jobs: tuple[Job, ...], chunk: Chunk) -> list[Result]:
    """Do jobs in a process of their own; once more if that dies: it is not the images' doing."""
    setup = pickle.dumps((chunk.work, chunk.limits, chunk.folder))
    for _ in range(2):
        helper = _take(setup, chunk)
        results = helper.do(jobs)
        if results is not None:
            _idle.append(helper)
            return results
        helper.close()
    reason = "a process of the cluster died"
    return [Result(job.place, job.source, status="failed", error=reason) for job in jobs]


def _take(setup: bytes, chunk: Chunk) -> _Helper:
    """Take an idle process that is set up for this run, or start one; end those of other runs."""
    with contextlib.suppress(IndexError):
        while True:
            helper = _idle.pop()
            if helper.setup == setup:
                return helper
            helper.close()
    return _Helper(setup, chunk)


class _Helper:
    """The near end of the process beside a thread of Dask's worker."""

    def __init__(self, setup: bytes, chunk: Chunk) -> None:
        self.setup = setup
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=chunk.folder,
            start_new_session=True,  # a terminal's Ctrl-C is for the client
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        self._send((chunk.work, chunk.limits))  # if it cannot, its first job will show it

    def do(self, jobs: tuple[Job, ...]) -> list[Result] | None:
        """Do some jobs; None if the process is not there any more."""
        results: list[Result] | None = self._send(jobs)
        return results

    def _send(self, message: object) -> Any:
        """Send a message, and give the answer that each has; None if the process is gone."""
        try:
            send(self._to, message)
            return pickle.load(self._from)
        except (EOFError, OSError, pickle.UnpicklingError):
            return None

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._to.close()
        self._from.close()
        self._process.wait()


def _serve() -> NoReturn:
    """Be the far end: do jobs from stdin, results to stdout, until nobody sends more."""
    signals.ignore()
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    raw = cast("IO[bytes]", stdin)
    with contextlib.suppress(EOFError, OSError):
        work, limits = pickle.load(raw)
        with contextlib.closing(Workers(limits)) as workers:
            workers.start(1)
            threading.Thread(target=_end_with_caller, daemon=True).start()
            send(stdout, "ready")
            while select.select([stdin], [], [], _IDLE)[0]:
                jobs = pickle.load(raw)
                send(stdout, [workers.do((work.do, (job,), {})) for job in jobs])
    os._exit(0)


def _end_with_caller() -> NoReturn:
    """End at once if the caller dies or closes the pipe, whatever an image is doing."""
    poll = select.poll()
    poll.register(0, 0)
    poll.poll()
    os._exit(0)


if __name__ == "__main__":
    _serve()
