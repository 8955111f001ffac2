"""PNG: palettes, few bits, transparent colors, its chunks, and APNG."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from image_files import (
    animation,
    by_opencv,
    chunk,
    pillow,
    png_by_hand,
    png_chunks,
    png_read_by_hand,
    samples_of,
    timing,
    with_metadata,
)
from PIL import Image
from skimage import data

from lgs_cli.errors import ImageError
from lgs_cli.image_io import decode, encode, losses
from lgs_cli.image_io.formats.png import encode_png


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


def test_png_keeps_its_chunks(rgb: np.ndarray) -> None:
    source = with_metadata(rgb, "png")
    picture = decode(source)
    kept = [c for c in png_chunks(encode(picture, picture.frames)) if c[0] not in (b"IDAT",)]
    assert sorted(kept) == sorted(c for c in png_chunks(source) if c[0] != b"IDAT")


def test_png_keeps_chunks_of_every_kind_or_names_them(rgb: np.ndarray) -> None:
    kept = [
        (b"tIME", b"\x07\xe8\x01\x02\x03\x04\x05"), (b"bKGD", b"\0\1\0\2\0\3"),
        (b"sBIT", b"\5\6\5"), (b"oFFs", bytes(9)), (b"prVt", b"private, safe to copy"),
        (b"vpAg", bytes(9)),
    ]  # fmt: skip
    picture = decode(
        png_by_hand(rgb, *(chunk(*part) for part in kept), chunk(b"prVT", b"of these pixels"))
    )
    found = png_chunks(encode(picture, picture.frames))
    assert [part for part in found if part[0] not in (b"IHDR", b"IDAT", b"IEND")] == kept
    assert losses(picture) == ("chunk prVT dropped",)
    palette = decode(pillow(Image.fromarray(rgb).quantize(50), "PNG", bits=8))
    assert losses(palette) == ()


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
    assert numbers == list(range(len(numbers)))


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


@pytest.mark.parametrize("few_colors", [False, True])
@pytest.mark.parametrize("kind", ["gray", "rgb", "rgba", "gray-16"])
def test_encode_png(kind: str, few_colors: bool, pixels: dict[str, np.ndarray]) -> None:
    for array in (pixels[kind], pixels[kind][:, ::-1]):
        np.testing.assert_array_equal(by_opencv(encode_png(array, few_colors=few_colors)), array)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (37, 41)])
def test_filters_are_undone_by_a_naive_reader(
    size: tuple[int, int], channels: int, dtype: type
) -> None:
    rng = np.random.default_rng(9)
    shape = size if channels == 1 else (*size, channels)
    noise = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    ramp = np.cumsum(np.ones(shape, dtype) * (np.iinfo(dtype).max // 90), axis=1, dtype=dtype)
    columns = np.cumsum(noise[:1].repeat(size[0], 0), axis=0, dtype=dtype)
    for array in (noise, ramp, columns, ramp + columns):
        np.testing.assert_array_equal(png_read_by_hand(encode_png(array)), array)


def filters_of(data: bytes, row: int) -> set[int]:
    """The filters of all rows of a PNG, of which each has so many bytes."""
    raw = zlib.decompress(b"".join(body for kind, body in png_chunks(data) if kind == b"IDAT"))
    return set(raw[:: row + 1])


def test_each_part_of_a_picture_gets_the_filter_that_suits_it() -> None:
    rng = np.random.default_rng(2)
    noise = rng.integers(0, 256, (64, 2048), dtype=np.uint8)
    across, down = noise[:, :1].repeat(2048, 1), noise[:1].repeat(64, 0)
    both = across + down  # what Paeth predicts exactly, but for where it leaves the range of a byte
    smooth = np.linspace(0, 200, 2048)[None] + np.linspace(0, 50, 64)[:, None]
    found = encode_png(np.vstack([across, down, smooth.astype(np.uint8), both // 2]))
    assert filters_of(found, 2048) >= {1, 2, 4}


def test_files_are_about_as_small_as_zlib_makes_them_in_its_time(lettered: np.ndarray) -> None:
    """Pillow at level 4 takes four times as long for a photograph."""
    for array, limit in ((data.astronaut(), 1.02), (data.chelsea(), 1.02), (lettered, 1.1)):
        picture = decode(pillow(array, "PNG"))
        found = encode(picture, picture.frames)
        assert len(found) < limit * len(pillow(array, "PNG", compress_level=4))


def test_a_million_chunks_are_refused(rgb: np.ndarray) -> None:
    """They would take a quarter of a minute; a large picture in many chunks is read."""
    text = chunk(b"tEXt", b"a\0b")
    with pytest.raises(ImageError, match="its parts are more than"):
        decode(png_by_hand(rgb, *[text] * 1_000_000))
    assert decode(png_by_hand(rgb, *[text] * 40_000)).frames[0].shape == rgb.shape


@pytest.fixture
def lettered() -> np.ndarray:
    """A page of text: letters that come again and again on white."""
    page = np.full((600, 800, 3), 255, np.uint8)
    for line in range(18):
        text = "The quick brown fox jumps over the lazy dog"[line % 9 :]
        cv2.putText(page, text, (20, 40 + 30 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (20, 20, 20))
    return page
