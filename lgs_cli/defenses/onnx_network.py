"""An ``.onnx`` file that runs: in onnxruntime if that is installed, else in OpenCV."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lgs_cli.lazy import cv2, np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENGINES = ("onnxruntime", "opencv")


class OnnxNetwork:
    """A network with one input and one output.

    Parameters
    ----------
    path : str
        The file.
    engine : str, optional
        One of `ENGINES`; by default onnxruntime if it is installed. It runs more operators than
        OpenCV and does not crash on large inputs. One process uses one engine for all its files.
    threads : int
        How many threads onnxruntime may use; 0: as many as there are cores. A network of one thread
        survives a fork.

    Attributes
    ----------
    engine : str
        The engine that was chosen.

    Raises
    ------
    ValueError
        If the engine cannot load the file.
    """

    def __init__(self, path: str, engine: str | None = None, threads: int = 0) -> None:
        self.engine = engine or ENGINES[0 if find_spec("onnxruntime") else 1]
        try:
            if self.engine == "opencv":
                with _quiet():
                    self._network: Any = cv2.dnn.readNetFromONNX(path)
            else:
                import onnxruntime

                options = onnxruntime.SessionOptions()
                options.log_severity_level = 4  # what goes wrong is raised anyway
                options.intra_op_num_threads = threads
                self._network = onnxruntime.InferenceSession(
                    path, options, providers=["CPUExecutionProvider"]
                )
        except Exception as error:  # each engine has its own kinds, and not all are public
            if not path.lower().endswith(".onnx"):
                raise ValueError(f"{path}: not an .onnx file, and no other kind is taken") from None
            raise ValueError(f"{self.title} cannot load {path}: {_first_line(error)}") from None

    @property
    def title(self) -> str:
        """The engine's name as people write it."""
        return "OpenCV" if self.engine == "opencv" else self.engine

    @property
    def version(self) -> str:
        """The engine with its version: ``"onnxruntime 1.20.0"``."""
        from importlib.metadata import version  # it loads as long as all defenses together

        release = cv2.__version__ if self.engine == "opencv" else version("onnxruntime")
        return f"{self.title} {release}"

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on a batch, float32 (N, C, H, W).

        Raises
        ------
        ValueError
            If it fails, for instance because it takes no images of this size.
        """
        try:
            if self.engine == "opencv":
                with _quiet():
                    self._network.setInput(x)
                    return np.asarray(self._network.forward(), np.float32).copy()
            (given,) = self._network.get_inputs()
            whole = not isinstance(given.shape[0], int) or given.shape[0] == len(x)
            rows = [
                np.asarray(self._network.run(None, {given.name: part})[0], np.float32)
                for part in ([x] if whole else np.split(x, len(x)))
            ]
            return rows[0] if whole else np.concatenate(rows)
        except Exception as error:  # as above
            reason = _first_line(error)
            if self.engine == "opencv":  # which lacks operators, and more of them before version 5
                reason = reason.strip("> ").removesuffix(", where")
                reason = f"OpenCV: {reason}; pip install 'lgs-cli[onnx]' runs more networks"
            raise ValueError(reason) from error


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "err", "") or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


class _quiet:  # noqa: N801 (it is used as a function)
    """Keep OpenCV from saying on stderr what is raised anyway."""

    def __enter__(self) -> None:
        logging = getattr(cv2.utils, "logging", cv2)
        self._level = logging.setLogLevel(0)

    def __exit__(self, *exception: object) -> None:
        getattr(cv2.utils, "logging", cv2).setLogLevel(self._level)
