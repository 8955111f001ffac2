"""The process that forks workers: it loads OpenCV once, and a new worker costs milliseconds.

It has no threads and opens no image, so that nothing can harm it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import struct
import sys
import threading
from importlib import import_module
from typing import IO, NoReturn

from lgs_cli import signals

# A worker a core is enough; threads within one would only get in each other's way.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

_STATUS = struct.Struct("=i")


class ForkServer:
    """The calling process's end of it. Starts the process."""

    def __init__(self) -> None:
        self._control, far = socket.socketpair()
        self._has_workers = False
        with signals.deferred(), far:
            if _has_threads():
                self._pid = _spawn(far)
            else:
                self._pid = os.fork()
                if self._pid == 0:
                    serve(far)

    def fork(self) -> tuple[socket.socket, IO[bytes]]:
        """Have a worker forked. Not to be called from two threads at a time.

        Returns
        -------
        connection : socket
            To the worker, see :func:`lgs_cli.batch.worker.work`. Closed at the other end once the
            worker, or the process here, has died.
        death : file
            From which the wait status of the worker can be read when it has died; see
            :func:`wait_status`.
        """
        self._has_workers = True
        near, far = socket.socketpair()
        death_in, death_out = os.pipe()
        try:
            with contextlib.suppress(OSError):  # it is gone, and the worker's ends are closed
                socket.send_fds(self._control, [b"+"], [far.fileno(), death_out])
        finally:
            far.close()
            os.close(death_out)
        return near, open(death_in, "rb", buffering=0)

    def close(self) -> None:
        """End the process and all its workers, whatever they are doing. Can be repeated."""
        self._control.close()
        if self._pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                if not self._has_workers:  # it may still be loading, and would be long to notice
                    os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
            self._pid = 0


class HeadStart:
    """Starts a server before it is known that it is needed, so that it loads OpenCV meanwhile."""

    def __init__(self) -> None:
        self._server: ForkServer | None = None

    def begin(self) -> None:
        """Start a server."""
        with signals.deferred():
            self._server = ForkServer()

    def take(self) -> ForkServer:
        """Give the server, which then is the caller's to close; a new one if there is none."""
        server, self._server = self._server, None
        return server or ForkServer()

    def close(self) -> None:
        """End a server that nobody has taken."""
        with signals.deferred():
            if self._server is not None:
                self._server.close()


def wait_status(death: IO[bytes]) -> int | None:
    """Wait for a worker to die.

    Parameters
    ----------
    death : file
        From :meth:`ForkServer.fork`; is closed.

    Returns
    -------
    int or None
        As ``os.wait`` gives it; None if the process that forked the worker died first.
    """
    with death:
        status = death.read(_STATUS.size)
    return _STATUS.unpack(status)[0] if status else None


def _has_threads() -> bool:
    """Say whether a fork of this process may find locks taken by threads that it does not have."""
    try:
        return len(os.listdir("/proc/self/task")) > 1
    except OSError:
        return threading.active_count() > 1 or "cv2" in sys.modules


def _spawn(control: socket.socket) -> int:
    """Start the process as a Python of its own, which takes some 50 ms more than a fork."""
    script = (
        f"import socket, sys; sys.path[:] = {sys.path!r}; "
        "from lgs_cli.batch.forkserver import serve; serve(socket.socket(fileno=3))"
    )
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", script],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, control.fileno(), 3)],
    )


def serve(control: socket.socket) -> NoReturn:
    """Fork a worker for each request, and report its end; end them all when the caller is gone.

    The caller's death closes its end of the socket too, so no worker outlives it, whatever it is
    doing.
    """
    deaths: dict[int, int] = {}
    try:
        signals.ignore()  # the caller ends its workers itself
        # The caller's objects are not this process's to free: some would close a file by its
        # number, which has another meaning here.
        gc.freeze()
        control = socket.socket(fileno=_keep_only(control.detach()))
        _load_libraries()
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
    """Close all files but one, which becomes 3; the three standard ones become /dev/null.

    The lock on the output directory must end with the caller, and so must the pipe to whoever reads
    its output. What C libraries print has no reader here.
    """
    null = os.open(os.devnull, os.O_RDWR)
    kept = os.dup(file)
    for standard in range(3):
        os.dup2(null, standard)
    os.dup2(kept, 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    return 3


def _load_libraries() -> None:
    """Load what every worker needs: OpenCV, and Pillow with what reads images."""
    os.environ.update(ONE_THREAD)
    # If they cannot be imported, that fails again in a worker, and becomes the reason there.
    with contextlib.suppress(Exception):
        import cv2

        cv2.setNumThreads(1)
        import_module("lgs_cli.image_io")


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
