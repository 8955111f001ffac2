"""Patches that are ready: read, and pasted onto images. NumPy alone: that needs no torch."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lgs_cli import image_io
from lgs_cli.defenses.chain import Chain
from lgs_cli.errors import ImageError, NoImagesError, UsageError
from lgs_cli.evaluation import attacks
from lgs_cli.evaluation.attacks import Attacked
from lgs_cli.evaluation.defended import clean
from lgs_cli.evaluation.models import Model
from lgs_cli.evaluation.settings import PatchParams
from lgs_cli.formats import SUFFIXES
from lgs_cli.wording import printable


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


def paste(
    model: Model,
    patches: Sequence[Patch],
    images: NDArray[np.uint8],
    labels: Sequence[int],
    names: Sequence[str],
    params: PatchParams,
    chain: Chain = (),
    first: int = 0,
) -> tuple[NDArray[np.uint8], list[Attacked]]:
    """Paste patches onto images, each at a place, rotation and scale of its own.

    Parameters
    ----------
    model : Model
        The model under attack; it only scores.
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
    chain : tuple of Step
        Defenses in front of the model.
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
        Where a patch does not fit into the images, or the model lacks a class.
    LgsError
        Where the model fails on the images.
    """
    started = time.perf_counter()
    height, width = images.shape[1:3]
    before = model.logits(clean(images, chain)[0], len(images))
    chosen = [patches[(first + index) % len(patches)] for index in range(len(images))]
    attacks.require_classes(labels, names, before.shape[1])
    spots, targets = [], []
    for name, label, patch in zip(names, labels, chosen, strict=True):
        draw = attacks.draws(params.seed, name)
        side = len(patch.pixels)
        if params.patch_size or side > min(height, width):
            side = attacks.side_of(params.patch_size or side, 0, height, width)
        spots.append(draw_spot(params, height, width, side, draw))
        target = patch.target
        if target is None and params.target != "random":
            target = attacks.choose_target(params.target, int(label), before.shape[1], draw)
        targets.append(target)
    attacked, covered = images.copy(), []
    for image, patch, spot in zip(attacked, chosen, spots, strict=True):
        covered.append(blend(image, patch.pixels, spot))
    after = model.logits(clean(attacked, chain)[0], len(images)).astype(np.float64)
    chances = np.exp(after - after.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    seconds = (time.perf_counter() - started) / len(images)
    records = []
    for i, name in enumerate(names):
        top, left, bottom, right = _box(covered[i])
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
                confidence=float(chances[i].max()),
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


@dataclass(frozen=True)
class Spot:
    """Where one patch goes.

    Attributes
    ----------
    row, column : float
        Its center in pixels.
    side : float
        Its side in pixels.
    angle : float
        Its rotation in radians.
    """

    row: float
    column: float
    side: float
    angle: float


def draw_spot(
    params: PatchParams, height: int, width: int, side: int, draw: np.random.Generator
) -> Spot:
    """Draw where a patch goes.

    Parameters
    ----------
    params : PatchParams
        Its `location`, `rotation` and scales are used.
    height, width : int
        Size of the image in pixels.
    side : int
        Nominal side of the patch in pixels.
    draw : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Spot

    Raises
    ------
    UsageError
        Where the patch does not fit into the image.
    """
    scale = float(draw.uniform(params.scale_min, params.scale_max))
    angle = math.radians(float(draw.uniform(-params.rotation, params.rotation)))
    scaled = max(1, round(side * scale))
    if scaled > min(height, width):
        raise UsageError(f"a patch of {scaled} px does not fit into images of {width}×{height}")
    top, left = attacks.place(params.location, height, width, scaled, draw)
    return Spot(top + scaled / 2, left + scaled / 2, scaled, angle)


def blend(image: NDArray[np.uint8], patch: NDArray[np.uint8], spot: Spot) -> NDArray[np.bool_]:
    """Paste one patch into an image, in place: bilinearly, its alpha to the nearest pixel.

    Parameters
    ----------
    image : ndarray
        uint8 (H, W, 3) RGB; changed.
    patch : ndarray
        uint8 (P, P, 4) RGBA; pasted where alpha is at least 128.
    spot : Spot
        Where it goes.

    Returns
    -------
    ndarray
        bool (H, W): where it lies.
    """
    size = len(patch)
    down = np.arange(image.shape[0])[:, None] + 0.5 - spot.row
    right = np.arange(image.shape[1])[None] + 0.5 - spot.column
    cosine, sine = math.cos(spot.angle), math.sin(spot.angle)
    # the patch's own coordinates, in which its pixels have their centers at 0, 1, ..., size - 1
    x = (cosine * right + sine * down) * (size / spot.side) + (size - 1) / 2
    y = (cosine * down - sine * right) * (size / spot.side) + (size - 1) / 2
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    covered = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    covered[covered] = patch[row[covered], column[covered], 3] >= 128
    x, y = np.clip(x[covered], 0, size - 1), np.clip(y[covered], 0, size - 1)
    left, top = x.astype(int), y.astype(int)
    beside, below = np.minimum(left + 1, size - 1), np.minimum(top + 1, size - 1)
    x, y = (x - left)[:, None], (y - top)[:, None]
    color = patch[..., :3].astype(np.float64)
    upper = (1 - x) * color[top, left] + x * color[top, beside]
    lower = (1 - x) * color[below, left] + x * color[below, beside]
    image[covered] = np.rint((1 - y) * upper + y * lower).astype(np.uint8)
    return covered
