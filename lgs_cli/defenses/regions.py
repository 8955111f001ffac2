"""From the detector's map to the outlines of patches in the picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from lgs_cli.defenses.defense import Region
from lgs_cli.lazy import cv2, np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CELL = 4
_HYSTERESIS = 2.0  # logits below the level to which a region grows
_DILATION = 3  # pixels of the working size: what inpainting must not take for the picture
_FLANK = 7  # cells: the width of what is cut around a peak before lower ones are looked for
_SEARCH = 6  # pixels of the working size by which the side of a box may move

# Shares of a box that a shape on the map fills if it is that box: a disk fills 0.79, and corners
# are rounded on the map. If the picture shows all four sides, less will do.
_FILLS_BOX = 0.81
_FILLS_ROTATED_BOX = 0.88
_FILLS_SHOWN_BOX = 0.6

# How abruptly the picture changes at the sides of a box, as a share of the whole change.
_SHARP = 0.6
_SHARP_ROTATED = 0.7  # more, for the best of many angles
_ANGLES = range(5, 90, 5)
_LARGEST_ROTATED = 400  # pixels: larger than any patch that leaves a picture to see
_MOST_ROTATED = 50  # regions of one picture whose angle is looked for: bounds the time

SUREST = 1 - 1e-6
"""The highest score: a picture is attacked or not, and no detector knows."""

Box = tuple[float, float, float, float]


class Found(NamedTuple):
    """A patch in full resolution.

    Attributes
    ----------
    region : Region
        The box around it.
    window : tuple of slice
        Rows and columns of the picture that hold all that is to be replaced.
    mask : ndarray
        uint8, of the window's shape: 1 where pixels are to be replaced.
    """

    region: Region
    window: tuple[slice, slice]
    mask: NDArray[Any]


def find_regions(
    logits: NDArray[Any],
    smoothed: NDArray[Any],
    level: float,
    small: NDArray[Any],
    scale: tuple[float, float],
    shape: tuple[int, ...],
) -> list[Found]:
    """Outline the patches that a map shows.

    Parameters
    ----------
    logits, smoothed : ndarray
        float32 (H/4, W/4): the map, and the same averaged, which decides.
    level : float
        The logit from which on a cell of `smoothed` counts as found.
    small : ndarray
        uint8 (H, W, 3): the picture the map is of.
    scale : tuple of float
        By how much the picture itself is higher and wider.
    shape : tuple of int
        Height and width of the picture itself.

    Returns
    -------
    list of Found
        The surest first.
    """
    found = []
    for number, part in enumerate(_parts(logits, smoothed, level)):
        contour, area = _contour(logits, part)
        outline = _outline(contour, area, small, turn=number < _MOST_ROTATED)
        found.append(_enlarged(outline, part.sure, scale, shape))
    return found


def probability(logit: float) -> float:
    """Turn a logit into a probability, which is never so sure as its rounding to 1 would say."""
    return min(1 / (1 + math.exp(-max(logit, -700.0))), SUREST)


class _Part(NamedTuple):
    """Cells of the map that are one patch, up to where its peak has fallen to its foot."""

    sure: float
    foot: float
    window: tuple[slice, slice]
    cells: NDArray[np.bool_]


def _parts(logits: NDArray[Any], smoothed: NDArray[Any], level: float) -> list[_Part]:
    """Divide what is found into patches, the surest first: each cell is of one or beside one."""
    seeds = smoothed >= level
    low = level - _HYSTERESIS
    grown = (logits >= low) | seeds
    parts = []
    while seeds.any():
        taken = np.zeros(seeds.shape, np.uint8)
        for window, cells in _connected(grown, seeds):
            # Half way down from a high peak: the flanks of the map are as wide as what a cell sees.
            highest = smoothed[window][cells].max()
            foot = low + (float(highest) - level) / 2
            high = cells & ((logits[window] >= foot) | (smoothed[window] == highest))
            taken[window] |= high
            for inner, core in _connected(high, high & seeds[window]):
                place = _within(window, inner)
                parts.append(_Part(float(smoothed[place][core].max()), foot, place, core))
        # A lower peak on the flank of a higher one has its turn without that.
        beside = cv2.dilate(taken, np.ones((_FLANK, _FLANK), np.uint8)) > 0
        grown &= ~beside
        seeds &= ~beside
    return sorted(parts, key=lambda part: -part.sure)


def _connected(
    cells: NDArray[np.bool_], seeds: NDArray[np.bool_]
) -> Iterator[tuple[tuple[slice, slice], NDArray[np.bool_]]]:
    """Yield the connected parts that hold a seed: the window, and which of its cells."""
    _, names, boxes, _ = cv2.connectedComponentsWithStats(cells.astype(np.uint8), connectivity=8)
    for name in np.unique(names[seeds]):
        left, top, width, height = (int(value) for value in boxes[name][:4])
        window = slice(top, top + height), slice(left, left + width)
        yield window, names[window] == name


def _within(outer: tuple[slice, slice], inner: tuple[slice, slice]) -> tuple[slice, slice]:
    (rows, columns), (top, left) = inner, (outer[0].start, outer[1].start)
    return (
        slice(top + rows.start, top + rows.stop),
        slice(left + columns.start, left + columns.stop),
    )


def _contour(logits: NDArray[Any], part: _Part) -> tuple[NDArray[Any], int]:
    """Return the line around a patch on the map, float32 (n, 2), x and y, and the area in it.

    Both are in pixels of the working size. Those on the line belong to the patch.
    """
    # With the cells around it, so that the line between those inside and outside can be found.
    low = part.foot - _HYSTERESIS
    rows, columns = part.window
    top, left = rows.start - 1, columns.start - 1
    values = np.full((rows.stop - top + 1, columns.stop - left + 1), low, np.float32)
    around = slice(max(top, 0), rows.stop + 1), slice(max(left, 0), columns.stop + 1)
    seen = logits[around]
    place = (
        slice(around[0].start - top, around[0].start - top + seen.shape[0]),
        slice(around[1].start - left, around[1].start - left + seen.shape[1]),
    )
    cells = np.pad(part.cells, 1).astype(np.uint8)
    near = cv2.dilate(cells, np.ones((3, 3), np.uint8))
    values[place] = np.where(near[place] > 0, np.maximum(seen, low), low)
    # Also if the peak is one of the average alone.
    values[cells > 0] = np.maximum(values[cells > 0], part.foot)
    size = values.shape[1] * _CELL, values.shape[0] * _CELL
    large = cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)
    shape = (large >= min(part.foot, float(large.max()))).astype(np.uint8)
    contours, _ = cv2.findContours(shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=cv2.contourArea)[:, 0].astype(np.float32)
    offset = np.array([left * _CELL, top * _CELL], np.float32)
    return contour + offset, cv2.countNonZero(shape)


def _outline(contour: NDArray[Any], area: int, small: NDArray[Any], *, turn: bool) -> NDArray[Any]:
    """Return the corners of what a region is most likely, float32 (n, 2)."""
    x0, y0 = (float(value) for value in contour.min(0))
    x1, y1 = (float(value) + 1 for value in contour.max(0))
    size = (x1 - x0) * (y1 - y0)
    box, sharpness = _refined((x0, y0, x1, y1), small)
    if sharpness >= _SHARP and area >= _FILLS_SHOWN_BOX * size:
        return _corners(box)
    if turn and max(x1 - x0, y1 - y0) <= _LARGEST_ROTATED:
        rotated = _rotated(contour, area, small)
        if rotated is not None:
            return rotated
    if area >= _FILLS_BOX * size:
        return _corners(box)
    # Half a pixel on, since the line runs through the middles of pixels.
    middle, sides, angle = cv2.minAreaRect(contour + 0.5)
    if area >= _FILLS_ROTATED_BOX * sides[0] * sides[1]:
        return np.asarray(cv2.boxPoints((middle, sides, angle)), np.float32)
    hull = cv2.convexHull(contour)[:, 0]
    return np.asarray(hull + np.where(hull > hull.mean(0), 1, 0), np.float32)


def _rotated(contour: NDArray[Any], area: int, small: NDArray[Any]) -> NDArray[Any] | None:
    """Return the corners of the rotated box whose sides the picture shows, if there is one."""
    middle = contour.mean(0) + 0.5
    side = 2 * math.ceil(1.5 * float(np.abs(contour - middle).max()) + 4 * _SEARCH)
    best, most = None, _SHARP_ROTATED
    for angle in _ANGLES:
        turn = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), angle, 1)
        turn[:, 2] += side / 2 - middle
        upright = cv2.warpAffine(small, turn, (side, side), borderMode=cv2.BORDER_REPLICATE)
        points = (contour + 0.5) @ turn[:, :2].T + turn[:, 2]
        box, sharpness = _refined((*(points.min(0) - 0.5), *(points.max(0) + 0.5)), upright)
        if sharpness > most and area >= _FILLS_SHOWN_BOX * (box[2] - box[0]) * (box[3] - box[1]):
            most = sharpness
            # A rotation's inverse is its transpose.
            best = np.asarray((_corners(box) - turn[:, 2]) @ turn[:, :2], np.float32)
    return best


def _corners(box: Box) -> NDArray[Any]:
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)


def _refined(box: Box, small: NDArray[Any]) -> tuple[Box, float]:
    """Move the sides of a box to where the picture changes all along them.

    The second value is how abruptly it does, from 0 to 1, at the side where it does so least.
    """
    # As much around it as is looked at.
    left, top = (max(int(value) - 4 * _SEARCH, 0) for value in box[:2])
    small = small[top : math.ceil(box[3]) + 4 * _SEARCH, left : math.ceil(box[2]) + 4 * _SEARCH]
    height, width = small.shape[:2]
    x0, x1 = max(int(box[0]) - left, 0), min(math.ceil(box[2]) - left, width)
    y0, y1 = max(int(box[1]) - top, 0), min(math.ceil(box[3]) - top, height)
    across = small[y0:y1].astype(np.int16)
    down = small[:, x0:x1].astype(np.int16)
    columns = np.abs(np.diff(across, axis=1)).mean((0, 2))
    rows = np.abs(np.diff(down, axis=0)).mean((1, 2))
    # From the far end, the other two sides are first ones too.
    west, first = _edge(columns, x0, x1)
    east, second = _edge(columns[::-1], width - x1, width - x0)
    north, third = _edge(rows, y0, y1)
    south, fourth = _edge(rows[::-1], height - y1, height - y0)
    sides = left + west, top + north, left + width - east, top + height - south
    return sides, min(first, second, third, fourth)


def _edge(steps: NDArray[Any], start: int, end: int) -> tuple[int, float]:
    """Find the line at which something begins that is about from `start` to `end`.

    ``steps[i - 1]`` is the mean change across line i, from pixels i - 1 to pixels i.

    Returns
    -------
    line : int
        The first one, coming from outside, with a marked change; 0 if it begins at the border.
    sharpness : float
        How abrupt the change is; 1 at the border, 0 if no line is marked.
    """
    reach = min(_SEARCH, (end - start) // 3)
    at_border = start <= reach
    unmarked = (0, 1.0) if at_border else (start, 0.0)
    low, high = max(start - reach, 1), min(start + reach, len(steps))
    outer = max(start - 3 * reach - 2, 1)
    if low > high:
        return unmarked
    values = steps[low - 1 : high]
    # Without lines outside, the quietest stands for them.
    quiet = float(np.median(steps[outer - 1 : low - 1]) if outer < low else values.min())
    most = float(values.max())
    if most < 1.8 * quiet + 4:
        return unmarked
    line = low + int(np.argmax(values >= quiet + 0.5 * (most - quiet)))
    # Most that begins so close to the border begins at it, and a texture has its marked lines too.
    if at_border and (line < 4 or steps[: line - 1].max() > 0.5 * most):
        return unmarked
    before = float(steps[line - 3]) if line >= low + 2 else quiet
    # Within what has no abrupt end, such as a disk, the changes grow further on.
    whole = max(most, float(np.median(steps[start + reach - 1 : max(end - reach, high)])))
    return line, (float(steps[line - 1 : line + 1].max()) - before) / (whole - quiet)


def _enlarged(
    outline: NDArray[Any],
    sure: float,
    scale: tuple[float, float],
    shape: tuple[int, ...],
) -> Found:
    """Bring an outline to full resolution."""
    points = outline * np.array([scale[1], scale[0]], np.float32)
    height, width = shape[:2]
    x0, y0 = np.floor(points.min(0) + 0.5).astype(int)
    x1, y1 = np.floor(points.max(0) + 0.5).astype(int)
    x0, x1 = int(np.clip(x0, 0, width - 1)), int(np.clip(x1, 1, width))
    y0, y1 = int(np.clip(y0, 0, height - 1)), int(np.clip(y1, 1, height))
    region = Region(x0, y0, max(x1 - x0, 1), max(y1 - y0, 1), probability(sure))

    margin = max(1, round(_DILATION * max(scale)))
    rows = slice(max(y0 - margin, 0), min(y1 + margin, height))
    columns = slice(max(x0 - margin, 0), min(x1 + margin, width))
    mask: NDArray[Any] = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    inner = points - np.array([columns.start, rows.start], np.float32)
    # Half a pixel less: fillPoly takes points for the middles of pixels.
    corners = np.rint(inner - 0.5).astype(np.int32)
    cv2.fillPoly(mask, [corners], 1)
    if len(points) == 4 and len(np.unique(points[:, 0])) == 2:  # an upright box
        mask[:] = 1
    else:
        # A line that wide does what dilation does, in less time.
        cv2.polylines(mask, [corners], True, 1, 2 * margin + 1)
    return Found(region, (rows, columns), mask)
