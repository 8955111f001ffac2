"""A backend for joblib whose workers may die."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from joblib.parallel import BatchedCalls, Parallel, ParallelBackendBase

from lgs_cli.batch.job import Result
from lgs_cli.batch.workers import Workers
from lgs_cli.errors import LgsError

_Outcome = list[Result] | Exception
_Callback = Callable[[_Outcome], None]


class WorkersBackend(ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
    """Has joblib's calls made by :class:`Workers`, one at a time for each of ``n_jobs``.

    The first argument of each call is a Job, and its outcome a Result: a failed one if the call was
    the end of its worker. Other backends give up the whole run then.

    Parameters
    ----------
    workers : Workers
        Started. Closed by whoever started them, and by an abort.
    """

    supports_retrieve_callback = True

    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self._workers = workers
        self._waiting: SimpleQueue[tuple[BatchedCalls, _Callback] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Say how many calls are made at a time."""
        return n_jobs

    def configure(self, n_jobs: int = 1, parallel: Parallel = None, **_: Any) -> int:
        """Start a thread for each worker: it hands out calls, and waits for their results."""
        self.parallel = parallel
        for _number in range(n_jobs):
            thread = threading.Thread(target=self._hand_out, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise LgsError(f"{n_jobs} workers: {error}; --jobs 1 needs no threads") from error
            self._threads.append(thread)
        return n_jobs

    def submit(self, func: BatchedCalls, callback: _Callback) -> None:
        """Have a batch of calls made as soon as a worker is free."""
        self._waiting.put((func, callback))

    apply_async = submit  # its name before joblib 1.5

    def _hand_out(self) -> None:
        outcome: _Outcome
        while (waiting := self._waiting.get()) is not None:
            batch, callback = waiting
            try:
                outcome = [self._workers.do(call) for call in batch.items]
            except Exception as error:
                outcome = error
            callback(outcome)

    def retrieve_result_callback(self, out: _Outcome) -> list[Result]:
        """Give the results of a batch, or raise what kept it from being done."""
        if isinstance(out, Exception):
            raise out
        return out

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the workers, whatever they are doing."""
        self._workers.close()

    def terminate(self) -> None:
        """End the threads, once all calls have been made or the workers have been ended."""
        for _thread in self._threads:
            self._waiting.put(None)
        while self._threads:
            self._threads.pop().join()
