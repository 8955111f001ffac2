"""The defenses as preprocessors of the Adversarial Robustness Toolbox (ART).

``Clean`` runs any method on NumPy arrays, for an estimator of any framework, and attacks pass it by
the identity gradient (BPDA). ``CleanPyTorch`` runs a module of ``lgs_cli.adapters.torch`` inside
the graph, so that attacks in torch, such as ``AdversarialPatchPyTorch``, go through its gradient.

    from art.estimators.classification import PyTorchClassifier
    from lgs_cli.adapters.art import CleanPyTorch
    from lgs_cli.adapters.torch import LocalGradientsSmoothing

    defense = CleanPyTorch(LocalGradientsSmoothing(), device_type="cpu")
    classifier = PyTorchClassifier(
        model, loss, (3, 224, 224), 1000, clip_values=(0, 1), preprocessing_defences=[defense]
    )
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lgs_cli.adapters.images import Method, chain_of, clean
from lgs_cli.errors import MissingExtraError

try:
    from art.defences.preprocessor.preprocessor import Preprocessor, PreprocessorPyTorch
except ImportError as error:
    raise MissingExtraError(
        "lgs_cli.adapters.art", "adversarial-robustness-toolbox", "art"
    ) from error

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

__all__ = ["Clean", "CleanPyTorch"]


class Clean(Preprocessor):  # type: ignore[misc]  # ART is optional, and has no types
    """Clean the images of a NumPy batch, by any method.

    Its gradient is the identity.

    Parameters
    ----------
    method : str, Params or tuple of Step
        As `lgs_cli.clean` takes it.
    channels_first : bool
        Whether batches are (N, C, H, W), as PyTorch has them, or (N, H, W, C). RGB or gray.
    clip_values : tuple of float
        Black and white, as the estimator has them.
    apply_fit, apply_predict : bool
        Whether it is part of training, and of predicting.
    **parameters
        More parameters of `method`, by name.

    Raises
    ------
    TypeError, ValueError
        If there is no such method or parameter.
    """

    params = ["chain", "channels_first", "clip_values"]  # noqa: RUF012 (as ART declares it)

    def __init__(
        self,
        method: Method = "lgs",
        *,
        channels_first: bool = True,
        clip_values: tuple[float, float] = (0.0, 1.0),
        apply_fit: bool = False,
        apply_predict: bool = True,
        **parameters: float | bool | str,
    ) -> None:
        super().__init__(is_fitted=True, apply_fit=apply_fit, apply_predict=apply_predict)
        self.chain = chain_of(method, parameters)
        self.channels_first = channels_first
        self.clip_values = clip_values

    def __call__(self, x: NDArray[Any], y: Any = None) -> tuple[NDArray[Any], Any]:
        """Clean a batch; images of several sizes are an array of objects."""
        if x.dtype != object:
            return np.stack([self._clean(image) for image in x]) if len(x) else x, y
        cleaned = np.empty(len(x), object)
        cleaned[:] = [self._clean(image) for image in x]
        return cleaned, y

    def _clean(self, image: NDArray[Any]) -> NDArray[Any]:
        low, high = self.clip_values
        # Rounding may have carried a value just beyond them.
        unit = np.clip((image - low) / (high - low), 0, 1).astype(np.float32)
        if self.channels_first:
            unit = unit.transpose(1, 2, 0)
        cleaned = clean(unit, self.chain)
        if self.channels_first:
            cleaned = cleaned.transpose(2, 0, 1)
        return (cleaned * (high - low) + low).astype(image.dtype)


class CleanPyTorch(PreprocessorPyTorch):  # type: ignore[misc]  # ART is optional, and has no types
    """Clean batches of tensors by a module, through whose gradient attacks can go.

    Parameters
    ----------
    module : torch.nn.Module
        ``LocalGradientsSmoothing`` or ``Localize`` of ``lgs_cli.adapters.torch``; its `gradient`
        is that of the defense.
    channels_first : bool
        Whether batches are (N, C, H, W), or (N, H, W, C). RGB or gray.
    clip_values : tuple of float
        Black and white, as the estimator has them.
    device_type : str
        ``"cpu"`` or ``"gpu"``, as the estimator has it.
    apply_fit, apply_predict : bool
        Whether it is part of training, and of predicting.
    """

    params = ["module", "channels_first", "clip_values"]  # noqa: RUF012 (as ART declares it)

    def __init__(
        self,
        module: nn.Module,
        *,
        channels_first: bool = True,
        clip_values: tuple[float, float] = (0.0, 1.0),
        device_type: str = "gpu",
        apply_fit: bool = False,
        apply_predict: bool = True,
    ) -> None:
        super().__init__(
            device_type=device_type,
            is_fitted=True,
            apply_fit=apply_fit,
            apply_predict=apply_predict,
        )
        self.module = module.to(self.device)
        self.channels_first = channels_first
        self.clip_values = clip_values

    def forward(self, x: Tensor, y: Any = None) -> tuple[Tensor, Any]:
        """Clean a batch, with a gradient."""
        low, high = self.clip_values
        unit = (x - low) / (high - low)
        if not self.channels_first:
            unit = unit.permute(0, 3, 1, 2)
        cleaned = self.module(unit)
        if not self.channels_first:
            cleaned = cleaned.permute(0, 2, 3, 1)
        return cleaned * (high - low) + low, y
