"""The torch module of LGS beside the public ways to write it in PyTorch, and beside the kernel.

``python tests/benchmarks/bench_torch.py``: float32 batches of 32 photographs, one thread, without a
gradient, in the processor's time. There are two public ways, both by ``unfold`` and ``fold``: the
whole batch at once, folding which blocks are kept; and image by image, folding the kept values and
how often each was kept. Both take differences by convolution, as published; a third row has the
faster of the two with differences by slicing, which nobody has published.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lgs_cli.adapters.torch import LocalGradientsSmoothing
from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.lgs import LgsParams

PARAMS = LgsParams()
STRIDE = PARAMS.block_size - PARAMS.overlap
BATCH = 32


class Row(NamedTuple):
    """One comparison; times are medians in milliseconds, the ratio is theirs by ours."""

    what: str
    ours: float
    theirs: float
    ratio: float


def by_convolution(x: Tensor) -> Tensor:
    """Gradient magnitude (N, 1, H, W), each channel differenced by two small convolutions."""
    count, channels, height, width = x.shape
    planes = x.reshape(-1, 1, height, width)
    across = F.pad(F.conv2d(planes, x.new_tensor([[[[-1, 1]]]])), (0, 1))
    down = F.pad(F.conv2d(planes, x.new_tensor([[[[-1], [1]]]])), (0, 0, 0, 1))
    squared = across.square() + down.square()
    return squared.view(count, channels, height, width).sum(1, keepdim=True).sqrt()


def by_slices(x: Tensor) -> Tensor:
    """Do the same by subtracting slices."""
    across = F.pad(x[..., 1:] - x[..., :-1], (0, 1))
    down = F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1))
    return (across.square() + down.square()).sum(1, keepdim=True).sqrt()


def whole_batch(x: Tensor, magnitude: Callable[[Tensor], Tensor] = by_convolution) -> Tensor:
    """Fold back which blocks are kept, for the whole batch at once."""
    g = magnitude(x)
    low, high = g.amin((2, 3), keepdim=True), g.amax((2, 3), keepdim=True)
    g = (g - low) / (high - low + 1e-7)
    blocks = F.unfold(g, PARAMS.block_size, stride=STRIDE)
    kept = (blocks.mean(1, keepdim=True) > PARAMS.threshold).float()
    kept = kept.repeat(1, blocks.shape[1], 1)
    gate = F.fold(kept, g.shape[2:], PARAMS.block_size, stride=STRIDE) >= 1
    return x * (1 - (PARAMS.smoothing * g * gate).clamp(0, 1))


def image_by_image(x: Tensor, magnitude: Callable[[Tensor], Tensor] = by_convolution) -> Tensor:
    """Fold back the values of kept blocks, and how many each is from, for each image."""
    out = torch.empty_like(x)
    for index in range(len(x)):
        image = x[index : index + 1]
        g = magnitude(image)
        g = (g - g.min()) / (g.max() - g.min())
        blocks = F.unfold(g, PARAMS.block_size, stride=STRIDE)
        kept = (blocks.mean(1, keepdim=True) > PARAMS.threshold).float().expand_as(blocks)
        values = F.fold(blocks * kept, g.shape[2:], PARAMS.block_size, stride=STRIDE)
        counts = F.fold(kept.contiguous(), g.shape[2:], PARAMS.block_size, stride=STRIDE)
        gated = (values / counts).nan_to_num(0)
        out[index] = (image * (1 - (PARAMS.smoothing * gated).clamp(0, 1)))[0]
    return out


def rows(photographs: Sequence[NDArray[np.uint8]], repeats: int) -> Iterator[Row]:
    """Compare the module with each of them, at two sizes.

    Parameters
    ----------
    photographs : sequence of ndarray
        uint8 (H, W, 3) RGB.
    repeats : int
        Runs of each, of which the median counts.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    module = LocalGradientsSmoothing(PARAMS)
    for side in (224, 299):
        pictures = [
            np.asarray(Image.fromarray(photographs[i % len(photographs)]).resize((side, side)))
            for i in range(BATCH)
        ]
        arrays = [picture.astype(np.float32) / 255 for picture in pictures]
        x = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()

        def kernel(_: Tensor, arrays: list[NDArray[Any]] = arrays) -> None:
            for array in arrays:
                DEFENSES["lgs"].apply(array, PARAMS)

        rivals: dict[str, Callable[[Tensor], Any]] = {
            "unfold, whole batch": whole_batch,
            "unfold, by image": image_by_image,
            "unfold, slices": lambda x: image_by_image(x, by_slices),
            "NumPy kernel": kernel,
        }
        for name, rival in rivals.items():
            with torch.no_grad():
                yield _row(f"{BATCH} at {side} x {side} / {name}", module, rival, x, repeats)
    torch.set_num_threads(before)


def _row(
    what: str,
    ours: Callable[[Tensor], Any],
    theirs: Callable[[Tensor], Any],
    x: Tensor,
    repeats: int,
) -> Row:
    times: tuple[list[float], list[float]] = ([], [])
    for function in (ours, theirs):
        function(x)
    for _ in range(repeats):
        for function, taken in zip((ours, theirs), times, strict=True):
            start = time.process_time()
            function(x)
            taken.append((time.process_time() - start) * 1e3)
    ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
    return Row(what, statistics.median(times[0]), statistics.median(times[1]), ratio)


def main() -> None:
    """Print the comparisons."""
    sys.path.insert(0, str(Path(__file__).parent))
    from bench import photographs

    print(f"{'torch module, one thread':60} {'ours ms':>8} {'theirs':>8} {'ratio':>6}")
    for row in rows(photographs(), 9):
        print(f"{row.what:60} {row.ours:8.1f} {row.theirs:8.1f} {row.ratio:6.2f}")


if __name__ == "__main__":
    main()
