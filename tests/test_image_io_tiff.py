"""TIFF: kinds of samples, tags and pages."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from image_files import (
    ICC,
    by_opencv,
    by_tifffile,
    exif_values,
    exif_with_thumbnail,
    opened,
    pillow,
    written_by_tifffile,
)
from PIL import Image

from lgs_cli import image_io
from lgs_cli.errors import ImageError
from lgs_cli.image_io import decode, encode, losses, tiff_strips


def test_deep_gray_tiff_with_alpha_is_refused(pixels: dict[str, np.ndarray]) -> None:
    with pytest.raises(ImageError, match="16-bit gray TIFF with 2 channels"):
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
        (np.zeros((4, 5), np.float32), {}, "32-bit floating-point"),
        (np.zeros((4, 5), np.float16), {}, "16-bit floating-point gray"),
        (np.zeros((4, 5), np.complex64), {}, "64-bit complex gray"),
        (np.zeros((4, 5, 3), np.float32), {"photometric": "rgb"},
         "32-bit floating-point RGB TIFF with 3 channels"),
        (np.zeros((4, 5), np.uint32), {}, "32-bit samples"),
        (np.zeros((4, 5), np.int32), {}, "32-bit signed samples"),
        (np.zeros((4, 5), np.int16), {}, "16-bit signed samples"),
        (np.zeros((4, 5), np.int8), {}, "8-bit signed samples"),
        (np.zeros((3, 4, 5), np.uint16), {"photometric": "rgb", "planarconfig": "separate"},
         "16-bit color in planes"),
        (np.zeros((4, 5, 5), np.uint8), {"photometric": "minisblack", "planarconfig": "contig"},
         "8-bit gray TIFF with 5 channels"),
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


@pytest.mark.parametrize(
    ("kind", "compression"),
    [("rgb", "raw"), ("rgb", "tiff_lzw"), ("rgb", "tiff_adobe_deflate"), ("rgb", "jpeg"),
     ("gray", "packbits"), ("rgba-16", "raw"), ("rgba-16", "zlib")],
)  # fmt: skip
def test_large_tiffs_are_compressed_in_bands(
    kind: str, compression: str, pixels: dict[str, np.ndarray], monkeypatch: Any
) -> None:
    large = np.vstack([np.roll(pixels[kind], shift, axis=1) for shift in range(6)])
    if kind == "rgba-16":
        data = written_by_tifffile(large, compression=None if compression == "raw" else "zlib")
    else:
        data = pillow(large, "TIFF", compression=compression)
    source = decode(data)
    monkeypatch.setattr(tiff_strips, "_BAND", 1 << 30)
    whole = by_opencv(encode(source, source.frames))
    monkeypatch.setattr(tiff_strips, "_BAND", 300 * large[0].nbytes)  # of 720 rows
    banded = encode(source, source.frames)
    assert len(tifffile.TiffFile(io.BytesIO(banded)).pages[0].dataoffsets) >= 3
    np.testing.assert_array_equal(by_opencv(banded), whole)
    if compression != "jpeg":
        np.testing.assert_array_equal(whole, large)


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


def raw_tags(data: bytes, page: int = 0) -> dict[int, tuple[int, int, bytes]]:
    """Type, count and bytes of each tag, as tifffile finds them."""
    found = {}
    for tag in tifffile.TiffFile(io.BytesIO(data)).pages[page].tags:
        found[tag.code] = (
            int(tag.dtype),
            tag.count,
            data[tag.valueoffset : tag.valueoffset + tag.valuebytecount],
        )
    return found


# Code, type, count and values, as other programs write them.
FOREIGN_TAGS = [
    (270, 2, 0, "Größe 5 µm".encode(), True),  # text that is not ASCII
    (315, 2, 0, b"latin \xe9\0", True),
    (33723, 4, 3, (0x1C020000, 0x02050005, 0x68656C6C), True),  # IPTC as LONG, as Photoshop has it
    (318, 5, 2, (3127, 10000, 3290, 10000), True),  # WhitePoint
    (319, 5, 6, (64, 100, 33, 100, 30, 100, 60, 100, 15, 100, 6, 100), True),
    (50838, 4, 3, (12, 4, 9), True),  # ImageJ
    (50839, 1, 9, b"IJIJ\0info", True),
    (51123, 2, 0, b'{"Micro-Manager": 1}', True),
    (34682, 2, 0, b"[User]\nDate=1/2/2003", True),  # FEI
    (37724, 7, 15, b"Adobe Photoshop", True),
    (34377, 7, 12, b"8BIM\x04\x04\0\0\0\0\0\0", True),
    (65000, 12, 2, (1.5, -2.25), True),  # private, DOUBLE
    (65001, 9, 2, (-5, 7), True),
    (65002, 8, 1, (-3,), True),
]


@pytest.mark.parametrize("kind", ["rgb", "gray-16", "rgb-16"])
@pytest.mark.parametrize(("byteorder", "bigtiff"), [("<", False), (">", False), ("<", True)])
def test_every_tag_goes_over_bit_for_bit(
    byteorder: str, bigtiff: bool, kind: str, pixels: dict[str, np.ndarray]
) -> None:
    array = pixels[kind]
    source = written_by_tifffile(
        array, extratags=FOREIGN_TAGS, byteorder=byteorder, bigtiff=bigtiff, compression="zlib",
        resolution=(72.5, 90), iccprofile=ICC, metadata=None,
    )  # fmt: skip
    picture = decode(source)
    found = encode(picture, picture.frames)
    before, after = raw_tags(source), raw_tags(found)
    about = {code for code, *_ in FOREIGN_TAGS} | {282, 283, 296, 34675}
    assert before.keys() >= about
    assert {code: after[code] for code in about} == {code: before[code] for code in about}
    assert losses(picture) == ()
    page = tifffile.TiffFile(io.BytesIO(found)).pages[0]
    assert page.parent.byteorder == byteorder
    assert page.parent.is_bigtiff == bigtiff
    np.testing.assert_array_equal(page.asarray(), array)
    np.testing.assert_array_equal(np.asarray(by_opencv(found)), array)


def test_big_endian_bigtiff_is_refused(rgb: np.ndarray) -> None:
    source = written_by_tifffile(rgb, byteorder=">", bigtiff=True)
    with pytest.raises(ImageError, match=r"^big-endian BigTIFF is not supported$"):
        decode(source)


def test_tags_that_another_format_has_no_room_for_are_named(rgb: np.ndarray) -> None:
    picture = decode(written_by_tifffile(rgb, extratags=FOREIGN_TAGS, metadata=None))
    (said,) = losses(picture, "png")
    assert said.startswith("PNG has no room for TIFF tags: WhitePoint, PrimaryChromaticities, ")
    assert {"IptcNaaInfo", "tag 34682", "tag 65000"} <= set(said.split(": ")[1].split(", "))
    png = decode(encode(picture, picture.frames, format="png"))
    assert exif_values(png.exif)["main"].keys() == {270, 305, 315}


def test_pictures_inside_a_picture_and_tiles_are_noted(rgb: np.ndarray) -> None:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(rgb, photometric="rgb", subifds=1, tile=(32, 32))
        writer.write(rgb[::2, ::2], photometric="rgb", subfiletype=1)
    picture = decode(out.getvalue())
    assert len(picture.frames) == 1
    assert losses(picture) == ("SubIFDs dropped: it holds other images", "tiles became strips")
    page = tifffile.TiffFile(io.BytesIO(encode(picture, picture.frames))).pages[0]
    assert 330 not in page.tags
    np.testing.assert_array_equal(page.asarray(), rgb)


def test_planes_are_noted(rgb: np.ndarray) -> None:
    out = io.BytesIO()
    tifffile.imwrite(
        out, rgb.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", metadata=None
    )
    picture = decode(out.getvalue())
    np.testing.assert_array_equal(picture.frames[0], rgb)
    assert losses(picture) == ("planes became pixels side by side",)


def test_what_is_true_of_other_samples_only_is_dropped_and_named(rgb: np.ndarray) -> None:
    fax = Image.fromarray(rgb).convert("1")
    source = pillow(fax, "TIFF", tiffinfo={281: 1, 280: 0, 321: (1, 0)})
    picture = decode(source)
    assert set(losses(picture)) == {
        "MinSampleValue dropped: the samples are others",
        "MaxSampleValue dropped: the samples are others",
    }
    assert 321 in raw_tags(encode(picture, picture.frames))


def with_maker_note(order: str, note_at: int) -> bytes:
    """An EXIF block with a maker note that holds offsets from the beginning of the block."""
    note = b"MAKER\0" + struct.pack(order + "HI", 7, note_at + 12) + b"pointed at"

    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        return struct.pack(order + "HHII", tag, kind, count, value)

    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    main = struct.pack(order + "H", 1) + entry(34665, 4, 1, 26) + bytes(4)
    exif = struct.pack(order + "H", 1) + entry(37500, 7, len(note), note_at) + bytes(4)
    return (head + main + exif).ljust(note_at, b"\0") + note


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("note_at", [44, 61, 5000])
def test_maker_notes_stay_where_their_offsets_point(
    order: str, note_at: int, rgb: np.ndarray
) -> None:
    block = with_maker_note(order, note_at)
    note = block[note_at:]
    picture = decode(pillow(rgb, "JPEG", exif=b"Exif\0\0" + block))
    tiff = encode(picture, picture.frames, format="tiff")
    assert tiff[note_at : note_at + len(note)] == note
    exif = tifffile.TiffFile(io.BytesIO(tiff)).pages[0].tags[34665].value
    assert exif["MakerNote"] == note
    again = decode(tiff)
    np.testing.assert_array_equal(by_tifffile(tiff), picture.frames[0])
    same = encode(again, again.frames)
    assert same[note_at : note_at + len(note)] == note
    back = decode(encode(again, again.frames, format="jpeg")).exif
    assert back is not None
    assert back[note_at : note_at + len(note)] == note
    assert losses(again) == losses(again, "jpeg") == ()


def test_maker_note_far_back_loses_its_place_in_exif(rgb: np.ndarray) -> None:
    far = decode(pillow(rgb, "PNG", exif=with_maker_note("<", 70_000)))
    tiff = decode(encode(far, far.frames, format="tiff"))
    assert losses(tiff, "jpeg") == ("JPEG has no room for TIFF tags: offsets inside MakerNote",)
    found = decode(encode(tiff, tiff.frames, format="jpeg")).exif
    assert found is not None
    assert b"pointed at" in found


def test_tags_that_overlap_to_no_end_are_refused(rgb: np.ndarray) -> None:
    """Each of 60,000 tags is the whole file: written one by one they would fill the disk."""
    data = pillow(rgb, "TIFF")
    many = struct.pack("<H", 60_000) + b"".join(
        struct.pack("<HHII", 1000 + at, 1, len(data) - 9, 8 + at) for at in range(60_000)
    )
    forged = data[:4] + struct.pack("<I", len(data)) + data[8:] + many + bytes(4)
    with pytest.raises(ImageError, match=r"^truncated TIFF$"):
        decode(forged)
    one = struct.pack("<HHII", 65000, 1, 1 << 30, 8)
    broken = data[:4] + struct.pack("<I", len(data)) + data[8:]
    at = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, at)[0]
    entries = data[at + 2 : at + 2 + 12 * count]
    picture = decode(broken + struct.pack("<H", count + 1) + entries + one + bytes(4))
    assert losses(picture) == ("tag 65000 is broken",)


def test_exif_that_a_tiff_cannot_take_is_named(rgb: np.ndarray) -> None:
    block = exif_with_thumbnail(6, pillow(rgb[::4, ::4], "JPEG"))
    picture = decode(pillow(rgb, "JPEG", exif=b"Exif\0\0" + block))
    assert losses(picture, "tiff") == ("TIFF has no room for the EXIF thumbnail",)
    assert raw_tags(encode(picture, picture.frames, format="tiff"))[274] == (3, 1, b"\x06\0")
    broken = decode(pillow(rgb, "PNG", exif=b"II*\0\xff\xff\xff\x7f"))
    assert losses(broken, "tiff") == ("EXIF is broken; dropped",)
    assert by_tifffile(encode(broken, broken.frames, format="tiff")).shape == rgb.shape


def test_what_pillow_cannot_read_is_named(rgb: np.ndarray) -> None:
    data = bytearray(written_by_tifffile(rgb, metadata=None))
    at = data.index(struct.pack("<HHI", 259, 3, 1))
    data[at + 8 : at + 10] = struct.pack("<H", 34887)
    with pytest.raises(ImageError, match=r"^TIFF compression 34887 is not supported$"):
        decode(bytes(data))
    volume = written_by_tifffile(np.stack([rgb] * 16), volumetric=True, tile=(16, 32, 32))
    with pytest.raises(ImageError, match="several layers of pixels"):
        decode(volume)
