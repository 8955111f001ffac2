"""Adversarial Patch: one patch for every image and place (arXiv 1712.09665)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from numpy.typing import NDArray
from torch import Tensor

from lgs_cli.evaluation import attacks
from lgs_cli.evaluation.bpda import Layer
from lgs_cli.evaluation.models import TorchModel, to_pixels, to_tensor
from lgs_cli.evaluation.pasting import Patch, Spot, draw_spot
from lgs_cli.evaluation.settings import PatchParams


def train(
    model: TorchModel,
    images: NDArray[np.uint8],
    labels: Sequence[int],
    params: PatchParams,
    through: Layer | None = None,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> Patch:
    """Train one patch over many images, places, rotations and scales.

    Parameters
    ----------
    model : TorchModel
        The model under attack.
    images : ndarray
        uint8 (N, H, W, 3) RGB to train on, cropped as the model takes them.
    labels : sequence of int
        The class each image shows.
    params : PatchParams
        The attack's parameters.
    through : callable, optional
        A defense inside the attack's loop, from `bpda.layer`.
    batch_size : int
        Images in one step.
    progress : callable, optional
        Called with 1 after every step.

    Returns
    -------
    Patch
        What maximizes the expected log-probability of the target or, without one, of all classes
        but the label.

    Raises
    ------
    UsageError
        Where the patch does not fit into the images, the model lacks the target class, or it cuts
        off gradients.
    LgsError
        Where the model fails on the images.
    """
    height, width = images.shape[1:3]
    draw = np.random.default_rng(params.seed)
    side = attacks.side_of(params.patch_size, params.patch_fraction, height, width)
    classes = model.logits(images[:1]).shape[1]
    target = attacks.choose_target(params.target, int(labels[0]), classes, draw)
    alpha = np.ones((side, side), np.float32)
    if params.shape == "circle":
        offset = np.arange(side) - (side - 1) / 2
        alpha = (np.hypot(offset[:, None], offset) <= side / 2).astype(np.float32)
    mask = torch.from_numpy(alpha).to(model.device)
    start = 0.4 + 0.2 * draw.random((3, side, side), dtype=np.float32)
    patch = torch.from_numpy(start).to(model.device).requires_grad_()
    optimizer = torch.optim.Adam([patch], lr=params.step_size)
    numbers = np.asarray(labels)
    for _ in range(params.steps):
        chosen = draw.choice(len(images), min(batch_size, len(images)), replace=False)
        x = to_tensor(images[chosen], model.device)
        spots = [draw_spot(params, height, width, side, draw) for _ in chosen]
        pasted = _paste(x, [patch] * len(chosen), [mask] * len(chosen), spots)
        logits = model.differentiable(through(pasted) if through is not None else pasted)
        label = torch.from_numpy(numbers[chosen]).to(model.device)
        loss = -_reward(logits, label, target).mean()
        patch.grad = model.gradient(loss, patch, pasted)
        optimizer.step()
        with torch.no_grad():
            patch.clamp_(0, 1)
        if progress is not None:
            progress(1)
    pixels = np.empty((side, side, 4), np.uint8)
    pixels[..., :3] = to_pixels(patch[None])[0]
    pixels[..., 3] = alpha * 255
    return Patch(pixels, target)


def _reward(logits: Tensor, label: Tensor, target: int | None) -> Tensor:
    if target is not None:
        return logits.log_softmax(1)[:, target]
    others = logits.scatter(1, label[:, None], -torch.inf)
    return others.logsumexp(1) - logits.logsumexp(1)


def _paste(
    x: Tensor, patches: Sequence[Tensor], masks: Sequence[Tensor], spots: Sequence[Spot]
) -> Tensor:
    """Do as :func:`lgs_cli.evaluation.pasting.blend`, with a gradient, to (N, 3, H, W)."""
    rows = torch.arange(x.shape[2], device=x.device)[:, None] + 0.5
    columns = torch.arange(x.shape[3], device=x.device)[None] + 0.5
    images = []
    for image, patch, mask, spot in zip(x, patches, masks, spots, strict=True):
        down, right = rows - spot.row, columns - spot.column
        cosine, sine = math.cos(spot.angle), math.sin(spot.angle)
        grid = torch.stack([cosine * right + sine * down, cosine * down - sine * right], -1)
        grid = grid[None] / (spot.side / 2)
        layer = F.grid_sample(patch[None], grid, padding_mode="border", align_corners=False)[0]
        shape = F.grid_sample(mask[None, None], grid, mode="nearest", align_corners=False)[0, 0]
        inside = (shape > 0.5) & (grid[0].abs().amax(-1) <= 1)
        images.append(torch.where(inside, layer, image))
    return torch.stack(images)
