"""An ONNX file as a classifier. It scores, but gives no gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lgs_cli.defenses.onnx_network import OnnxNetwork
from lgs_cli.defenses.preprocessing import Preprocessing, as_input
from lgs_cli.errors import LgsError
from lgs_cli.evaluation.models.model import Model
from lgs_cli.lazy import np
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray


class OnnxModel(Model):
    """An ``.onnx`` file, run by onnxruntime if that is installed, else by OpenCV."""

    def __init__(self, spec: str, preprocessing: Preprocessing, engine: str | None = None) -> None:
        try:
            network = OnnxNetwork(spec, engine)
        except ValueError as error:
            raise LgsError(printable(str(error))) from None
        super().__init__(spec, preprocessing, network.version)
        self._network = network

    def _forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._network(as_input(images, self.preprocessing))
