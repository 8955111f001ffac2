"""JPEG: how it was coded, and its segments, stay."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import optional_data
import pytest
from image_files import (
    EXIF,
    by_opencv,
    chunk,
    encoded_by_opencv,
    opened,
    pillow,
    png_by_hand,
)
from pictures import shipped_jpegs
from PIL import Image, JpegImagePlugin

from lgs_cli.errors import ImageError
from lgs_cli.image_io import decode, encode, losses, opencv, read


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


@pytest.mark.parametrize("shape", [..., (..., 0)], ids=["color", "gray"])
def test_jpeg_optimized_stays_as_small(shape: Any, rgb: np.ndarray) -> None:
    source = pillow(rgb[shape], "JPEG", quality=90, optimize=True)
    picture = decode(source)
    small, usual = (encode(picture, picture.frames, optimize=choice) for choice in (True, False))
    assert abs(len(small) / len(source) - 1) < 0.02
    assert len(small) < len(usual) < 1.1 * len(small)
    np.testing.assert_array_equal(np.asarray(opened(small)), np.asarray(opened(usual)))
    from_png = decode(pillow(rgb[shape], "PNG"))
    sizes = [
        len(encode(from_png, from_png.frames, format="jpeg", optimize=o)) for o in (True, False)
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [5, 49, 50, 75, 96, 100])
def test_jpeg_is_what_pillow_writes(
    quality: int, subsampling: int, options: dict[str, bool], rgb: np.ndarray
) -> None:
    """OpenCV writes it; the quantization tables of each quality are recognized."""
    source = pillow(rgb, "JPEG", quality=quality, subsampling=subsampling, **options)
    picture = decode(source)
    np.testing.assert_array_equal(picture.frames[0], np.asarray(opened(source)))
    np.testing.assert_array_equal(picture.frames[0], opencv.decode_jpeg(source))
    other = rgb[::-1].copy()
    found = encode(picture, [other], optimize=options.get("optimize", False))
    assert found == pillow(other, "JPEG", quality=quality, subsampling=subsampling, **options)


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


@pytest.mark.parametrize("shape", [(400, 400, 3), (400, 400), (2000, 1, 3), (1, 1, 3)])
@pytest.mark.parametrize("way", [{"optimize": True}, {"progressive": True}])
def test_noise_does_not_overflow_a_jpeg_coded_with_care(
    way: dict[str, bool], shape: tuple[int, ...], capfd: Any
) -> None:
    calm, noise = np.zeros(shape, np.uint8), np.random.default_rng(5).integers(0, 256, shape)
    picture = decode(pillow(calm, "JPEG", quality=100, subsampling=0, **way))
    optimize = way.get("optimize", False)
    found = opened(encode(picture, [noise.astype(np.uint8)], optimize=optimize))
    np.testing.assert_allclose(np.asarray(found).astype(int), noise, atol=6)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("marker", [0xC0, 0xD8, 0xDB, 0xDA, 0x02], ids=hex)
def test_jpeg_broken_in_the_middle(marker: int, rgb: np.ndarray, capfd: Any) -> None:
    """OpenCV makes up the rest, and says so on stderr only."""
    source = pillow(rgb, "JPEG", quality=90)
    middle = (source.index(b"\xff\xda") + len(source)) // 2
    broken = source[:middle] + bytes((0xFF, marker)) + source[middle:]
    assert by_opencv(broken).shape == rgb.shape
    assert capfd.readouterr().err.startswith("Corrupt JPEG data")
    with pytest.raises(ImageError, match=r"^broken JPEG: broken data stream"):
        decode(broken)
    assert opencv.decode_jpeg(broken) is None
    assert capfd.readouterr() == ("", "")


def test_jpeg_whose_tables_are_coarse_is_no_news(rgb: np.ndarray, capfd: Any) -> None:
    picture = decode(pillow(rgb, "JPEG", qtables=[[300] * 64]))
    capfd.readouterr()  # what libjpeg says of that
    assert decode(encode(picture, picture.frames)).frames[0].shape == rgb.shape
    assert capfd.readouterr() == ("", "")


def test_jpeg_has_a_longest_side() -> None:
    for shape, fits in (((1, 65_500), True), ((65_500, 1), True), ((1, 65_501), False)):
        picture = decode(pillow(np.zeros((*shape, 3), np.uint8), "PNG"))
        if fits:
            found = encode(picture, picture.frames, format="jpeg")
            assert opened(found).size == shape[::-1]
        else:
            with pytest.raises(ImageError, match=r"^JPEG has at most 65,500 pixels a side"):
                encode(picture, picture.frames, format="jpeg")


def test_jpeg_when_files_run_out(rgb: np.ndarray, tmp_path: Path) -> None:
    """What OpenCV says can then not be caught; Pillow reads the file, and stderr stays."""
    (tmp_path / "x.jpg").write_bytes(pillow(rgb, "JPEG"))
    code = (
        "import os, resource, sys\n"
        "from lgs_cli.image_io import decode\n"
        "data = open(sys.argv[1], 'rb').read()\n"
        "decode(data)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "print(decode(data).frames[0].shape)\n"
        "os.write(2, b'still here')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.jpg")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"{rgb.shape}\n", "still here")


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


def test_jpeg_segments_of_every_number_go_over(rgb: np.ndarray) -> None:
    """APP3 holds stereo and Kodak data, APP12 Picture Info and Ducky, and so on."""
    segments = [
        struct.pack(">HH", 0xFFE0 + number, 2 + 20) + (b"number %02d" % number).ljust(20, b"\0")
        for number in range(1, 16)
    ]
    plain = pillow(rgb, "JPEG")
    source = plain[:20] + b"".join(segments) + plain[20:]
    picture = decode(source)
    found = encode(picture, picture.frames)
    assert found[20 : 20 + len(b"".join(segments))] == b"".join(segments)
    assert losses(picture) == ()


def lossless_jpeg(gray: np.ndarray) -> bytes:
    """A lossless JPEG with predictor 1 (ITU-T T.81, annex H), written by hand."""
    bits = ""
    for y, row in enumerate(gray.astype(int).tolist()):
        for x, value in enumerate(row):
            before = row[x - 1] if x else (int(gray[y - 1, 0]) if y else 128)
            difference = value - before
            category = abs(difference).bit_length()
            bits += f"{category:04b}"  # nine codes of four bits each
            if category:
                offset = difference if difference > 0 else difference + 2**category - 1
                bits += f"{offset:0{category}b}"
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\0")

    def segment(marker: int, body: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body

    return (
        b"\xff\xd8"
        + segment(0xC3, struct.pack(">BHHB3B", 8, *gray.shape, 1, 1, 0x11, 0))
        + segment(0xC4, bytes([0, 0, 0, 0, 9, *[0] * 12, *range(9)]))
        + segment(0xDA, bytes([1, 1, 0, 1, 0, 0])) + scan + b"\xff\xd9"
    )  # fmt: skip


def test_lossless_jpeg_does_not_become_lossy_in_silence(rgb: np.ndarray) -> None:
    gray = rgb[:40, :50, 1]
    source = lossless_jpeg(gray)
    try:
        picture = decode(source)
    except ImageError as error:
        assert "JPEG" in str(error)  # libjpeg before libjpeg-turbo 3 does not know it
    else:
        np.testing.assert_array_equal(picture.frames[0], gray)
        assert losses(picture) == ("lossless JPEG became lossy",)
        assert losses(picture, "png") == ()


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


def test_real_photographs_keep_everything_but_the_pixels() -> None:
    sizes, optimized = [], []
    paths = [*shipped_jpegs(), *optional_data.photographs()[:60]]
    for path in paths:
        picture = read(str(path))
        found = encode(picture, picture.frames)
        assert jpeg_structure(found) == jpeg_structure(picture.data), path.name
        again = decode(found)
        assert (again.exif, again.icc, again.xmp) == (picture.exif, picture.icc, picture.xmp)
        np.testing.assert_array_equal(np.asarray(opened(picture.data)), picture.frames[0])
        sizes.append(len(found) / len(picture.data))
        small = encode(picture, picture.frames, optimize=True)
        optimized.append(len(small) / len(picture.data))
    assert len(sizes) == len(paths) >= 8
    assert 0.97 < np.mean(optimized) < 1.03
    assert 0.97 < np.mean(sizes) < 1.06


def test_metadata_too_large_for_jpeg_is_reported(rgb: np.ndarray) -> None:
    huge = b"MM\0*\0\0\0\x08\0\0\0\0\0\0" + bytes(70_000)
    picture = decode(png_by_hand(rgb, chunk(b"eXIf", huge)))
    assert picture.exif == huge
    assert losses(picture, "jpeg") == ("JPEG has no room for EXIF of this size",)
    assert decode(encode(picture, picture.frames, format="jpeg")).exif is None
