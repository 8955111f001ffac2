"""Patches that are ready: read from files, and pasted onto images. This needs no torch."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lgs_cli.errors import ImageError, NoImagesError, UsageError
from lgs_cli.evaluation.attacks.placement import (
    choose_target,
    draws,
    place,
    require_classes,
    side_of,
)
from lgs_cli.evaluation.attacks.records import Attacked, Crafted, file_name, with_findings
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.victim import Victim
from lgs_cli.formats import SUFFIXES
from lgs_cli.lazy import np
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lgs_cli.evaluation.attacks.patch import PatchParams


@dataclass(frozen=True, eq=False)
class Patch:
    """A patch to paste.

    Attributes
    ----------
    pixels : ndarray
        uint8 (P, P, 4) RGBA; pasted where alpha is at least 128.
    target : int or None
        The class it was trained for, if that is known.
    """

    pixels: NDArray[np.uint8]
    target: int | None = None


def read(path: Path) -> list[Patch]:
    """Read a patch file, or all patch files of a folder, sorted by name.

    Returns
    -------
    list of Patch
        At least one; without a target, which no file tells.

    Raises
    ------
    UsageError
        If the path does not exist, or a patch is not square, not 8-bit color or transparent
        all over.
    NoImagesError
        If the folder holds none.
    ImageError
        If a file is not an image.
    """
    from lgs_cli import image_io

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
    victim: Victim,
    patches: Sequence[Patch],
    images: Images,
    params: PatchParams,
    turn: int = 0,
) -> Crafted:
    """Paste patches onto images, each at a place, rotation and scale of its own.

    Parameters
    ----------
    victim : Victim
        The model under attack, which only scores, and the defenses in front of it.
    patches : sequence of Patch
        The images take them in turn.
    images : Images
        The batch, cropped as the model takes it; the names together with the seed decide every
        draw.
    params : PatchParams
        The attack's parameters; its `target` counts if a patch does not know its own.
    turn : int
        How many images took their turn before these.

    Returns
    -------
    Crafted

    Raises
    ------
    UsageError
        If a patch does not fit into the images, or the model lacks a class.
    LgsError
        If the model fails on the images.
    """
    started = time.perf_counter()
    height, width = images.pixels.shape[1:3]
    before = victim.logits(images.pixels)
    classes = before.shape[1]
    require_classes(images.labels.tolist(), images.names, classes)
    pixels = images.pixels.copy()
    boxes, targets = [], []
    for i, name in enumerate(images.names):
        patch = patches[(turn + i) % len(patches)]
        draw = draws(params.seed, name)
        side = len(patch.pixels)
        if params.patch_size or side > min(height, width):
            side = side_of(params.patch_size or side, 0, height, width)
        spot = draw_spot(params, (height, width), side, draw)
        target = patch.target
        if target is None and params.target != "random":
            target = choose_target(params.target, int(images.labels[i]), classes, draw)
        targets.append(target)
        boxes.append(box_around(blend(pixels[i], patch.pixels, spot)))
    behind = victim.clean(pixels)
    after = victim.model.logits(behind.pixels, victim.batch_size).astype(np.float64)
    chances = np.exp(after - after.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    seconds = (time.perf_counter() - started) / len(images)
    records = [
        Attacked(
            file=file_name(name),
            source=name,
            label=int(images.labels[i]),
            target=targets[i],
            top=boxes[i].top,
            left=boxes[i].left,
            height=boxes[i].height,
            width=boxes[i].width,
            before=int(before[i].argmax()),
            after=int(after[i].argmax()),
            confidence=float(chances[i].max()),
            steps=0,
            dead_steps=0,
            seconds=seconds,
        )
        for i, name in enumerate(images.names)
    ]
    return Crafted(pixels, with_findings(records, behind.found, behind.scores))


class Box(NamedTuple):
    """A box of pixels."""

    top: int
    left: int
    height: int
    width: int


def box_around(covered: NDArray[np.bool_]) -> Box:
    """Return the box around what is covered; all 0 if transparency leaves no pixel."""
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    if not len(rows):
        return Box(0, 0, 0, 0)
    top, left = int(rows[0]), int(columns[0])
    return Box(top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left)


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
    params: PatchParams, size: tuple[int, int], side: int, draw: np.random.Generator
) -> Spot:
    """Draw where a patch goes.

    Parameters
    ----------
    params : PatchParams
        Its `location`, `rotation` and scales are used.
    size : tuple of int
        Height and width of the image in pixels.
    side : int
        Nominal side of the patch in pixels.
    draw : numpy.random.Generator
        Source of randomness.

    Raises
    ------
    UsageError
        If the patch does not fit into the image.
    """
    height, width = size
    scale = float(draw.uniform(params.scale_min, params.scale_max))
    angle = math.radians(float(draw.uniform(-params.rotation, params.rotation)))
    scaled = max(1, round(side * scale))
    if scaled > min(height, width):
        raise UsageError(f"a patch of {scaled} px does not fit into images of {width}×{height}")
    top, left = place(params.location, height, width, scaled, draw)
    return Spot(top + scaled / 2, left + scaled / 2, scaled, angle)


def blend(image: NDArray[np.uint8], patch: NDArray[np.uint8], spot: Spot) -> NDArray[np.bool_]:
    """Paste one patch into an image, in place: bilinearly, its alpha by the nearest pixel.

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
        bool (H, W): the pixels it covers.
    """
    size = len(patch)
    down = np.arange(image.shape[0])[:, None] + 0.5 - spot.row
    right = np.arange(image.shape[1])[None] + 0.5 - spot.column
    cosine, sine = math.cos(spot.angle), math.sin(spot.angle)
    # the patch's own coordinates, in which the centers of its pixels are 0, 1, ..., size - 1
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
