"""``lgs clean``: what it takes, where its outputs go, and what is in them."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import optional_data
import pytest
from folders import files_below, snapshot
from pictures import SAMPLES, read
from PIL import Image
from reference import local_gradients_smoothing
from shell import SUMMARY

# What is taken, and where it goes


@pytest.fixture
def tree(tmp_path, photographs):
    """A folder of folders, with what is to be passed over."""
    root = tmp_path / "in"
    for index, name in enumerate(
        [
            "b.jpg", "A.PNG", "a.jpeg", "sub/x.jpg", "sub/deep/y.webp", "ünï cödé 日本/bild ä.jpg",
            ".hidden.jpg", ".git/z.jpg", "sub/.cache/w.jpg",
        ]
    ):  # fmt: skip
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        photographs[index % 3].save(path, **({} if name == "A.PNG" else {"quality": 85}))
    (root / "notes.txt").write_text("no image")
    (root / "README").write_text("no image")
    return root


SEEN = ["A.PNG", "a.jpeg", "b.jpg", "sub/deep/y.webp", "sub/x.jpg", "ünï cödé 日本/bild ä.jpg"]


def test_the_tree_is_kept_and_sorted(lgs, tree):
    before = snapshot(tree)
    run = lgs("clean", "in", "-o", "out", "-v", "-j", 1)
    assert run.returncode == 0
    assert run.stdout == b""
    *lines, summary = run.stderr.splitlines()
    assert [line.split(": done, ")[0] for line in lines[:6]] == [
        f"in/{name} -> out/{name}" for name in SEEN
    ]
    assert lines[6:] == [
        f"in/{name}: unsupported, a file of another kind" for name in ("README", "notes.txt")
    ]
    assert re.fullmatch(
        r"6 images: 6 done, 0 skipped, 0 failed in \d+\.\d s; 2 files of other kinds passed over",
        summary,
    )
    assert files_below(lgs.folder / "out") == set(SEEN)
    assert snapshot(tree) == before


def test_pixels_are_those_of_the_definition(lgs, tree):
    options = ("--smoothing", 4, "--threshold", 0.2, "--block-size", 9, "--overlap", 3)
    assert lgs("clean", "in/A.PNG", "-o", "out", *options).returncode == 0
    wanted, _ = local_gradients_smoothing(read(tree / "A.PNG"), 4, 0.2, 9, 3)
    cleaned = read(lgs.folder / "out/A.PNG")
    assert np.abs(cleaned - np.rint(wanted * 255)).max() <= 1


def test_parameters_by_name_are_the_same_as_by_option(lgs, tree):
    by_option = lgs("clean", "in/A.PNG", "-o", "one", "--block-size", 9, "--overlap", 3)
    by_name = lgs(
        "clean", "in/A.PNG", "-o", "two", "--param", "block-size=9", "--param", "lgs.overlap=3"
    )
    assert (by_option.returncode, by_name.returncode) == (0, 0)
    assert (lgs.folder / "one/A.PNG").read_bytes() == (lgs.folder / "two/A.PNG").read_bytes()


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        (["--no-recursive"], {"A.PNG", "a.jpeg", "b.jpg"}),
        (["--include", "*.jpg"], {"b.jpg", "sub/x.jpg", "ünï cödé 日本/bild ä.jpg"}),
        (["--include", "**/*.jpg"], {"b.jpg", "sub/x.jpg", "ünï cödé 日本/bild ä.jpg"}),
        (["--include", "*.webp", "--include", "a*"], {"a.jpeg", "sub/deep/y.webp"}),
        (["--include", "sub/*"], {"sub/x.jpg", "sub/deep/y.webp"}),
        (["--exclude", "sub"], {"A.PNG", "a.jpeg", "b.jpg", "ünï cödé 日本/bild ä.jpg"}),
        (["--exclude", "./sub/", "--exclude", "ü*"], {"A.PNG", "a.jpeg", "b.jpg"}),
        (["--exclude", "sub/deep", "--include", "*/*.j*"], {SEEN[4], SEEN[5]}),
        (["--include", "b*", "--exclude", "*.jpg"], set()),
    ],
    ids=lambda words: " ".join(sorted(words) if isinstance(words, set) else words),
)  # fmt: skip
def test_what_is_taken_of_a_directory(lgs, tree, options, taken):
    run = lgs("clean", "in", "-o", "out", "-n", *options)
    shown = re.findall(r"^would clean: in/(.*) -> out/(.*)$", run.stdout.decode(), re.MULTILINE)
    assert {name for name, _ in shown} == taken
    assert all(name == output for name, output in shown)
    assert run.returncode == (0 if taken else 3)


def test_files_and_directories_mixed(lgs, tree):
    run = lgs("clean", "in/sub/", "in/../in/b.jpg", tree / ".hidden.jpg", "-o", "out/", "-q", "-j1")
    assert (run.returncode, run.stderr) == (0, "")
    assert files_below(lgs.folder / "out") == {"x.jpg", "deep/y.webp", "b.jpg", ".hidden.jpg"}


def test_patterns_do_not_concern_files_given_by_name(lgs, photos):
    run = lgs("clean", "photos/a.jpg", "-o", "out", "-q", "--exclude", "*")
    assert (run.returncode, run.stderr) == (0, "")
    assert files_below(lgs.folder / "out") == {"a.jpg"}


@pytest.mark.parametrize("place", ["file", "stdin"])
@pytest.mark.parametrize(("end", "options"), [("\n", []), ("\r\n", []), ("\0", ["-0"])])
def test_paths_from_a_list(lgs, tree, place, end, options):
    names = ["in/sub/x.jpg", "./in/b.jpg", str(tree / "A.PNG"), "in/ünï cödé 日本/bild ä.jpg"]
    data = (end.join(names) + end).encode()
    (lgs.folder / "list").write_bytes(data)
    source = {"file": "list", "stdin": "-"}[place]
    run = lgs("clean", "--files-from", source, *options, "-o", "out", "-q", "-j1", input=data)
    assert (run.returncode, run.stderr) == (0, "")
    assert files_below(lgs.folder / "out") == {
        "in/sub/x.jpg", "in/b.jpg", "A.PNG", "in/ünï cödé 日本/bild ä.jpg",
    }  # fmt: skip


def test_a_listed_path_that_is_not_there_is_one_failure(lgs, photos):
    names = b"photos/a.jpg\nphotos/gone.jpg\n\nphotos/c.jpg"
    run = lgs("clean", "--files-from", "-", "-o", "out", "-q", "-j1", input=names)
    assert (run.returncode, run.stderr) == (1, "lgs: photos/gone.jpg: no such file\n")
    assert files_below(lgs.folder / "out") == {"photos/a.jpg", "photos/c.jpg"}


def test_names_of_any_bytes(lgs, photographs):
    folder = os.fsencode(lgs.folder / "in")
    os.mkdir(folder)
    names = [b"new\nline.png", b"latin-\xe9.png", b"-o.png", b"a'b\"c $HOME.png", b"\x1b[31m.png"]
    for name in names:
        photographs[0].save(os.fsdecode(folder + b"/" + name))
    listing = b"\0".join(b"in/" + name for name in names)
    run = lgs("clean", "--files-from", "-", "-0", "-o", "out", "-vj1", input=listing)
    assert run.returncode == 0
    assert {os.fsencode(name) for name in os.listdir(lgs.folder / "out/in")} == set(names)
    lines = run.stderr.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("in/new\\nline.png -> out/in/new\\nline.png: done")
    assert lines[1].startswith("in/latin-\\xe9.png -> ")
    assert "\x1b" not in run.stderr


@pytest.mark.parametrize("where", [".", "..", "absolute", "link"])
def test_outputs_inside_an_input_are_never_walked(lgs, photos, where):
    (lgs.folder / "link").symlink_to(photos)
    there = {
        ".": (".", "cleaned", "masks/here"),
        "..": ("../photos/", "../photos/./cleaned/", "masks/here"),
        "absolute": (str(photos), "cleaned", str(photos / "masks/here")),
        "link": ("../link", "cleaned", "../link/masks/here"),
    }[where]
    for status in ("done", "skipped"):
        run = lgs(
            *("clean", there[0], "-o", there[1], "--masks", there[2], "--report", "-", "-j1"),
            cwd=photos,
        )
        assert run.returncode == 0
        records = [json.loads(line) for line in run.stdout.splitlines()]
        assert [(Path(r["source"]).name, r["status"]) for r in records] == [
            ("a.jpg", status), ("b.jpg", status), ("c.jpg", status),
        ]  # fmt: skip
    assert files_below(photos) == {
        *("a.jpg", "b.jpg", "c.jpg"),
        *("cleaned/a.jpg", "cleaned/b.jpg", "cleaned/c.jpg"),
        *("masks/here/a.jpg.png", "masks/here/b.jpg.png", "masks/here/c.jpg.png"),
    }


def test_another_file_system(lgs, photos):
    elsewhere = Path("/dev/shm")
    if not os.access(elsewhere, os.W_OK) or elsewhere.stat().st_dev == photos.stat().st_dev:
        pytest.skip("needs a second file system in /dev/shm")
    out = elsewhere / f"lgs-test-{os.getpid()}"
    try:
        assert lgs("clean", "photos", "-o", out, "-j1").returncode == 0
        assert files_below(out) == {"a.jpg", "b.jpg", "c.jpg"}
    finally:
        shutil.rmtree(out, ignore_errors=True)


def test_links_are_read_and_never_written_through(lgs, photos):
    (lgs.folder / "link.jpg").symlink_to(photos / "a.jpg")
    (lgs.folder / "out").mkdir()
    (lgs.folder / "out/link.jpg").symlink_to(photos / "b.jpg")
    before = snapshot(photos)
    assert lgs("clean", "link.jpg", "-o", "out").returncode == 0
    assert not (lgs.folder / "out/link.jpg").is_symlink()
    assert snapshot(photos) == before


# What it would do


def test_dry_run_writes_nothing(lgs, tree):
    (tree / "sub/broken.jpg").mkdir()
    before = snapshot(lgs.folder)
    run = lgs("clean", "in", "-o", "out", "--masks", "masks", "--report", "r.jsonl", "--dry-run")
    assert (run.returncode, run.stderr) == (0, "")
    expected = [f"would clean: in/{name} -> out/{name}" for name in SEEN]
    expected.insert(3, "would fail: in/sub/broken.jpg: a directory, not an image file")
    assert run.stdout.decode().splitlines() == expected
    assert snapshot(lgs.folder) == before

    lgs("clean", "in/b.jpg", "-o", "out")
    before = snapshot(lgs.folder)
    run = lgs("clean", "in", "-o", "out", "-n")
    assert "up to date: in/b.jpg -> out/b.jpg" in run.stdout.decode().splitlines()
    assert snapshot(lgs.folder) == before


def test_dry_run_of_names_that_differ_in_case_writes_nothing(lgs, photos):
    shutil.copy(photos / "a.jpg", photos / "A.jpg")
    (lgs.folder / "out").mkdir()
    before = (lgs.folder / "out").stat().st_mtime_ns
    assert lgs("clean", "photos", "-o", "out", "-n").returncode == 0
    assert (lgs.folder / "out").stat().st_mtime_ns == before


# As a filter


def test_one_image_through_a_pipe(lgs, photos):
    data = (photos / "a.jpg").read_bytes()
    run = lgs("clean", "-", "-o", "-", input=data)
    assert (run.returncode, run.stderr) == (0, "")
    lgs("clean", "photos/a.jpg", "-o", "out")
    assert run.stdout == (lgs.folder / "out/a.jpg").read_bytes() != data
    run = lgs("clean", "-", "-o", "-", "--format", "png", input=data)
    assert run.stdout.startswith(b"\x89PNG")


def test_a_pipe_without_an_image(lgs, photos):
    half = (photos / "a.jpg").read_bytes()[:4000]
    for data, reason in (
        (b"", "empty file"), (b"hello", "not an image"), (half, "truncated JPEG"),
    ):  # fmt: skip
        run = lgs("clean", "-", "-o", "-", input=data)
        assert (run.returncode, run.stdout) == (1, b"")
        assert run.stderr == f"lgs: standard input: {reason}\n"


# Real photographs


def test_results_do_not_depend_on_the_number_of_workers(lgs, tree):
    outputs = []
    for jobs in (1, 2, 3):
        run = lgs("clean", "in", "-o", f"out{jobs}", "--masks", f"masks{jobs}", "-j", jobs)
        assert run.returncode == 0
        folders = lgs.folder / f"out{jobs}", lgs.folder / f"masks{jobs}"
        outputs.append(
            [{name: (f / name).read_bytes() for name in files_below(f)} for f in folders]
        )
    assert len(outputs[0][0]) == len(outputs[0][1]) == 6
    assert outputs[0] == outputs[1] == outputs[2]


FOLDERS = [SAMPLES, *{path.parent for path in optional_data.photographs()}]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_whole_folders_of_photographs(lgs, folder):
    names = {
        name
        for name in files_below(folder)
        if name.endswith((".jpg", ".png", ".JPEG")) and not name.startswith(".")
    }
    run = lgs("clean", folder, "-o", "out")
    assert run.returncode == 0
    assert SUMMARY.fullmatch(run.stderr)[1].startswith(f"{len(names)} images: {len(names)} done")
    assert files_below(lgs.folder / "out") == names
    for name in names:
        with Image.open(folder / name) as source, Image.open(lgs.folder / "out" / name) as cleaned:
            assert cleaned.format == source.format
            assert cleaned.size == source.size
            assert cleaned.mode == ("RGB" if source.mode == "CMYK" else source.mode)


def test_localized_noise_no_longer_misleads_a_classifier(lgs):
    attacked = optional_data.needed("attacked")
    model = optional_data.needed("models", "squeezenet1_1.onnx")
    labels = {}
    for line in (attacked / "labels.csv").read_text().splitlines()[1:]:
        name, label = line.split(",")[:2]
        labels[name] = int(label)
    assert len(labels) == 48
    net = cv2.dnn.readNetFromONNX(str(model))

    def rightly_classified(folder: Path) -> float:
        right = 0
        for name, label in labels.items():
            image = read(folder / name).astype(np.float32) / 255
            net.setInput(image.transpose(2, 0, 1)[None])
            right += int(net.forward().argmax()) == label
        return right / len(labels)

    assert lgs("clean", attacked / "lavan_32px", "-o", "out").returncode == 0
    assert rightly_classified(attacked / "lavan_32px") == 0
    assert rightly_classified(lgs.folder / "out") >= 0.80


def test_photographs_in_a_directory_for_outputs_are_not_replaced(lgs, photos):
    (photos / "sub2").mkdir()
    stranger = photos / "sub2" / "a.jpg"
    shutil.copy(photos / "a.jpg", stranger)
    before = snapshot(photos)
    for options in (["-o", "photos/sub2"], ["-o", "out", "--masks", "photos/sub2"]):
        if "--masks" in options:
            stranger.rename(stranger.with_name("a.jpg.png"))
            before = snapshot(photos)
        done = lgs("clean", "photos", *options)
        assert done.returncode == 2
        assert "is there already, inside an input" in done.stderr
        assert snapshot(photos) == before
