"""The defenses as modules of torch, to train through, to compile, and to ship inside a model.

>>> import torch
>>> from lgs_cli.adapters.torch import LocalGradientsSmoothing
>>> classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(10))
>>> model = torch.nn.Sequential(LocalGradientsSmoothing(), classifier).eval()
>>> model(torch.rand(2, 3, 32, 32)).shape
torch.Size([2, 10])

They take floating (N, C, H, W) in [0, 1], RGB in this order: put them before any normalization.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from lgs_cli.errors import MissingExtraError

try:
    import torch
    import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
    from torch import Tensor, nn
except ImportError as error:
    raise MissingExtraError("lgs_cli.adapters.torch", "torch", "torch") from error

from lgs_cli.adapters.smoothing import Gradient, smooth
from lgs_cli.defenses import localize
from lgs_cli.defenses.lgs import LgsParams
from lgs_cli.defenses.localize import LocalizeParams

__all__ = ["LocalGradientsSmoothing", "Localize"]

# Width of the soft mask, in logits.
_WIDTH = 1.0


def _check_gradient(gradient: str, valid: tuple[str, ...]) -> None:
    if gradient not in valid:
        raise ValueError(f"gradient is {gradient!r}; valid is {', '.join(valid)}")


def _check_batch(x: Tensor) -> None:
    if x.dim() != 4:
        advice = ": x[None] is a batch of one" if x.dim() == 3 else ""
        raise ValueError(f"shape is {tuple(x.shape)}; it must be (N, C, H, W){advice}")
    if not x.is_floating_point():
        raise TypeError(f"pixels are {x.dtype}; they must be floating in [0, 1]: x / 255")


class LocalGradientsSmoothing(nn.Module):
    """Local Gradients Smoothing of batches of images.

    Called with floating (N, C, H, W) in [0, 1], all channels colors, it returns the same. Each
    image is normalized by itself, so a batch never changes an image's result. It has no weights.
    Works with ``torch.compile``, ``torch.export`` and (torch 2.6 and newer)
    ``torch.onnx.export(..., dynamo=True)``, also with dynamic shapes (in ONNX: newer than 2.6) if
    the sides are at least a block and a stride (25 by default), with autocast, and on every device.

    Parameters
    ----------
    params : LgsParams, optional
        The paper's defaults unless given.
    gradient : str
        ``"exact"``: through the pixels, their gradient magnitude and its maximum; which blocks are
        kept has none. ``"relaxed"``: as if a sigmoid around the threshold kept them.
        ``"identity"``: as if the module were not there (BPDA). The value is always the same.

    Raises
    ------
    ValueError
        If there is no such gradient.

    References
    ----------
    Naseer, Khan, Porikli, "Local Gradients Smoothing", WACV 2019, arXiv 1807.01216. Athalye,
    Carlini, Wagner, arXiv 1802.00420 (BPDA).

    Examples
    --------
    >>> import torch
    >>> from lgs_cli import LgsParams
    >>> defense = LocalGradientsSmoothing(LgsParams(threshold=0.2), gradient="relaxed")
    >>> x = torch.rand(4, 3, 64, 64, requires_grad=True)
    >>> defense(x).sum().backward()
    >>> x.grad.shape
    torch.Size([4, 3, 64, 64])
    """

    def __init__(self, params: LgsParams | None = None, gradient: Gradient = "exact") -> None:
        """Make the module."""
        super().__init__()
        _check_gradient(gradient, ("exact", "relaxed", "identity"))
        self.params = params or LgsParams()
        self.gradient = gradient

    def forward(self, x: Tensor) -> Tensor:
        """Smooth a batch."""
        _check_batch(x)
        return smooth(x, self.params, self.gradient)

    def extra_repr(self) -> str:
        """Show the parameters."""
        return f"{self.params}, gradient={self.gradient!r}"


_SCHEMA = "(Tensor x, float threshold, str fill, str detector) -> Tensor"  # torch 2.4 infers none


@torch.library.custom_op("lgs_cli::localize", mutates_args=(), schema=_SCHEMA)
def _repair(x: Tensor, threshold: float, fill: str, detector: str) -> Tensor:
    """Repair images one by one; one step to whatever traces it."""
    params = LocalizeParams(threshold, fill, detector)
    repaired = torch.empty_like(x, memory_format=torch.contiguous_format)
    for index, image in enumerate(x.cpu().numpy()):
        cleaned = localize.apply(image.transpose(1, 2, 0), params).image
        repaired[index] = torch.from_numpy(cleaned.transpose(2, 0, 1).copy())
    return repaired


@_repair.register_fake
def _(x: Tensor, threshold: float, fill: str, detector: str) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


class Localize(nn.Module):
    """Find patches with a small network, and repair the images.

    Called with floating (N, 3, H, W), RGB in [0, 1], it returns the same. Images are repaired by
    OpenCV, so on the processor whatever the device, and each by itself. Works with
    ``torch.compile``, ``torch.export`` (import this module before a program is loaded) and
    autocast; not with ONNX, which has no such repair.

    Parameters
    ----------
    params : LocalizeParams, optional
        The defaults unless given.
    gradient : str
        ``"identity"``: as if the module were not there (BPDA). ``"relaxed"``: that of a soft
        repair, which replaces each pixel in the degree to which the detector takes it for part of
        a patch; the detector's network, frozen, is then a submodule. The value is the same. There
        is no exact one.

    Raises
    ------
    ValueError
        If there is no such gradient, or the file is no detector.

    Examples
    --------
    >>> import torch
    >>> x = torch.full((1, 3, 64, 64), 0.5)
    >>> bool((Localize()(x) == x).all())
    True
    """

    def __init__(
        self,
        params: LocalizeParams | None = None,
        gradient: Literal["identity", "relaxed"] = "identity",
    ) -> None:
        """Make the module."""
        super().__init__()
        _check_gradient(gradient, ("identity", "relaxed"))
        self.params = params or LocalizeParams()
        self.gradient = gradient
        if gradient == "relaxed":
            from lgs_cli.evaluation.detector import network

            self.detector, _ = network.read(Path(self.params.detector_path))
            self.detector.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Repair a batch."""
        _check_batch(x)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        params = self.params
        repaired: Tensor = _repair(wide.detach(), params.threshold, params.fill, params.detector)
        repaired = repaired.to(x.dtype)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return repaired
        if self.gradient == "identity":
            return x + (repaired - x).detach()
        mask = self._soft_mask(wide).to(x.dtype)
        surrogate = x * (1 - mask) + repaired * mask
        return surrogate + (repaired - surrogate).detach()

    def _soft_mask(self, x: Tensor) -> Tensor:
        from lgs_cli.evaluation.detector import network

        logits, rows, columns = network.seen(self.detector, x)
        threshold = min(max(self.params.threshold, 1e-6), 1 - 1e-6)
        level = math.log(threshold / (1 - threshold))
        soft = ((logits[..., :rows, :columns] - level) / _WIDTH).sigmoid()
        return F.interpolate(soft, x.shape[2:], mode="bilinear", align_corners=False)

    def extra_repr(self) -> str:
        """Show the parameters."""
        return f"{self.params}, gradient={self.gradient!r}"
