"""Images to learn from: crops of photographs, some with a texture or a patch pasted in.

Every draw comes from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lgs_cli.errors import ImageError
from lgs_cli.evaluation import dataset
from lgs_cli.storage.inputs import Selection, find

Pixels = NDArray[Any]

SIDE = 160
"""Side in pixels of all crops: a patch and enough around it, in less time than whole images."""

SEEN = 224
"""Side in pixels of the image that a classifier sees, of which sizes of patches are shares."""

LARGEST = 340
"""Length in pixels to which the shorter side of photographs is reduced before they are cropped."""


def read(paths: Sequence[Path], complain: Callable[[ImageError], None]) -> list[Pixels]:
    """Read photographs, no larger than training needs them.

    Parameters
    ----------
    paths : sequence of Path
        Image files, and folders of them.
    complain : callable
        Called with the error of each file that cannot be read.

    Returns
    -------
    list of ndarray
        uint8 (H, W, 3) RGB, the shorter side at most `LARGEST`.

    Raises
    ------
    UsageError
        If a path does not exist.
    """
    pictures = []
    for source in find(map(str, paths), [], Selection(), []):
        try:
            picture: Any = dataset.read(Path(source.path))
        except ImageError as error:
            complain(error)
            continue
        scale = LARGEST / min(picture.shape[:2])
        if scale < 1:
            size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        pictures.append(picture)
    return pictures


def crop(photo: Pixels, draw: np.random.Generator) -> Pixels:
    """Take a random crop of a photograph, at a random scale, perhaps flipped and recompressed.

    Parameters
    ----------
    photo : ndarray
        uint8 (H, W, 3) RGB, of any size.
    draw : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray
        uint8 (SIDE, SIDE, 3).
    """
    height, width = photo.shape[:2]
    short = draw.uniform(SEEN, 1.3 * SEEN)
    scale = short / min(height, width)
    size = max(SIDE, round(width * scale)), max(SIDE, round(height * scale))
    how = cv2.INTER_AREA if scale < 0.6 else cv2.INTER_LINEAR
    resized = cv2.resize(photo, size, interpolation=how)
    top = int(draw.integers(size[1] - SIDE + 1))
    left = int(draw.integers(size[0] - SIDE + 1))
    picture = resized[top : top + SIDE, left : left + SIDE]
    if draw.random() < 0.5:
        picture = picture[:, ::-1]
    if draw.random() < 0.15:
        picture = _jittered(picture, draw)
    if draw.random() < 0.05:
        picture = gray(picture)
    return np.ascontiguousarray(picture)


def _jittered(picture: Pixels, draw: np.random.Generator) -> Pixels:
    gain, shift = draw.uniform(0.7, 1.4), draw.uniform(-25, 25)
    changed = np.clip(picture.astype(np.float32) * gain + shift, 0, 255)
    return np.asarray(changed, np.uint8)


def gray(picture: Pixels) -> Pixels:
    """Take the color out of a picture, uint8 (H, W, 3)."""
    luma = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    return np.repeat(luma[..., None], 3, 2)


def recompressed(picture: Pixels, draw: np.random.Generator, lowest: int = 30) -> Pixels:
    """Save and load a picture as JPEG of a random quality."""
    quality = int(draw.integers(lowest, 96))
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded: Any = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(decoded[..., ::-1])


def texture(height: int, width: int, draw: np.random.Generator) -> Pixels:
    """Make a texture like those of patches: noise, cells, stripes, gray or colored.

    Returns
    -------
    ndarray
        uint8 (height, width, 3).
    """
    cell = int(draw.choice([1, 1, 1, 2, 2, 3, 4, 6, 8, 11, 16]))
    rows, columns = -(-height // cell), -(-width // cell)
    channels = 1 if draw.random() < 0.3 else 3
    kind = draw.random()
    if kind < 0.35:
        values = draw.random((rows, columns, channels))
    elif kind < 0.6:
        values = (draw.random((rows, columns, channels)) < draw.uniform(0.2, 0.8)).astype(float)
    elif kind < 0.85:
        values = draw.normal(
            draw.uniform(0.2, 0.8, channels), draw.uniform(0.05, 0.4), (rows, columns, channels)
        )
    else:
        # stripes and waves: strong in one direction only
        y, x = np.mgrid[:rows, :columns]
        angle, period = draw.uniform(0, np.pi), draw.uniform(2, 10)
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
        color = draw.uniform(-0.5, 0.5, channels)
        values = 0.5 + wave[..., None] * color + draw.normal(0, 0.1, (rows, columns, channels))
    small = np.clip(values, 0, 1).astype(np.float32)
    how = int(
        draw.choice([cv2.INTER_NEAREST, cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC])
    )
    size = columns * cell, rows * cell
    grown = cv2.resize(small, size, interpolation=how).reshape(size[1], size[0], -1)
    made = grown[:height, :width]
    if made.shape[2] == 1:
        made = np.repeat(made, 3, 2)
    if draw.random() < 0.25:
        made = cv2.GaussianBlur(np.ascontiguousarray(made), (0, 0), draw.uniform(0.5, 2.5))
    if draw.random() < 0.4:
        mean = made.mean((0, 1))
        made = mean + (made - mean) * draw.uniform(0.25, 1)
    return np.asarray(np.clip(made, 0, 1) * 255, np.uint8)


def outline(draw: np.random.Generator) -> tuple[NDArray[Any], tuple[int, int, int, int]]:
    """Draw where something is pasted: a square, rectangle or ellipse, perhaps rotated.

    Returns
    -------
    mask : ndarray
        float32 (SIDE, SIDE) in [0, 1].
    box : tuple of int
        Top, left, height and width of the box around it.
    """
    area = SEEN * SEEN * np.exp(draw.uniform(np.log(0.005), np.log(0.1)))
    ratio = 1.0 if draw.random() < 0.55 else np.exp(draw.uniform(-0.8, 0.8))
    height = int(np.clip(round((area * ratio) ** 0.5), 8, SIDE - 1))
    width = int(np.clip(round((area / ratio) ** 0.5), 8, SIDE - 1))
    round_ = draw.random() < 0.15
    angle = draw.uniform(0, 90) if draw.random() < 0.2 else 0.0
    mask = np.zeros((SIDE, SIDE), np.uint8)
    y, x = draw.uniform(height / 2, SIDE - height / 2), draw.uniform(width / 2, SIDE - width / 2)
    if draw.random() < 0.25:
        y = float(draw.choice([height / 2, SIDE - height / 2]))
    if round_:
        cv2.ellipse(mask, ((x, y), (width, height), angle), 255, -1)
    elif angle:
        cv2.fillPoly(mask, [cv2.boxPoints(((x, y), (width, height), angle)).astype(np.int32)], 255)
    else:
        top, left = round(y - height / 2), round(x - width / 2)
        mask[max(top, 0) : top + height, max(left, 0) : left + width] = 255
    left, top, width, height = cv2.boundingRect(mask)
    soft: Any = mask.astype(np.float32) / 255
    if draw.random() < 0.15:
        soft = cv2.GaussianBlur(soft, (0, 0), draw.uniform(0.5, 2))
    return soft, (top, left, height, width)


def patched(
    picture: Pixels, patches: Sequence[Pixels], draw: np.random.Generator
) -> tuple[Pixels, NDArray[Any]]:
    """Paste one or two textures or patches into a picture.

    Parameters
    ----------
    picture : ndarray
        uint8 (SIDE, SIDE, 3).
    patches : sequence of ndarray
        uint8 (h, w, 3): patches of real attacks: half of what is pasted, if there are any.
    draw : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    picture : ndarray
        uint8 (SIDE, SIDE, 3).
    mask : ndarray
        float32 (SIDE, SIDE) in [0, 1]: what was pasted.
    """
    made: Any = picture.astype(np.float32)
    masks = np.zeros(picture.shape[:2], np.float32)
    for _ in range(1 if draw.random() < 0.85 else 2):
        mask, (top, left, height, width) = outline(draw)
        if patches and draw.random() < 0.5:
            patch = patches[int(draw.integers(len(patches)))]
            patch = np.rot90(patch, int(draw.integers(4)))
            if draw.random() < 0.5 and min(patch.shape[:2]) >= 12:
                # in its own size: scaling would blur it
                height, width = min(patch.shape[0], SIDE), min(patch.shape[1], SIDE)
                top, left = (
                    int(draw.integers(SIDE - height + 1)),
                    int(draw.integers(SIDE - width + 1)),
                )
                mask = np.zeros_like(mask)
                mask[top : top + height, left : left + width] = 1
                content = patch[:height, :width]
            else:
                how = cv2.INTER_NEAREST if draw.random() < 0.3 else cv2.INTER_LINEAR
                content = cv2.resize(
                    np.ascontiguousarray(patch), (width, height), interpolation=how
                )
            strength = 1.0
        else:
            content = texture(height, width, draw)
            strength = 1.0 if draw.random() < 0.75 else draw.uniform(0.35, 1)
        canvas = np.zeros_like(made)
        canvas[top : top + height, left : left + width] = content
        weight = (mask * strength)[..., None]
        made = made * (1 - weight) + canvas * weight
        masks = np.maximum(masks, mask)
    return np.asarray(np.rint(made), np.uint8), masks


def collage(picture: Pixels, other: Pixels, draw: np.random.Generator) -> Pixels:
    """Paste a piece of another photograph, which is not an attack."""
    mask, (top, left, height, width) = outline(draw)
    y, x = int(draw.integers(SIDE - height + 1)), int(draw.integers(SIDE - width + 1))
    canvas = np.zeros_like(picture)
    canvas[top : top + height, left : left + width] = other[y : y + height, x : x + width]
    made = picture * (1 - mask[..., None]) + canvas * mask[..., None]
    return np.asarray(np.rint(made), np.uint8)
