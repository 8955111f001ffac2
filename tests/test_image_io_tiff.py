"""TIFF: kinds of samples, tags and pages."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from image_files import ICC, by_tifffile, exif_values, opened, pillow, written_by_tifffile
from PIL import Image

from lgs_cli import image_io
from lgs_cli.errors import ImageError
from lgs_cli.image_io import decode, encode, losses


def test_deep_gray_tiff_with_alpha_is_refused(pixels: dict[str, np.ndarray]) -> None:
    with pytest.raises(ImageError, match="kind of samples"):
        decode(written_by_tifffile(pixels["gray-alpha-16"]))


def test_white_is_zero_tiffs_are_turned_round(pixels: dict[str, np.ndarray]) -> None:
    for kind in ("gray", "gray-16"):
        out = io.BytesIO()
        tifffile.imwrite(out, pixels[kind], photometric="miniswhite")
        white = np.iinfo(pixels[kind].dtype).max
        picture = decode(out.getvalue())
        np.testing.assert_array_equal(picture.frames[0], white - pixels[kind])
        found = tifffile.TiffFile(io.BytesIO(encode(picture, picture.frames))).pages[0]
        assert found.photometric == tifffile.PHOTOMETRIC.MINISBLACK
        np.testing.assert_array_equal(found.asarray(), white - pixels[kind])


@pytest.mark.parametrize(
    ("array", "options", "reason"),
    [
        (np.zeros((4, 5), np.float32), {}, "floating-point"),
        (np.zeros((4, 5, 3), np.float32), {"photometric": "rgb"}, "kind of samples"),
        (np.zeros((4, 5), np.uint32), {}, "32-bit"),
        (np.zeros((4, 5), np.int32), {}, "32-bit"),
        (np.zeros((3, 4, 5), np.uint16), {"photometric": "rgb", "planarconfig": "separate"},
         "not in planes"),
    ],
)  # fmt: skip
def test_tiffs_that_would_lose_depth_are_refused(
    array: np.ndarray, options: dict[str, Any], reason: str
) -> None:
    out = io.BytesIO()
    tifffile.imwrite(out, array, **options)
    with pytest.raises(ImageError, match=reason):
        decode(out.getvalue())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["rgb", "rgb-16", "gray-16"])
def test_tiff_orientation_stays_and_pixels_are_not_turned(
    kind: str, orientation: int, pixels: dict[str, np.ndarray], capfd: Any
) -> None:
    extra = [(274, "H", 1, orientation, True), (271, "s", 0, "Maker", True)]
    picture = decode(written_by_tifffile(pixels[kind], extratags=extra, iccprofile=ICC))
    np.testing.assert_array_equal(picture.frames[0], pixels[kind])
    page = tifffile.TiffFile(io.BytesIO(encode(picture, picture.frames))).pages[0]
    np.testing.assert_array_equal(page.asarray(), pixels[kind])
    assert page.tags[274].value == orientation
    assert page.tags[271].value == "Maker"
    assert page.iccprofile == ICC
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma", "zstd", "jpeg"]
)
def test_tiff_keeps_compression_and_resolution(compression: str, rgb: np.ndarray) -> None:
    picture = decode(pillow(rgb, "TIFF", compression=compression, dpi=(240, 120)))
    found = opened(encode(picture, picture.frames))
    assert found.info["compression"] == compression
    assert found.info["dpi"] == (240, 120)
    assert losses(picture) == ()
    if compression != "jpeg":
        np.testing.assert_array_equal(np.asarray(found), rgb)


def test_tiff_from_tiff_takes_no_structure_along(rgb: np.ndarray) -> None:
    source = written_by_tifffile(rgb, tile=(32, 32), software="s" * 40, description="d")
    picture = decode(source)
    page = tifffile.TiffFile(io.BytesIO(encode(picture, picture.frames))).pages[0]
    assert not page.is_tiled
    assert page.tags[305].value == "s" * 40
    jpeg = decode(encode(picture, picture.frames, format="jpeg"))
    assert set(exif_values(jpeg.exif)["main"]) == {270, 305}


def test_tiff_compression_that_cannot_be_kept_is_reported(rgb: np.ndarray) -> None:
    fax = Image.fromarray(rgb).convert("1")
    picture = decode(pillow(fax, "TIFF", compression="group4"))
    assert picture.notes == ("1 bit became 8-bit gray",)
    assert losses(picture) == ("compression group4 became deflate",)
    np.testing.assert_array_equal(
        by_tifffile(encode(picture, picture.frames)), np.asarray(fax.convert("L"))
    )


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_of_a_tiff_keep_their_kinds_and_tags(
    compression: str | None, pixels: dict[str, np.ndarray]
) -> None:
    pages = [pixels["rgb"], pixels["gray-16"][:50], pixels["rgb-16"][:, :60], pixels["rgba"]]
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        for number, page in enumerate(pages):
            writer.write(
                page,
                photometric="rgb" if page.ndim == 3 else "minisblack",
                extrasamples=["unassalpha"] if page.shape[2:] == (4,) else None,
                compression=compression,
                description=f"page {number}",
                extratags=[(274, "H", 1, number + 5, True)],
                metadata=None,
            )
    picture = decode(out.getvalue())
    for got, expected in zip(picture.frames, pages, strict=True):
        np.testing.assert_array_equal(got, expected)
    found = tifffile.TiffFile(io.BytesIO(encode(picture, picture.frames))).pages
    assert [page.description for page in found] == [f"page {n}" for n in range(4)]
    assert [page.tags[274].value for page in found] == [5, 6, 7, 8]
    for page, expected in zip(found, pages, strict=True):
        np.testing.assert_array_equal(page.asarray(), expected)
    with pytest.raises(ImageError, match=r"4 pages cannot be written as PNG; use --format tiff"):
        encode(picture, picture.frames, format="png")


def test_endless_chain_of_tiff_pages() -> None:
    entries = struct.pack("<H", 1) + struct.pack("<HHII", 256, 3, 1, 1)
    chain = b"II*\0\x08\0\0\0"
    for number in range(image_io.MAX_FRAMES + 5):
        chain += entries + struct.pack("<I", 8 + 18 * (number + 1))
    with pytest.raises(ImageError, match="frames are more than 10,000"):
        decode(chain + bytes(30))
