"""An ONNX network in a process of its own, so that an engine that crashes takes nothing along.

What has been measured so far stays, and the user reads a line. The process is a worker as
:mod:`lgs_cli.batch.forkserver` makes them; here there is one, and it stays for all batches.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import weakref
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, cast

from lgs_cli.batch import forkserver
from lgs_cli.batch.forkserver import ForkServer
from lgs_cli.batch.worker import send
from lgs_cli.defenses.onnx_network import OnnxNetwork
from lgs_cli.defenses.preprocessing import Preprocessing, as_input
from lgs_cli.lazy import cv2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class NetworkCrashError(Exception):
    """The process of a network has died; says of what."""


class NetworkProcess:
    """A network that answers from another process.

    Parameters
    ----------
    path : str
        The ``.onnx`` file.
    engine : str, optional
        As :class:`OnnxNetwork` takes it.

    Attributes
    ----------
    version : str
        The engine with its version.

    Raises
    ------
    ValueError
        If the engine cannot load the file.
    NetworkCrashError
        If it crashes on it.
    """

    def __init__(self, path: str, engine: str | None = None) -> None:
        server = ForkServer()
        connection, self._death = server.fork()
        with connection:
            self._stream = cast("IO[bytes]", connection.makefile("rwb"))
        self._close = weakref.finalize(self, _close, server, self._stream, self._death)
        send(self._stream, (None, None))  # a batch may take as long and as much as it needs
        self.version: str = self._ask(_load, path, engine)

    def __call__(
        self, images: NDArray[np.uint8], preprocessing: Preprocessing
    ) -> NDArray[np.float32]:
        """Run the network on a batch.

        Parameters
        ----------
        images : ndarray
            uint8 (N, H, W, 3) RGB, resized and cropped.
        preprocessing : Preprocessing
            How they become its input.

        Raises
        ------
        ValueError
            If it fails, for instance because it takes no images of this size.
        NetworkCrashError
            If its process has died, now or before.
        """
        answer: NDArray[np.float32] = self._ask(_run, images, preprocessing)
        return answer

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if not self._close.alive:
            raise NetworkCrashError("it has been stopped before")
        try:
            send(self._stream, (function, arguments, {}))
            answer = pickle.load(self._stream)
        except (EOFError, OSError, pickle.UnpicklingError):
            raise NetworkCrashError(self._reason()) from None
        except BaseException:  # a signal: what the process answers now, nobody has asked for
            self._close()
            raise
        if isinstance(answer, ValueError):
            raise answer
        return answer

    def _reason(self) -> str:
        """Say what the process died of, and end its server."""
        status = forkserver.wait_status(self._death)
        self._close()
        if status is None:
            return "its process has died"
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            return f"exit code {code}"
        if -code == signal.SIGKILL:
            return "killed, perhaps because memory ran out"
        return signal.strsignal(-code) or f"signal {-code}"


def _close(server: ForkServer, stream: IO[bytes], death: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # of what could not be sent any more
        stream.close()
    death.close()
    server.close()


_networks: list[OnnxNetwork] = []  # the worker's, once it is loaded


def _load(path: str, engine: str | None) -> str | ValueError:
    """Load the network in the worker; return the engine with its version."""
    cv2.setNumThreads(-1)  # a worker that cleans images has one thread; this one is alone
    try:
        _networks.append(OnnxNetwork(path, engine))
    except ValueError as error:
        return error
    return _networks[0].version


def _run(
    images: NDArray[np.uint8], preprocessing: Preprocessing
) -> NDArray[np.float32] | ValueError:
    """Run the worker's network."""
    try:
        return _networks[0](as_input(images, preprocessing))
    except (ValueError, MemoryError) as error:
        return ValueError(str(error) or "not enough memory")
