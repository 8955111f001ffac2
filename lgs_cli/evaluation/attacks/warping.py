"""Paste patches, turned and scaled, with a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lgs_cli.evaluation.attacks.pasting import Spot
from lgs_cli.lazy import F, np, torch

if TYPE_CHECKING:
    from torch import Tensor


def paste(x: Tensor, patches: Tensor, masks: Tensor, spots: Sequence[Spot]) -> Tensor:
    """Paste as :func:`lgs_cli.evaluation.attacks.pasting.blend` does, with a gradient.

    Parameters
    ----------
    x : torch.Tensor
        Images, float (N, 3, H, W) in [0, 1].
    patches : torch.Tensor
        One for each, float (N, 3, P, P).
    masks : torch.Tensor
        Where they are opaque, float (N, P, P), 0 or 1.
    spots : sequence of Spot
        Where they go.

    Returns
    -------
    torch.Tensor
        (N, 3, H, W).
    """
    values = np.asarray([(s.row, s.column, s.side, s.angle) for s in spots], np.float32)
    row, column, side, angle = torch.from_numpy(values.T.copy()).to(x.device)[..., None, None]
    down = torch.arange(x.shape[2], device=x.device)[:, None] + 0.5 - row
    right = torch.arange(x.shape[3], device=x.device) + 0.5 - column
    cosine, sine = angle.cos(), angle.sin()
    grid = torch.stack([cosine * right + sine * down, cosine * down - sine * right], -1)
    grid = grid / (side / 2)[..., None]
    layer = F.grid_sample(patches, grid, padding_mode="border", align_corners=False)
    shape = F.grid_sample(masks[:, None], grid, mode="nearest", align_corners=False)
    inside = (shape > 0.5) & (grid.abs().amax(-1) <= 1)[:, None]
    return torch.where(inside, layer, x)
