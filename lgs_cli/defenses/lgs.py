"""Local Gradients Smoothing: suppress the regions where an image's gradients are dense.

Naseer, Khan, Porikli, "Local Gradients Smoothing: Defense against localized adversarial attacks",
WACV 2019, arXiv 1807.01216, section 3.2.

Two sweeps over the image, both in bands of rows small enough to stay in the cache: the first
computes gradient magnitudes and the sums of their blocks, the second, once the image's largest
magnitude is known, scales the pixels of the kept blocks down. For a very large image the second
computes the magnitudes once more: to keep them would take too much memory. Every sum is taken in an
order that depends neither on the bands nor on the machine, so results are the same everywhere.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lgs_cli.defenses.defense import Cleaned, Defense
from lgs_cli.defenses.pixels import full_scale, split_alpha
from lgs_cli.lazy import cv2, np
from lgs_cli.params import Params, parameter

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

# A band's planes, differences and magnitudes take about 10 bytes a pixel and stay in the cache;
# smaller ones pay more for the calls than they save.
BAND_PIXELS = 320_000

# Larger buffers are given back after each image. Magnitudes that take more are computed twice.
KEPT_BYTES = 1 << 27


@dataclass(frozen=True)
class LgsParams(Params):
    """Parameters of Local Gradients Smoothing, with the defaults of the paper's experiments.

    Attributes
    ----------
    smoothing : float
        Smoothing factor λ, at least 0.
    threshold : float
        Threshold γ on a block's mean normalized gradient magnitude, in [0, 1].
    block_size : int
        Block size τ in pixels, 1 to 100,000.
    overlap : int
        Overlap o of neighboring blocks in pixels, at least 0 and less than ``block_size``.

    References
    ----------
    Naseer, Khan, Porikli, "Local Gradients Smoothing", WACV 2019, arXiv 1807.01216, section 3.2.
    """

    smoothing: float = parameter(
        2.3, "Smoothing factor λ: how strongly gradients are suppressed.", at_least=0
    )
    threshold: float = parameter(
        0.1, "Threshold γ on a block's mean gradient, above which it is smoothed.",
        at_least=0, at_most=1,
    )  # fmt: skip
    block_size: int = parameter(15, "Block size τ in pixels.", at_least=1, at_most=100_000)
    overlap: int = parameter(5, "Overlap o of neighboring blocks in pixels.", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.overlap >= self.block_size:
            raise ValueError(
                f"overlap is {self.overlap}; valid is less than block_size ({self.block_size})"
            )


def apply(image: NDArray[Any], params: LgsParams, *, with_mask: bool = False) -> Cleaned:
    """Smooth the local gradients of one image.

    T(I) = I ⊙ (1 − clip(λ ĝ, 0, 1)), where ĝ is the normalized gradient magnitude inside the
    blocks whose mean exceeds γ, and 0 elsewhere.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C), C of 1 (gray), 2 (gray and alpha), 3 (RGB) or 4 (RGBA); uint8,
        uint16, or floating in [0, 1]. Not changed.
    params : LgsParams
        λ, γ, τ and o.
    with_mask : bool
        Whether the mask is wanted.

    Returns
    -------
    Cleaned
        The image rounded to its own dtype, alpha untouched (for uint8 within one level of the
        formula in exact arithmetic, but for blocks whose mean is γ to six digits: single precision
        decides whether these are kept); the mask clip(λ ĝ, 0, 1); the share of pixels where it is
        positive. If that is 0, the image is the very input.

    Raises
    ------
    TypeError, ValueError
        If the array is not such an image.

    References
    ----------
    arXiv 1807.01216, section 3.2, equations 3 to 6. The paper leaves the stencil open: here it is
    the forward difference, summed over the color channels before the root.
    """
    color, _ = split_alpha(image)
    height, width = color.shape[:2]
    rows = _blocks(height, params.block_size, params.overlap)
    columns = _blocks(width, params.block_size, params.overlap)
    size = height, width
    if with_mask:
        magnitude = np.empty(size, np.float32)
    else:
        fits = 4 * height * width <= KEPT_BYTES
        held = height if fits else min(height, rows.size + _band_height(width))
        magnitude = _scratch("magnitude", (held, width), np.float32)
    # The bottom right pixel has no neighbors ahead, so the smallest magnitude is always 0, and
    # normalizing is a division by the peak.
    sums, peak = _gradient_sums(image, magnitude, rows, columns)
    limit = params.threshold * peak * rows.size * columns.size
    # A limit rounded to float32 would keep blocks that it should not.
    kept = sums > np.float64(limit)
    if params.smoothing == 0 or not kept.any():
        return Cleaned(image, np.zeros(size, np.float32) if with_mask else None, 0.0)

    lines = _cover(kept, rows, columns)
    # Larger scales suppress every gradient fully, and overflow float32.
    scale = min(params.smoothing / peak, 1e30)
    cleaned = np.empty_like(image, order="C")
    masked = 0
    for top, bottom in _bands(height, width):
        inside = lines.take(rows.cell_of_pixel[top:bottom], axis=0)
        if len(magnitude) == height:
            mask = magnitude[top:bottom]
        else:
            mask = _magnitude(image[top : bottom + 1], magnitude[: bottom - top])
        masked += _attenuate(image[top:bottom], mask, inside, scale, cleaned[top:bottom])
        if with_mask:
            np.copyto(mask, 0, where=inside == 0)
            np.minimum(np.multiply(mask, scale, out=mask), 1, out=mask)
    if masked == 0:
        return Cleaned(image, magnitude if with_mask else None, 0.0)
    return Cleaned(cleaned, magnitude if with_mask else None, masked / (height * width))


class _Blocks:
    """The blocks of one axis: stride τ − o from 0, one more flush with the end if pixels are left.

    Starts and ends of blocks cut the axis into cells; all pixels of a cell lie in the same blocks.

    Attributes
    ----------
    size : int
        Pixels of a block: τ, or the axis's length if that is less.
    starts : ndarray
        int (blocks,): the first pixel of each block.
    first, last : ndarray
        int (cells,): the first block that covers each cell, and the one past the last.
    cell_of_pixel : ndarray
        int (length,): the cell that each pixel lies in.
    """

    def __init__(self, length: int, block_size: int, overlap: int) -> None:
        self.size = min(block_size, length)
        self._stride = block_size - overlap
        # Blocks share sums of as many rows as divide both their size and their stride.
        self._unit = math.gcd(self.size, self._stride)
        self.starts = np.arange(0, length - self.size + 1, self._stride)
        self._regular = len(self.starts)
        if self.starts[-1] + self.size < length:
            self.starts = np.append(self.starts, length - self.size)
        ends = self.starts + self.size
        marks = np.zeros(length + 1, np.intp)
        marks[self.starts] = marks[ends] = 1
        self.cell_of_pixel = np.cumsum(marks[:-1]) - 1
        cells = np.flatnonzero(marks)[:-1]
        self.first = np.searchsorted(ends, cells, side="right")
        self.last = np.searchsorted(self.starts, cells, side="right")

    def complete(self, end: int) -> int:
        """Count the blocks that lie before a pixel."""
        if end == len(self.cell_of_pixel):
            return len(self.starts)
        return min(self._regular, max(0, (end - self.size) // self._stride + 1))

    def sums(
        self, values: NDArray[Any], begin: int, end: int, first: int = 0
    ) -> NDArray[np.float32]:
        """Sum the rows of blocks `begin` to `end`: (L, N) becomes (end − begin, N).

        `values` begin with row `first` of the image.
        """
        sums = np.empty((end - begin, values.shape[1]), np.float32)
        regular = sums[: min(end, self._regular) - begin]
        if len(regular):
            unit, step, several = self._unit, self._stride // self._unit, self.size // self._unit
            top = begin * self._stride - first
            last = (len(regular) - 1) * step
            rows = [values[top + i : top + (last + several) * unit : unit] for i in range(unit)]
            parts = _total(rows, _scratch("parts", rows[0].shape, np.float32))
            _total([parts[i : i + last + 1 : step] for i in range(several)], regular)
        if end > self._regular:
            cv2.reduce(values[-self.size :], 0, cv2.REDUCE_SUM, sums[-1:], cv2.CV_32F)
        return sums


def _total(arrays: list[NDArray[np.float32]], out: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add arrays up, in their order, which is the same for all rows."""
    if len(arrays) == 1:
        np.copyto(out, arrays[0])
    else:
        cv2.add(arrays[0], arrays[1], out)
    for array in arrays[2:]:
        cv2.add(out, array, out)
    return out


_blocks = lru_cache(maxsize=256)(_Blocks)


def _bands(height: int, width: int) -> list[tuple[int, int]]:
    """Split an image into bands of rows: (top, bottom) of each."""
    step = _band_height(width)
    return [(top, min(top + step, height)) for top in range(0, height, step)]


def _band_height(width: int) -> int:
    return max(1, BAND_PIXELS // width)


def _cover(kept: NDArray[np.bool_], rows: _Blocks, columns: _Blocks) -> NDArray[Any]:
    """Return 255 where a kept block covers a pixel, else 0; one line for each cell of rows."""
    counts = cv2.integral(kept.astype(np.uint8))
    counts = counts.take(rows.last, axis=0) - counts.take(rows.first, axis=0)
    counts = cv2.transpose(counts)
    cells = cv2.compare(
        counts.take(columns.last, axis=0), counts.take(columns.first, axis=0), cv2.CMP_GT
    )
    return cv2.transpose(cells.take(columns.cell_of_pixel, axis=0))


def _gradient_sums(
    image: NDArray[Any], magnitude: NDArray[np.float32], rows: _Blocks, columns: _Blocks
) -> tuple[NDArray[np.float32], float]:
    """Return the block sums of the gradient magnitude, not yet normalized, and its maximum.

    `magnitude` is filled in. If it has fewer rows than the image, it ends up with the last of them;
    it must hold those of a block and of a band.
    """
    height, width = image.shape[:2]
    lines = []
    done = 0
    peak = 0.0
    first = 0  # the row of the image that `magnitude` begins with
    for top, bottom in _bands(height, width):
        if bottom - first > len(magnitude):
            # No block that has yet to be summed up begins before these.
            magnitude[: rows.size] = magnitude[top - first - rows.size : top - first]
            first = top - rows.size
        band = _magnitude(image[top : bottom + 1], magnitude[top - first : bottom - first])
        peak = max(peak, cv2.norm(band, cv2.NORM_INF))
        ready = rows.complete(bottom)
        if ready > done:
            lines.append(rows.sums(magnitude[: bottom - first], done, ready, first))
            done = ready
    across = np.concatenate(lines) if len(lines) > 1 else lines[0]
    return columns.sums(cv2.transpose(across), 0, len(columns.starts)).T, peak


def _magnitude(band: NDArray[Any], out: NDArray[np.float32]) -> NDArray[np.float32]:
    """Write the gradient magnitude of the rows of `out`, to which `band` has one more below."""
    out.view(np.uint8).fill(0)
    _add_squares(band, out)
    cv2.sqrt(out, out)
    return out


def _add_squares(band: NDArray[Any], total: NDArray[np.float32]) -> None:
    """Add the squared forward differences of all color channels.

    `band` holds the rows of `total` and, unless the image ends there, the one below.
    """
    height, width = total.shape
    planes = _planes(band)[: _colors(band)]
    # One call covers the planes of all colors. It also computes differences from one plane to the
    # next, which are not read, and from one line to the next, which are set to 0 below.
    stack = planes.reshape(-1, width)
    differences = _scratch("differences", stack.shape, stack.dtype)
    line = stack.reshape(1, -1)
    if width > 1:
        cv2.absdiff(line[:, 1:], line[:, :-1], differences.reshape(1, -1)[:, :-1])
    for plane in differences.reshape(planes.shape)[:, :height]:
        cv2.accumulateSquare(plane, total)
    total[:, -1] = 0
    below = len(band) - 1
    if below:
        cv2.absdiff(stack[1:], stack[:-1], differences[:-1])
        total = total[:below]
        for plane in differences.reshape(planes.shape)[:, :below]:
            cv2.accumulateSquare(plane, total)


def _plane_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32) if dtype.kind == "f" else dtype


def _colors(band: NDArray[Any]) -> int:
    """Count the channels that are not alpha."""
    return 3 if band.ndim == 3 and band.shape[2] > 2 else 1


def _planes(band: NDArray[Any]) -> NDArray[Any]:
    """Split a band into planes, one a channel, alpha last: (C, H, W)."""
    band = np.ascontiguousarray(band, dtype=_plane_dtype(band.dtype))
    if band.ndim == 2 or band.shape[2] == 1:
        return band.reshape(1, *band.shape[:2])
    height, width, channels = band.shape
    planes = _scratch("planes", (channels, height, width), band.dtype)
    cv2.split(band, list(planes))
    return planes


def _attenuate(
    band: NDArray[Any],
    magnitude: NDArray[np.float32],
    inside: NDArray[Any],
    scale: float,
    out: NDArray[Any],
) -> int:
    """Write band ⊙ (1 − min(scale · magnitude, 1)) where `inside` is 255, else band; keep alpha.

    Return how many pixels have a mask > 0.
    """
    colors = _colors(band)
    if band.dtype == np.uint8:
        # A mask in 255 steps is off by half a level at most, so the rounded product is by one.
        keep = _scratch("keep", magnitude.shape, np.uint8)
        # Differing 8-bit pixels differ by 1 at least: 256 is enough to black them out, and OpenCV
        # takes what goes beyond 32 bits for 0.
        steps = 255 * min(scale, 256)
        cv2.bitwise_and(cv2.convertScaleAbs(magnitude, keep, steps), inside, keep)
        # For the same reason no mask is rounded to 0 if one step is worth more than a half.
        masked = cv2.countNonZero(keep) if steps > 0.51 else _count(magnitude, inside)
        cv2.bitwise_not(keep, keep)
        channels = band.size // keep.size
        if channels > 1:
            factors = [keep] * colors
            if channels > colors:
                factors.append(np.full_like(keep, 255))
            keep = cv2.merge(factors, _scratch("factors", band.shape, np.uint8))
        cv2.multiply(band, keep.reshape(band.shape), out, 1 / 255)
        return masked
    factor = 1 - np.minimum(magnitude * np.float32(scale), 1) * (inside != 0)
    band, out = (pixels.reshape(*magnitude.shape, -1) for pixels in (band, out))
    scaled = band[..., :colors] * factor[..., None]
    out[..., :colors] = scaled if full_scale(band.dtype) == 1 else np.rint(scaled)
    out[..., colors:] = band[..., colors:]
    return _count(magnitude, inside)


def _count(magnitude: NDArray[np.float32], inside: NDArray[np.uint8]) -> int:
    """Count the pixels in kept blocks whose magnitude is not 0."""
    return int(np.count_nonzero(inside[magnitude > 0]))


class _Buffers(threading.local):
    """Memory kept from one image to the next: allocating it costs more than the sums do."""

    def __init__(self) -> None:
        self._kept: dict[str, NDArray[np.uint8]] = {}
        self._latest: dict[str, NDArray[Any]] = {}

    def __call__(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of its own for a name; what it holds is left from its last use."""
        latest = self._latest.get(name)
        if latest is not None and latest.shape == shape and latest.dtype == dtype:
            return latest
        size = math.prod(shape) * np.dtype(dtype).itemsize
        buffer = self._kept.get(name)
        if buffer is None or len(buffer) < size:
            buffer = np.empty(size, np.uint8)
            if size > KEPT_BYTES:
                return buffer.view(dtype).reshape(shape)
            self._kept[name] = buffer
        self._latest[name] = buffer[:size].view(dtype).reshape(shape)
        return self._latest[name]


_scratch = _Buffers()


DEFENSE = Defense(
    "lgs", "Local Gradients Smoothing", ("1807.01216",), LgsParams, apply,
    torch_entry="lgs_cli.evaluation.twins:lgs_layers",
)  # fmt: skip
