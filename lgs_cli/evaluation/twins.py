"""Defenses written in torch, so that they have gradients.

What :attr:`~lgs_cli.defenses.defense.Defense.torch_entry` names is a function of the defense's
parameters that returns layers by the name of their gradient, the best first.
"""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from lgs_cli.adapters.smoothing import smooth
from lgs_cli.defenses.chain import Step
from lgs_cli.defenses.jpeg import JpegParams
from lgs_cli.defenses.lgs import LgsParams
from lgs_cli.defenses.median import MedianParams
from lgs_cli.evaluation.bpda import straight_through
from lgs_cli.lazy import F, np, torch

if TYPE_CHECKING:
    from torch import Tensor

    from lgs_cli.evaluation.bpda import Layer


def lgs_layers(params: LgsParams) -> dict[str, Layer]:
    """Return LGS with its own gradient, and with that of a relaxed gate."""
    return {
        "exact": partial(smooth, params=params, gradient="exact"),
        "relaxed": partial(smooth, params=params, gradient="relaxed"),
    }


def jpeg_layers(params: JpegParams) -> dict[str, Layer]:
    """Return JPEG compression with the gradient of its twin."""
    inner = partial(jpeg, quality=params.quality)
    return {"exact": straight_through(Step("jpeg", params), inner)}


def median_layers(params: MedianParams) -> dict[str, Layer]:
    """Return the median filter with the gradient of its twin."""
    inner = partial(median, window=params.window)
    return {"exact": straight_through(Step("median", params), inner)}


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
        1 to 100, as libjpeg takes it; chroma is subsampled 4:2:0.

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
    from PIL import Image

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
