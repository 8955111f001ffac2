"""Patches of other shapes than the attack's squares, pasted with a known mask."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from attacked_sets import AttackedSet
from numpy.typing import NDArray

from lgs_cli.evaluation.attacks.pasting import Spot, blend
from lgs_cli.evaluation.attacks.placement import draws, place

Pixels = NDArray[np.uint8]

FRACTION = 0.02
_FEATHER = 6  # pixels over which a blended border fades


def paste(shape: str, noise: AttackedSet) -> tuple[Pixels, list[Pixels]]:
    """Paste textures cut from attacked photographs onto other clean ones.

    Parameters
    ----------
    shape : str
        One of `SHAPES`; every one covers `FRACTION` of the picture.
    noise : AttackedSet
        Where the textures are from: each photograph gets that of another.

    Returns
    -------
    pixels : ndarray
        uint8 (N, H, W, 3) RGB.
    masks : list of ndarray
        uint8 (H, W): 1 where the patch lies.
    """
    pixels = noise.clean.pixels.copy()
    masks = []
    for index, image in enumerate(pixels):
        record = noise.records[(index + 7) % len(pixels)]
        source = noise.pixels[(index + 7) % len(pixels)]
        rows = slice(record.top, record.top + record.height)
        texture = source[rows, record.left : record.left + record.width]
        draw = draws(0, noise.clean.names[index], len(shape))
        masks.append(SHAPES[shape](image, np.ascontiguousarray(texture), draw))
    return pixels, masks


def _side(image: Pixels, share: float = 1.0) -> float:
    return math.sqrt(share * FRACTION * image.shape[0] * image.shape[1])


def _spot(image: Pixels, side: float, angle: float, draw: np.random.Generator) -> Spot:
    reach = math.ceil(side * (abs(math.cos(angle)) + abs(math.sin(angle))))
    top, left = place("border", *image.shape[:2], reach, draw)
    return Spot(top + reach / 2, left + reach / 2, side, angle)


def _cut(texture: Pixels, side: float) -> Pixels:
    """Return a square of a texture in its own size, with an opaque alpha."""
    whole = min(math.ceil(side), len(texture))
    return np.dstack([texture[:whole, :whole], np.full((whole, whole), 255, np.uint8)])


def _round(image: Pixels, texture: Pixels, draw: np.random.Generator) -> Pixels:
    side = 2 * _side(image) / math.sqrt(math.pi)
    patch = _cut(texture, side)
    offset = np.arange(len(patch)) - (len(patch) - 1) / 2
    patch[..., 3] = (np.hypot(offset[:, None], offset) <= len(patch) / 2) * 255
    return blend(image, patch, _spot(image, side, 0, draw)).astype(np.uint8)


def _rotated(image: Pixels, texture: Pixels, draw: np.random.Generator) -> Pixels:
    side = _side(image)
    spot = _spot(image, side, math.radians(30), draw)
    return blend(image, _cut(texture, side), spot).astype(np.uint8)


def _split(image: Pixels, texture: Pixels, draw: np.random.Generator) -> Pixels:
    side = _side(image, 0.5)
    first = _spot(image, side, 0, draw)
    second = first
    while max(abs(first.row - second.row), abs(first.column - second.column)) < 2 * side:
        second = _spot(image, side, 0, draw)
    mask = blend(image, _cut(texture, side), first)
    mask |= blend(image, _cut(texture[::-1], side), second)
    return mask.astype(np.uint8)


def _blended(image: Pixels, texture: Pixels, draw: np.random.Generator) -> Pixels:
    side = _side(image) + _FEATHER
    before = image.copy()
    mask = blend(image, _cut(texture, side), _spot(image, side, 0, draw)).astype(np.uint8)
    distance = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_C, 3)[1:-1, 1:-1]
    share = (distance / (_FEATHER + 1)).clip(0, 1)
    image[:] = np.rint(before + (image.astype(np.float32) - before) * share[..., None])
    return (share >= 0.5).astype(np.uint8)


SHAPES: dict[str, Callable[[Pixels, Pixels, np.random.Generator], Pixels]] = {
    "round": _round,
    "rotated by 30°": _rotated,
    "split in two": _split,
    "blended at the border": _blended,
}
