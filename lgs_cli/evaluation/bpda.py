"""A defense as a layer with a gradient, so that an attack can go through it.

References
----------
Athalye, Carlini, Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018,
arXiv 1802.00420 (Backward Pass Differentiable Approximation).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from PIL import Image
from torch import Tensor

from lgs_cli.defenses.chain import Chain, Step
from lgs_cli.defenses.lgs import LgsParams
from lgs_cli.errors import UsageError
from lgs_cli.evaluation.localized import Guarded, Localized
from lgs_cli.evaluation.models import to_pixels, to_tensor

Layer = Callable[[Tensor], Tensor]

# Width of the relaxed gate, in units of the normalized gradient magnitude.
_GATE_WIDTH = 0.02


def layer(chain: Chain, backward: str = "auto") -> Layer:
    """Make a layer whose forward pass is a defense and whose backward pass has a gradient.

    Parameters
    ----------
    chain : tuple of Step
        The defenses, in order; none: the layer does nothing.
    backward : str
        ``identity``: the gradient passes the defense unchanged, as in the paper. ``exact``: that
        of the defense written in torch, in which what is piecewise constant (the block gate of
        LGS) has none. ``relaxed``: that of LGS with a sigmoid for its gate, and of `localize` with
        a soft mask. ``auto``: exact where the defense has it, else relaxed for `localize`, else
        identity.

    Returns
    -------
    callable
        float32 (N, 3, H, W) in [0, 1] to the same; a `Guarded` where `localize` is in the chain.

    Raises
    ------
    UsageError
        Where the defense has no such gradient, or a detector cannot be read.
    """
    layers = [_layer(step, backward) for step in chain]
    if any(isinstance(one, Localized) for one in layers):
        return Guarded(layers)

    def apply(x: Tensor) -> Tensor:
        for one in layers:
            x = one(x)
        return x

    return apply


def _layer(step: Step, backward: str) -> Layer:
    params: Any = step.params
    if step.name == "localize" and backward != "exact":
        return Localized(params, relaxed=backward != "identity")
    exact: dict[str, Layer] = {}
    if step.name == "lgs":
        exact["lgs"] = partial(lgs, params=params)
    elif step.name == "jpeg":
        exact["jpeg"] = _straight_through(step, partial(jpeg, quality=params.quality))
    elif step.name == "median":
        exact["median"] = _straight_through(step, partial(median, window=params.window))
    if backward == "auto":
        backward = "exact" if exact else "identity"
    if backward == "identity":
        return _straight_through(step, lambda x: x)
    if backward == "exact" and exact:
        return exact[step.name]
    if backward == "relaxed" and step.name == "lgs":
        return partial(lgs, params=params, relaxed=True)
    names = "lgs, jpeg and median have" if backward == "exact" else "lgs and localize have"
    raise UsageError(
        f"{step.name} has no {backward} gradient (only {names} one); "
        "attack through it with identity"
    )


def _straight_through(step: Step, inner: Layer) -> Layer:
    """Give the defense itself on the way forward, the gradient of `inner` on the way back."""

    def apply(x: Tensor) -> Tensor:
        cleaned = np.stack([step.defense.apply(i, step.params).image for i in to_pixels(x)])
        surrogate = inner(x)
        return surrogate + (to_tensor(cleaned, x.device) - surrogate).detach()

    return apply


def lgs(x: Tensor, params: LgsParams, *, relaxed: bool = False) -> Tensor:
    """Local Gradients Smoothing in torch.

    Parameters
    ----------
    x : torch.Tensor
        float (N, C, H, W) in [0, 1].
    params : LgsParams
        Its parameters.
    relaxed : bool
        Whether the gate of a block, which has no gradient, gets that of a sigmoid around the
        threshold. The value is the same.

    Returns
    -------
    torch.Tensor
        (N, C, H, W), with a gradient with respect to `x`: through the pixels, their gradient
        magnitude, and the image-wide minimum and maximum that normalize it.

    References
    ----------
    Naseer, Khan, Porikli, arXiv 1807.01216, section 3.2.
    """
    dx = F.pad(x[..., :, 1:] - x[..., :, :-1], (0, 1))
    dy = F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1))
    squared = (dx.square() + dy.square()).sum(1)
    # the slope of a root at 0 is infinite, and infinity times the 0 behind it is not a number
    flat = squared == 0
    magnitude = torch.where(flat, 1.0, squared).sqrt().masked_fill(flat, 0.0)
    low = magnitude.amin((1, 2), keepdim=True)
    spread = magnitude.amax((1, 2), keepdim=True) - low
    g = (magnitude - low) / torch.where(spread == 0, 1.0, spread)

    rows = _blocks(x.shape[2], params, x)
    columns = _blocks(x.shape[3], params, x)
    area = rows.sum(1)[:, None] * columns.sum(1)
    means = rows @ g @ columns.T / area
    kept = (means > params.threshold).to(x.dtype)
    gate = (rows.T @ kept @ columns).clamp(max=1)
    if relaxed:
        missed = F.logsigmoid((params.threshold - means) / _GATE_WIDTH)
        soft = 1 - (rows.T @ missed @ columns).exp()
        gate = gate + soft - soft.detach()
    mask = (params.smoothing * gate * g).clamp(0, 1)
    return x * (1 - mask[:, None])


def _blocks(length: int, params: LgsParams, like: Tensor) -> Tensor:
    """Return (blocks, length), 1 where a block covers a position of the axis."""
    size = min(params.block_size, length)
    starts = list(range(0, length - size + 1, params.block_size - params.overlap))
    if starts[-1] + size < length:
        starts.append(length - size)
    position = torch.arange(length, device=like.device)
    start = torch.tensor(starts, device=like.device)[:, None]
    return ((position >= start) & (position < start + size)).to(like.dtype)


def median(x: Tensor, window: int) -> Tensor:
    """Median filter in torch, with repeated borders: the gradient goes to the pixel chosen.

    Parameters
    ----------
    x : torch.Tensor
        float (N, C, H, W).
    window : int
        Side of the window in pixels.

    Returns
    -------
    torch.Tensor
        (N, C, H, W).
    """
    before = window // 2
    after = window - 1 - before
    padded = F.pad(x, (before, after, before, after), mode="replicate")
    windows = padded.unfold(2, window, 1).unfold(3, window, 1).flatten(4)
    return windows.median(-1).values


_YCBCR = [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]


def jpeg(x: Tensor, quality: int) -> Tensor:
    """JPEG compression in torch, with a gradient through the rounding.

    Parameters
    ----------
    x : torch.Tensor
        float (N, 3, H, W), RGB in [0, 1].
    quality : int
        1 to 95 or 100, as libjpeg takes it; chroma is subsampled 4:2:0.

    Returns
    -------
    torch.Tensor
        (N, 3, H, W).

    References
    ----------
    Shin, Song, "JPEG-resistant Adversarial Images", NeurIPS workshop 2017: rounding is
    x + (x − round(x))³ around the rounded value.
    """
    height, width = x.shape[2:]
    to_ycbcr = x.new_tensor(_YCBCR)
    ycbcr = torch.einsum("ij,njhw->nihw", to_ycbcr, x * 255)
    ycbcr = F.pad(ycbcr, (0, -width % 16, 0, -height % 16), mode="replicate")
    luma, chroma = ycbcr[:, :1] - 128, F.avg_pool2d(ycbcr[:, 1:], 2)
    tables = _quantization(quality)
    luma = _quantize(luma, x.new_tensor(tables[0])) + 128
    chroma = _quantize(chroma, x.new_tensor(tables[1]))
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    ycbcr = torch.cat([luma, chroma], 1)[..., :height, :width]
    rgb = torch.einsum("ij,njhw->nihw", torch.linalg.inv(to_ycbcr), ycbcr)
    return (rgb / 255).clamp(0, 1)


def _quantization(quality: int) -> list[Any]:
    stream = BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as image:
        tables: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined]
    return [np.array(tables[index], np.float32).reshape(8, 8).tolist() for index in (0, 1)]


def _quantize(plane: Tensor, table: Tensor) -> Tensor:
    k = torch.arange(8, device=plane.device, dtype=plane.dtype)
    dct = ((2 * k[None] + 1) * k[:, None] * torch.pi / 16).cos() / 2
    dct[0] /= 2**0.5
    blocks = plane.unfold(2, 8, 8).unfold(3, 8, 8)
    levels = dct @ blocks @ dct.T / table
    nearest = levels.detach().round()
    # the cubic has the slope of the rounding's error, and vanishes at the nearest level itself
    levels = nearest + (levels - nearest) ** 3
    blocks = dct.T @ (levels * table) @ dct
    return blocks.permute(0, 1, 2, 4, 3, 5).reshape(plane.shape)
