"""Pictures and image files that several tests share."""

from __future__ import annotations

import numpy as np
import pytest
from image_files import animation, pillow, png_by_hand, written_by_tifffile
from skimage import data as photographs


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return photographs.astronaut()[40:160, 150:331].copy()


@pytest.fixture(scope="module")
def pixels(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """A photograph as every kind of array that a Picture can hold."""
    height, width = rgb.shape[:2]
    alpha = np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8)
    low_bits = np.random.default_rng(5).integers(0, 256, (height, width, 4), dtype=np.uint16)
    kinds = {
        "gray": rgb[..., 1],
        "gray-alpha": np.dstack([rgb[..., 1], alpha]),
        "rgb": rgb,
        "rgba": np.dstack([rgb, alpha]),
    }
    for name, array in list(kinds.items()):
        low = low_bits[..., 0] if array.ndim == 2 else low_bits[..., : array.shape[2]]
        kinds[f"{name}-16"] = array.astype(np.uint16) * 256 + low
    return {name: np.ascontiguousarray(array) for name, array in kinds.items()}


@pytest.fixture(scope="module")
def moving(pixels: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [np.roll(pixels["rgba"], 9 * shift, axis=1).copy() for shift in range(4)]


@pytest.fixture(scope="module")
def one_of_each(pixels: dict[str, np.ndarray], moving: list[np.ndarray]) -> dict[str, bytes]:
    rgb, deep = pixels["rgb"], pixels["rgb-16"]
    return {
        "jpeg": pillow(rgb, "JPEG", quality=85),
        "jpeg progressive": pillow(rgb, "JPEG", progressive=True),
        "png": pillow(rgb, "PNG"),
        "png 16": png_by_hand(deep),
        "apng": animation(moving, "PNG", duration=30),
        "webp": pillow(rgb, "WEBP"),
        "webp lossless": pillow(rgb, "WEBP", lossless=True),
        "webp animated": animation(moving, "WEBP", duration=30),
        "tiff": pillow(rgb, "TIFF"),
        "tiff lzw": pillow(rgb, "TIFF", compression="tiff_lzw"),
        "tiff tifffile": written_by_tifffile(rgb, compression="zlib"),
        "tiff 16": written_by_tifffile(deep),
        "bmp": pillow(rgb, "BMP"),
        "avif": pillow(rgb, "AVIF"),
        "jp2": pillow(rgb, "JPEG2000"),
        "j2k": pillow(rgb, "JPEG2000", no_jp2=True),
        "pnm": pillow(rgb, "PPM"),
        "pnm plain": b"P3 40 30 255\n" + b" ".join(b"%d" % v for v in rgb[:30, :40].ravel()),
        "gif": animation([f[..., :3] for f in moving], "GIF", duration=30),
    }
