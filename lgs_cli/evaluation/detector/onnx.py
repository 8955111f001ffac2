"""Write and read the few kinds of ONNX nodes the detector has, without an ONNX library.

References
----------
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto: the numbers of the fields.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_IR_VERSION, _OPSET = 7, 13
_FLOAT = 1


def field(number: int, value: int | bytes | str) -> bytes:
    """Encode one protobuf field: a varint, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def integers(name: str, values: Sequence[int]) -> bytes:
    """Encode an attribute that is a list of integers."""
    return field(5, field(1, name) + b"".join(field(8, v) for v in values) + field(20, 7))


def text(name: str, value: str) -> bytes:
    """Encode an attribute that is a string."""
    return field(5, field(1, name) + field(4, value) + field(20, 3))


def node(kind: str, inputs: Sequence[str], output: str, attributes: bytes = b"") -> bytes:
    """Encode a node with one output."""
    names = b"".join(field(1, name) for name in inputs)
    return names + field(2, output) + field(3, output) + field(4, kind) + attributes


def model(
    nodes: Sequence[bytes],
    weights: Mapping[str, NDArray[np.float32]],
    input_shape: tuple[str, Sequence[int | str]],
    output_shape: tuple[str, Sequence[int | str]],
    metadata: Mapping[str, str],
) -> bytes:
    """Encode a model file.

    Parameters
    ----------
    nodes : sequence of bytes
        From :func:`node`, in the order in which they run.
    weights : mapping
        Name to float32 array.
    input_shape, output_shape : tuple of str and sequence
        Name and dimensions; a free dimension is a name.
    metadata : mapping
        Text by name, which :func:`read` gives back.

    Returns
    -------
    bytes
    """
    graph = b"".join(field(1, one) for one in nodes) + field(2, "detector")
    for name, array in weights.items():
        dims = b"".join(field(1, size) for size in array.shape)
        data = np.ascontiguousarray(array, "<f4").tobytes()
        graph += field(5, dims + field(2, _FLOAT) + field(8, name) + field(9, data))
    graph += field(11, _value(*input_shape)) + field(12, _value(*output_shape))
    pairs = b"".join(field(14, field(1, k) + field(2, v)) for k, v in metadata.items())
    opset = field(8, field(1, "") + field(2, _OPSET))
    return field(1, _IR_VERSION) + field(2, "lgs-cli") + field(7, graph) + opset + pairs


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(
        field(1, field(1, size) if isinstance(size, int) else field(2, size)) for size in shape
    )
    return field(1, name) + field(2, field(1, field(1, _FLOAT) + field(2, dims)))


def read(data: bytes) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Read what :func:`model` has written.

    Parameters
    ----------
    data : bytes
        A model file.

    Returns
    -------
    weights : dict
        Name to float32 array.
    metadata : dict
        Text by name.

    Raises
    ------
    ValueError
        If the bytes are no such model.
    """
    weights, metadata = {}, {}
    try:
        for number, value in _fields(data):
            if number == 7 and isinstance(value, bytes):
                for inner, tensor in _fields(value):
                    if inner == 5 and isinstance(tensor, bytes):
                        name, array = _tensor(tensor)
                        weights[name] = array
            elif number == 14 and isinstance(value, bytes):
                pair = dict(_fields(value))
                metadata[bytes(pair[1]).decode()] = bytes(pair[2]).decode()
    except (IndexError, KeyError, struct.error, TypeError) as error:
        raise ValueError("not an ONNX model") from error
    return weights, metadata


def _tensor(data: bytes) -> tuple[str, NDArray[np.float32]]:
    shape: list[int] = []
    name, raw = "", b""
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            shape.append(value)
        elif number == 8 and isinstance(value, bytes):
            name = value.decode()
        elif number == 9 and isinstance(value, bytes):
            raw = value
    return name, np.frombuffer(raw, "<f4").reshape(shape)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _read_varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _read_varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("not an ONNX model")
        if at + size > len(data):
            raise ValueError("the ONNX model is cut off")
        yield key >> 3, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
