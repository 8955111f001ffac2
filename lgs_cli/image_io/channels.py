"""Channels of an array: gray, RGB, and alpha beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def has_alpha(pixels: NDArray[Any]) -> bool:
    """Tell whether the last channel is alpha.

    Parameters
    ----------
    pixels : ndarray
        (H, W), (H, W, 2), (H, W, 3) or (H, W, 4), of any dtype.

    Returns
    -------
    bool
        True of 2 and 4 channels.
    """
    return pixels.ndim == 3 and pixels.shape[2] in (2, 4)


def is_opaque(pixels: NDArray[Any]) -> bool:
    """Tell whether the last channel, alpha, is at its maximum everywhere.

    Parameters
    ----------
    pixels : ndarray
        (H, W, 2) or (H, W, 4); uint8 or uint16.

    Returns
    -------
    bool
        Whether all alpha is 255, or 65,535.
    """
    return bool((pixels[..., -1] == np.iinfo(pixels.dtype).max).all())


def with_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return gray or RGB with alpha, opaque if there was none.

    Parameters
    ----------
    pixels : ndarray
        (H, W), (H, W, 2), (H, W, 3) or (H, W, 4); uint8 or uint16.

    Returns
    -------
    ndarray
        (H, W, 2) or (H, W, 4) of the same dtype; `pixels` itself if it has alpha.
    """
    if has_alpha(pixels):
        return pixels
    return np.dstack([pixels, np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)])


def without_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return gray or RGB of an array that has alpha.

    Parameters
    ----------
    pixels : ndarray
        (H, W, 2) or (H, W, 4), of any dtype.

    Returns
    -------
    ndarray
        (H, W) or (H, W, 3) of the same dtype, contiguous.
    """
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3])


def without_needless_alpha(frames: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """Return the frames of an animation without alpha, if all of them are opaque.

    Parameters
    ----------
    frames : sequence of ndarray
        Each (H, W, 2) or (H, W, 4); uint8 or uint16.

    Returns
    -------
    tuple of ndarray
        All of them (H, W) or (H, W, 3) of the same dtype, or all as they were.
    """
    if all(is_opaque(frame) for frame in frames):
        return tuple(without_alpha(frame) for frame in frames)
    return tuple(frames)


def as_color(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return RGB or RGBA, for formats that know no gray.

    Parameters
    ----------
    pixels : ndarray
        (H, W), (H, W, 2), (H, W, 3) or (H, W, 4), of any dtype.

    Returns
    -------
    ndarray
        (H, W, 3) or (H, W, 4) of the same dtype; `pixels` itself if it has color.
    """
    if pixels.ndim == 2:
        return np.dstack([pixels] * 3)
    return pixels[..., [0, 0, 0, 1]] if pixels.shape[2] == 2 else pixels
