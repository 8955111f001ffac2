"""Image files in and out, over all formats: pixels, metadata, animations and ways to be broken.

What concerns one format alone is in ``test_image_io_<format>.py``.
"""

from __future__ import annotations

import io
import os
import random
import socket
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
from image_files import (
    EXIF,
    ICC,
    XMP,
    animation,
    bmp_by_hand,
    by_opencv,
    by_tifffile,
    chunk,
    encoded_by_opencv,
    exif_values,
    opened,
    pillow,
    png_by_hand,
    png_read_by_hand,
    some_exif,
    timing,
    with_metadata,
    written_by_tifffile,
)
from PIL import Image

from lgs_cli.errors import ImageError, MissingExtraError
from lgs_cli.formats import FORMATS
from lgs_cli.image_io import Picture, decode, encode, losses, orientation, read

WRITABLE = [name for name, form in FORMATS.items() if form.writable]
# ----------------------------------------------------------------------------- pixels come through


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
    ("bmp", "rgba", lambda a: bmp_by_hand(a)),
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
    image = opened(encode(Picture((array,), "source"), [array], format=name))
    if (name, kind) == ("avif", "gray") and image.mode == "RGB":  # as Pillow before 12.3 has it
        image = image.convert("L")
    found = np.asarray(image)
    assert found.shape == array.shape
    colors = array.shape[2] - 1 if kind == "rgba" else 3
    visible = array[..., :colors] if array.ndim == 3 else array
    error = found[..., :colors].astype(float) - visible if array.ndim == 3 else found - 1.0 * array
    if kind == "rgba":  # what lies under full transparency is nobody's business
        error = error[array[..., 3] > 128]
        np.testing.assert_allclose(found[..., 3], array[..., 3], atol=8)
    assert 10 * np.log10(255**2 / np.mean(error**2)) > floor


def test_bands_of_pillows_pixels_make_no_difference(
    one_of_each: dict[str, bytes], pixels: dict[str, np.ndarray], monkeypatch: Any
) -> None:
    more = {f"png {kind}": pillow(pixels[kind], "PNG") for kind in ("gray", "gray-alpha", "rgba")}
    palette = io.BytesIO()
    Image.fromarray(pixels["rgb"]).quantize(30).save(palette, "PNG", transparency=3)
    for data in (*one_of_each.values(), *more.values(), palette.getvalue()):
        whole = decode(data).frames
        with monkeypatch.context() as patch:
            patch.setattr("lgs_cli.image_io.pillow._BAND", 2000)
            for frame, banded in zip(whole, decode(data).frames, strict=True):
                assert (banded.dtype, banded.shape) == (frame.dtype, frame.shape)
                np.testing.assert_array_equal(banded, frame)


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


# --------------------------------------------------------------------------------- what cannot fit


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("jpeg", "rgba", "JPEG has no alpha channel; use --format png"),
        ("pnm", "gray-alpha", "PNM has no alpha channel; use --format png"),
        ("jpeg", "rgb-16", "JPEG has no 16 bits a channel; use --format png"),
        ("webp", "gray-16", "WebP has no 16 bits a channel; use --format png"),
        ("avif", "rgb-16", "AVIF has no 16 bits a channel; use --format png"),
        ("bmp", "rgba-16", "BMP has no 16 bits a channel; use --format png"),
        ("gif", "rgba", "GIF has no half-transparent pixels; use --format png"),
        ("gif", "rgb-16", "GIF has no 16 bits a channel; use --format png"),
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


# ------------------------------------------------------------------------------ changed on reading


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


# ---------------------------------------------------------------------------------- metadata moves


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_metadata_is_kept_byte_for_byte(name: str, rgb: np.ndarray) -> None:
    picture = decode(with_metadata(rgb, name))
    assert (picture.exif, picture.icc, picture.xmp) == (EXIF, ICC, XMP)
    found = opened(encode(picture, picture.frames)).info
    assert found["exif"].removeprefix(b"Exif\0\0") == EXIF
    assert (found["icc_profile"], found["xmp"]) == (ICC, XMP)
    assert losses(picture) == ()


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
        f"{title} has no room for {what}"
        for what in ("EXIF", "ICC profile", "XMP")
        if (target, what) != ("bmp", "ICC profile")
    )
    encode(picture, picture.frames, format=target)


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


@pytest.mark.parametrize("stored", range(1, 9))
@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff"])
def test_orientation_is_told(name: str, stored: int, rgb: np.ndarray) -> None:
    assert orientation(decode(with_metadata(rgb, name, some_exif(stored)))) == stored


def exif_by_hand(kind: int, value: bytes) -> bytes:
    entry = struct.pack("<HHI", 274, kind, 1) + value.ljust(4, b"\0")
    return b"II*\0\x08\0\0\0\x01\0" + entry + bytes(4)


def test_orientation_of_broken_exif_is_upright(rgb: np.ndarray) -> None:
    of = {None: 1, b"": 1, b"garbage": 1, b"II*\0": 1, EXIF[:40]: 1, exif_by_hand(3, b"\x06"): 6}
    of |= {exif_by_hand(3, bytes([value])): 1 for value in (0, 9, 200)}
    of |= {exif_by_hand(2, b"6"): 1, exif_by_hand(5, b"\xff\xff\xff"): 1}
    rng = random.Random(274)
    of |= {rng.randbytes(size): 1 for size in range(1, 200)}
    of |= {b"MM\0*\0\0\0\x08" + rng.randbytes(size): 1 for size in range(8)}
    for block, expected in of.items():
        assert orientation(Picture((rgb,), "jpeg", exif=block)) == expected, block


@pytest.mark.parametrize("target", ["jpeg", "png", "tiff", "bmp"])
def test_resolution_crosses_formats(target: str, rgb: np.ndarray) -> None:
    picture = decode(pillow(rgb, "JPEG", dpi=(300, 150)))
    found = opened(encode(picture, picture.frames, format=target)).info["dpi"]
    assert tuple(round(value) for value in found) == (300, 150)


# ---------------------------------------------------------------------------- animations and pages


DURATIONS = [40, 100, 250, 1000]


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


@pytest.mark.parametrize("target", ["jpeg", "bmp", "tiff", "jp2", "pnm"])
def test_animation_is_not_cut_to_one_frame(target: str, moving: list[np.ndarray]) -> None:
    picture = decode(animation([frame[..., :3] for frame in moving], "PNG", duration=50))
    with pytest.raises(ImageError, match="an animation of 4 frames cannot be written as"):
        encode(picture, picture.frames, format=target)


# --------------------------------------------------------------------------------------- bad files


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
        (b"P4\n3 2", "truncated PNM"),
        (b"P2 1 1 255 x", "broken PNM: a sample is not a number"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL is not supported"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not supported"),
    ],
)
def test_what_is_no_image_says_so(data: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises((ImageError, MissingExtraError)) as caught:  # HEIC without its extra
        decode(data)
    assert reason in str(caught.value)
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    with pytest.raises((ImageError, MissingExtraError)) as again:
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


def test_an_image_that_is_a_part_of_a_file(tmp_path: Path, rgb: np.ndarray) -> None:
    data = pillow(rgb, "PNG")
    path = tmp_path / "several"
    path.write_bytes(b"before" + data + b"behind")
    picture = read(str(path), part=(6, len(data)))
    assert picture.data == data
    assert np.array_equal(picture.frames[0], rgb)
    with pytest.raises(ImageError, match=r"^not an image$"):
        read(str(path), part=(0, len(data)))
    with pytest.raises(ImageError, match=r"^empty file$"):
        read(str(path), part=(6, 0))
    os.truncate(path, 6 + len(data) - 1)
    with pytest.raises(ImageError, match=r"^cut short while it was read$"):
        read(str(path), part=(6, len(data)))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(tmp_path: Path, rgb: np.ndarray) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(pillow(rgb, "PNG"))
    path.chmod(0)
    with pytest.raises(ImageError, match=r"^permission denied$"):
        read(str(path))


# ------------------------------------------------------------------------------------------- bombs


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


# ----------------------------------------------------------- codecs that fail, print or are absent

OPENCV_HAS_NO_MEMORY = cv2.error(
    "OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"
)


@pytest.mark.parametrize("error", [MemoryError(), OPENCV_HAS_NO_MEMORY], ids=["own", "OpenCV's"])
@pytest.mark.parametrize("name", ["png", "tiff"])
def test_memory_error_is_a_reason(
    name: str, error: Exception, rgb: np.ndarray, monkeypatch: Any
) -> None:
    def exhausted(*_: Any) -> None:
        os.write(2, b"said before" if name == "tiff" else b"")
        raise error

    monkeypatch.setattr(f"lgs_cli.image_io.formats.{name}.decode", exhausted)
    with pytest.raises(ImageError, match=r"^not enough memory$"):
        decode(pillow(rgb, name.upper()))


def test_interrupt_is_not_swallowed(rgb: np.ndarray, monkeypatch: Any) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lgs_cli.image_io.formats.tiff.decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        decode(pillow(rgb, "TIFF"))


def test_absent_opencv_is_no_fault_of_the_image(
    one_of_each: dict[str, bytes], monkeypatch: Any
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    for name in ("png 16", "tiff 16"):
        with pytest.raises(ImportError):
            decode(one_of_each[name])


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
    (tmp_path / "x.png").write_bytes(pillow(rgb, "PNG"))
    code = (
        "import sys\n"
        "from lgs_cli.image_io import encode, read\n"
        "picture = read(sys.argv[1]); encode(picture, picture.frames, format='webp')\n"
        "print('cv2' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.png")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"
