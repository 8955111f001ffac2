from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from folders import files_below
from PIL import Image
from reference import local_gradients_smoothing

from lgs_cli.batch.pipeline import CleanSettings, Job, process
from lgs_cli.defenses.chain import apply_chain, parse_chain

LGS = parse_chain("lgs")


def run(folder, name, *, mask=False, **settings):
    job = Job(
        5, f"{folder}/{name}", f"{folder}/out/{name}", f"{folder}/masks/m.png" if mask else None
    )
    return process(job, CleanSettings(**{"chain": LGS, **settings}))


def test_one_image_from_disk_to_disk(tmp_path, photographs):
    photographs[1].save(tmp_path / "a.png")
    # Of a file as young as the clock's tick, the mtime says nothing.
    os.utime(tmp_path / "a.png", ns=(10**18, 10**18 + 1))
    result = run(tmp_path, "a.png", mask=True)
    image = np.asarray(photographs[1])
    wanted, mask = local_gradients_smoothing(image)
    with Image.open(tmp_path / "out/a.png") as picture:
        assert np.abs(np.asarray(picture) - np.rint(wanted * 255)).max() <= 1
    assert (result.place, result.status, result.error, result.fatal) == (5, "done", None, False)
    assert (result.source, result.output) == (f"{tmp_path}/a.png", f"{tmp_path}/out/a.png")
    assert result.mask == f"{tmp_path}/masks/m.png"
    assert (result.width, result.height, result.format) == (180, 120, "png")
    assert result.coverage == pytest.approx(np.mean(mask > 0))
    assert 0 < result.coverage < 1
    assert result.unchanged is False
    for path, size in (
        (tmp_path / "a.png", result.source_size),
        (tmp_path / "out/a.png", result.output_size),
        (tmp_path / "masks/m.png", result.mask_size),
    ):
        assert path.stat().st_size == size
    assert result.source_mtime_ns == 10**18 + 1


def test_an_unchanged_image_is_its_input_unless_it_must_be_written_anew(tmp_path):
    Image.new("P", (40, 30), 3).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    result = run(tmp_path, "a.png")
    assert (tmp_path / "out/a.png").read_bytes() == data
    assert (result.unchanged, result.coverage, result.notes) == (True, 0, ())
    result = run(tmp_path, "a.png", format="webp")
    assert (tmp_path / "out/a.png").read_bytes()[8:12] == b"WEBP"
    assert result.notes


def test_frames_are_cleaned_one_by_one(tmp_path, photographs):
    plain = Image.new("RGB", photographs[0].size, (70, 80, 90))
    # Pillow keeps the options of the last encoder with an image; a copy has none.
    frames = [plain, photographs[0].copy(), photographs[1].copy()]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    result = run(tmp_path, "a.tif", mask=True)
    expected = [local_gradients_smoothing(np.asarray(frame)) for frame in frames]
    with Image.open(tmp_path / "out/a.tif") as picture:
        assert picture.n_frames == 3
        for index, (wanted, _) in enumerate(expected):
            picture.seek(index)
            assert np.abs(np.asarray(picture) - np.rint(wanted * 255)).max() <= 1
    assert result.coverage == pytest.approx(np.mean([mask > 0 for _, mask in expected]))
    # The mask that is shown is that of the frame with the most in it, the third.
    run(tmp_path, "a.tif", mask=True, mask_style="binary")
    with Image.open(tmp_path / "masks/m.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture) > 0, expected[2][1] > 0)


def test_whatever_goes_wrong_is_a_failed_result(tmp_path, photographs, monkeypatch):
    photographs[0].save(tmp_path / "a.png")
    (tmp_path / "bad.png").write_text("no image")
    (tmp_path / "out/dir.png").mkdir(parents=True)
    photographs[0].save(tmp_path / "dir.png")
    for name, settings, reason in (
        ("gone.png", {}, "no such file"),
        ("bad.png", {}, "not an image"),
        ("a.png", {"max_pixels": 1000}, "21,600 pixels are more than --max-pixels 1,000"),
        ("dir.png", {}, "cannot write: is a directory"),
    ):
        result = run(tmp_path, name, **settings)
        assert (result.status, result.error) == ("failed", reason)
        assert (result.output, result.mask, result.fatal) == (None, None, False)
    assert files_below(tmp_path / "out") == set()

    def broken(*args, **kwargs):
        raise RuntimeError("one\nthing  or another")

    monkeypatch.setattr("lgs_cli.batch.pipeline.apply_chain", broken)
    assert run(tmp_path, "a.png").error == "RuntimeError: one thing or another"
    monkeypatch.setattr("lgs_cli.batch.pipeline.apply_chain", lambda *a, **k: np.empty(1 << 56))
    assert run(tmp_path, "a.png").error == "not enough memory"

    def exhausted(*args, **kwargs):
        raise cv2.error("alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes")

    monkeypatch.undo()
    for place in ("defenses.lgs._gradient_sums", "image_io.png_samples._filtered"):
        with monkeypatch.context() as patch:
            patch.setattr(f"lgs_cli.{place}", exhausted)
            result = run(tmp_path, "a.png")
            assert (result.error, result.hopeless) == ("not enough memory", False)


def test_a_missing_library_ends_the_run(tmp_path, photographs, monkeypatch):
    photographs[0].save(tmp_path / "a.png")

    def missing(*args, **kwargs):
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr("lgs_cli.batch.pipeline.apply_chain", missing)
    result = run(tmp_path, "a.png")
    assert result.fatal
    assert result.error == "OpenCV needs libGL.so from the system: apt-get install libgl1"


def test_a_chain_masks_what_any_of_its_steps_masks(photographs):
    image = np.asarray(photographs[0])
    chain = parse_chain("bit-depth,lgs")
    squeezed = apply_chain(image, parse_chain("bit-depth"), with_mask=True)
    smoothed = apply_chain(squeezed.image, LGS, with_mask=True)
    found = apply_chain(image, chain, with_mask=True)
    np.testing.assert_array_equal(found.image, smoothed.image)
    np.testing.assert_array_equal(found.mask, np.maximum(squeezed.mask, smoothed.mask))
    assert found.coverage == np.mean((squeezed.mask > 0) | (smoothed.mask > 0))
    without = apply_chain(image, chain, with_mask=False)
    assert without.mask is None
    assert without.coverage == found.coverage


MEMORY = r"""
import re, sys
import cv2
import numpy as np
from PIL import Image
from lgs_cli.batch.job import Job
from lgs_cli.batch.pipeline import CleanSettings, process
from lgs_cli.defenses import lgs
from lgs_cli.defenses.chain import parse_chain

def peak():
    # Not getrusage: what it tells, a process inherits from the one that started it.
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024

lgs.KEPT_BYTES = 1 << 22  # so that a picture of 12 megapixels is a very large one
settings = CleanSettings(parse_chain("lgs"))
for name in ("small", "large"):
    before = peak()
    result = process(Job(0, f"{name}{sys.argv[1]}", f"out{sys.argv[1]}"), settings)
    assert result.status == "done" and result.coverage > 0, result
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("suffix", "dtype", "channels", "most"),
    [(".png", np.uint16, 4, 3.7), (".tiff", np.uint16, 4, 3.7), (".png", np.uint8, 3, 4.5),
     (".jpg", np.uint8, 3, 3.7)],
    ids=["16-bit PNG", "16-bit TIFF", "PNG", "JPEG"],
)  # fmt: skip
def test_a_large_picture_takes_a_little_more_than_three_times_its_size(
    tmp_path, suffix, dtype, channels, most
):
    generator = np.random.default_rng(0)
    fast = {".png": [cv2.IMWRITE_PNG_COMPRESSION, 0], ".tiff": [cv2.IMWRITE_TIFF_COMPRESSION, 8]}
    # Noise, the worst of pictures: its files are as large as its pixels.
    for name, size in (("small", (60, 80)), ("large", (3000, 4000))):
        pixels = generator.integers(0, np.iinfo(dtype).max, (*size, channels), dtype)
        assert cv2.imwrite(f"{tmp_path}/{name}{suffix}", pixels, fast.get(suffix, []))
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, suffix],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert 1.5 < int(run.stdout) / pixels.nbytes < most
