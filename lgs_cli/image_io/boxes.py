"""The boxes that AVIF and JPEG 2000 files consist of."""

from __future__ import annotations

import struct
from collections.abc import Iterator


def boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and stop of the body of each box (ISO 14496-12, 4.2).

    Parameters
    ----------
    data : bytes
        The whole file.
    start, stop : int
        Where in it the boxes lie: the file's own ends, or those of the body of a box.

    Yields
    ------
    kind : bytes
        Four letters, such as ``b"meta"``.
    start, stop : int
        Where in `data` the body lies, without the box's header.

    Raises
    ------
    EOFError
        If a box goes beyond `stop`, or is shorter than its header.
    """
    at = start
    while at < stop:
        if at + 8 > stop:
            raise EOFError
        length, kind = struct.unpack_from(">I4s", data, at)
        body = at + 8
        if length == 1:
            length, body = int.from_bytes(data[at + 8 : at + 16]), at + 16
        elif length == 0:
            length = stop - at
        if length < body - at or at + length > stop:
            raise EOFError
        yield kind, body, at + length
        at += length
