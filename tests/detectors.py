"""Detectors made by hand, whose answers are known. They need neither training nor torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lgs_cli.evaluation.detector import onnx

# The channels in which `localize.features` keeps a cell's mean red, green and blue: 3 v - 1.5.
_RED, _GREEN, _BLUE = 9, 10, 11


def write_magenta(path: Path) -> Path:
    """Write a detector that finds magenta, and nothing else.

    The logit of a cell is 6 (r - g + b) - 21 with r, g, b in [-1.5, 1.5]: 6 for magenta, at most
    -12 for red, blue, white, black and gray.
    """
    return _write(path, (6, -6, 6))


def write_white(path: Path) -> Path:
    """Write a detector that finds white, in gray pictures too.

    The logit of a cell is 6 (r + g + b) - 21: 6 for white, -21 for a gray of one half.
    """
    return _write(path, (6, 6, 6))


def _write(path: Path, factors: tuple[float, float, float]) -> Path:
    weight = np.zeros((4, 12, 2, 2), np.float32)
    for quarter in range(4):
        cell = quarter // 2, quarter % 2
        for channel, factor in zip((_RED, _GREEN, _BLUE), factors, strict=True):
            weight[quarter, channel][cell] = factor
    sizes = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 0]}
    attributes = b"".join(onnx.integers(name, values) for name, values in sizes.items())
    node = onnx.node("Conv", ["features", "weight", "bias"], "quarters", attributes)
    model = onnx.model(
        [node],
        {"weight": weight, "bias": np.full(4, -21, np.float32)},
        ("features", (1, 12, "height", "width")),
        ("quarters", (1, 4, "rows", "columns")),
        {},
    )
    path.write_bytes(model)
    return path
