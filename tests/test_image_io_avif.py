"""AVIF: depth, subsampling, metadata and the meaning of colors."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from image_files import (
    EXIF,
    ICC,
    XMP,
    by_opencv,
    encoded_by_opencv,
    exif_values,
    exif_with_thumbnail,
    of_opencv,
    opened,
    pillow,
)

from lgs_cli.errors import ImageError
from lgs_cli.image_io import decode, encode, losses, orientation


@pytest.mark.parametrize("kind", ["rgb-16", "rgba-16"])
@pytest.mark.parametrize("depth", [10, 12])
def test_deep_avif_keeps_its_depth(depth: int, kind: str, pixels: dict[str, np.ndarray]) -> None:
    narrow = pixels[kind] >> (16 - depth)
    lossless = (cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, 100)
    source = encoded_by_opencv(narrow, ".avif", *lossless)
    picture = decode(source)
    np.testing.assert_array_equal(picture.frames[0] >> (16 - depth), narrow)
    white = np.iinfo(np.uint16).max
    spread = np.rint(narrow * (white / (2**depth - 1)))
    assert np.abs(picture.frames[0] - spread).max() <= 1
    assert losses(picture) == ()
    for quality, error in ((100, 0), (None, 0.01 * 2**depth)):
        found = by_opencv(encode(picture, picture.frames, quality=quality))
        assert found.shape == narrow.shape
        assert np.abs(found.astype(int) - narrow).mean() <= error
    png = encode(picture, picture.frames, format="png")
    np.testing.assert_array_equal(by_opencv(png), picture.frames[0])
    with pytest.raises(ImageError, match="AVIF has no 16 bits a channel"):
        deep_png = decode(png)
        encode(deep_png, deep_png.frames, format="avif")


def test_deep_avif_keeps_metadata_and_the_meaning_of_its_colors(
    pixels: dict[str, np.ndarray],
) -> None:
    kinds = (cv2.IMAGE_METADATA_EXIF, cv2.IMAGE_METADATA_XMP, cv2.IMAGE_METADATA_ICCP)
    blocks = [np.frombuffer(block, np.uint8) for block in (EXIF, XMP, ICC)]
    done, out = cv2.imencodeWithMetadata(
        ".avif", of_opencv(pixels["rgb-16"]) >> 6, kinds, blocks, [cv2.IMWRITE_AVIF_DEPTH, 10]
    )
    assert done
    hdr = bytearray(out.tobytes())
    at = hdr.index(b"colrnclx") + 8
    hdr[at : at + 4] = b"\0\x09\0\x10"  # BT.2020 and PQ
    picture = decode(bytes(hdr))
    found = encode(picture, picture.frames)
    again = decode(found)
    assert exif_values(again.exif) == exif_values(EXIF)
    assert (again.icc, again.xmp) == (ICC, XMP)
    at = found.index(b"colrnclx") + 8
    assert found[at : at + 4] == b"\0\x09\0\x10"


@pytest.mark.parametrize("stored", range(1, 9))
def test_exif_thumbnail_and_orientation_go_over(stored: int, rgb: np.ndarray) -> None:
    block = exif_with_thumbnail(stored, pillow(rgb[::4, ::4], "JPEG"))
    picture = decode(pillow(rgb, "JPEG", exif=b"Exif\0\0" + block))
    first = decode(encode(picture, picture.frames, format="avif"))
    assert first.exif == block
    assert orientation(first) == stored
    again = encode(first, first.frames)
    assert decode(again).exif == block
    assert opened(again).getexif()[274] == stored
    assert opened(again).size == (rgb.shape[1], rgb.shape[0])


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
def test_avif_keeps_its_subsampling(subsampling: str, rgb: np.ndarray) -> None:
    def flags(data: bytes) -> int:
        return data[data.index(b"av1C") + 6] & 0x0C

    source = pillow(rgb, "AVIF", subsampling=subsampling)
    picture = decode(source)
    assert flags(encode(picture, picture.frames)) == flags(source)
