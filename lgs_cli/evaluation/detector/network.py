"""The detector's network: a few convolutions that give each cell of 4×4 pixels a logit.

It does not see pixels but the logarithms of the differences between neighbors, at four scales:
noise has these in common, whatever its contrast. The logit of a cell depends on some 40 pixels
around it and on an average over the whole image, of which a patch is a small part. So no corner of
a patch can hide the rest of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from torch import Tensor, nn

from lgs_cli import storage
from lgs_cli.defenses import localize
from lgs_cli.evaluation.detector import onnx

CELL = 4
"""Side in pixels of the square that has one logit."""

MULTIPLE = 16
"""Images are padded to multiples of this in height and width."""

FEATURES, FINE, NEAR, WIDE = 12, 32, 48, 64

# The most that a cell can add to the average over the image.
_MOST = 3.0


def features(x: Tensor) -> Tensor:
    """Describe each cell of images: the differentiable twin of `localize.features`.

    Parameters
    ----------
    x : torch.Tensor
        float (N, 3, H, W), RGB in [0, 1]; H and W multiples of 16.

    Returns
    -------
    torch.Tensor
        (N, 12, H/4, W/4): at four scales the logarithm of the mean difference of neighbors, in
        luma and in chroma; how close values are to black or white; the mean red, green and blue.
    """
    luma = (x * x.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    red, blue = (x[:, :1] - luma) * 0.713, (x[:, 2:] - luma) * 0.564
    planes = torch.cat([luma, red, blue], 1)
    maps = []
    for octave in range(4):
        size = _differences(planes)
        size = torch.cat([size[:, :1], size[:, 1:2] + size[:, 2:]], 1)
        if octave < 2:
            size = F.avg_pool2d(size, CELL >> octave)
        elif octave == 3:
            size = size.repeat_interleave(2, 2).repeat_interleave(2, 3)
        maps.append((size + 0.01).log() * 0.5 + 1.5)
        planes = F.avg_pool2d(planes, 2)
    extreme = (1 - x / 0.06).relu() + (1 - (1 - x) / 0.06).relu()
    maps.append(F.avg_pool2d(extreme.mean(1, keepdim=True), CELL) * 2)
    maps.append(F.avg_pool2d(x, CELL) * 3 - 1.5)
    return torch.cat(maps, 1)


def _differences(planes: Tensor) -> Tensor:
    across = F.pad((planes[..., 1:] - planes[..., :-1]).abs(), (0, 1))
    down = F.pad((planes[..., 1:, :] - planes[..., :-1, :]).abs(), (0, 0, 0, 1))
    return across + down


class _Convolution(nn.Conv2d):
    """A convolution and, during training, a normalization that is folded into it later."""

    def __init__(self, channels: int, out: int, size: int, stride: int = 1) -> None:
        super().__init__(channels, out, size, stride, 1 if size == 3 else 0)
        self.norm: nn.Module = nn.BatchNorm2d(out, momentum=0.05)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(super().forward(x))
        return out

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the convolution that does both."""
        if not isinstance(self.norm, nn.BatchNorm2d):
            assert self.bias is not None
            return self.weight, self.bias
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert self.bias is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight = self.weight * scale[:, None, None, None]
        return weight, (self.bias - norm.running_mean) * scale + norm.bias


class Detector(nn.Module):
    """Finds where in an image a patch lies.

    Called with float (N, 3, H, W), RGB in [0, 1], it returns the logits (N, 1, H/4, W/4), rounded
    up, that each cell is part of a patch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fine = _Convolution(FEATURES, FINE, 3)
        self.reduce = _Convolution(FINE, NEAR, 2, 2)
        self.near = _Convolution(NEAR, NEAR, 3)
        self.widen = _Convolution(NEAR, WIDE, 1)
        self.whole = _Convolution(NEAR, WIDE, 1)
        self.whole.norm = nn.Identity()
        self.mix = _Convolution(WIDE, WIDE, 1)
        self.cells = _Convolution(WIDE, 4, 1)
        self.cells.norm = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        height, width = x.shape[2:]
        if height % MULTIPLE or width % MULTIPLE:
            x = F.pad(x, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")
        x = self.fine(features(x)).relu()
        near = self.reduce(x).relu()
        near = near + self.near(near).relu()
        average = near.clamp(max=_MOST).mean((2, 3), keepdim=True)
        both = (self.widen(near) + self.whole(average)).relu()
        both = both + self.mix(both).relu()
        logits = F.pixel_shuffle(self.cells(both), 2)
        return logits[..., : -(-height // CELL), : -(-width // CELL)]

    def fold(self) -> Detector:
        """Fold the normalizations into the convolutions.

        Returns
        -------
        Detector
            Another one with the same answers, which cannot be trained further.
        """
        other: Any = Detector().eval()
        with torch.no_grad():
            layers: Any = self.named_children()
            for name, layer in layers:
                target = getattr(other, name)
                target.norm = nn.Identity()
                for parameter, value in zip(
                    (target.weight, target.bias), layer.folded(), strict=True
                ):
                    parameter.copy_(value)
        folded: Detector = other
        return folded


def write(detector: Detector, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the detector as ONNX.

    Input ``features`` is float32 (1, 12, H/4, W/4), what :func:`features` makes of an image of
    H×W, multiples of 16; output ``quarters`` is (1, 4, H/8, W/8): the logits of the four cells of
    each 8×8 square, row by row.

    Parameters
    ----------
    detector : Detector
        The detector.
    path : Path
        The file.
    metadata : mapping
        Text by name, stored with it.
    """
    weights = {
        name: np.asarray(value.detach().cpu().numpy(), np.float32)
        for name, value in detector.fold().state_dict().items()
    }
    weights["most"] = np.array(_MOST, np.float32)
    nodes: list[bytes] = []

    def conv(name: str, source: str, target: str) -> None:
        layer: nn.Conv2d = getattr(detector, name)
        sizes = {
            "kernel_shape": layer.kernel_size,
            "strides": layer.stride,
            "pads": (*layer.padding, *layer.padding),
        }
        attributes = b"".join(onnx.integers(key, [int(v) for v in vs]) for key, vs in sizes.items())
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        nodes.append(onnx.node("Conv", inputs, target, attributes))

    def relu(source: str, target: str) -> None:
        nodes.append(onnx.node("Relu", [source], target))

    def step(name: str, source: str, target: str) -> None:
        conv(name, source, f"{name}.sum")
        relu(f"{name}.sum", target)

    def residual(name: str, source: str, target: str) -> None:
        step(name, source, f"{name}.out")
        nodes.append(onnx.node("Add", [source, f"{name}.out"], target))

    step("fine", "features", "x4")
    step("reduce", "x4", "x8")
    residual("near", "x8", "near.all")
    conv("widen", "near.all", "widen.sum")
    nodes.append(onnx.node("Clip", ["near.all", "", "most"], "bounded"))
    nodes.append(onnx.node("GlobalAveragePool", ["bounded"], "average"))
    conv("whole", "average", "whole.sum")
    nodes.append(onnx.node("Add", ["widen.sum", "whole.sum"], "both.sum"))
    relu("both.sum", "both")
    residual("mix", "both", "both.all")
    conv("cells", "both.all", "quarters")
    data = onnx.model(
        nodes,
        weights,
        ("features", (1, FEATURES, "height", "width")),
        ("quarters", (1, 4, "rows", "columns")),
        metadata,
    )
    storage.write(str(path), data)


def read(path: Path) -> tuple[Detector, dict[str, str]]:
    """Read a detector that :func:`write` has written.

    Returns
    -------
    detector : Detector
        With the file's weights.
    metadata : dict
        Text by name, stored with it.

    Raises
    ------
    ValueError
        If the file is not such a detector.
    """
    weights, metadata = onnx.read(path.read_bytes())
    weights.pop("most", None)
    detector = Detector().fold()
    try:
        detector.load_state_dict({k: torch.tensor(v) for k, v in weights.items()})
    except RuntimeError:
        raise ValueError("not a detector of this version") from None
    return detector.eval(), metadata


def seen(detector: Detector, x: Tensor) -> tuple[Tensor, int, int]:
    """Return the smoothed logits of images scaled as `localize.reduced` scales them.

    With them come the rows and columns that are of the image: the rest is padding.

    Parameters
    ----------
    detector : Detector
        On the device of `x`.
    x : torch.Tensor
        float (N, 3, H, W), RGB in [0, 1].
    """
    height, width = localize.working_size(*x.shape[2:])
    while x.shape[2] >= 2 * height and x.shape[3] >= 2 * width:
        x = F.avg_pool2d(x, 2)
    rows, columns = x.shape[2:]
    if rows > height or columns > width:
        rows, columns = height, width
        x = F.interpolate(x, (height, width), mode="bilinear", align_corners=False)
    if rows < height or columns < width:
        x = F.pad(x, (0, width - columns, 0, height - rows), mode="replicate")
    return smoothed(detector(x)), -(-rows // CELL), -(-columns // CELL)


def smoothed(logits: Tensor) -> Tensor:
    """Average logits over 3×3 cells, borders repeated: the map that is held against the threshold.

    Parameters
    ----------
    logits : torch.Tensor
        (N, 1, h, w).

    Returns
    -------
    torch.Tensor
        (N, 1, h, w).
    """
    return F.avg_pool2d(F.pad(logits, (1, 1, 1, 1), mode="replicate"), 3, 1)
