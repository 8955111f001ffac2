"""What every defense asks of a pixel array: is it an image, where is alpha, what has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lgs_cli.defenses.defense import Cleaned
from lgs_cli.lazy import cv2, np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def full_scale(dtype: np.dtype[Any]) -> float:
    """Return the value of white for a dtype.

    Parameters
    ----------
    dtype : numpy.dtype
        uint8, uint16, float16, float32 or float64, in the machine's byte order.

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
    if dtype == np.float16 or dtype == np.float32 or dtype == np.float64:
        return 1.0
    raise TypeError(
        f"pixels are {dtype}; they must be uint8, uint16, or float16, 32 or 64 in [0, 1]"
    )


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
        If the dtype is another.
    ValueError
        If the shape is another, or a floating value is NaN or outside [0, 1].
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


def to_uint8(color: NDArray[Any]) -> NDArray[np.uint8]:
    """Round pixels to 8 bits.

    Parameters
    ----------
    color : ndarray
        uint8, uint16, or floating in [0, 1].

    Returns
    -------
    ndarray
        uint8, same shape; `color` itself if it is uint8.
    """
    if color.dtype == np.uint8:
        return color
    if color.dtype == np.uint16:
        return np.asarray((color.astype(np.uint32) + 128) // 257, np.uint8)
    precise = color.astype(np.float32) if color.dtype == np.float16 else color
    return np.asarray(np.rint(precise * 255), np.uint8)


def from_uint8(color: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Scale 8-bit pixels to another dtype.

    Parameters
    ----------
    color : ndarray
        uint8.
    dtype : numpy.dtype
        uint8, uint16 or floating.

    Returns
    -------
    ndarray
        Same shape, of `dtype`; `color` itself if that is uint8.
    """
    if dtype == np.uint8:
        return color
    scale = full_scale(dtype)
    levels: NDArray[Any] = (np.arange(256) * scale / 255).astype(dtype)
    return np.take(levels, color)


def finish(image: NDArray[Any], color: NDArray[Any], *, with_mask: bool) -> Cleaned:
    """Make the result of a defense that has no mask of its own.

    Its mask is the normalized absolute change: the largest absolute change among a pixel's color
    channels, divided by the largest in the image. So 1 is where the image changed most, whatever
    that was, and 0 is exactly where nothing changed.

    Parameters
    ----------
    image : ndarray
        The input of the defense.
    color : ndarray
        Its new colors, shaped as :func:`split_alpha` parts them, of the input's dtype.
    with_mask : bool
        Whether the mask is wanted.

    Returns
    -------
    Cleaned
        The colors with the input's shape and alpha, the mask, and the share of changed pixels.
    """
    before = split_alpha(image)[0]
    if color.dtype == np.float16:
        change = cv2.absdiff(before.astype(np.float32), color.astype(np.float32))
    else:
        change = cv2.absdiff(before, color)
    largest = change
    if change.ndim == 3:
        planes = np.empty((3, *change.shape[:2]), change.dtype)
        cv2.split(change, list(planes))
        largest = cv2.max(cv2.max(planes[0], planes[1], planes[0]), planes[2], planes[0])
    coverage = cv2.countNonZero(largest) / largest.size
    mask = None
    if with_mask:
        mask = np.zeros(largest.shape, np.float32)
        if coverage:
            np.divide(largest, largest.max(), out=mask, casting="same_kind")
            # The ratio of the smallest change to the largest may be too small for float32.
            np.maximum(mask, np.finfo(np.float32).tiny, out=mask, where=largest > 0)
    return Cleaned(join_alpha(color, image), mask, coverage)
