"""Median smoothing, the second squeezer of feature squeezing (arXiv 1704.01155)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lgs_cli.defenses.defense import Cleaned, Defense
from lgs_cli.defenses.pixels import finish, split_alpha
from lgs_cli.lazy import cv2, np
from lgs_cli.params import Params, parameter

if TYPE_CHECKING:
    from numpy.typing import NDArray


BAND_VALUES = 1 << 20


@dataclass(frozen=True)
class MedianParams(Params):
    """Parameters of median smoothing.

    Attributes
    ----------
    window : int
        Side of the square window in pixels, 1 to 15. Even ones reach one pixel further up and left.

    References
    ----------
    Xu, Evans, Qi, "Feature Squeezing", NDSS 2018, arXiv 1704.01155, section on spatial smoothing.
    """

    window: int = parameter(
        3, "Side of the square window in pixels; may be even.", at_least=1, at_most=15
    )  # fmt: skip


def apply(image: NDArray[Any], params: MedianParams, *, with_mask: bool = False) -> Cleaned:
    """Replace every value by the median of its window, channel by channel.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C), C of 1 to 4; uint8, uint16, or floating in [0, 1].
    params : MedianParams
        The side of the window. An even window reaches one pixel further up and left than down and
        right, and of its two middle values the upper one is taken: SciPy's convention, which the
        paper's own code goes by.
    with_mask : bool
        Whether the mask is wanted.

    Returns
    -------
    Cleaned
        The image, mirrored at its borders with the outermost pixels repeated: what
        ``scipy.ndimage.median_filter(channel, size=window, mode="reflect")`` makes of each channel.
        As mask the normalized absolute change, see :func:`~.pixels.finish`.

    Raises
    ------
    TypeError, ValueError
        If the array is not such an image.
    """
    color, _ = split_alpha(image)
    return finish(image, _median(color, params.window), with_mask=with_mask)


def _median(color: NDArray[Any], window: int) -> NDArray[Any]:
    if color.dtype == np.float16:
        return _median(color.astype(np.float32), window).astype(np.float16)
    if window == 1:
        return color
    if window == 3 and color.dtype != np.float64:
        # OpenCV repeats the outermost pixels, which is mirroring as far as this window sees.
        return np.asarray(cv2.medianBlur(color, 3))
    before, after = window // 2, (window - 1) // 2
    padded = np.asarray(cv2.copyMakeBorder(color, before, after, before, after, cv2.BORDER_REFLECT))
    if window == 2:
        return _median_of_four(padded)
    if window % 2 and (color.dtype == np.uint8 or (window == 5 and color.dtype != np.float64)):
        return np.asarray(cv2.medianBlur(padded, window))[before:-after, before:-after]
    return _median_by_partition(padded, window)


def _median_of_four(padded: NDArray[Any]) -> NDArray[Any]:
    above, below = padded[:-1], padded[1:]
    low, high = np.minimum(above, below), np.maximum(above, below)
    median: NDArray[Any] = np.minimum(high[:, :-1], high[:, 1:])
    np.maximum(median, low[:, :-1], out=median)
    np.maximum(median, low[:, 1:], out=median)
    return median


def _median_by_partition(padded: NDArray[Any], window: int) -> NDArray[Any]:
    # NumPy selects 16-bit values with vector instructions, 8-bit ones without.
    wide = padded.astype(np.uint16) if padded.dtype == np.uint8 else padded
    windows = np.lib.stride_tricks.sliding_window_view(wide, (window, window), axis=(0, 1))
    median = np.empty(windows.shape[:-2], padded.dtype)
    size = window * window
    rows = max(1, BAND_VALUES // (median[0].size * size))
    for top in range(0, len(median), rows):
        values = np.array(windows[top : top + rows], order="C")
        values = values.reshape(*values.shape[:-2], size)
        values.partition(size // 2, axis=-1)
        median[top : top + rows] = values[..., size // 2]
    return median


DEFENSE = Defense(
    "median", "Median smoothing", ("1704.01155",), MedianParams, apply,
    torch_entry="lgs_cli.evaluation.twins:median_layers",
)  # fmt: skip
