"""Jobs to results on all cores, whatever a job does to the process that runs it.

Joblib's threads hand the jobs out. Each has a worker process that does one job at a time, so a
worker that dies, or is killed, takes down one image and nobody else. Workers are forked by a
process that has loaded the libraries once and has no threads; a new worker costs milliseconds. The
calling process decodes no image, so no image can harm it.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
import warnings
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from lgs_cli.errors import LgsError
from lgs_cli.pipeline import Job, Result, Settings, process
from lgs_cli.storage import temporary_path

_STATUS = struct.Struct("=i")
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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


def run(jobs: Iterable[Job], settings: Settings, limits: Limits) -> Generator[Result]:
    """Do all jobs, and give each result as soon as it is there.

    Close the generator (``contextlib.closing``) where it is left early: that ends the workers and
    removes what they had half written.

    Parameters
    ----------
    jobs : iterable of Job
        Taken as they are needed, perhaps from another thread.
    settings : Settings
        How every image is cleaned.
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
    workers = _Workers(limits)
    # A signal may cut short one closing; it comes once.
    with contextlib.closing(workers), contextlib.closing(workers):
        workers.start(settings)
        # Two images are done before joblib has been imported.
        few = limits.workers == 1 or len(first) < 3
        every = workers.do_singly if few else workers.do_in_parallel
        yield from every(itertools.chain(first, jobs))


class _Workers:
    """The worker processes of a run, and the process that forks them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._idle: list[_Worker] = []
        self._at_work: set[Job] = set()
        self._closing = False
        self._lock = threading.Lock()
        self._control, self._far = socket.socketpair()
        self._pid: int | None = None

    def start(self, settings: Settings) -> None:
        """Start the process that forks the workers."""
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal must not find the child with this process's handlers.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING_SIGNALS)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _serve_forks(self._far, settings, self._limits)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._far.close()

    def do_singly(self, jobs: Iterable[Job]) -> Generator[Result]:
        """Do jobs one after the other."""
        return (self._do(job) for job in jobs)

    def do_in_parallel(self, jobs: Iterable[Job]) -> Generator[Result]:
        """Do jobs on joblib's threads."""
        from joblib import Parallel, delayed

        def tasks() -> Iterator[Any]:
            for job in jobs:
                # joblib's threads may ask for more while this run is being left.
                if self._closing:
                    return
                yield delayed(self._do)(job)

        parallel = Parallel(
            n_jobs=self._limits.workers,
            backend="threading",
            return_as="generator_unordered",
            pre_dispatch="2 * n_jobs",
            batch_size=1,
        )
        # To a run that is left early joblib has advice on how to write Python.
        warnings.filterwarnings("ignore", category=UserWarning, module="joblib.parallel")
        with contextlib.closing(parallel(tasks())) as results:
            try:
                for result in results:  # noqa: UP028 - that would close them before the workers
                    yield result
            finally:
                # Before joblib ends its threads: what they wait for are the workers.
                self.close()

    def close(self) -> None:
        """End all workers, whatever they are at, and remove what they were writing.

        To close again finishes what a signal has cut short.
        """
        self._closing = True
        self._control.close()
        self._far.close()
        if self._pid is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
        for job in list(self._at_work):
            _remove_temporaries(job)

    def _do(self, job: Job) -> Result:
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
            if self._closing:
                status = 0
            elif status is None:
                raise LgsError("the process that starts the workers was killed")
            elif not worker.fresh and os.waitstatus_to_exitcode(status) != -signal.SIGALRM:
                # An earlier image may have broken the worker. Alone in a new one, this image is
                # either acquitted or convicted.
                return self._do(job)
            result = Result(job.index, job.source, status="failed", error=self._death(status))
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
        near, far = socket.socketpair()
        death_in, death_out = os.pipe()
        try:
            with self._lock, contextlib.suppress(OSError):  # closed: the worker's pipes will tell
                socket.send_fds(self._control, [b"+"], [far.fileno(), death_out])
        finally:
            far.close()
            os.close(death_out)
        return _Worker(Connection(near.detach()), death_in)

    def _death(self, status: int) -> str:
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGALRM and self._limits.timeout is not None:
            return f"took longer than --timeout {self._limits.timeout:g} s"
        if code < 0:
            return f"the worker died: signal {-code} ({signal.strsignal(-code)})"
        return f"the worker died: exit code {code}"


class _Worker:
    """The calling process's end of a worker."""

    def __init__(self, connection: Connection, death: int) -> None:
        self._connection = connection
        self._death = death
        self.fresh = True

    def do(self, job: Job) -> Result | None:
        """Do one job; None where that was the end of the process."""
        try:
            self._connection.send(job)
            result: Result = self._connection.recv()
        except (EOFError, OSError):
            return None
        self.fresh = False
        return result

    def bury(self) -> int | None:
        """Wait for the end of a process that has no more to do, and give its wait status."""
        self._connection.close()
        status = os.read(self._death, _STATUS.size)
        os.close(self._death)
        return _STATUS.unpack(status)[0] if status else None


def _serve_forks(control: socket.socket, settings: Settings, limits: Limits) -> NoReturn:
    """Fork a worker for each request, and report its end; end them all when the caller is gone.

    The caller's death closes its end of the socket too, so no worker outlives it, whatever it is
    at.
    """
    deaths: dict[int, int] = {}
    try:
        for number in _ENDING_SIGNALS:  # the caller ends its workers itself
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING_SIGNALS)
        control = socket.socket(fileno=_keep_only(control.detach()))
        _load(settings)
        wake_in, wake_out = os.pipe()
        os.set_blocking(wake_out, False)
        signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        while True:
            ready = select.select([control.fileno(), wake_in], [], [])[0]
            if wake_in in ready:
                os.read(wake_in, 4096)
                _report(deaths)
            if control.fileno() in ready:
                request, passed, _, _ = socket.recv_fds(control, 1, 2)
                if not request:
                    break
                connection, death = passed
                pid = os.fork()
                if pid == 0:
                    _work(connection, settings, limits)
                deaths[pid] = death
                os.close(connection)
    finally:
        for pid in deaths:
            os.kill(pid, signal.SIGKILL)
        for pid in deaths:
            os.waitpid(pid, 0)
        os._exit(0)


def _report(deaths: dict[int, int]) -> None:
    """Write the wait status of each worker that has ended to where its caller reads it."""
    while deaths:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        death = deaths.pop(pid)
        with contextlib.suppress(BrokenPipeError):
            os.write(death, _STATUS.pack(status))
        os.close(death)


def _keep_only(file: int) -> int:
    """Close all files but one, which becomes 3; the three standard ones lead nowhere.

    What the caller has open is its own: the lock on the output directory must end with it, and so
    must the pipe to whoever reads its output. What C libraries print has no reader here.
    """
    null = os.open(os.devnull, os.O_RDWR)
    kept = os.dup(file)
    for standard in range(3):
        os.dup2(null, standard)
    os.dup2(kept, 3)
    os.closerange(4, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return 3


def _load(settings: Settings) -> None:
    """Load once what every worker needs."""
    # A worker a core is enough; threads within one would only get in each other's way.
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    # What cannot be imported here fails again in a worker, and becomes the reason there.
    with contextlib.suppress(Exception):
        import cv2

        cv2.setNumThreads(1)
        import_module("lgs_cli.image_io")
        for step in settings.chain:
            import_module(step.defense.entry.partition(":")[0])
    # Garbage of the caller must not be collected here: it might close what is not its own.
    gc.freeze()


def _work(connection: int, settings: Settings, limits: Limits) -> NoReturn:
    """Do jobs as they come, until there are no more."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        caller = Connection(_keep_only(connection))
        if limits.memory is not None:
            limit = _data_size() + limits.memory
            _, most = resource.getrlimit(resource.RLIMIT_DATA)
            limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        while True:
            caller.send(_timed(caller.recv(), settings, limits.timeout))
    except (EOFError, OSError):
        os._exit(0)
    finally:
        os._exit(1)


def _data_size() -> int:
    """Measure what counts against RLIMIT_DATA, in bytes."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def _timed(job: Job, settings: Settings, timeout: float | None) -> Result:
    """Do one job, and die of SIGALRM where it takes too long: that ends C code as well."""
    if timeout is None:
        return process(job, settings)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    result = process(job, settings)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return result


def _remove_temporaries(job: Job) -> None:
    """Remove what a dead worker, of this run or of one before, may have left of a job's outputs."""
    for path in (job.output, job.mask):
        if path is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary_path(path))
