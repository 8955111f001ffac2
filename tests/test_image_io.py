"""Image files in and out: every format, kind of pixel, piece of metadata and way to be broken."""

from __future__ import annotations

import errno
import io
import os
import random
import socket
import stat
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, JpegImagePlugin
from skimage import data as photographs

from lgs_cli import image_io
from lgs_cli.errors import ImageError, StorageError
from lgs_cli.formats import FORMATS
from lgs_cli.image_io import Picture, decode, encode, encode_png, losses, read, write

IMAGENET = Path(__file__).resolve().parents[2] / "shared" / "data" / "imagenet"

WRITABLE = [name for name, form in FORMATS.items() if form.writable]


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return photographs.astronaut()[40:160, 150:331].copy()


@pytest.fixture(scope="module")
def pixels(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """A photograph as every kind of array that a Picture can hold."""
    height, width = rgb.shape[:2]
    alpha = np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8)
    low_bits = np.random.default_rng(5).integers(0, 256, (height, width, 4), dtype=np.uint16)
    kinds = {
        "gray": rgb[..., 1],
        "gray-alpha": np.dstack([rgb[..., 1], alpha]),
        "rgb": rgb,
        "rgba": np.dstack([rgb, alpha]),
    }
    for name, array in list(kinds.items()):
        low = low_bits[..., 0] if array.ndim == 2 else low_bits[..., : array.shape[2]]
        kinds[f"{name}-16"] = array.astype(np.uint16) * 256 + low
    return {name: np.ascontiguousarray(array) for name, array in kinds.items()}


def pillow(array: np.ndarray | Image.Image, format: str, **options: Any) -> bytes:
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def of_opencv(array: np.ndarray) -> np.ndarray:
    """BGR to RGB or back."""
    return array if array.ndim == 2 else array[..., [2, 1, 0, 3][: array.shape[2]]]


def by_opencv(data: bytes) -> np.ndarray:
    return of_opencv(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


def encoded_by_opencv(array: np.ndarray, suffix: str, *options: int) -> bytes:
    done, out = cv2.imencode(suffix, np.ascontiguousarray(of_opencv(array)), options)
    assert done
    return out.tobytes()


def by_tifffile(data: bytes) -> np.ndarray:
    return tifffile.imread(io.BytesIO(data))


def written_by_tifffile(array: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    color = array.ndim == 3 and array.shape[2] >= 3
    if array.ndim == 3 and array.shape[2] in (2, 4):
        options["extrasamples"] = ["unassalpha"]
    tifffile.imwrite(out, array, photometric="rgb" if color else "minisblack", **options)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def samples_of(array: np.ndarray) -> bytes:
    """PNG's unfiltered, compressed rows."""
    rows = array.astype(">u2" if array.dtype == np.uint16 else np.uint8).reshape(len(array), -1)
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))


def png_by_hand(array: np.ndarray, *before: bytes, after: bytes = b"") -> bytes:
    channels = 1 if array.ndim == 2 else array.shape[2]
    header = struct.pack(
        ">IIBBBBB", array.shape[1], array.shape[0], 8 * array.itemsize,
        {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0,
    )  # fmt: skip
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(before)
        + chunk(b"IDAT", samples_of(array)) + after + chunk(b"IEND", b"")
    )  # fmt: skip


def png_read_by_hand(data: bytes) -> np.ndarray:
    """Decode a PNG whose rows have the filters None or Up only."""
    chunks = png_chunks(data)
    width, height, depth, color = struct.unpack_from(">IIBB", chunks[0][1])
    channels, size = {0: 1, 4: 2, 2: 3, 6: 4}[color], depth // 8
    raw = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    rows = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * channels * size)
    above = np.zeros(width * channels * size, np.uint8)
    out = []
    for row in rows:
        assert row[0] in (0, 2)
        above = row[1:] + above if row[0] == 2 else row[1:]
        out.append(above)
    array = np.array(out)
    if depth == 16:
        array = array.view(">u2").astype(np.uint16)
    return array.reshape((height, width) if channels == 1 else (height, width, channels))


# ------------------------------------------------------------------------------------ metadata


def some_exif(orientation: int = 6) -> bytes:
    """An EXIF block with main, Exif and GPS directories, as cameras lay it out."""
    exif = Image.Exif()
    exif[271], exif[272], exif[306] = "Maker", "Model 7", "2024:05:06 07:08:09"
    exif[274] = orientation
    exif.get_ifd(34665).update({33434: (1, 250), 36867: "2024:05:06 07:08:09", 37500: b"\1\0\2"})
    exif.get_ifd(34853).update({1: "N", 2: (51.0, 30.0, 12.0)})
    return exif.tobytes().removeprefix(b"Exif\0\0")


EXIF = some_exif()
ICC = b"\0" * 12 + b"mntrRGB XYZ " + random.Random(3).randbytes(150_000)  # three JPEG segments
XMP = b'<?xpacket begin="\xef\xbb\xbf"?><x:xmpmeta xmlns:x="adobe:ns:meta/"/><?xpacket end="w"?>'


def exif_values(block: bytes | None) -> dict[str, dict[int, Any]]:
    exif = Image.Exif()
    exif.load(block or b"")
    pointers = {34665, 34853}
    return {
        "main": {tag: value for tag, value in exif.items() if tag not in pointers},
        "exif": dict(exif.get_ifd(34665)),
        "gps": dict(exif.get_ifd(34853)),
    }


# -------------------------------------------------------------------------- pixels come through


READERS = {
    "png": lambda data: by_opencv(data) if data[25] != 4 else png_read_by_hand(data),
    "tiff": by_tifffile,
    "bmp": by_opencv,
    "jp2": by_opencv,
    "pnm": by_opencv,
}

LOSSLESS = [
    ("png", kind)
    for kind in ("gray", "rgb", "rgba", "gray-16", "gray-alpha-16", "rgb-16", "rgba-16")
]
LOSSLESS += [
    ("tiff", kind)
    for kind in ("gray", "gray-alpha", "rgb", "rgba", "gray-16", "gray-alpha-16", "rgb-16")
]
LOSSLESS += [("tiff", "rgba-16"), ("bmp", "gray"), ("bmp", "rgb"), ("bmp", "rgba")]
LOSSLESS += [("jp2", kind) for kind in ("gray", "rgb", "rgba", "gray-16", "rgb-16", "rgba-16")]
LOSSLESS += [("pnm", kind) for kind in ("gray", "rgb", "gray-16", "rgb-16")]


@pytest.mark.parametrize(("name", "kind"), LOSSLESS)
def test_lossless_formats_are_written_exactly(
    name: str, kind: str, pixels: dict[str, np.ndarray]
) -> None:
    array = pixels[kind]
    data = encode(Picture((array,), "source"), [array], format=name)
    found = READERS[name](data)
    if name == "bmp" and kind == "gray":  # OpenCV expands a gray palette
        found = found[..., 0] if found.ndim == 3 else found
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


FOREIGN = [
    ("png", "gray", lambda a: png_by_hand(a)),
    ("png", "gray-alpha", lambda a: png_by_hand(a)),
    ("png", "rgb", lambda a: encoded_by_opencv(a, ".png")),
    ("png", "rgba", lambda a: encoded_by_opencv(a, ".png")),
    ("png", "gray-16", lambda a: encoded_by_opencv(a, ".png")),
    ("png", "gray-alpha-16", lambda a: png_by_hand(a)),
    ("png", "rgb-16", lambda a: png_by_hand(a)),
    ("png", "rgba-16", lambda a: png_by_hand(a)),
    ("tiff", "gray", lambda a: written_by_tifffile(a)),
    ("tiff", "gray-alpha", lambda a: written_by_tifffile(a)),
    ("tiff", "rgb", lambda a: written_by_tifffile(a, compression="zlib")),
    ("tiff", "rgba", lambda a: written_by_tifffile(a, tile=(32, 32))),
    ("tiff", "rgb", lambda a: written_by_tifffile(a, bigtiff=True)),
    ("tiff", "gray-16", lambda a: written_by_tifffile(a, byteorder=">")),
    ("tiff", "gray-16", lambda a: written_by_tifffile(a, compression="zlib", predictor=True)),
    ("tiff", "rgb-16", lambda a: written_by_tifffile(a, byteorder=">", compression="zlib")),
    ("tiff", "rgb-16", lambda a: encoded_by_opencv(a, ".tiff", cv2.IMWRITE_TIFF_COMPRESSION, 5)),
    ("tiff", "rgba-16", lambda a: written_by_tifffile(a, tile=(64, 64))),
    ("webp", "rgb", lambda a: encoded_by_opencv(a, ".webp", cv2.IMWRITE_WEBP_QUALITY, 101)),
    ("bmp", "gray", lambda a: encoded_by_opencv(a, ".bmp")),
    ("bmp", "rgb", lambda a: encoded_by_opencv(a, ".bmp")),
    ("bmp", "rgba", lambda a: encoded_by_opencv(a, ".bmp")),
    ("pnm", "gray", lambda a: encoded_by_opencv(a, ".pgm")),
    ("pnm", "rgb", lambda a: encoded_by_opencv(a, ".ppm")),
    ("pnm", "gray-16", lambda a: encoded_by_opencv(a, ".pgm")),
    ("pnm", "rgb-16", lambda a: encoded_by_opencv(a, ".ppm")),
    ("jp2", "gray", lambda a: pillow(a, "JPEG2000", no_jp2=True)),
    ("jp2", "gray-alpha", lambda a: pillow(a, "JPEG2000")),
    ("jp2", "rgb", lambda a: pillow(a, "JPEG2000")),
    ("jp2", "rgba", lambda a: pillow(a, "JPEG2000")),
    ("jp2", "gray-16", lambda a: pillow(a, "JPEG2000")),
    (
        "jp2",
        "rgb-16",
        lambda a: encoded_by_opencv(a, ".jp2", cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000),
    ),
]


@pytest.mark.parametrize(
    ("name", "kind", "make"), FOREIGN, ids=[f"{n}-{k}-{i}" for i, (n, k, _) in enumerate(FOREIGN)]
)
def test_files_of_other_writers_are_read_and_written_back_exactly(
    name: str, kind: str, make: Any, pixels: dict[str, np.ndarray], capfd: Any
) -> None:
    array = pixels[kind]
    picture = decode(make(array))
    assert (picture.format, picture.notes) == (name, ())
    assert (picture.width, picture.height) == (array.shape[1], array.shape[0])
    assert picture.frames[0].dtype == array.dtype
    np.testing.assert_array_equal(picture.frames[0], array)
    again = decode(encode(picture, picture.frames))
    assert again.format == name
    np.testing.assert_array_equal(again.frames[0], array)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "kind", "floor"),
    [("jpeg", "rgb", 38), ("jpeg", "gray", 38), ("webp", "rgb", 33), ("webp", "rgba", 33),
     ("avif", "rgb", 37), ("avif", "gray", 37), ("avif", "rgba", 37)],
)  # fmt: skip
def test_lossy_formats_stay_close(
    name: str, kind: str, floor: float, pixels: dict[str, np.ndarray]
) -> None:
    array = pixels[kind]
    found = np.asarray(opened(encode(Picture((array,), "source"), [array], format=name)))
    assert found.shape == array.shape
    colors = array.shape[2] - 1 if kind == "rgba" else 3
    visible = array[..., :colors] if array.ndim == 3 else array
    error = found[..., :colors].astype(float) - visible if array.ndim == 3 else found - 1.0 * array
    if kind == "rgba":  # what lies under full transparency is nobody's business
        error = error[array[..., 3] > 128]
        np.testing.assert_allclose(found[..., 3], array[..., 3], atol=8)
    assert 10 * np.log10(255**2 / np.mean(error**2)) > floor


def test_lossy_quality_changes_the_size(rgb: np.ndarray) -> None:
    picture = Picture((rgb,), "source")
    for name in ("jpeg", "webp", "avif"):
        sizes = [len(encode(picture, [rgb], format=name, quality=q)) for q in (20, 60, 95)]
        assert sizes[0] < sizes[1] < sizes[2], name


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (3, 5)])
@pytest.mark.parametrize("name", WRITABLE)
def test_tiny_pictures(name: str, size: tuple[int, int]) -> None:
    array = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = decode(encode(Picture((array,), "source"), [array], format=name))
    assert found.frames[0].shape == array.shape


def test_deep_gray_tiff_with_alpha_is_refused(pixels: dict[str, np.ndarray]) -> None:
    with pytest.raises(ImageError, match="kind of samples"):
        decode(written_by_tifffile(pixels["gray-alpha-16"]))


def test_gray_without_a_gray_format_becomes_color(pixels: dict[str, np.ndarray]) -> None:
    gray = Picture((pixels["gray"],), "source")
    found = np.asarray(opened(encode(gray, gray.frames, format="webp")))
    assert found.shape == (*pixels["gray"].shape, 3)
    assert losses(gray, "webp") == ("gray became RGB",)


# ----------------------------------------------------------------------------- what cannot fit


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("jpeg", "rgba", "JPEG has no alpha channel; use --format png"),
        ("pnm", "gray-alpha", "PNM has no alpha channel; use --format png"),
        ("jpeg", "rgb-16", "JPEG has no 16 bits a channel; use --format png"),
        ("webp", "gray-16", "WebP has no 16 bits a channel; use --format png"),
        ("avif", "rgb-16", "AVIF has no 16 bits a channel; use --format png"),
        ("bmp", "rgba-16", "BMP has no 16 bits a channel; use --format png"),
        ("gif", "rgb", "GIF cannot be written; use --format png"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(
    name: str, kind: str, message: str, pixels: dict[str, np.ndarray]
) -> None:
    with pytest.raises(ImageError) as caught:
        encode(Picture((pixels[kind],), "source"), [pixels[kind]], format=name)
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", ["gray-alpha", "rgba"])
def test_opaque_alpha_may_go(kind: str, pixels: dict[str, np.ndarray]) -> None:
    array = pixels[kind].copy()
    array[..., -1] = 255
    found = decode(encode(Picture((array,), "source"), [array], format="pnm")).frames[0]
    np.testing.assert_array_equal(found, array[..., 0] if kind == "gray-alpha" else array[..., :3])


def test_webp_side_limit() -> None:
    array = np.zeros((1, 16384, 3), np.uint8)
    with pytest.raises(ImageError, match=r"16,383"):
        encode(Picture((array,), "source"), [array], format="webp")


def test_encode_checks_its_arguments(rgb: np.ndarray) -> None:
    picture = decode(pillow(rgb, "PNG"))
    with pytest.raises(ValueError, match="frames differ"):
        encode(picture, [rgb[:-1]])
    with pytest.raises(ValueError, match="frames differ"):
        encode(picture, [rgb.astype(np.uint16)])
    with pytest.raises(ValueError, match="frames differ"):
        encode(picture, [rgb, rgb])
    with pytest.raises(ValueError, match="'tga'"):
        encode(picture, [rgb], format="tga")
    with pytest.raises(ValueError, match="quality is 101"):
        encode(picture, [rgb], quality=101)


# ---------------------------------------------------------------------------- changed on reading


def test_palette_becomes_rgb(rgb: np.ndarray) -> None:
    image = Image.fromarray(rgb).quantize(50)
    picture = decode(pillow(image, "PNG"))
    assert picture.notes == ("palette became RGB",)
    np.testing.assert_array_equal(picture.frames[0], np.asarray(image.convert("RGB")))


def test_transparent_palette_becomes_rgba(rgb: np.ndarray) -> None:
    image = Image.fromarray(rgb).quantize(50)
    index = np.asarray(image)
    alphas = bytes(255 - 3 * i for i in range(50))
    picture = decode(pillow(image, "PNG", transparency=alphas))
    assert picture.frames[0].shape == (*rgb.shape[:2], 4)
    np.testing.assert_array_equal(picture.frames[0][..., 3], 255 - 3 * index.astype(int))


def test_gray_palette_with_transparency(pixels: dict[str, np.ndarray]) -> None:
    gray = pixels["gray"]
    image = Image.fromarray(gray).convert("P")
    image.putpalette(bytes(value for level in range(256) for value in (level,) * 3))
    found = decode(pillow(image, "PNG", transparency=bytes(range(256)))).frames[0]
    np.testing.assert_array_equal(found, np.dstack([gray] * 4))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_become_eight(bits: int) -> None:
    levels = np.arange(16).reshape(2, 8) % 2**bits
    packed = np.packbits(
        np.unpackbits(levels.astype(np.uint8)[..., None], axis=2)[..., -bits:].reshape(2, -1),
        axis=1,
    )
    header = struct.pack(">IIBBBBB", 8, 2, bits, 0, 0, 0, 0)
    for extra, channels in ((b"", 1), (chunk(b"tRNS", struct.pack(">H", 1)), 2)):
        data = (
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
            + chunk(b"IDAT", samples_of(packed)) + chunk(b"IEND", b"")
        )  # fmt: skip
        picture = decode(data)
        assert picture.notes == (f"{bits} bit{'s' * (bits > 1)} became 8-bit gray",)
        expected = (levels * 255 // (2**bits - 1)).astype(np.uint8)
        if channels == 2:
            expected = np.dstack([expected, np.where(levels == 1, 0, 255)]).astype(np.uint8)
        np.testing.assert_array_equal(picture.frames[0], expected)


@pytest.mark.parametrize("kind", ["gray", "rgb", "gray-16", "rgb-16"])
def test_transparent_color_becomes_alpha(kind: str, pixels: dict[str, np.ndarray]) -> None:
    array = pixels[kind]
    clear = np.atleast_1d(array[7, 9])
    found = decode(
        png_by_hand(array, chunk(b"tRNS", struct.pack(f">{clear.size}H", *clear.tolist())))
    ).frames[0]
    matches = array == array[7, 9]
    hidden = matches.all(axis=2) if array.ndim == 3 else matches
    assert hidden[7, 9]
    np.testing.assert_array_equal(found[..., -1], np.where(hidden, 0, np.iinfo(array.dtype).max))
    np.testing.assert_array_equal(found[..., :-1].reshape(array.shape), array)


def test_cmyk_becomes_rgb_and_loses_its_profile(rgb: np.ndarray) -> None:
    image = Image.fromarray(rgb).convert("CMYK")
    for data in (
        pillow(image, "JPEG", quality=100, icc_profile=ICC),
        pillow(image, "TIFF", icc_profile=ICC),
    ):
        picture = decode(data)
        assert "CMYK became RGB" in picture.notes
        assert picture.icc is None
        np.testing.assert_allclose(picture.frames[0].astype(int), rgb, atol=12)
        again = opened(encode(picture, picture.frames))
        assert again.mode == "RGB"
        assert again.info.get("icc_profile") is None
        np.testing.assert_allclose(np.asarray(again).astype(int), rgb, atol=24)


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
    ("data", "expected", "note"),
    [
        (b"P1\n# c\n3 2\n101 0 1 0", [[0, 255, 0], [255, 0, 255]], "1 bit became 8-bit gray"),
        (b"P4\n3 2\n\xa0\x40", [[0, 255, 0], [255, 0, 255]], "1 bit became 8-bit gray"),
        (b"P2 3 1 4 0 1 4\n", [[0, 64, 255]], "maximum 4 became 255"),
        (b"P5 3 1 100\n\x00\x32\x64", [[0, 128, 255]], "maximum 100 became 255"),
        (b"P3\n1 1\n255\n1 2 #x\n3", [[[1, 2, 3]]], "plain PNM became binary"),
    ],
)
def test_pnm_kinds(data: bytes, expected: Any, note: str) -> None:
    picture = decode(data)
    assert note in picture.notes
    np.testing.assert_array_equal(picture.frames[0], np.array(expected, np.uint8))


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


def test_deep_avif_is_refused(pixels: dict[str, np.ndarray]) -> None:
    deep = encoded_by_opencv(pixels["rgb-16"] >> 6, ".avif", cv2.IMWRITE_AVIF_DEPTH, 10)
    with pytest.raises(ImageError, match="10-bit AVIF"):
        decode(deep)


# ------------------------------------------------------------------------------------ JPEG coding


def jpeg_structure(data: bytes) -> tuple[Any, ...]:
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    tables = [image.quantization[layer[3]] for layer in image.layer]
    return tables, [layer[1:3] for layer in image.layer], bool(image.info.get("progressive"))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [35, 92])
def test_jpeg_keeps_tables_sampling_and_order(
    quality: int, subsampling: int, progressive: bool, rgb: np.ndarray
) -> None:
    source = pillow(rgb, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    picture = decode(source)
    found = encode(picture, picture.frames)
    assert jpeg_structure(found) == jpeg_structure(source)
    assert abs(len(found) / len(source) - 1) < 0.03
    assert losses(picture) == ()


def test_jpeg_with_three_tables_and_gray(rgb: np.ndarray) -> None:
    tables = [[i % 60 + k for i in range(64)] for k in (2, 7, 30)]
    source = pillow(rgb, "JPEG", qtables=tables)
    assert jpeg_structure(source)[0] == tables
    picture = decode(source)
    assert jpeg_structure(encode(picture, picture.frames)) == jpeg_structure(source)
    gray = decode(pillow(rgb[..., 0], "JPEG", qtables=tables[:1]))
    assert gray.frames[0].ndim == 2
    assert jpeg_structure(encode(gray, gray.frames))[0] == tables[:1]


def test_jpeg_optimized_stays_as_small(rgb: np.ndarray) -> None:
    source = pillow(rgb, "JPEG", quality=90, optimize=True)
    picture = decode(source)
    assert abs(len(encode(picture, picture.frames)) / len(source) - 1) < 0.02


def test_jpeg_stored_as_rgb_stays_so(rgb: np.ndarray) -> None:
    source = pillow(rgb, "JPEG", quality=95, keep_rgb=True)
    picture = decode(source)
    found = encode(picture, picture.frames)
    assert jpeg_structure(found) == jpeg_structure(source)
    np.testing.assert_allclose(by_opencv(found).astype(int), rgb, atol=30)
    assert np.abs(by_opencv(found).astype(int) - rgb).mean() < 3


@pytest.mark.parametrize(
    ("factor", "kept"),
    [
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440, "4:4:4"),
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411, "4:2:2"),
    ],
)
def test_jpeg_with_rare_sampling_loses_no_chroma(factor: int, kept: str, rgb: np.ndarray) -> None:
    source = encoded_by_opencv(rgb, ".jpg", cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor)
    picture = decode(source)
    assert losses(picture) == (f"chroma subsampling became {kept}",)
    found = np.asarray(opened(encode(picture, picture.frames))).astype(int)
    assert np.abs(found - picture.frames[0]).mean() < 2


def test_jpeg_quality_replaces_tables_and_keeps_sampling(rgb: np.ndarray) -> None:
    picture = decode(pillow(rgb, "JPEG", quality=95, subsampling=0))
    found = encode(picture, picture.frames, quality=50)
    assert jpeg_structure(found)[:2] == jpeg_structure(
        pillow(rgb, "JPEG", quality=50, subsampling=0)
    )[:2]  # fmt: skip


def test_jpeg_from_another_format_has_full_chroma(rgb: np.ndarray) -> None:
    picture = decode(pillow(rgb, "PNG"))
    tables, sampling, _ = jpeg_structure(encode(picture, [rgb], format="jpeg"))
    assert sampling == [(1, 1)] * 3
    assert tables == jpeg_structure(pillow(rgb, "JPEG", quality=95))[0]


def test_jpeg_other_segments_go_over_too(rgb: np.ndarray) -> None:
    comment, iptc = b"by hand", b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\0"
    plain = pillow(rgb, "JPEG", comment=comment, dpi=(240, 120), exif=b"Exif\0\0" + EXIF)
    source = plain[:2] + plain[2:20] + struct.pack(">HH", 0xFFED, len(iptc) + 2) + iptc + plain[20:]
    picture = decode(source)
    found = encode(picture, picture.frames)
    assert found[2:20] == source[2:20]
    assert opened(found).info["comment"] == comment
    assert iptc in found
    assert found.count(b"Exif\0\0") == 1


def test_jpeg_photos_of_phones(rgb: np.ndarray) -> None:
    second = Image.fromarray(rgb[::-1].copy())
    mpo = pillow(Image.fromarray(rgb), "MPO", save_all=True, append_images=[second], quality=90)
    picture = decode(mpo)
    assert (picture.format, len(picture.frames)) == ("jpeg", 1)
    assert picture.notes == ("only the first picture of several was kept",)
    found = encode(picture, picture.frames)
    assert getattr(opened(found), "n_frames", 1) == 1
    assert b"MPF\0" not in found
    trailing = decode(pillow(rgb, "JPEG") + b"\0\0\0\x18ftypmp42" + bytes(5000))
    assert trailing.frames[0].shape == rgb.shape


@pytest.mark.skipif(not IMAGENET.is_dir(), reason="shared/data/imagenet is absent")
def test_real_photographs_keep_everything_but_the_pixels() -> None:
    sizes = []
    for path in sorted(IMAGENET.glob("*.[jJ]*"))[:60]:
        picture = read(str(path))
        found = encode(picture, picture.frames)
        assert jpeg_structure(found) == jpeg_structure(picture.data), path.name
        again = decode(found)
        assert (again.exif, again.icc, again.xmp) == (picture.exif, picture.icc, picture.xmp)
        np.testing.assert_array_equal(np.asarray(opened(picture.data)), picture.frames[0])
        sizes.append(len(found) / len(picture.data))
    assert len(sizes) == 60
    assert 0.97 < np.mean(sizes) < 1.03


# --------------------------------------------------------------------------------- metadata moves


def with_metadata(rgb: np.ndarray, name: str, exif: bytes = EXIF) -> bytes:
    everything = {"exif": b"Exif\0\0" + exif, "icc_profile": ICC, "xmp": XMP}
    if name == "png":
        itxt = b"XML:com.adobe.xmp\0\0\0\0\0" + XMP
        return png_by_hand(
            rgb,
            chunk(b"iCCP", b"a name\0\0" + zlib.compress(ICC)),
            chunk(b"eXIf", exif),
            chunk(b"tEXt", b"Author\0somebody"),
            after=chunk(b"iTXt", itxt),
        )
    if name == "tiff":
        out = Image.Exif()
        out.load(exif)
        out[700] = XMP
        return pillow(rgb, "TIFF", exif=out, icc_profile=ICC, compression="raw")
    return pillow(rgb, {"jpeg": "JPEG", "webp": "WEBP", "avif": "AVIF"}[name], **everything)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_metadata_is_kept_byte_for_byte(name: str, rgb: np.ndarray) -> None:
    picture = decode(with_metadata(rgb, name))
    assert (picture.exif, picture.icc, picture.xmp) == (EXIF, ICC, XMP)
    found = opened(encode(picture, picture.frames)).info
    assert found["exif"].removeprefix(b"Exif\0\0") == EXIF
    assert (found["icc_profile"], found["xmp"]) == (ICC, XMP)
    assert losses(picture) == ()


def test_png_keeps_its_chunks(rgb: np.ndarray) -> None:
    source = with_metadata(rgb, "png")
    picture = decode(source)
    kept = [c for c in png_chunks(encode(picture, picture.frames)) if c[0] not in (b"IDAT",)]
    assert sorted(kept) == sorted(c for c in png_chunks(source) if c[0] != b"IDAT")


@pytest.mark.parametrize("target", ["jpeg", "png", "webp", "avif", "tiff"])
@pytest.mark.parametrize("source", ["jpeg", "png", "webp", "avif", "tiff"])
def test_metadata_crosses_formats(source: str, target: str, rgb: np.ndarray) -> None:
    picture = decode(with_metadata(rgb, source))
    found = decode(encode(picture, picture.frames, format=target))
    assert exif_values(found.exif) == exif_values(EXIF)
    assert exif_values(found.exif)["main"][274] == 6
    assert found.icc == ICC
    assert found.xmp == XMP
    assert found.frames[0].shape == rgb.shape
    assert losses(picture, target) == ()


@pytest.mark.parametrize("target", ["bmp", "pnm", "jp2"])
def test_metadata_without_room_is_reported(target: str, rgb: np.ndarray) -> None:
    picture = decode(with_metadata(rgb, "jpeg"))
    title = {"jp2": "JPEG 2000"}.get(target, target.upper())
    assert losses(picture, target) == tuple(
        f"{title} has no room for {what}" for what in ("EXIF", "ICC profile", "XMP")
    )
    encode(picture, picture.frames, format=target)


def test_metadata_too_large_for_jpeg_is_reported(rgb: np.ndarray) -> None:
    huge = b"MM\0*\0\0\0\x08\0\0\0\0\0\0" + bytes(70_000)
    picture = decode(png_by_hand(rgb, chunk(b"eXIf", huge)))
    assert picture.exif == huge
    assert losses(picture, "jpeg") == ("JPEG has no room for EXIF of this size",)
    assert decode(encode(picture, picture.frames, format="jpeg")).exif is None


def test_gray_profile_does_not_describe_rgb(pixels: dict[str, np.ndarray]) -> None:
    profile = bytes(16) + b"GRAY" + bytes(200)
    picture = decode(pillow(pixels["gray"], "PNG", icc_profile=profile))
    assert decode(encode(picture, picture.frames)).icc == profile
    assert decode(encode(picture, picture.frames, format="webp")).icc is None
    assert "gray profile dropped" in losses(picture, "webp")


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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["jpeg", "png"])
def test_orientation_stays_and_pixels_are_not_turned(
    name: str, orientation: int, rgb: np.ndarray
) -> None:
    exif = some_exif(orientation)
    source = with_metadata(rgb, name, exif)
    picture = decode(source)
    np.testing.assert_array_equal(picture.frames[0], np.asarray(opened(source)))
    found = opened(encode(picture, picture.frames))
    assert found.getexif()[274] == orientation
    assert found.size == (rgb.shape[1], rgb.shape[0])


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


@pytest.mark.parametrize("target", ["jpeg", "png", "tiff", "bmp"])
def test_resolution_crosses_formats(target: str, rgb: np.ndarray) -> None:
    picture = decode(pillow(rgb, "JPEG", dpi=(300, 150)))
    found = opened(encode(picture, picture.frames, format=target)).info["dpi"]
    assert tuple(round(value) for value in found) == (300, 150)


@pytest.mark.parametrize("lossless", [False, True])
def test_webp_stays_as_lossless_as_it_was(lossless: bool, pixels: dict[str, np.ndarray]) -> None:
    rgba = pixels["rgba"]
    picture = decode(pillow(rgba, "WEBP", lossless=lossless, exact=True, quality=60))
    found = encode(picture, picture.frames)
    assert (b"VP8L" in found[:64]) == lossless
    if lossless:
        np.testing.assert_array_equal(np.asarray(opened(found)), rgba)
        assert b"VP8L" not in encode(picture, picture.frames, quality=50)[:64]


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
def test_avif_keeps_its_subsampling(subsampling: str, rgb: np.ndarray) -> None:
    def flags(data: bytes) -> int:
        return data[data.index(b"av1C") + 6] & 0x0C

    source = pillow(rgb, "AVIF", subsampling=subsampling)
    picture = decode(source)
    assert flags(encode(picture, picture.frames)) == flags(source)


def test_jpeg2000_codestream_stays_one(rgb: np.ndarray) -> None:
    for raw in (False, True):
        picture = decode(pillow(rgb, "JPEG2000", no_jp2=raw))
        assert encode(picture, picture.frames).startswith(b"\xff\x4f\xff\x51") == raw


def test_jpeg2000_metadata_that_is_lost_is_reported(rgb: np.ndarray) -> None:
    box = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + XMP
    source = pillow(rgb, "JPEG2000") + struct.pack(">I4s", len(box) + 8, b"uuid") + box
    assert losses(decode(source)) == ("XMP of JPEG 2000 is not carried over",)


# ------------------------------------------------------------------------- animations and pages


@pytest.fixture(scope="module")
def moving(pixels: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [np.roll(pixels["rgba"], 9 * shift, axis=1).copy() for shift in range(4)]


DURATIONS = [40, 100, 250, 1000]


def animation(frames: list[np.ndarray], format: str, **options: Any) -> bytes:
    images = [Image.fromarray(frame) for frame in frames]
    return pillow(images[0], format, save_all=True, append_images=images[1:], **options)


def timing(data: bytes) -> tuple[list[float], int | None]:
    image = Image.open(io.BytesIO(data))
    durations = []
    for index in range(image.n_frames):
        image.seek(index)
        image.load()
        durations.append(image.info["duration"])
    return durations, image.info.get("loop")


@pytest.mark.parametrize("name", ["png", "webp", "avif"])
def test_animations_keep_frames_timing_and_loop(name: str, moving: list[np.ndarray]) -> None:
    options = {"png": {}, "webp": {"lossless": True}, "avif": {"quality": 100}}[name]
    source = animation(moving, name.upper(), duration=DURATIONS, loop=3, **options)
    picture = decode(source)
    assert len(picture.frames) == 4
    assert list(picture.durations) == DURATIONS
    cleaned = [255 - frame for frame in picture.frames]
    for frame in cleaned:
        frame[..., 3] = 255
    found = encode(picture, cleaned)
    assert timing(found) == timing(source)
    assert timing(found)[0] == DURATIONS
    for expected, got in zip(cleaned, decode(found).frames, strict=True):
        if name == "avif":
            assert np.abs(got.astype(int) - expected)[..., :3].mean() < 6
        else:
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("target", ["png", "webp", "avif"])
def test_gif_becomes_another_animation(target: str, rgb: np.ndarray) -> None:
    frames = [np.roll(rgb, 9 * shift, axis=1) for shift in range(3)]
    source = animation(frames, "GIF", duration=[50, 60, 70], loop=0)
    picture = decode(source)
    assert picture.frames[0].shape == rgb.shape
    found = encode(picture, picture.frames, format=target)
    assert timing(found)[0] == [50, 60, 70]
    assert losses(picture, target) == ()
    if target == "png":
        for index, frame in enumerate(decode(found).frames):
            image = Image.open(io.BytesIO(source))
            image.seek(index)
            np.testing.assert_array_equal(frame, np.asarray(image.convert("RGB")))
    with pytest.raises(ImageError, match="GIF cannot be written"):
        encode(picture, picture.frames)


def control(sequence: int, box: tuple[int, int, int, int], disposal: int, blend: int) -> bytes:
    left, top, width, height = box
    return chunk(
        b"fcTL",
        struct.pack(">5IHHBB", sequence, width, height, left, top, 1, 30, disposal, blend),
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_apng_blends_and_disposes_as_specified(dtype: type) -> None:
    white = np.iinfo(dtype).max
    half = white // 5 * 2  # 0.4 exactly: white is a multiple of 5
    first = np.zeros((4, 6, 4), dtype)
    first[:, :3] = (white, 0, 0, white)  # right half: transparent
    dot = np.full((2, 2, 4), (0, white, 0, half), dtype)

    def part(sequence: int, array: np.ndarray) -> bytes:
        return chunk(b"fdAT", struct.pack(">I", sequence) + samples_of(array))

    source = png_by_hand(
        first,
        chunk(b"acTL", struct.pack(">II", 4, 7)),
        control(0, (0, 0, 6, 4), 0, 0),
        after=control(1, (2, 1, 2, 2), 2, 1) + part(2, dot)  # over red and over nothing, undone
        + control(3, (0, 0, 2, 2), 1, 0) + part(4, dot)  # replaces, then cleared
        + control(5, (4, 0, 2, 2), 0, 0) + part(6, dot),
    )  # fmt: skip
    picture = decode(source)
    over = first.copy()
    over[1:3, 2] = (round(0.6 * white), half, 0, white)
    over[1:3, 3] = (0, white, 0, half)
    replaced = first.copy()
    replaced[:2, :2] = dot
    last = first.copy()
    last[:2, :2] = 0
    last[:2, 4:] = dot
    for got, expected in zip(picture.frames, [first, over, replaced, last], strict=True):
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, expected)
    assert picture.durations == pytest.approx([1000 / 30] * 4)
    assert picture.loop == 7
    found = encode(picture, picture.frames)
    for got, expected in zip(decode(found).frames, picture.frames, strict=True):
        np.testing.assert_array_equal(got, expected)
    delays = [body[20:24] for kind, body in png_chunks(found) if kind == b"fcTL"]
    assert delays == [struct.pack(">HH", 1, 30)] * 4
    numbers = [
        int.from_bytes(body[:4]) for kind, body in png_chunks(found) if kind in (b"fcTL", b"fdAT")
    ]
    assert numbers == list(range(7))


def test_apng_with_a_still_of_its_own(moving: list[np.ndarray]) -> None:
    source = animation(
        [moving[3], *moving[:3]], "PNG", default_image=True, duration=[10, 20, 30], loop=1
    )
    picture = decode(source)
    assert len(picture.frames) == 4
    np.testing.assert_array_equal(picture.frames[0], moving[3])
    found = encode(picture, picture.frames)
    image = Image.open(io.BytesIO(found))
    assert image.default_image
    np.testing.assert_array_equal(np.asarray(image), moving[3])
    kinds = [kind for kind, _ in png_chunks(found)]
    assert kinds.index(b"IDAT") < kinds.index(b"fcTL")
    assert kinds.count(b"fcTL") == 3
    for got, expected in zip(decode(found).frames, picture.frames, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert timing(encode(picture, picture.frames, format="webp"))[0] == [10, 20, 30]
    assert losses(picture, "webp") == ("WebP has no room for a still beside the animation",)


def test_gif_frame_outside_the_picture_is_refused(rgb: np.ndarray) -> None:
    """Pillow lets such a frame enlarge the picture: a bomb of a few hundred bytes."""
    frames = [rgb[:20, :20], rgb[20:40, 20:40]]
    data = bytearray(animation(frames, "GIF", duration=50))
    at = data.rindex(b"\x2c\0\0\0\0\x14\0\x14\0")
    data[at + 5 : at + 9] = struct.pack("<HH", 60_000, 60_000)
    with pytest.raises(ImageError, match="a frame lies outside the picture"):
        decode(bytes(data))


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


@pytest.mark.parametrize("target", ["jpeg", "bmp", "tiff", "jp2", "pnm"])
def test_animation_is_not_cut_to_one_frame(target: str, moving: list[np.ndarray]) -> None:
    picture = decode(animation([frame[..., :3] for frame in moving], "PNG", duration=50))
    with pytest.raises(ImageError, match="an animation of 4 frames cannot be written as"):
        encode(picture, picture.frames, format=target)


# ------------------------------------------------------------------------------------- bad files


@pytest.fixture(scope="module")
def one_of_each(pixels: dict[str, np.ndarray], moving: list[np.ndarray]) -> dict[str, bytes]:
    rgb, deep = pixels["rgb"], pixels["rgb-16"]
    return {
        "jpeg": pillow(rgb, "JPEG", quality=85),
        "jpeg progressive": pillow(rgb, "JPEG", progressive=True),
        "png": pillow(rgb, "PNG"),
        "png 16": png_by_hand(deep),
        "apng": animation(moving, "PNG", duration=30),
        "webp": pillow(rgb, "WEBP"),
        "webp lossless": pillow(rgb, "WEBP", lossless=True),
        "webp animated": animation(moving, "WEBP", duration=30),
        "tiff": pillow(rgb, "TIFF"),
        "tiff lzw": pillow(rgb, "TIFF", compression="tiff_lzw"),
        "tiff tifffile": written_by_tifffile(rgb, compression="zlib"),
        "tiff 16": written_by_tifffile(deep),
        "bmp": pillow(rgb, "BMP"),
        "avif": pillow(rgb, "AVIF"),
        "jp2": pillow(rgb, "JPEG2000"),
        "j2k": pillow(rgb, "JPEG2000", no_jp2=True),
        "pnm": pillow(rgb, "PPM"),
        "pnm plain": b"P3 40 30 255\n" + b" ".join(b"%d" % v for v in rgb[:30, :40].ravel()),
        "gif": animation([f[..., :3] for f in moving], "GIF", duration=30),
    }


def test_truncated_files_are_never_half_read(one_of_each: dict[str, bytes], capfd: Any) -> None:
    for name, data in one_of_each.items():
        decode(data)
        for sixteenths in range(1, 16):
            with pytest.raises(ImageError) as caught:
                decode(data[: len(data) * sixteenths // 16])
            said = str(caught.value)
            assert said.startswith(("truncated", "broken")), (name, sixteenths, said)
            if name not in ("tiff lzw", "webp", "j2k", "avif", "tiff tifffile"):
                assert said.startswith("truncated"), (name, sixteenths, said)
    assert capfd.readouterr() == ("", "")


def test_mutants_are_decoded_or_refused(one_of_each: dict[str, bytes], capfd: Any) -> None:
    rng = random.Random(20260101)
    outcomes = {True: 0, False: 0}
    for name, data in one_of_each.items():
        for _ in range(40):
            mutant = bytearray(data)
            reach = rng.choice((min(len(mutant), 300), len(mutant)))
            for _ in range(rng.randint(1, 5)):
                mutant[rng.randrange(8, reach)] = rng.randrange(256)
            try:
                picture = decode(bytes(mutant), max_pixels=2_000_000)
            except ImageError as error:
                outcomes[False] += 1
                assert str(error).isprintable(), name
            else:
                outcomes[True] += 1
                assert all(frame.size for frame in picture.frames)
    assert min(outcomes.values()) > 50
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"\0", "not an image"),
        (b"hello, world", "not an image"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "truncated PNG"),
        (b"RIFF\x04\0\0\0WEBP", "truncated WebP"),
        (b"II*\0\xff\xff\xff\x7f", "truncated TIFF"),
        (b"GIF89a", "GIF"),
        (b"BM" + bytes(12), "BMP"),
        (b"P6\n", "broken PNM: no size in its header"),
        (b"P6\n2 0\n255\n", "broken PNM: no pixels"),
        (b"P2 1 1 255 x", "broken PNM: a sample is not a number"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC is not supported"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL is not supported"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not supported"),
    ],
)
def test_what_is_no_image_says_so(data: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert reason in str(caught.value)
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError) as again:
        read(str(path))
    assert str(again.value) == str(caught.value)


def test_content_decides_not_the_suffix(tmp_path: Path, rgb: np.ndarray) -> None:
    path = tmp_path / "really-a-png.jpg"
    path.write_bytes(pillow(rgb, "PNG"))
    picture = read(str(path))
    assert picture.format == "png"
    assert picture.data == path.read_bytes()


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    def reason(path: Path | str) -> str:
        with pytest.raises(ImageError) as caught:
            read(str(path))
        assert str(tmp_path) not in str(caught.value)
        return str(caught.value)

    (tmp_path / "dir.jpg").mkdir()
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "to-fifo.jpg").symlink_to("fifo.jpg")
    for name in ("fifo.jpg", "to-fifo.jpg"):
        code = "import sys; from lgs_cli.image_io import read; read(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name)],
            capture_output=True, text=True, check=False, timeout=60,  # it would block for good
        )  # fmt: skip
        assert done.stderr.endswith("lgs_cli.errors.ImageError: is a FIFO\n")
    assert reason(tmp_path / "dir.jpg") == "is a directory"
    assert reason(tmp_path / "broken.jpg") == "broken link"
    assert reason(tmp_path / "loop.jpg") == "too many levels of symbolic links"
    assert reason(tmp_path / "absent.jpg") == "no such file"
    assert reason(tmp_path / "dir.jpg" / "x" / "y") == "no such file"
    assert reason("/dev/zero") == "is a device"
    assert reason("nul\0.jpg") == "not a valid path"
    assert reason(tmp_path / ("n" * 300)) == "file name too long"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "s"))
        assert reason(tmp_path / "s") == "is a socket"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(tmp_path: Path, rgb: np.ndarray) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(pillow(rgb, "PNG"))
    path.chmod(0)
    with pytest.raises(ImageError, match=r"^permission denied$"):
        read(str(path))


# -------------------------------------------------------------------------------------- bombs


def test_pixel_limit_is_checked_before_decoding(
    one_of_each: dict[str, bytes], rgb: np.ndarray
) -> None:
    for name, data in one_of_each.items():
        picture = decode(data)
        total = sum(frame.shape[0] * frame.shape[1] for frame in picture.frames)
        assert decode(data, max_pixels=total).frames[0].size
        with pytest.raises(ImageError) as caught:
            decode(data, max_pixels=total - 1)
        assert str(caught.value).endswith(f"are more than --max-pixels {total - 1:,}"), name


def forged(kind: str) -> bytes:
    """A file of a few hundred bytes that says it has 70000x70000 pixels."""
    side = 70_000
    if kind == "png":
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100)))
        return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")
    if kind == "pnm":
        return b"P6 70000 70000 255\n" + bytes(50)
    if kind == "bmp":
        data = bytearray(pillow(np.zeros((2, 2, 3), np.uint8), "BMP"))
        data[18:26] = struct.pack("<II", side, side)
        return bytes(data)
    if kind == "tiff":
        data = bytearray(pillow(np.zeros((2, 2, 3), np.uint8), "TIFF"))
        for tag in (256, 257):
            at = data.index(struct.pack("<H", tag), 8)
            data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, side)
        return bytes(data)
    data = bytearray(pillow(np.zeros((2, 2, 3), np.uint8), "WEBP", exif=b"Exif\0\0" + EXIF))
    data[24:30] = (side - 1).to_bytes(3, "little") * 2
    return bytes(data)


@pytest.mark.parametrize("kind", ["png", "pnm", "bmp", "tiff", "webp"])
def test_forged_sizes_cost_nothing(kind: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode(forged(kind))
    assert str(caught.value) == "4,900,000,000 pixels are more than --max-pixels 500,000,000"


def test_endless_chain_of_tiff_pages() -> None:
    entries = struct.pack("<H", 1) + struct.pack("<HHII", 256, 3, 1, 1)
    chain = b"II*\0\x08\0\0\0"
    for number in range(image_io.MAX_FRAMES + 5):
        chain += entries + struct.pack("<I", 8 + 18 * (number + 1))
    with pytest.raises(ImageError, match="frames are more than 10,000"):
        decode(chain + bytes(30))


def test_memory_error_is_a_reason(rgb: np.ndarray, monkeypatch: Any) -> None:
    def exhausted(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setitem(image_io._DECODERS, "png", exhausted)
    with pytest.raises(ImageError, match=r"^not enough memory$"):
        decode(pillow(rgb, "PNG"))


def test_interrupt_is_not_swallowed(rgb: np.ndarray, monkeypatch: Any) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(image_io._DECODERS, "tiff", interrupted)
    with pytest.raises(KeyboardInterrupt):
        decode(pillow(rgb, "TIFF"))


def test_stderr_comes_back_after_a_noisy_decoder(one_of_each: dict[str, bytes], capfd: Any) -> None:
    data = bytearray(one_of_each["tiff tifffile"])
    start = tifffile.TiffFile(io.BytesIO(data)).pages[0].dataoffsets[0]
    data[start : start + 40] = b"\xff" * 40
    with pytest.raises(ImageError, match="broken TIFF: ZIPDecode"):  # libtiff's own words
        decode(bytes(data))
    os.write(2, b"still here\n")
    assert capfd.readouterr() == ("", "still here\n")


def test_decoding_without_stderr(one_of_each: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(one_of_each["tiff 16"])
    code = (
        "import os, sys; os.close(2)\n"
        "from lgs_cli.image_io import read\n"
        "print(read(sys.argv[1]).frames[0].dtype)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "uint16\n")


def test_opencv_loads_only_when_needed(tmp_path: Path, rgb: np.ndarray) -> None:
    (tmp_path / "x.jpg").write_bytes(pillow(rgb, "JPEG"))
    code = (
        "import sys\n"
        "from lgs_cli.image_io import encode, read\n"
        "picture = read(sys.argv[1]); encode(picture, picture.frames)\n"
        "print('cv2' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.jpg")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"


# ------------------------------------------------------------------------------------- writing


def test_write_makes_directories_and_honors_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.png"
    before = os.umask(0o027)
    try:
        write(str(path), b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(path.parent) == ["x.png"]


def test_write_to_the_working_directory(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write("x.png", b"here")
    assert (tmp_path / "x.png").read_bytes() == b"here"


def test_write_replaces_a_link_and_spares_its_target(tmp_path: Path) -> None:
    (tmp_path / "original").write_bytes(b"precious")
    (tmp_path / "x.png").symlink_to("original")
    write(str(tmp_path / "x.png"), b"new")
    assert (tmp_path / "original").read_bytes() == b"precious"
    assert not (tmp_path / "x.png").is_symlink()
    assert (tmp_path / "x.png").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["n" * 251 + ".png", "-x.png", "new\nline.png", "\udcff.png"])
def test_write_to_strange_names(name: str, tmp_path: Path) -> None:
    write(str(tmp_path / name), b"new")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("failing", ["replace", "write"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), StorageError),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), StorageError),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), StorageError),
        (OSError(errno.EIO, os.strerror(errno.EIO)), StorageError),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), ImageError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["full", "quota", "read-only", "failing", "permission", "interrupt"],
)
def test_failed_writes_leave_the_old_file_and_nothing_else(
    failing: str, error: BaseException, kind: type, tmp_path: Path, monkeypatch: Any
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"old")

    class Failing(io.FileIO):
        def write(self, _: Any) -> int:
            super().write(b"half")
            raise error

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    if failing == "replace":
        monkeypatch.setattr(os, "replace", fail)
    else:
        monkeypatch.setattr(image_io, "open", lambda fd, *_, **__: Failing(fd, "wb"), raising=False)
    with pytest.raises(kind) as caught:
        write(str(path), b"new")
    if kind is StorageError:
        assert os.strerror(error.errno) in str(caught.value)  # type: ignore[attr-defined]
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["x.png"]
    assert path.read_bytes() == b"old"


def test_write_over_a_directory_or_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    with pytest.raises(ImageError, match="cannot write: is a directory"):
        write(str(tmp_path / "x.png"), b"new")
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(ImageError, match="cannot write"):
        write(str(tmp_path / "file" / "x.png"), b"new")
    with pytest.raises(ImageError, match="cannot write: file name too long"):
        write(str(tmp_path / ("n" * 256)), b"new")
    assert sorted(os.listdir(tmp_path)) == ["file", "x.png"]


def test_full_disk_for_real(tmp_path: Path) -> None:
    """A limit on file size fails in the kernel's write, as a full disk does."""
    (tmp_path / "x.png").write_bytes(b"old")
    code = (
        "import resource, signal, sys\n"
        "from lgs_cli.errors import StorageError\n"
        "from lgs_cli.image_io import write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n    write(sys.argv[1], bytes(200_000))\n"
        "except StorageError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.png")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "File too large" in done.stdout
    assert os.listdir(tmp_path) == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == b"old"


# ------------------------------------------------------------------------------- visualizations


@pytest.mark.parametrize("kind", ["gray", "rgb", "rgba", "gray-16"])
def test_encode_png(kind: str, pixels: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(by_opencv(encode_png(pixels[kind])), pixels[kind])
    flipped = pixels[kind][:, ::-1]
    np.testing.assert_array_equal(by_opencv(encode_png(flipped)), flipped)
