"""Jobs to results, in order, on all cores, whatever a job does to the process that runs it.

Many jobs run in joblib's loky workers. One worker process that is forked here runs what is too
little for them, and, one by one, the jobs that were being done when a loky worker died: it can be
told what became of it. The calling process decodes no image, so no image can harm it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import resource
import shutil
import signal
import struct
import sys
import tempfile
import threading
import time
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from lgs_cli.pipeline import Job, Result, Settings, process
from lgs_cli.storage import temporary_path

_ORPHAN_CHECK_SECONDS = 0.25


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
        Bytes of data that a worker may allocate.
    """

    workers: int = 1
    timeout: float | None = None
    memory: int | None = None


def run(jobs: Iterable[Job], settings: Settings, limits: Limits) -> Generator[Result]:
    """Do all jobs, and give their results in the order of the jobs.

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
        One for each job. A job that killed its worker, or took too long, is a failed one.
    """
    jobs = iter(jobs)
    first = list(itertools.islice(jobs, 3))
    jobs = itertools.chain(first, jobs)
    # Starting loky takes longer than cleaning two images.
    if limits.workers == 1 or len(first) < 3:
        return _one_by_one(jobs, settings, limits)
    return _Pool(jobs, settings, limits).results()


def _one_by_one(jobs: Iterable[Job], settings: Settings, limits: Limits) -> Generator[Result]:
    """Do jobs in one worker process, and in a new one after each that dies."""
    worker: _Worker | None = None
    try:
        for job in jobs:
            worker = worker or _Worker(settings, limits)
            result = worker.do(job)
            if result is None:
                death, worker = worker.death(), None
                _remove_temporaries(job)
                result = Result(job.index, job.source, status="failed", error=death)
            yield result
    finally:
        if worker is not None:
            worker.end()


class _Worker:
    """A forked process that does one job at a time and answers on a pipe."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        jobs_in, jobs_out = os.pipe()
        results_in, results_out = os.pipe()
        self._limits = limits
        self._job: Job | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Python 3.12 warns of forking beside threads; what runs in the child takes no lock
            # that a thread of this process holds.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            os.close(jobs_out)
            os.close(results_in)
            _serve(jobs_in, results_out, settings, limits)
        os.close(jobs_in)
        os.close(results_out)
        self._jobs = os.fdopen(jobs_out, "wb")
        self._results = os.fdopen(results_in, "rb")

    def do(self, job: Job) -> Result | None:
        """Do one job; None where that was the end of the process."""
        self._job = job
        try:
            pickle.dump(job, self._jobs)
            self._jobs.flush()
            result: Result = pickle.load(self._results)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            return None
        self._job = None
        return result

    def death(self) -> str:
        """Wait for a dead process, and say what it died of."""
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        self._close()
        if code == -signal.SIGALRM and self._limits.timeout is not None:
            return f"took longer than --timeout {self._limits.timeout:g} s"
        if code < 0:
            return f"the worker died: signal {-code} ({signal.Signals(-code).name})"
        return f"the worker died: exit code {code}"

    def end(self) -> None:
        """End the process, whatever it is at, and remove what it was writing."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._close()
        if self._job is not None:
            _remove_temporaries(self._job)

    def _close(self) -> None:
        for pipe in (self._jobs, self._results):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _serve(jobs_in: int, results_out: int, settings: Settings, limits: Limits) -> NoReturn:
    """Do jobs from a pipe until it ends; never returns into the code that forked."""
    try:
        with os.fdopen(jobs_in, "rb") as jobs, os.fdopen(results_out, "wb") as results:
            _prepare(limits, os.getppid())
            while True:
                pickle.dump(_timed(pickle.load(jobs), settings), results)
                results.flush()
    except (EOFError, BrokenPipeError):
        os._exit(0)
    finally:
        os._exit(1)


class _Pool:
    """Joblib's workers, begun anew after each death of one."""

    def __init__(self, jobs: Iterator[Job], settings: Settings, limits: Limits) -> None:
        self._jobs = jobs
        self._settings = settings
        self._limits = limits
        self._waiting: dict[int, Job] = {}
        self._order: deque[int] = deque()
        # joblib takes jobs from its own threads; one that outlives its pool must get none.
        self._lock = threading.Lock()
        self._generation = 0

    def results(self) -> Generator[Result]:
        """Give the results in the order in which the jobs were taken."""
        ready: dict[int, Result] = {}
        with contextlib.closing(self._unordered()) as results:
            for result in results:
                ready[result.index] = result
                while self._order and self._order[0] in ready:
                    yield ready.pop(self._order.popleft())

    def _unordered(self) -> Generator[Result]:
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        ended = False
        try:
            while not ended:
                journal = tempfile.mkdtemp(prefix="lgs-")
                try:
                    yield from self._one_pool(journal)
                    ended = True
                except TerminatedWorkerError:
                    suspects = self._suspects(journal)
                finally:
                    shutil.rmtree(journal, ignore_errors=True)
                if not ended:
                    for result in _one_by_one(suspects, self._settings, self._limits):
                        del self._waiting[result.index]
                        yield result
        finally:
            for job in self._waiting.values():
                _remove_temporaries(job)

    def _one_pool(self, journal: str) -> Generator[Result]:
        from joblib import Parallel

        parallel = Parallel(
            n_jobs=self._limits.workers,
            backend="loky",
            return_as="generator_unordered",
            pre_dispatch="4 * n_jobs",
            initializer=_start_in_pool,
            initargs=(self._limits, os.getpid(), journal),
        )
        results = parallel(self._tasks())
        try:
            for result in results:
                del self._waiting[result.index]
                yield result
        finally:
            with self._lock:
                self._generation += 1
            with warnings.catch_warnings():
                # Where the run is left early, joblib would tell the user how to write Python.
                warnings.simplefilter("ignore")
                results.close()

    def _tasks(self) -> Iterator[Any]:
        from joblib import delayed

        generation = self._generation
        again = list(self._waiting.values())
        while True:
            with self._lock:
                if generation != self._generation:
                    return
                job = again.pop(0) if again else next(self._jobs, None)
                if job is None:
                    return
                if job.index not in self._waiting:
                    self._waiting[job.index] = job
                    self._order.append(job.index)
            yield delayed(_do_in_pool)(job, self._settings)

    def _suspects(self, journal: str) -> list[Job]:
        """Find the jobs that workers were at when the pool broke."""
        indices = []
        for name in os.listdir(journal):
            with open(os.path.join(journal, name), "rb") as file:
                slot = file.read(_SLOT.size)
            if len(slot) == _SLOT.size:
                indices.append(_SLOT.unpack(slot)[0])
        return [self._waiting[index] for index in sorted(indices) if index in self._waiting]


_SLOT = struct.Struct("<q")
_NO_JOB = -1
_slot_file = -1


def _start_in_pool(limits: Limits, parent: int, journal: str) -> None:
    """Make a loky worker ready, with a file that says which job it is at."""
    global _slot_file
    path = os.path.join(journal, str(os.getpid()))
    _slot_file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _prepare(limits, parent, path)


def _do_in_pool(job: Job, settings: Settings) -> Result:
    os.pwrite(_slot_file, _SLOT.pack(job.index), 0)
    result = _timed(job, settings)
    os.pwrite(_slot_file, _SLOT.pack(_NO_JOB), 0)
    return result


_current: Job | None = None


def _timed(job: Job, settings: Settings) -> Result:
    """Do one job, and die of SIGALRM where it takes too long: that ends C code as well."""
    global _current
    _current = job
    if _timeout is not None:
        signal.setitimer(signal.ITIMER_REAL, _timeout)
    result = process(job, settings)
    if _timeout is not None:
        signal.setitimer(signal.ITIMER_REAL, 0)
    _current = None
    return result


_timeout: float | None = None


def _prepare(limits: Limits, parent: int, slot: str | None = None) -> None:
    """Make this process a worker."""
    global _timeout
    with contextlib.suppress(ImportError):  # the first image says so, and ends the run
        import cv2

        cv2.setNumThreads(1)
    # A Ctrl-C reaches the whole process group; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _timeout = limits.timeout
    if limits.memory is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
    threading.Thread(target=_end_with, args=(parent, slot), daemon=True).start()


def _end_with(parent: int, slot: str | None) -> NoReturn:
    """End this worker once the process that started it is gone."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_CHECK_SECONDS)
    if _current is not None:
        _remove_temporaries(_current)
    if slot is not None:
        with contextlib.suppress(OSError):
            os.unlink(slot)
            os.rmdir(os.path.dirname(slot))
    os._exit(1)


def _remove_temporaries(job: Job) -> None:
    """Remove what a dead worker may have left of a job's outputs."""
    for path in (job.output, job.mask):
        if path is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary_path(path))
