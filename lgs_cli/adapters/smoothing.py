"""Local Gradients Smoothing in torch: on any device, with a gradient, and to be compiled.

Nothing here depends on values, so that it can be traced; and each image of a batch is normalized by
itself.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from torch import Tensor

from lgs_cli.defenses.lgs import LgsParams

Gradient = Literal["identity", "exact", "relaxed"]

# Width of the relaxed gate, in units of the normalized gradient magnitude.
_GATE_WIDTH = 0.02


def smooth(x: Tensor, params: LgsParams, gradient: Gradient = "exact") -> Tensor:
    """Smooth the local gradients of a batch of images.

    Parameters
    ----------
    x : torch.Tensor
        Floating (N, C, H, W) in [0, 1], all channels colors. 16-bit floats are computed with in
        32 bits.
    params : LgsParams
        λ, γ, τ and o.
    gradient : str
        ``"exact"``: through the pixels, their gradient magnitude and its maximum; which blocks are
        kept has none. ``"relaxed"``: as if a sigmoid around the threshold kept them.
        ``"identity"``: as if nothing had happened. The value is the same.

    Returns
    -------
    torch.Tensor
        (N, C, H, W), of the dtype and on the device of `x`.

    References
    ----------
    Naseer, Khan, Porikli, arXiv 1807.01216, section 3.2.
    """
    has_gradient = torch.is_grad_enabled() and x.requires_grad
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    if x.device.type == "cpu" and not has_gradient and not _is_traced():
        return _smooth_one_by_one(wide, params).to(x.dtype)
    smoothed = (wide * (1 - _mask(wide, params, gradient)[:, None])).to(x.dtype)
    if has_gradient and gradient == "identity":
        return x + (smoothed - x).detach()
    return smoothed


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def _mask(x: Tensor, params: LgsParams, gradient: Gradient) -> Tensor:
    """Return (N, H, W) in [0, 1]."""
    across = F.pad(x[..., :, 1:] - x[..., :, :-1], (0, 1))
    down = F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1))
    squared = (across.square() + down.square()).sum(1)
    # The slope of a root at 0 is infinite, and infinity times the 0 behind it is not a number.
    flat = squared == 0
    magnitude = torch.where(flat, 1.0, squared).sqrt().masked_fill(flat, 0.0)
    # The bottom right pixel has no neighbors ahead, so the smallest magnitude is 0.
    peak = magnitude.amax((1, 2), keepdim=True)
    g = magnitude / torch.where(peak == 0, 1.0, peak)

    height, width = x.shape[2:]
    sizes = _block_size(height, params) * _block_size(width, params)
    means = _block_sums(_block_sums(g, 1, params), 2, params) / sizes
    rows, columns = _cover(height, params, x), _cover(width, params, x)
    # These counts are exact in any precision that autocast may choose.
    gate = (rows.T @ (means > params.threshold).to(x.dtype) @ columns > 0).to(x.dtype)
    if gradient == "relaxed":
        missed = F.logsigmoid((params.threshold - means) / _GATE_WIDTH)
        soft = 1 - (rows.T @ missed @ columns).exp()
        gate = gate + (soft - soft.detach())
    return (params.smoothing * gate * g).clamp(0, 1)


def _block_size(length: int, params: LgsParams) -> int:
    # Not min(), which torch.export would keep as a formula.
    return length if length < params.block_size else params.block_size


def _block_sums(values: Tensor, axis: int, params: LgsParams) -> Tensor:
    """Sum the blocks along an axis of (N, H, W): the regular ones, and one flush with its end.

    If the last regular one is flush too, it comes twice, which does no harm.
    """
    length = values.shape[axis]
    size = _block_size(length, params)
    regular = values.unfold(axis, size, params.block_size - params.overlap).sum(-1)
    flush = values.narrow(axis, length - size, size).sum(axis, keepdim=True)
    return torch.cat([regular, flush], axis)


def _cover(length: int, params: LgsParams, like: Tensor) -> Tensor:
    """Return (blocks, length), 1 where a block covers a position of the axis."""
    size = _block_size(length, params)
    position = torch.arange(length, device=like.device)
    step = params.block_size - params.overlap
    start = torch.arange((length - size) // step + 1, device=like.device) * step
    start = torch.cat([start, start.new_full((1,), length - size)])[:, None]
    return ((position >= start) & (position < start + size)).to(like.dtype)


def _smooth_one_by_one(x: Tensor, params: LgsParams) -> Tensor:
    """Do the same in a third of the time, without a gradient: each image stays in the cache."""
    count, _, height, width = x.shape
    x = x.contiguous()
    out = torch.empty_like(x)
    rows, columns = _cover(height, params, x), _cover(width, params, x)
    # Neighboring lines that lie in the same blocks are alike.
    rows, line = torch.unique_consecutive(rows, dim=1, return_inverse=True)
    limit = params.threshold * _block_size(height, params) * _block_size(width, params)
    squared, difference = x.new_empty(2, height * width)
    mask = squared.view(height, width)
    for index in range(count):
        planes = x[index].flatten(1)
        squared.zero_()
        _add_squares(planes, 1, squared, difference)
        mask[:, -1] = 0  # from the end of a line to the start of the next
        _add_squares(planes, width, squared, difference)
        squared.sqrt_()
        peak = squared.amax()
        sums = _block_sums(_block_sums(mask[None], 1, params), 2, params)[0]
        kept = (sums > limit * peak).to(x.dtype)
        gate = (rows.T @ (kept @ columns)).clamp_(max=1).index_select(0, line)
        # Neither 0 / 0 nor infinity × 0 is a number.
        scale = (params.smoothing / peak.clamp(min=1e-30)).clamp(max=1e30)
        mask.mul_(scale).clamp_(max=1).mul_(gate)
        torch.addcmul(x[index], x[index], mask, value=-1, out=out[index])
    return out


def _add_squares(planes: Tensor, step: int, total: Tensor, difference: Tensor) -> None:
    """Add the squared differences of pixels so many positions apart, for each of (C, H·W)."""
    for plane in planes:
        part = torch.sub(plane[step:], plane[:-step], out=difference[:-step])
        total[:-step].addcmul_(part, part)
