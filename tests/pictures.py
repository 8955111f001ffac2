"""Pictures that the tests of the defenses share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray
from PIL import Image

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DTYPES = ("uint8", "uint16", "float16", "float32", "float64")
SHAPES = (
    (1, 1), (1, 7), (7, 1), (2, 2), (4, 1), (13, 17),
    (1, 1, 1), (13, 17, 1), (4, 1, 2), (13, 17, 2), (1, 1, 3), (4, 1, 3), (13, 17, 3), (13, 17, 4),
)  # fmt: skip


def noise(shape: tuple[int, ...], dtype: DTypeLike, seed: int) -> NDArray[Any]:
    """White noise over the dtype's whole range."""
    values = np.random.default_rng(seed).random(shape)
    kind = np.dtype(dtype)
    return (values * np.iinfo(kind).max if kind.kind == "u" else values).astype(kind)


def photograph(index: int = 0, side: int = 299) -> NDArray[np.uint8]:
    """A real photograph, its center cut to side × side: uint8 RGB."""
    folder = DATA / "imagenet"
    if not folder.is_dir():
        pytest.skip(f"no photographs: {folder} is absent")
    with Image.open(sorted(folder.glob("*.JPEG"))[index]) as image:
        pixels = np.asarray(image.convert("RGB"))
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])
