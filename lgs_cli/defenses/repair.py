"""What takes the place of a patch: the picture continued, or colors from around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lgs_cli.defenses.pixels import full_scale, split_alpha
from lgs_cli.lazy import cv2, np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Window = tuple[slice, slice]

_LARGEST = 96  # pixels of a region's longer side at which it is filled; larger ones are reduced
_RADIUS = 5
_BAND_VALUES = 1 << 20


def repair(
    image: NDArray[Any], replaced: NDArray[Any], windows: Sequence[Window], fill: str
) -> NDArray[Any]:
    """Replace pixels by what is around them.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C), C from 1 to 4; uint8, uint16, or floating in [0, 1]. Not changed.
    replaced : ndarray
        uint8 (H, W): 1 where pixels are replaced.
    windows : sequence of tuple of slice
        Rows and columns that hold what is replaced, one for each region.
    fill : str
        ``inpaint`` (Telea's method), ``blur`` (a strong blur of the surroundings) or ``mean``
        (the mean color of the surroundings).

    Returns
    -------
    ndarray
        A copy; pixels where `replaced` is 0, and alpha, are those of `image`. What takes the place
        of large regions is smooth: it is made at reduced size, so that the time is bounded.
    """
    repaired = image.copy()
    color, _ = split_alpha(repaired)
    for window in windows:
        _repair_one(color, replaced, window, fill)
    return repaired


def _repair_one(color: NDArray[Any], replaced: NDArray[Any], window: Window, fill: str) -> None:
    rows, columns = window
    longer = max(rows.stop - rows.start, columns.stop - columns.start)
    margin = max(8, longer // 3)
    around = (
        slice(max(rows.start - margin, 0), rows.stop + margin),
        slice(max(columns.start - margin, 0), columns.stop + margin),
    )
    part, holes = color[around], replaced[around]
    factor = longer / _LARGEST
    if factor > 1:
        part, holes = _reduced(part, holes, factor)
    filled = _FILLS[fill](_as_integers(part), holes).astype(np.float32)
    filled *= np.float32(full_scale(color.dtype) / (255 if color.dtype == np.uint8 else 65535))
    _paste(color, replaced, window, around, filled)


def _reduced(
    part: NDArray[Any], holes: NDArray[Any], factor: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    height, width = holes.shape
    size = max(1, round(width / factor)), max(1, round(height / factor))
    if part.dtype == np.float16:
        part = part.astype(np.float32)
    # A pixel that is only partly of the patch is not of the picture.
    share = cv2.resize(holes * np.uint8(255), size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return small, (share > 0).astype(np.uint8)


def _as_integers(color: NDArray[Any]) -> NDArray[Any]:
    """Round floating pixels to 16 bits: OpenCV does not keep floats in range as it inpaints."""
    if color.dtype.kind == "u":
        return color
    return np.asarray(np.rint(color.astype(np.float32) * 65535), np.uint16)


def _paste(
    color: NDArray[Any],
    replaced: NDArray[Any],
    window: Window,
    around: Window,
    filled: NDArray[Any],
) -> None:
    """Put a fill for the pixels around a window into it, enlarged, where pixels are replaced."""
    rows, columns = window
    height, width = replaced[around].shape
    first = columns.start - around[1].start
    if filled.shape[1] != width:
        filled = cv2.resize(filled, (width, len(filled)), interpolation=cv2.INTER_LINEAR)
    filled = filled[:, first : first + columns.stop - columns.start]
    # Line by line, and some lines at a time: enlarged in one, a region may not fit in memory.
    lines = (np.arange(rows.start, rows.stop) - around[0].start + 0.5) * (len(filled) / height)
    lines = np.clip(lines - 0.5, 0, len(filled) - 1)
    above = lines.astype(np.intp)
    below = np.minimum(above + 1, len(filled) - 1)
    weight = (lines - above).astype(np.float32).reshape(-1, *[1] * (filled.ndim - 1))
    step = max(1, _BAND_VALUES // filled[0].size)
    for start in range(0, len(lines), step):
        band = slice(start, start + step)
        source = filled[above[band]]
        source += weight[band] * (filled[below[band]] - source)
        if color.dtype.kind == "u":
            np.rint(source, out=source)
        inside = replaced[rows, columns][band] > 0
        color[rows, columns][band][inside] = source[inside].astype(color.dtype)


def _inpaint(small: NDArray[Any], holes: NDArray[Any]) -> NDArray[Any]:
    if holes.all():
        return _mean(small, holes)
    if small.dtype == np.uint8 or small.ndim == 2:
        return np.asarray(cv2.inpaint(small, holes, _RADIUS, cv2.INPAINT_TELEA))
    # Of sixteen bits it takes one channel at a time.
    channels = [cv2.inpaint(one, holes, _RADIUS, cv2.INPAINT_TELEA) for one in cv2.split(small)]
    return np.dstack(channels)


def _blur(small: NDArray[Any], holes: NDArray[Any]) -> NDArray[Any]:
    known = (holes == 0).astype(np.float32)
    if not known.any():
        return _mean(small, holes)
    sigma = max(holes.shape) / 6
    weight = cv2.GaussianBlur(known, (0, 0), sigma)
    weighted = small * (known if small.ndim == 2 else known[..., None])
    colors = cv2.GaussianBlur(weighted, (0, 0), sigma)
    blurred = colors / np.maximum(weight, 1e-6).reshape(weight.shape + (1,) * (small.ndim - 2))
    # So far inside that nothing of the surroundings reaches it.
    blurred[weight < 1e-5] = _mean(small, holes)[0, 0]
    return np.asarray(np.clip(blurred, 0, np.iinfo(small.dtype).max), np.float32)


def _mean(small: NDArray[Any], holes: NDArray[Any]) -> NDArray[Any]:
    known = holes == 0
    colors = small[known] if known.any() else small.reshape(-1, *small.shape[2:])
    return np.broadcast_to(colors.astype(np.float32).mean(0), small.shape)


_FILLS = {"inpaint": _inpaint, "blur": _blur, "mean": _mean}
