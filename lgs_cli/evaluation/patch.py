"""Adversarial Patch: one patch for every image and place (arXiv 1712.09665)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from numpy.typing import NDArray
from torch import Tensor

from lgs_cli import image_io
from lgs_cli.errors import ImageError, NoImagesError, UsageError
from lgs_cli.evaluation import attacks
from lgs_cli.evaluation.attacks import Attacked
from lgs_cli.evaluation.bpda import Layer
from lgs_cli.evaluation.models import TorchModel, to_pixels, to_tensor
from lgs_cli.evaluation.settings import PatchParams
from lgs_cli.formats import SUFFIXES
from lgs_cli.text import printable


@dataclass(frozen=True, eq=False)
class Patch:
    """A patch to paste.

    Attributes
    ----------
    pixels : ndarray
        uint8 (P, P, 4) RGBA; pasted where alpha is at least 128.
    target : int or None
        The class it was trained for, where that is known.
    """

    pixels: NDArray[np.uint8]
    target: int | None = None


def read(path: Path) -> list[Patch]:
    """Read a patch file, or all patch files of a folder, sorted by name.

    Parameters
    ----------
    path : Path
        The file or the folder.

    Returns
    -------
    list of Patch
        At least one; without a target, which a file does not tell.

    Raises
    ------
    UsageError
        Where the path does not exist, or a patch is not square, not 8-bit color or transparent
        all over.
    NoImagesError
        Where the folder holds none.
    ImageError
        Where a file is not an image.
    """
    if not path.exists():
        raise UsageError(f"patch {printable(str(path))} does not exist")
    paths = [path]
    if path.is_dir():
        paths = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not paths:
            raise NoImagesError(f"no patch in {printable(str(path))}")
    patches = []
    for file in paths:
        shown = printable(str(file))
        try:
            pixels = image_io.read(str(file)).frames[0]
        except ImageError as error:
            raise ImageError(f"{shown}: {error}") from None
        if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or pixels.dtype != np.uint8:
            raise UsageError(f"patch {shown} is not an 8-bit color image")
        if pixels.shape[0] != pixels.shape[1]:
            raise UsageError(
                f"patch {shown} is {pixels.shape[1]}×{pixels.shape[0]}; it must be square"
            )
        if pixels.shape[2] == 3:
            pixels = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
        if not (pixels[..., 3] >= 128).any():
            raise UsageError(f"patch {shown} is transparent all over")
        patches.append(Patch(pixels))
    return patches


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
        spots = [_spot(params, height, width, side, draw) for _ in chosen]
        pasted, _mask = _paste(x, [patch] * len(chosen), [mask] * len(chosen), spots)
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


def paste(
    model: TorchModel,
    patches: Sequence[Patch],
    images: NDArray[np.uint8],
    labels: Sequence[int],
    names: Sequence[str],
    params: PatchParams,
    through: Layer | None = None,
    first: int = 0,
) -> tuple[NDArray[np.uint8], list[Attacked]]:
    """Paste patches onto images, each at a place, rotation and scale of its own.

    Parameters
    ----------
    model : TorchModel
        The model under attack.
    patches : sequence of Patch
        The images take them in turn.
    images : ndarray
        uint8 (N, H, W, 3) RGB, cropped as the model takes them.
    labels : sequence of int
        The class each image shows.
    names : sequence of str
        The name of each photograph; together with the seed it decides every draw.
    params : PatchParams
        The attack's parameters; `target` counts where a patch does not know its own.
    through : callable, optional
        A defense in front of the model, from `bpda.layer`.
    first : int
        How many images took their turn before these.

    Returns
    -------
    images : ndarray
        uint8 (N, H, W, 3).
    records : list of Attacked
        One for each image.

    Raises
    ------
    UsageError
        Where a patch does not fit into the images.
    """
    started = time.perf_counter()
    height, width = images.shape[1:3]
    before = _chances(model, images, through)
    chosen = [patches[(first + index) % len(patches)] for index in range(len(images))]
    attacks.require_classes(labels, names, before.shape[1])
    spots, targets = [], []
    for name, label, patch in zip(names, labels, chosen, strict=True):
        draw = attacks.draws(params.seed, name)
        side = len(patch.pixels)
        if params.patch_size or side > min(height, width):
            side = attacks.side_of(params.patch_size or side, 0, height, width)
        spots.append(_spot(params, height, width, side, draw))
        target = patch.target
        if target is None and params.target != "random":
            target = attacks.choose_target(params.target, int(label), before.shape[1], draw)
        targets.append(target)
    layers = [to_tensor(patch.pixels[None, ..., :3], "cpu")[0] for patch in chosen]
    masks = [torch.from_numpy((patch.pixels[..., 3] >= 128).astype(np.float32)) for patch in chosen]
    pasted, mask = _paste(to_tensor(images, "cpu"), layers, masks, spots)
    attacked = to_pixels(pasted)
    after = _chances(model, attacked, through)
    seconds = (time.perf_counter() - started) / len(images)
    records = []
    for i, name in enumerate(names):
        top, left, bottom, right = _box(np.asarray(mask[i]))
        records.append(
            Attacked(
                file=attacks.file_name(name),
                source=name,
                label=int(labels[i]),
                target=targets[i],
                top=top,
                left=left,
                height=bottom - top,
                width=right - left,
                before=int(before[i].argmax()),
                after=int(after[i].argmax()),
                confidence=float(after[i].max()),
                steps=0,
                dead_steps=0,
                seconds=seconds,
            )
        )
    return attacked, records


def _box(covered: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right; all 0 where transparency leaves no pixel."""
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _chances(model: TorchModel, images: NDArray[np.uint8], through: Layer | None) -> Tensor:
    x = to_tensor(images, model.device)
    with torch.no_grad():
        return model.differentiable(through(x) if through is not None else x).softmax(1).cpu()


@dataclass(frozen=True)
class _Spot:
    """Where one patch goes: center and side in pixels, rotation in radians."""

    row: float
    column: float
    side: float
    angle: float


def _spot(
    params: PatchParams, height: int, width: int, side: int, draw: np.random.Generator
) -> _Spot:
    scale = float(draw.uniform(params.scale_min, params.scale_max))
    angle = math.radians(float(draw.uniform(-params.rotation, params.rotation)))
    scaled = max(1, round(side * scale))
    if scaled > min(height, width):
        raise UsageError(f"a patch of {scaled} px does not fit into images of {width}×{height}")
    top, left = attacks.place(params.location, height, width, scaled, draw)
    return _Spot(top + scaled / 2, left + scaled / 2, scaled, angle)


def _paste(
    x: Tensor, patches: Sequence[Tensor], masks: Sequence[Tensor], spots: Sequence[_Spot]
) -> tuple[Tensor, Tensor]:
    """Return the images (N, 3, H, W) with their patches, and where those lie (N, H, W)."""
    rows = torch.arange(x.shape[2], device=x.device)[:, None] + 0.5
    columns = torch.arange(x.shape[3], device=x.device)[None] + 0.5
    images, covered = [], []
    for image, patch, mask, spot in zip(x, patches, masks, spots, strict=True):
        down, right = rows - spot.row, columns - spot.column
        cosine, sine = math.cos(spot.angle), math.sin(spot.angle)
        grid = torch.stack([cosine * right + sine * down, cosine * down - sine * right], -1)
        grid = grid[None] / (spot.side / 2)
        layer = F.grid_sample(patch[None], grid, padding_mode="border", align_corners=False)[0]
        shape = F.grid_sample(mask[None, None], grid, mode="nearest", align_corners=False)[0, 0]
        inside = (shape > 0.5) & (grid[0].abs().amax(-1) <= 1)
        images.append(torch.where(inside, layer, image))
        covered.append(inside)
    return torch.stack(images), torch.stack(covered)
