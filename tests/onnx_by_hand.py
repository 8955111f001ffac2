"""The smallest useful ONNX file, written field by field, so that no ONNX library is needed."""

from __future__ import annotations

from lgs_cli.evaluation.detector.onnx import field as _field


def _tensor_type(name: str, *dims: int | str) -> bytes:
    shape = b"".join(
        _field(1, _field(1, dim) if isinstance(dim, int) else _field(2, dim)) for dim in dims
    )
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, shape)))


def _node(op: str, source: str, target: str) -> bytes:
    return _field(1, _field(1, source) + _field(2, target) + _field(4, op))


def channel_means() -> bytes:
    """A classifier of three classes: its logits are the means of the three input channels."""
    graph = (
        _node("GlobalAveragePool", "image", "means")
        + _node("Flatten", "means", "logits")
        + _field(2, "graph")
        + _field(11, _tensor_type("image", "n", 3, "h", "w"))
        + _field(12, _tensor_type("logits", "n", 3))
    )
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13))
