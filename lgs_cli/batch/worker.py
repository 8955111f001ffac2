"""What a worker process does: one call at a time, within its limits."""

from __future__ import annotations

import contextlib
import pickle
import resource
import signal
import socket
from collections.abc import Callable
from typing import IO, Any, NoReturn, cast

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def work(connection: socket.socket) -> NoReturn:
    """Make calls as they come, and send what they return.

    Parameters
    ----------
    connection : socket
        From it come, pickled, first the seconds that a call may take and the bytes that it may
        allocate, each perhaps None; then one ``(function, arguments, keyword arguments)`` after the
        other. To it goes what each of them returns.

    Raises
    ------
    EOFError, OSError
        If there are no more.
    """
    caller = cast("IO[bytes]", connection.makefile("rwb"))
    timeout, memory = pickle.load(caller)
    if memory is not None:
        limit = _data_size() + memory
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    while True:
        send(caller, _timed(pickle.load(caller), timeout))


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
        If the other end is closed.
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


def _timed(call: Call, timeout: float | None) -> Any:
    """Make a call, and die of SIGALRM if it takes too long: that ends C code as well."""
    function, arguments, options = call
    if timeout is not None:
        signal.setitimer(signal.ITIMER_REAL, timeout)
    result = function(*arguments, **options)
    if timeout is not None:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return result
