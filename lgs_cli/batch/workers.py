"""Worker processes: what an image does to one of them costs that image and no other."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import threading
from dataclasses import dataclass, field
from typing import IO, cast

from lgs_cli import signals
from lgs_cli.batch import forkserver
from lgs_cli.batch.forkserver import ForkServer, HeadStart
from lgs_cli.batch.job import Job, Result
from lgs_cli.batch.pipeline import stamp
from lgs_cli.batch.worker import Call, send
from lgs_cli.errors import LgsError
from lgs_cli.storage import remove_temporary

# Signals that code sends to itself by mistake.
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)


@dataclass
class Cluster:
    """A Dask cluster.

    Attributes
    ----------
    address : str
        Where its scheduler is; ``"local"`` for one that is started here.
    workers : int or None
        Images that it does at a time: the threads of its workers. The run keeps it up to date; None
        before that.
    """

    address: str
    workers: int | None = None


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
    cluster : Cluster or None
        What does the images; None for the processes of this machine.
    head_start : HeadStart
        What starts the workers of this machine, perhaps has begun to already.
    """

    workers: int = 1
    timeout: float | None = None
    memory: int | None = None
    cluster: Cluster | None = None
    head_start: HeadStart = field(default_factory=HeadStart)


def cores() -> int:
    """Count the processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Processes that are forked as they are needed, and replaced if they die.

    Parameters
    ----------
    limits : Limits
        What an image may take.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._server: ForkServer | None = None
        self._forking = threading.Lock()
        self._idle: list[_Worker] = []
        self._closed = False

    def start(self, count: int) -> None:
        """Start the process that forks the workers, and have it fork some at once."""
        with signals.deferred():
            self._server = self._limits.head_start.take()
            self._idle.extend(self._fork() for _ in range(count))

    def close(self) -> None:
        """End all workers, whatever they are doing. Can be repeated."""
        with signals.deferred(), self._forking:
            self._closed = True
            if self._server is not None:
                self._server.close()
            while self._idle:
                self._idle.pop().close()

    def do(self, call: Call) -> Result:
        """Do one job in a worker of its own. Can be called from several threads at a time.

        Parameters
        ----------
        call : tuple
            A function, its arguments and its keyword arguments. The first argument is a Job, and
            the function returns a Result.

        Returns
        -------
        Result
            The function's, or a failed one that says what became of the worker.

        Raises
        ------
        LgsError
            If the workers have been closed, or no new one can be started.
        """
        job: Job = call[1][0]
        while not self._closed:
            worker = self._take()
            try:
                result = worker.do(call)
            except BaseException:  # a signal, while the worker may still be writing
                self.close()
                worker.close()
                _remove_temporaries(job)
                raise
            if result is not None:
                self._give_back(worker, result)
                if result.status == "failed":
                    _remove_temporaries(job)
                return result
            status = worker.wait_for_end()
            _remove_temporaries(job)
            if status is None and not self._closed:
                raise LgsError("the process that starts the workers has died")
            # If the worker has done other images before, one of them may have broken it: only of a
            # new worker's death is this image the cause.
            if status is not None and (worker.is_new or _timed_out(status)):
                return self._death(job, status)
        raise LgsError("the run has been stopped")

    def _take(self) -> _Worker:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return self._fork()

    def _fork(self) -> _Worker:
        assert self._server is not None
        with self._forking:
            worker = _Worker(*self._server.fork())
        worker.set_limits(self._limits)
        return worker

    def _give_back(self, worker: _Worker, result: Result) -> None:
        # What a failed image has left in memory counts against the limit of the next.
        if self._limits.memory is not None and result.status == "failed":
            worker.wait_for_end()
        else:
            self._idle.append(worker)

    def _death(self, job: Job, status: int) -> Result:
        """Make the wait status of a worker the result of the job that it died of."""
        code = os.waitstatus_to_exitcode(status)
        result = Result(job.place, job.source, status="failed")
        if _timed_out(status) and self._limits.timeout is not None:
            return result._replace(error=f"took longer than --timeout {self._limits.timeout:g} s")
        if code >= 0:
            return result._replace(error=f"the worker died: exit code {code}")
        size, mtime_ns = stamp(job.source)
        return result._replace(
            error=f"the worker died: signal {-code} ({signal.strsignal(-code)})",
            hopeless=-code in _CRASHES,
            source_size=size,
            source_mtime_ns=mtime_ns,
        )


def _timed_out(status: int) -> bool:
    return os.waitstatus_to_exitcode(status) == -signal.SIGALRM


def _remove_temporaries(job: Job) -> None:
    """Remove what a dead worker, of this run or of one before, may have left of a job's outputs."""
    for path in (job.output, job.mask):
        if path is not None:
            remove_temporary(path)


class _Worker:
    """The calling process's end of a worker."""

    def __init__(self, connection: socket.socket, death: IO[bytes]) -> None:
        self._stream = cast("IO[bytes]", connection.makefile("rwb"))
        connection.close()
        self._death = death
        self.is_new = True

    def set_limits(self, limits: Limits) -> None:
        """Send a worker its limits; if it has died, its first job will show it."""
        with contextlib.suppress(OSError):
            send(self._stream, (limits.timeout, limits.memory))

    def do(self, call: Call) -> Result | None:
        """Make one call; None if that was the end of the process."""
        try:
            send(self._stream, call)
            result: Result = pickle.load(self._stream)
        except (EOFError, OSError, pickle.UnpicklingError):
            return None
        self.is_new = False
        return result

    def close(self) -> None:
        """Close the files of a process that has ended."""
        with contextlib.suppress(OSError):
            self._stream.close()
        self._death.close()

    def wait_for_end(self) -> int | None:
        """Tell a process that there are no more calls, and give its wait status when it has ended.

        None if the process that forked it ended first.
        """
        with contextlib.suppress(OSError):
            self._stream.close()
        return forkserver.wait_status(self._death)
