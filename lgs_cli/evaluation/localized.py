"""``localize`` as a layer with a gradient, and how strongly its detector responds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from lgs_cli.defenses import localize
from lgs_cli.defenses.localize import LocalizeParams
from lgs_cli.errors import UsageError
from lgs_cli.evaluation.detector import network
from lgs_cli.evaluation.models.torch_model import to_pixels, to_tensor
from lgs_cli.lazy import F, np, torch
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from torch import Tensor

    from lgs_cli.evaluation.bpda import Layer

# Width of the soft mask, in logits.
_WIDTH = 1.0


def layers(params: LocalizeParams) -> dict[str, Layer]:
    """Return `localize` by the name of its gradient: ``relaxed`` and ``identity``."""
    return {"relaxed": Localized(params), "identity": Localized(params, relaxed=False)}


class Localized:
    """The defense inside the loop of an attack.

    Parameters
    ----------
    params : LocalizeParams
        Threshold, fill and detector.
    relaxed : bool
        Whether the gradient is that of a soft repair, which replaces each pixel the more, the more
        the detector takes it for part of a patch; else it passes unchanged.

    Raises
    ------
    UsageError
        If the file is no detector of the kind that `lgs train` makes.
    """

    def __init__(self, params: LocalizeParams, *, relaxed: bool = True) -> None:
        self._params = params
        self._relaxed = relaxed
        try:
            self._detector, _ = network.read(Path(params.detector_path))
        except ValueError as error:
            raise UsageError(f"{printable(params.detector_path)}: {error}") from None
        self._detector.requires_grad_(False)
        threshold = min(max(params.threshold, 1e-6), 1 - 1e-6)
        self._level = math.log(threshold / (1 - threshold))

    def __call__(self, x: Tensor) -> Tensor:
        """Repair images: the real defense forward, the chosen gradient backward.

        Parameters
        ----------
        x : torch.Tensor
            float32 (N, 3, H, W) in [0, 1].

        Returns
        -------
        torch.Tensor
            (N, 3, H, W).
        """
        real, _ = self.repaired(x)
        if not x.requires_grad:
            return real
        surrogate = x
        if self._relaxed:
            logits, rows, columns = self._map(x)
            soft = ((logits[..., :rows, :columns] - self._level) / _WIDTH).sigmoid()
            mask = F.interpolate(soft, x.shape[2:], mode="bilinear", align_corners=False)
            surrogate = x * (1 - mask) + real * mask
        return surrogate + (real - surrogate).detach()

    def repaired(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Repair images as ``lgs clean`` does, without a gradient.

        Parameters
        ----------
        x : torch.Tensor
            float32 (N, 3, H, W) in [0, 1].

        Returns
        -------
        repaired : torch.Tensor
            (N, 3, H, W).
        found : torch.Tensor
            bool (N,): whether a patch was found in each.
        """
        cleaned = [localize.apply(image, self._params) for image in to_pixels(x)]
        found = [bool(one.regions) for one in cleaned]
        real = to_tensor(np.stack([one.image for one in cleaned]), x.device)
        return real, torch.tensor(found, device=x.device)

    def response(self, x: Tensor) -> Tensor:
        """Return how strongly the detector responds: what an attack that hides keeps low.

        Parameters
        ----------
        x : torch.Tensor
            float32 (N, 3, H, W) in [0, 1].

        Returns
        -------
        torch.Tensor
            (N,): a smooth maximum of the map, in logits above the threshold; with a gradient.
        """
        return self._map(x)[0].flatten(1).logsumexp(1) - self._level

    def _map(self, x: Tensor) -> tuple[Tensor, int, int]:
        return network.seen(self._detector.to(x.device), x)
