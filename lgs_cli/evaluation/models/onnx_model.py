"""An ONNX file as a classifier. It scores, but gives no gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lgs_cli.defenses.preprocessing import Preprocessing
from lgs_cli.errors import LgsError
from lgs_cli.evaluation.models.model import Model
from lgs_cli.evaluation.models.network_process import NetworkCrashError, NetworkProcess
from lgs_cli.wording import counted, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OnnxModel(Model):
    """An ``.onnx`` file, run by onnxruntime if that is installed, else by OpenCV.

    It runs in a process of its own: engines crash on some networks and on large inputs.
    """

    def __init__(self, spec: str, preprocessing: Preprocessing, engine: str | None = None) -> None:
        try:
            self._network = NetworkProcess(spec, engine)
        except ValueError as error:
            raise LgsError(printable(str(error))) from None
        except NetworkCrashError as error:
            raise LgsError(f"{printable(spec)} crashes what loads it: {error}") from None
        super().__init__(spec, preprocessing, self._network.version)

    def _forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            return self._network(images, self.preprocessing)
        except NetworkCrashError as error:
            count, height, width = images.shape[:3]
            advice = "; try a smaller --batch-size" if count > 1 else ""
            if self.engine.startswith("OpenCV"):
                advice = "; to run it in onnxruntime: pip install 'lgs-cli[onnx]'"
            raise LgsError(
                f"{printable(self.spec)} crashed on a batch of {counted(count, 'image')} of "
                f"{width}×{height} ({self.engine}: {error}){advice}"
            ) from None
