"""``localize`` as a layer with a gradient, and how strongly its detector responds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from torch import Tensor

from lgs_cli.defenses import localize
from lgs_cli.defenses.localize import LocalizeParams
from lgs_cli.errors import UsageError
from lgs_cli.evaluation.detector import network
from lgs_cli.evaluation.models import to_pixels, to_tensor
from lgs_cli.wording import printable

# Width of the soft mask, in logits.
_WIDTH = 1.0


class Localized:
    """The defense inside the loop of an attack.

    Parameters
    ----------
    params : LocalizeParams
        Threshold, fill and detector.
    relaxed : bool
        Whether the gradient is that of a soft repair, which replaces each pixel in the degree to
        which the detector takes it for part of a patch; else it passes unchanged.

    Raises
    ------
    UsageError
        Where the file is no detector of the kind that `lgs train` makes.
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
        """Repair pictures: the real defense on the way forward, the gradient as chosen.

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
        """Repair pictures as ``lgs clean`` does, without a gradient.

        Parameters
        ----------
        x : torch.Tensor
            float32 (N, 3, H, W) in [0, 1].

        Returns
        -------
        repaired : torch.Tensor
            (N, 3, H, W).
        found : torch.Tensor
            bool (N,): in which of them a patch was found.
        """
        cleaned = [localize.apply(image, self._params) for image in to_pixels(x)]
        found = [bool(one.regions) for one in cleaned]
        real = to_tensor(np.stack([one.image for one in cleaned]), x.device)
        return real, torch.tensor(found, device=x.device)

    def response(self, x: Tensor) -> Tensor:
        """Tell how strongly the detector responds: what an attack that hides keeps low.

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
        """Return the smoothed logits of pictures scaled as `localize.reduced` scales them.

        And how many rows and columns of them are about the picture: the rest is padding.
        """
        height, width = localize.working_size(*x.shape[2:])
        while x.shape[2] >= 2 * height and x.shape[3] >= 2 * width:
            x = F.avg_pool2d(x, 2)
        rows, columns = x.shape[2:]
        if rows > height or columns > width:
            rows, columns = height, width
            x = F.interpolate(x, (height, width), mode="bilinear", align_corners=False)
        x = F.pad(x, (0, width - columns, 0, height - rows), mode="replicate")
        logits = network.smoothed(self._detector.to(x.device)(x))
        return logits, -(-rows // network.CELL), -(-columns // network.CELL)


class Guarded:
    """A chain of layers with `localize` among them: something to hide from.

    Parameters
    ----------
    layers : sequence of callable
        In the order in which they are applied.
    """

    def __init__(self, layers: Sequence[Callable[[Tensor], Tensor]]) -> None:
        self._layers = layers

    def __call__(self, x: Tensor) -> Tensor:
        """Apply every layer, float32 (N, 3, H, W) in [0, 1] to the same."""
        for layer in self._layers:
            x = layer(x)
        return x

    def passed(self, x: Tensor) -> Tensor:
        """Apply every layer but `localize`: what comes out if no patch is found.

        Parameters
        ----------
        x : torch.Tensor
            float32 (N, 3, H, W) in [0, 1].

        Returns
        -------
        torch.Tensor
            (N, 3, H, W), with a gradient.
        """
        for layer in self._layers:
            if not isinstance(layer, Localized):
                x = layer(x)
        return x

    def response(self, x: Tensor) -> Tensor:
        """Tell how strongly the detectors respond, see `Localized.response`.

        Parameters
        ----------
        x : torch.Tensor
            float32 (N, 3, H, W) in [0, 1].

        Returns
        -------
        torch.Tensor
            (N,), with a gradient.
        """
        total = x.new_zeros(len(x))
        for layer in self._layers:
            if isinstance(layer, Localized):
                total = total + layer.response(x)
            else:
                x = layer(x)
        return total

    def repaired(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the real defenses, without a gradient.

        Parameters
        ----------
        x : torch.Tensor
            float32 (N, 3, H, W) in [0, 1].

        Returns
        -------
        repaired : torch.Tensor
            (N, 3, H, W).
        found : torch.Tensor
            bool (N,): in which of them a patch was found.
        """
        found = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        with torch.no_grad():
            for layer in self._layers:
                if isinstance(layer, Localized):
                    x, here = layer.repaired(x)
                    found = found | here
                else:
                    x = layer(x)
        return x, found
