"""What every defense asks of a pixel array: is it an image, where is alpha, what is white."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def full_scale(dtype: np.dtype[Any]) -> float:
    """Return the value of white for a dtype.

    Parameters
    ----------
    dtype : numpy.dtype
        uint8, uint16 or floating.

    Returns
    -------
    float
        255, 65535 or 1.

    Raises
    ------
    TypeError
        For any other dtype.
    """
    if dtype == np.uint8:
        return 255.0
    if dtype == np.uint16:
        return 65535.0
    if dtype.kind == "f":
        return 1.0
    raise TypeError(f"pixels are {dtype}; they must be uint8, uint16 or floating in [0, 1]")


def split_alpha(image: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Check that an array is an image, and part its colors from its alpha.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C), C of 1, 2, 3 or 4, not empty; with 2 or 4 the last channel is alpha.
        uint8, uint16, or floating in [0, 1].

    Returns
    -------
    color : ndarray
        (H, W) for gray, (H, W, 3) for RGB. A view of `image`.
    alpha : ndarray or None
        (H, W), a view of `image`, or None.

    Raises
    ------
    TypeError
        Where the dtype is another.
    ValueError
        Where the shape is another, or a floating value is NaN or outside [0, 1].
    """
    full_scale(image.dtype)
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or not 1 <= channels <= 4 or image.size == 0:
        raise ValueError(
            f"shape is {image.shape}; it must be (H, W) or (H, W, C) with C from 1 to 4, not empty"
        )
    if image.dtype.kind == "f" and not (image.min() >= 0 and image.max() <= 1):
        raise ValueError("floating pixels must lie in [0, 1]")
    if image.ndim == 2:
        return image, None
    color = image[..., :3] if channels > 2 else image[..., 0]
    return color, image[..., -1] if channels in (2, 4) else None


def join_alpha(color: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """Give colors the shape of the image they came from, with its alpha.

    Parameters
    ----------
    color : ndarray
        (H, W) or (H, W, 3), as :func:`split_alpha` returns it.
    like : ndarray
        The image that was split; its alpha is copied.

    Returns
    -------
    ndarray
        The shape of `like`, the dtype of `color`.
    """
    if like.ndim == 2 or (like.ndim == 3 and like.shape[2] == 3):
        return color
    joined = np.empty(like.shape, color.dtype)
    channels = like.shape[2]
    joined[..., : 3 if channels > 2 else 1] = color if channels > 2 else color[..., None]
    if channels in (2, 4):
        joined[..., -1] = like[..., -1]
    return joined
