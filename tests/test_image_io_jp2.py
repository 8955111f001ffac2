"""JPEG 2000: file format and bare codestream."""

from __future__ import annotations

import struct

import numpy as np
from image_files import XMP, pillow

from lgs_cli.image_io import decode, encode


def test_jpeg2000_codestream_stays_one(rgb: np.ndarray) -> None:
    for raw in (False, True):
        picture = decode(pillow(rgb, "JPEG2000", no_jp2=raw))
        assert encode(picture, picture.frames).startswith(b"\xff\x4f\xff\x51") == raw


def test_jpeg2000_metadata_that_is_lost_is_noted(rgb: np.ndarray) -> None:
    box = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + XMP
    source = pillow(rgb, "JPEG2000") + struct.pack(">I4s", len(box) + 8, b"uuid") + box
    assert decode(source).notes == ("XMP of JPEG 2000 is not carried over",)


def test_what_lies_deep_in_boxes_is_noted(rgb: np.ndarray) -> None:
    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", len(body) + 8, kind) + body

    plain = pillow(rgb, "JPEG2000")
    inside = box(b"asoc", box(b"asoc", box(b"nlst", bytes(4)) + box(b"xml ", b"<a/>")))
    assert decode(plain + inside).notes == ("XML of JPEG 2000 is not carried over",)
    another = box(b"jp2c", pillow(rgb, "JPEG2000", no_jp2=True))
    picture = decode(plain + another)
    assert picture.notes == ("only the first picture of several was kept",)
    np.testing.assert_array_equal(picture.frames[0], decode(plain).frames[0])
