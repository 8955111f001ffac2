"""Small pictures of a run's images."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from pictures import attacked
from PIL import Image
from runs import a_run, decoded, jpeg_of, record

from lgs_cli.defenses.defense import Region
from lgs_cli.report.page import render
from lgs_cli.report.records import Record
from lgs_cli.report.run import read_runs
from lgs_cli.report.thumbnails import thumbnails


def pictures_of(run, limit=500):
    return dict(thumbnails(run, limit))


def test_thumbnails_are_small_and_of_the_highest_coverage(tmp_path):
    records = []
    for number, coverage in enumerate((0.2, None, 0.9, 0.5)):
        source = tmp_path / f"{number}.png"
        Image.new("RGB", (1000, 400), (50 * number, 100, 0)).save(source)
        records.append(record(str(source), coverage))
    found = pictures_of(a_run(*records), limit=3)
    assert list(found) == [2, 3, 0]
    for number, pictures in found.items():
        assert list(pictures) == ["original"]
        picture = decoded(pictures["original"])
        assert picture.shape == (77, 192, 3)
        assert np.abs(picture - (50 * number, 100, 0)).max() <= 4


def test_thumbnails_are_of_the_highest_scores_where_there_are_any(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    scores = ((0.9, 0.2), (0.1, 0.9), (0.5, None), (None, 0.5))
    run = a_run(*(record(str(tmp_path / "a.png"), c, score=score) for c, score in scores))
    assert list(pictures_of(run, limit=3)) == [1, 3, 0]


@pytest.mark.parametrize(
    ("suffix", "orientation"), [("png", 1), ("png", 6), ("tif", 6), ("png", 3)]
)
def test_regions_are_framed_on_the_original(tmp_path, suffix, orientation):
    pixels = np.full((300, 400, 3), 128, np.uint8)
    pixels[200:240, 60:120] = (0, 0, 255)
    exif = Image.Exif()
    exif[274] = orientation
    source, output = tmp_path / f"a.{suffix}", tmp_path / "out.png"
    Image.fromarray(pixels).save(source, exif=exif)
    Image.fromarray(pixels).save(output)
    run = a_run(
        record(
            str(source), output=str(output), width=400, height=300, score=0.9,
            regions=(Region(60, 200, 60, 40, 0.9),),
        )
    )  # fmt: skip
    pictures = pictures_of(run)[0]
    picture = decoded(pictures["original"])
    blue = (picture[..., 2] > 170) & (picture[..., 0] < 90)
    bright = (picture[..., 0] > 170) & (picture[..., 2] < 110)
    assert picture.shape == ((192, 144, 3) if orientation == 6 else (144, 192, 3))
    # All of the patch is in sight, and the frame is close around it on all four sides.
    assert blue.sum() == pytest.approx(60 * 40 * 0.48**2, rel=0.3)
    rows, columns = (np.flatnonzero(blue.any(axis)) for axis in (1, 0))
    above, left = (
        rows[0] - np.flatnonzero(bright.any(1))[0],
        columns[0] - np.flatnonzero(bright.any(0))[0],
    )
    below = np.flatnonzero(bright.any(1))[-1] - rows[-1]
    right = np.flatnonzero(bright.any(0))[-1] - columns[-1]
    assert all(1 <= distance <= 5 for distance in (above, below, left, right))
    # The others are as they were.
    cleaned = decoded(pictures["cleaned"])
    assert not ((cleaned[..., 0] > 170) & (cleaned[..., 2] < 110)).any()


def test_of_several_pages_the_one_with_the_regions_is_shown(tmp_path):
    colors = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    first, *others = [Image.new("RGB", (300, 300), color) for color in colors]
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    regions = (Region(100, 100, 60, 60, 0.9),)
    source = str(tmp_path / "a.tif")
    run = a_run(record(source, width=300, height=300, score=0.9, regions=regions, page=3))
    picture = decoded(pictures_of(run)[0]["original"])
    assert np.abs(picture[10, 10] - (0, 0, 200)).max() < 10
    assert (picture[..., 0] > 170).any()  # the frame


def test_a_file_that_was_moved_is_shown_from_where_it_lies(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "b.png")
    run = a_run(Record(str(tmp_path / "a.png"), "done", score=1, moved_to=str(tmp_path / "b.png")))
    assert list(pictures_of(run)) == [0]


def test_relative_paths_start_from_the_current_directory(tmp_path, monkeypatch):
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")
    assert pictures_of(a_run(record("a.png"))) == {}
    monkeypatch.chdir(tmp_path)
    assert list(pictures_of(a_run(record("a.png")))) == [0]


def test_the_mask_is_the_file_s_or_else_the_difference(tmp_path):
    original = np.full((60, 80, 3), 200, np.uint8)
    cleaned = original.copy()
    cleaned[:30] = 0
    mask = np.zeros((60, 80, 3), np.uint8)
    mask[:, :40] = (0, 200, 0)
    for name, array in (("o", original), ("c", cleaned), ("m", mask)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    paths = {"output": str(tmp_path / "c.png")}
    source = str(tmp_path / "o.png")
    with_mask, without = pictures_of(
        a_run(record(source, mask=str(tmp_path / "m.png"), **paths), record(source, **paths))
    ).values()

    assert list(with_mask) == ["original", "mask", "cleaned"]
    green = decoded(with_mask["mask"])[30, 10]
    assert np.abs(green - (0, 200, 0)).max() < 10
    assert list(without) == ["original", "difference", "cleaned"]
    difference = decoded(without["difference"]).sum(2)
    assert difference[10].min() > 500
    assert difference[50].max() < 60


def test_pictures_are_turned_upright_and_the_mask_with_them(tmp_path):
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = 255  # the left half, which orientation 6 turns to the top
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "o.png", exif=exif)
    Image.fromarray(pixels).save(tmp_path / "m.png")
    run = a_run(record(str(tmp_path / "o.png"), mask=str(tmp_path / "m.png")))
    pictures = pictures_of(run)[0]
    for name in ("original", "mask"):
        upright = decoded(pictures[name])
        assert upright.shape == (80, 40, 3)
        assert upright[:30].min() > 240
        assert upright[50:].max() < 15


@pytest.mark.parametrize(
    ("pixels", "shown"),
    [
        (np.full((20, 30), 257 * 80, np.uint16), (80, 80, 80)),
        (np.full((20, 30), 90, np.uint8), (90, 90, 90)),
        (np.full((20, 30, 4), (10, 200, 30, 255), np.uint8), (10, 200, 30)),
    ],
    ids=["gray 16", "gray", "RGBA"],
)
def test_every_kind_of_pixel_keeps_its_color(tmp_path, pixels, shown):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = decoded(pictures_of(a_run(record(str(tmp_path / "a.png"))))[0]["original"])
    assert np.abs(picture - shown).max() <= 3


def test_what_cannot_be_read_has_no_picture(tmp_path):
    whole = jpeg_of((1, 2, 3))
    contents = {"cut.jpg": whole[: len(whole) // 2], "empty.png": b"", "text.png": b"hello"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "fifo.png")
    names = [*contents, "folder.png", "fifo.png", "none.png", "nul\0.png", "x" * 5000]
    (tmp_path / "good.jpg").write_bytes(whole)
    run = a_run(*(record(str(tmp_path / name)) for name in [*names, "good.jpg"]))
    assert list(pictures_of(run)) == [len(names)]


def test_a_file_name_that_is_not_utf_8_is_found(tmp_path):
    try:
        (tmp_path / "caf\udce9.jpg").write_bytes(jpeg_of((1, 2, 3)))
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    line = {"source": str(tmp_path / "caf\udce9.jpg"), "status": "done", "coverage": 0.5}
    report = tmp_path / "run.jsonl"
    report.write_text(json.dumps(line))
    run = read_runs([report], print)
    assert list(pictures_of(run)) == [0]
    render(run, thumbnails(run)).html.encode()


def test_the_difference_of_attacked_and_clean_photographs_shows_where_the_noise_is(tmp_path):
    pairs = [attacked(index) for index in range(3)]
    for index, (clean, patched) in enumerate(pairs):
        Image.fromarray(patched).save(tmp_path / f"{index}.png")
        Image.fromarray(clean).save(tmp_path / f"{index}-clean.png")
    names = [str(tmp_path / str(index)) for index in range(3)]
    run = a_run(*(record(f"{name}.png", output=f"{name}-clean.png") for name in names))
    found = pictures_of(run)
    assert len(found) == 3
    for index, pictures in found.items():
        changed = np.argwhere((pairs[index][0] != pairs[index][1]).any(2)).mean(0) * 192 / 224
        bright = np.argwhere(decoded(pictures["difference"]).sum(2) > 250).mean(0)
        assert np.abs(changed - bright).max() < 5
