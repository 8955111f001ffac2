"""The process that forks workers: it loads the libraries once, and a new worker costs milliseconds.

It has no threads and opens no image. It starts before anything else has been loaded, so that
OpenCV, which takes as long to load as all the rest, loads beside it; hence the late imports.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
from collections.abc import Sequence
from importlib import import_module
from typing import IO, NoReturn

from lgs_cli.signals import ENDING

_STATUS = struct.Struct("=i")
_started: list[ForkServer] = []


def start(modules: Sequence[str] = ()) -> None:
    """Start a process for the run to come; it ends with :func:`discard`, or with that run.

    Parameters
    ----------
    modules : sequence of str
        What its workers need besides what all workers need.
    """
    server = ForkServer(modules)
    _started.append(server)
    server.start()


def take() -> ForkServer:
    """Give the process that has been started, or else one that has yet to be."""
    return _started.pop() if _started else ForkServer()


def discard() -> None:
    """End a process that no run has taken; to call it again finishes what a signal cut short."""
    while _started:
        _started[-1].close()
        _started.pop()


class ForkServer:
    """The calling process's end of it.

    Parameters
    ----------
    modules : sequence of str
        What its workers need besides what all workers need.
    """

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self._modules = modules
        self._control, self._far = socket.socketpair()
        self._pid: int | None = None
        self._asked = False

    def start(self) -> None:
        """Start the process, where it has not been started."""
        if self._pid is not None:
            return
        # A signal must not find the child with this process's handlers.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _serve(self._far, self._modules)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._far.close()

    def fork(self) -> tuple[socket.socket, IO[bytes]]:
        """Have a worker forked. Not to be called from two threads at a time.

        Returns
        -------
        connection : socket
            To the worker, which unpickles work, limits and jobs from it, and pickles results
            into it. Closed at the other end once the worker, or the process here, has died.
        death : file
            From which the wait status of the worker can be read when it has died; see
            :func:`wait_status`.
        """
        near, far = socket.socketpair()
        death_in, death_out = os.pipe()
        self._asked = True
        try:
            with contextlib.suppress(OSError):  # it is gone, and the worker's ends are closed
                socket.send_fds(self._control, [b"+"], [far.fileno(), death_out])
        finally:
            far.close()
            os.close(death_out)
        return near, open(death_in, "rb", buffering=0)

    def close(self) -> None:
        """End the process and all its workers, whatever they are at.

        To close again finishes what a signal has cut short.
        """
        self._control.close()
        self._far.close()
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                if not self._asked:  # it may still be loading
                    os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
            self._pid = None


def wait_status(death: IO[bytes]) -> int | None:
    """Wait for a worker to die.

    Parameters
    ----------
    death : file
        From :meth:`ForkServer.fork`; is closed.

    Returns
    -------
    int or None
        As ``os.wait`` gives it; None where the process that forked the worker died first.
    """
    with death:
        status = death.read(_STATUS.size)
    return _STATUS.unpack(status)[0] if status else None


def _serve(control: socket.socket, modules: Sequence[str]) -> NoReturn:
    """Fork a worker for each request, and report its end; end them all when the caller is gone.

    The caller's death closes its end of the socket too, so no worker outlives it, whatever it is
    at.
    """
    deaths: dict[int, int] = {}
    try:
        for number in ENDING:  # the caller ends its workers itself
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        control = socket.socket(fileno=_keep_only(control.detach()))
        _load(modules)
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
                    _work(connection)
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
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    return 3


def _load(modules: Sequence[str]) -> None:
    """Load once what the workers need."""
    import gc

    gc.disable()  # to look for garbage among what is being loaded takes a tenth of the time
    # A worker a core is enough; threads within one would only get in each other's way.
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    # What cannot be imported here fails again in a worker, and becomes the reason there.
    with contextlib.suppress(Exception):
        import cv2

        cv2.setNumThreads(1)

        for module in modules:
            import_module(module)
    # Garbage of the caller must not be collected here: it might close what is not its own.
    gc.freeze()
    gc.enable()


def _work(connection: int) -> NoReturn:
    """Be a worker."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        from lgs_cli.batch.worker import work

        work(socket.socket(fileno=_keep_only(connection)))
    except (EOFError, OSError):
        os._exit(0)
    finally:
        os._exit(1)
