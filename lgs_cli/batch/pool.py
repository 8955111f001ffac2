"""Jobs to results on all cores, whatever a job does to the process that runs it.

Joblib's threads hand the jobs out, each to a worker process of its own. A worker that dies, or is
killed, takes down one image and nobody else. The calling process decodes no image, so no image can
harm it.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import pickle
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import IO, cast

from lgs_cli.batch import forkserver
from lgs_cli.batch.job import Job, Result, Work
from lgs_cli.batch.worker import send
from lgs_cli.errors import LgsError
from lgs_cli.storage import temporary_path


@dataclass(frozen=True)
class Limits:
    """What a run may take.

    Attributes
    ----------
    workers : int
        Worker processes, at least 1.
    timeout : float or None
        Seconds an image may take.
    memory : int or None
        Bytes that an image may make a worker allocate, beyond those of an idle worker.
    """

    workers: int = 1
    timeout: float | None = None
    memory: int | None = None


def run(jobs: Iterable[Job], work: Work, limits: Limits) -> Generator[Result]:
    """Do all jobs, and give each result as soon as it is there.

    Close the generator (``contextlib.closing``) where it is left early: that ends the workers and
    removes what they had half written.

    Parameters
    ----------
    jobs : iterable of Job
        Taken as they are needed, perhaps from another thread.
    work : Work
        What is done with every image.
    limits : Limits
        How many workers, and what one may take.

    Yields
    ------
    Result
        One for each job, in no order. A job that killed its worker, or took too long, is a failed
        one.

    Raises
    ------
    LgsError
        Where no worker can be started.
    """
    jobs = iter(jobs)
    first = list(itertools.islice(jobs, 3))
    if not first:
        return
    workers = _Workers(work, limits)
    # A signal may cut short one closing; it comes once.
    with contextlib.closing(workers), contextlib.closing(workers):
        workers.start()
        every = itertools.chain(first, jobs)
        # One image or two are done in less time than joblib takes to load.
        if limits.workers == 1 or len(first) < 3:
            yield from map(workers.do, every)
        else:
            yield from _in_parallel(every, workers, limits.workers)


def _in_parallel(jobs: Iterable[Job], workers: _Workers, count: int) -> Generator[Result]:
    """Do jobs on joblib's threads: each takes the next one when it has done one."""
    with _quick_import():
        from joblib import Parallel, delayed

    waiting = iter(jobs)
    taking = threading.Lock()
    results: SimpleQueue[Result | BaseException | None] = SimpleQueue()
    ended = threading.Event()

    def work() -> None:
        try:
            while not workers.stopped:
                with taking:
                    job = next(waiting, None)
                if job is None:
                    break
                results.put(workers.do(job))
        except BaseException as error:
            results.put(error)
        finally:
            results.put(None)
            ended.set()

    # To a run that is left early joblib has advice on how to write Python.
    warnings.filterwarnings("ignore", category=UserWarning, module="joblib.parallel")
    parallel = Parallel(
        n_jobs=count, backend="threading", return_as="generator_unordered", batch_size=1
    )
    try:
        threads = parallel(delayed(work)() for _ in range(count))
    except RuntimeError as error:
        raise LgsError(f"{count} workers: {error}; --jobs 1 needs no threads") from error
    with contextlib.closing(threads):
        try:
            while count:
                if results.empty():
                    # Woken for every image, this thread would take time from the workers.
                    ended.wait(0.02)
                result = results.get()
                if isinstance(result, BaseException):
                    raise result
                if result is None:
                    count -= 1
                else:
                    yield result
        finally:
            # Before joblib ends its threads: what they wait for are the workers.
            workers.stop()


@contextlib.contextmanager
def _quick_import() -> Iterator[None]:
    """Halve the time that joblib takes to load, while workers wait.

    It loads NumPy if it can, which takes as long again, and which its threads do without; and there
    is no garbage yet to look for.
    """
    loaded = "numpy" in sys.modules
    if not loaded:
        sys.modules["numpy"] = None  # type: ignore[assignment]  # "import numpy" fails
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        if not loaded:
            del sys.modules["numpy"]


class _Workers:
    """The workers of a run, forked as they are needed."""

    def __init__(self, work: Work, limits: Limits) -> None:
        self._work = work
        self._limits = limits
        self._server = forkserver.take()
        self._forking = threading.Lock()
        self._idle: list[_Worker] = []
        self._at_work: set[Job] = set()
        self.stopped = False

    def start(self) -> None:
        """Start the process that forks the workers."""
        self._server.start()

    def stop(self) -> None:
        """End all workers, whatever they are at, and remove what they were writing.

        To stop again finishes what a signal has cut short.
        """
        self.stopped = True
        self._server.close()
        for job in list(self._at_work):
            _remove_temporaries(job)

    def close(self) -> None:
        """Stop, and close all files; not while another thread waits for a worker."""
        self.stop()
        for worker in self._idle:
            worker.leave()

    def do(self, job: Job) -> Result:
        """Do one job, and say what became of its worker where that died."""
        self._at_work.add(job)
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = self._fork()
        result = worker.do(job)
        if result is None:
            status = worker.bury()
            _remove_temporaries(job)
            if self.stopped:
                status = 0
            elif status is None:
                raise LgsError("the process that starts the workers has died")
            elif not worker.fresh and os.waitstatus_to_exitcode(status) != -signal.SIGALRM:
                # An earlier image may have broken the worker. Alone in a new one, this image is
                # either acquitted or convicted.
                return self.do(job)
            result = Result(job.place, job.source, status="failed", error=self._death(status))
        elif result.status == "failed":
            _remove_temporaries(job)
            # Under a limit, what a failed image has left in memory may be the next one's share.
            if self._limits.memory is None:
                self._idle.append(worker)
            else:
                worker.bury()
        else:
            self._idle.append(worker)
        self._at_work.discard(job)
        return result

    def _fork(self) -> _Worker:
        with self._forking:
            worker = _Worker(*self._server.fork())
        worker.tell((self._work, self._limits.timeout, self._limits.memory))
        return worker

    def _death(self, status: int) -> str:
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGALRM and self._limits.timeout is not None:
            return f"took longer than --timeout {self._limits.timeout:g} s"
        if code < 0:
            return f"the worker died: signal {-code} ({signal.strsignal(-code)})"
        return f"the worker died: exit code {code}"


def _remove_temporaries(job: Job) -> None:
    """Remove what a dead worker, of this run or of one before, may have left of a job's outputs."""
    for path in (job.output, job.mask):
        if path is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary_path(path))


class _Worker:
    """The calling process's end of a worker."""

    def __init__(self, connection: socket.socket, death: IO[bytes]) -> None:
        self._stream = cast("IO[bytes]", connection.makefile("rwb"))
        connection.close()
        self._death = death
        self.fresh = True

    def tell(self, message: object) -> None:
        """Send a worker what it needs first; where it has died, its next job will show it."""
        with contextlib.suppress(OSError):
            send(self._stream, message)

    def do(self, job: Job) -> Result | None:
        """Do one job; None where that was the end of the process."""
        try:
            send(self._stream, job)
            result: Result = pickle.load(self._stream)
        except (EOFError, OSError, pickle.UnpicklingError):
            return None
        self.fresh = False
        return result

    def leave(self) -> None:
        """Close the files of a process that nothing more is wanted of."""
        with contextlib.suppress(OSError):
            self._stream.close()
        self._death.close()

    def bury(self) -> int | None:
        """Wait for the end of a process that has no more to do, and give its wait status."""
        with contextlib.suppress(OSError):
            self._stream.close()
        return forkserver.wait_status(self._death)
