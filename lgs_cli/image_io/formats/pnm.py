"""PBM, PGM and PPM, by hand: they are simple, and Pillow cuts 16-bit color to 8 bits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgs_cli.errors import ImageError
from lgs_cli.image_io.limits import require_pixels
from lgs_cli.image_io.metadata import Carried
from lgs_cli.image_io.picture import Picture

_NUMBER = rb"(?:\s|#[^\r\n]*[\r\n])+0*(\d{1,10})(?!\d)"
_HEADER = re.compile(rb"P([1-6])" + _NUMBER + _NUMBER)
_MAXIMUM = re.compile(_NUMBER)
_ANOTHER = re.compile(rb"\s*P[1-6][\s#]")


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode a PBM, PGM or PPM, plain or binary, at 8 or 16 bits.

    Raises
    ------
    ImageError
        If the header or a sample is no number in range, samples are missing, or another image
        follows the first.
    """
    header = _HEADER.match(data)
    if header is None:
        raise ImageError("broken PNM: no size in its header")
    kind, width, height = (int(value) for value in header.groups())
    require_pixels(width * height, max_pixels)
    if not width * height:
        raise ImageError("broken PNM: no pixels")
    at, maximum = header.end(), 1
    if kind not in (1, 4):
        field = _MAXIMUM.match(data, at)
        if field is None or not 0 < int(field[1]) < 65536:
            raise ImageError("broken PNM: its maximum is not 1 to 65,535")
        at, maximum = field.end(), int(field[1])
    shape = (height, width, 3) if kind in (3, 6) else (height, width)
    samples = _samples(data, at, kind, shape, maximum)
    if samples.size < np.prod(shape):
        raise ImageError("truncated PNM")
    if samples.min() < 0 or samples.max() > maximum:
        raise ImageError(f"broken PNM: a sample lies outside 0 to {maximum}")
    notes = ["plain PNM became binary"] if kind <= 3 else []
    dtype = np.uint16 if maximum > 255 else np.uint8
    white = int(np.iinfo(dtype).max)
    if kind in (1, 4):
        notes.append("1 bit became 8-bit gray")
        samples = (1 - samples) * np.uint8(255)
    elif maximum != white:
        notes.append(f"maximum {maximum} became {white}")
        samples = (samples.astype(np.int64) * white + maximum // 2) // maximum
    pixels = samples.astype(dtype, copy=False).reshape(shape)
    return Picture((pixels,), "pnm", tuple(notes), data)


def _samples(data: bytes, at: int, kind: int, shape: tuple[int, ...], maximum: int) -> NDArray[Any]:
    """Return the samples behind a header that ends at `at`, or as many as there are."""
    count = int(np.prod(shape))
    if kind <= 3:
        body = re.sub(rb"#[^\r\n]*", b"", data[at:])
        if kind == 1:
            bits = b"".join(body.split())
            if bits[count : count + 1] == b"P":
                _require_no_other(body, body.find(b"P"))
            return np.frombuffer(bits, np.uint8)[:count] - ord("0")
        numbers = body.split(maxsplit=count)
        if len(numbers) > count:
            _require_no_other(numbers.pop(), 0)
        # Ten digits are too large a sample already, but may be leading zeros.
        tokens = np.array([number.lstrip(b"0") or number[:1] for number in numbers], dtype="S10")
        if not np.char.isdigit(tokens).all():
            raise ImageError("broken PNM: a sample is not a number")
        return tokens.astype(np.int64)
    at += 1  # one whitespace
    if kind == 4:
        height, width = shape
        stride = (width + 7) // 8
        _require_no_other(data, at + stride * height)
        rows = np.frombuffer(data[at : at + stride * height], np.uint8)
        rows = rows[: len(rows) - len(rows) % stride].reshape(-1, stride)
        return np.unpackbits(rows, axis=1)[:, :width].ravel()
    size = 2 if maximum > 255 else 1
    _require_no_other(data, at + count * size)
    body = data[at : at + count * size]
    return np.frombuffer(body[: len(body) - len(body) % size], f">u{size}")


def _require_no_other(data: bytes, at: int) -> None:
    """Refuse a file that goes on with another image; what is no image may trail."""
    if _ANOTHER.match(data, at):
        raise ImageError("several images in one PNM are not supported")


def encode(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: Carried
) -> bytes:
    """Encode as binary PGM or PPM."""
    pixels = frames[0]
    kind = 5 if pixels.ndim == 2 else 6
    head = f"P{kind}\n{pixels.shape[1]} {pixels.shape[0]}\n{np.iinfo(pixels.dtype).max}\n"
    samples = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    return b"".join((head.encode(), samples.data))
