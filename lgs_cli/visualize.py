"""What a defense did to an image, as a picture: arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lgs_cli.defenses.pixels import full_scale, split_alpha
from lgs_cli.formats import MASK_STYLES

_CHECKER = (204, 255)
_CHECKER_SIZE = 8
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG


def render(
    style: str, image: NDArray[Any], mask: NDArray[np.float32], cleaned: NDArray[Any]
) -> NDArray[np.uint8]:
    """Draw one mask.

    Parameters
    ----------
    style : str
        ``"heatmap"``: the mask on the perceptual colormap inferno, black if it is 0.
        ``"overlay"``: the same glow over the dimmed, grayed image.
        ``"binary"``: white if the mask is > 0, else black.
        ``"side-by-side"``: the image, the heatmap and the cleaned image, with thin gaps.
    image, cleaned : ndarray
        (H, W) or (H, W, C), C from 1 to 4; uint8, uint16, or floating in [0, 1]. Neither is
        changed.
    mask : ndarray
        float32 (H, W) in [0, 1].

    Returns
    -------
    ndarray
        uint8: (H, W) for ``"binary"``, (H, 3 W + 2 gaps, 3) for ``"side-by-side"``, else
        (H, W, 3); RGB.

    Raises
    ------
    TypeError, ValueError
        If the style is unknown, an array is not an image, or the sizes differ.
    """
    if style not in MASK_STYLES:
        raise ValueError(f"mask style is {style!r}; valid is {', '.join(MASK_STYLES)}")
    if mask.shape != image.shape[:2] or mask.shape != cleaned.shape[:2]:
        raise ValueError(
            f"sizes differ: image {image.shape[:2]}, mask {mask.shape}, cleaned {cleaned.shape[:2]}"
        )
    if style == "binary":
        return (mask > 0).astype(np.uint8) * np.uint8(255)
    if style == "heatmap":
        return heatmap(mask)
    if style == "overlay":
        return overlay(image, mask)
    panels = (to_rgb8(image), heatmap(mask), to_rgb8(cleaned))
    gap = np.full((mask.shape[0], max(1, mask.shape[1] // 64), 3), 255, np.uint8)
    return np.hstack([panels[0], gap, panels[1], gap, panels[2]])


def heatmap(mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw a mask on the perceptual colormap inferno: black at 0, over red, to pale yellow at 1.

    Parameters
    ----------
    mask : ndarray
        float32 (H, W) in [0, 1].

    Returns
    -------
    ndarray
        uint8 RGB (H, W, 3).
    """
    levels = cv2.convertScaleAbs(mask, alpha=255)
    bgr = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    return _u8(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def overlay(image: NDArray[Any], mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw a mask over its image, grayed and dimmed so that only the mask has strong color.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C), C from 1 to 4; uint8, uint16, or floating in [0, 1].
    mask : ndarray
        float32 (H, W) in [0, 1].

    Returns
    -------
    ndarray
        uint8 RGB (H, W, 3).
    """
    # Two thirds gray, a third color, at 0.75 of the light, in one pass of a color matrix.
    base = cv2.transform(to_rgb8(image), 0.75 * (np.eye(3) / 3 + np.tile(_LUMA, (3, 1)) * 2 / 3))
    # The dark end of the colormap would read as shadow: the glow starts at its red.
    glow = heatmap(0.45 + 0.5 * mask)
    weight = np.sqrt(mask)
    return _u8(cv2.blendLinear(glow, base, weight, 1 - weight))


def to_rgb8(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Turn any image into what a screen shows.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C), C from 1 to 4; uint8, uint16, or floating in [0, 1]. If it has
        alpha it is laid over a light checkerboard.

    Returns
    -------
    ndarray
        uint8 RGB (H, W, 3), never a view of `image`.

    Raises
    ------
    TypeError, ValueError
        If the array is not such an image.
    """
    color, alpha = split_alpha(image)
    rgb = _eight_bits(color)
    if rgb.ndim == 2:
        rgb = _u8(cv2.cvtColor(rgb, cv2.COLOR_GRAY2RGB))
    if alpha is None:
        return rgb
    rows, columns = (np.arange(length) // _CHECKER_SIZE for length in alpha.shape)
    board = np.array(_CHECKER, np.uint8)[(rows[:, None] + columns) % 2]
    weight = alpha.astype(np.float32) / np.float32(full_scale(alpha.dtype))
    return _u8(cv2.blendLinear(rgb, cv2.cvtColor(board, cv2.COLOR_GRAY2RGB), weight, 1 - weight))


def _eight_bits(color: NDArray[Any]) -> NDArray[np.uint8]:
    if color.dtype == np.uint8:
        return np.array(color, order="C")
    if color.dtype.kind == "f":
        color = color.astype(np.float32)
    return _u8(
        cv2.convertScaleAbs(np.ascontiguousarray(color), alpha=255 / full_scale(color.dtype))
    )


def _u8(array: Any) -> NDArray[np.uint8]:
    return np.asarray(array, np.uint8)


def upright(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an image the way it is to be looked at.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C), pixels as stored.
    orientation : int
        The EXIF tag Orientation, 1 to 8; anything else is taken for 1.

    Returns
    -------
    ndarray
        A view of `image`; width and height are swapped if the orientation is 5 to 8.
    """
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image
