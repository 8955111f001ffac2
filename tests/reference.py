"""The reference for every test of Local Gradients Smoothing: its definition, in float64.

It shares no code with the package, and is written for reading, not for speed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def local_gradients_smoothing(
    image: NDArray[Any],
    smoothing: float = 2.3,
    threshold: float = 0.1,
    block_size: int = 15,
    overlap: int = 5,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cleaned image, in [0, 1] and not rounded, and the mask."""
    whole = in_unit_range(image)
    color = whole[..., :3] if whole.shape[2] > 2 else whole[..., :1]
    magnitude = gradient_magnitude(color)
    low, high = magnitude.min(), magnitude.max()
    g = np.zeros_like(magnitude) if low == high else (magnitude - low) / (high - low)

    # Keep the blocks whose mean exceeds the threshold.
    kept = np.zeros(g.shape, bool)
    for top, bottom in blocks(g.shape[0], block_size, overlap):
        for left, right in blocks(g.shape[1], block_size, overlap):
            if np.mean(g[top:bottom, left:right]) > threshold:
                kept[top:bottom, left:right] = True
    return attenuated(image, g, kept, smoothing)


def in_unit_range(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return the image as (H, W, C) in [0, 1]."""
    white = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    return image.reshape(*image.shape[:2], -1).astype(np.float64) / white


def gradient_magnitude(color: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ‖∇I‖ of (H, W, C): forward differences of all channels, 0 at the far edges."""
    height, width, channels = color.shape
    squares = np.zeros((height, width))
    for channel in range(channels):
        plane = color[..., channel]
        squares[:, :-1] += (plane[:, 1:] - plane[:, :-1]) ** 2
        squares[:-1] += (plane[1:] - plane[:-1]) ** 2
    return np.sqrt(squares)


def blocks(length: int, block_size: int, overlap: int) -> list[tuple[int, int]]:
    """Return (start, end) of each block along an axis."""
    if length <= block_size:
        return [(0, length)]
    found = []
    start = 0
    while start + block_size <= length:
        found.append((start, start + block_size))
        start += block_size - overlap
    if found[-1][1] < length:
        found.append((length - block_size, length))
    return found


def attenuated(
    image: NDArray[Any], g: NDArray[np.float64], kept: NDArray[np.bool_], smoothing: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale the colors by 1 − the mask; alpha stays."""
    mask = np.clip(smoothing * np.where(kept, g, 0), 0, 1)
    cleaned = in_unit_range(image)
    colors = 3 if cleaned.shape[2] > 2 else 1
    cleaned[..., :colors] *= (1 - mask)[..., None]
    return cleaned.reshape(image.shape), mask
