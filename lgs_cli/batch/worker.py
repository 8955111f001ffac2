"""What a worker process does: one image at a time, within its limits."""

from __future__ import annotations

import contextlib
import pickle
import resource
import signal
import socket
from typing import IO, NoReturn, cast

from lgs_cli.batch.job import Job, Result, Work


def work(connection: socket.socket) -> NoReturn:
    """Do jobs as they come.

    Parameters
    ----------
    connection : socket
        From it come, pickled, a tuple of Work, seconds an image may take or None, and bytes
        that it may allocate or None; then one Job after the other. To it goes a Result each.

    Raises
    ------
    EOFError, OSError
        Where there are no more.
    """
    caller = cast("IO[bytes]", connection.makefile("rwb"))
    task, timeout, memory = pickle.load(caller)
    if memory is not None:
        limit = _data_size() + memory
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    while True:
        send(caller, _timed(pickle.load(caller), task, timeout))


def send(stream: IO[bytes], message: object) -> None:
    """Pickle a message into a stream, at once.

    Parameters
    ----------
    stream : file
        A socket's.
    message : object
        Whatever can be pickled.

    Raises
    ------
    OSError
        Where the other end is closed.
    """
    pickle.dump(message, stream, pickle.HIGHEST_PROTOCOL)
    stream.flush()


def _data_size() -> int:
    """Measure what counts against RLIMIT_DATA, in bytes."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def _timed(job: Job, task: Work, timeout: float | None) -> Result:
    """Do one job, and die of SIGALRM where it takes too long: that ends C code as well."""
    if timeout is None:
        return task.do(job)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    result = task.do(job)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return result
