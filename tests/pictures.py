"""Pictures that tests share."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image
from skimage import data as shipped

SAMPLES = Path(__file__).resolve().parents[1] / "sample_images"
# Those of scikit-image's color photographs that are part of its wheel.
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "retina", "hubble_deep_field")
DTYPES = ("uint8", "uint16", "float16", "float32", "float64")
SHAPES = (
    (1, 1), (1, 7), (7, 1), (2, 2), (4, 1), (13, 17),
    (1, 1, 1), (13, 17, 1), (4, 1, 2), (13, 17, 2), (1, 1, 3), (4, 1, 3), (13, 17, 3), (13, 17, 4),
)  # fmt: skip


def noise(shape: tuple[int, ...], dtype: DTypeLike, seed: int) -> NDArray[Any]:
    """White noise over the whole range of the dtype."""
    values = np.random.default_rng(seed).random(shape)
    kind = np.dtype(dtype)
    return (values * np.iinfo(kind).max if kind.kind == "u" else values).astype(kind)


@cache
def whole_photograph(name: str) -> NDArray[np.uint8]:
    """One of :data:`PHOTOGRAPHS` at its own size: read-only uint8 RGB."""
    pixels: NDArray[np.uint8] = getattr(shipped, name)()
    pixels.flags.writeable = False
    return pixels


def photograph(index: int = 0, side: int = 299) -> NDArray[np.uint8]:
    """The center of a photograph, side × side: uint8 RGB."""
    pixels = whole_photograph(PHOTOGRAPHS[index])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return pixels[top : top + side, left : left + side].copy()


def attacked(index: int = 0, side: int = 224) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A photograph, and the same with 40 × 40 pixels of noise, in another place for each index."""
    clean = photograph(index, side)
    patched = clean.copy()
    top, left = 20 + 25 * index, 150 - 20 * index
    patched[top : top + 40, left : left + 40] = noise((40, 40, 3), "uint8", seed=index)
    return clean, patched


def read(path: Path) -> NDArray[Any]:
    """The pixels of an image file, as Pillow reads them."""
    with Image.open(path) as picture:
        return np.asarray(picture)


def shipped_jpegs() -> list[Path]:
    """List JPEG files with photographs that are always there, several encoders among them."""
    folders = SAMPLES, Path(shipped.__file__).parent
    return [path for folder in folders for path in sorted(folder.rglob("*.jpg"))]
