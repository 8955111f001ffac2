"""``lgs`` as a shell runs it."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import files_below, snapshot
from pictures import DATA
from PIL import Image
from reference import local_gradients_smoothing

import lgs_cli
from lgs_cli.formats import MASK_STYLES

SUMMARY = re.compile(r"(\d+ images?: .* in \d+\.\d s(?:; [\d,]+ not reached)?)\n")


def pixels(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def plain(path: Path, size=(60, 40)) -> None:
    """An image in which there is nothing to smooth."""
    Image.new("RGB", size, (90, 120, 30)).save(path)


def report(path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


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
    assert [line.split(": done, ")[0] for line in lines] == [
        f"in/{name} -> out/{name}" for name in SEEN
    ]
    assert re.fullmatch(r"6 images: 6 done, 0 skipped, 0 failed in \d+\.\d s", summary)
    assert files_below(lgs.folder / "out") == set(SEEN)
    assert snapshot(tree) == before


def test_pixels_are_those_of_the_definition(lgs, tree):
    options = ("--smoothing", 4, "--threshold", 0.2, "--block-size", 9, "--overlap", 3)
    assert lgs("clean", "in/A.PNG", "-o", "out", *options).returncode == 0
    wanted, _ = local_gradients_smoothing(pixels(tree / "A.PNG"), 4, 0.2, 9, 3)
    cleaned = pixels(lgs.folder / "out/A.PNG")
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
    ids=" ".join,
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
        *("masks/here/a.png", "masks/here/b.png", "masks/here/c.png"),
    }


def test_another_file_system(lgs, photos):
    elsewhere = Path("/dev/shm")
    if not os.access(elsewhere, os.W_OK) or elsewhere.stat().st_dev == photos.stat().st_dev:
        pytest.skip("no second file system")
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


# Masks, formats, quality


@pytest.mark.parametrize("style", MASK_STYLES)
def test_masks(lgs, photos, style):
    plain(photos / "plain.png")
    run = lgs("clean", "photos", "-o", "out", "--masks", "masks", "--mask-style", style, "-qj1")
    assert (run.returncode, run.stderr) == (0, "")
    masks = lgs.folder / "masks"
    assert files_below(masks) == {"a.png", "b.png", "c.png", "plain.png"}
    picture, empty = pixels(masks / "a.png"), pixels(masks / "plain.png")
    image = pixels(photos / "a.jpg")
    _, mask = local_gradients_smoothing(image)
    assert 0 < np.mean(mask > 0) < 1
    if style == "binary":
        np.testing.assert_array_equal(picture, np.where(mask > 0, 255, 0))
        assert not empty.any()
    elif style == "heatmap":
        assert picture.shape == image.shape
        # The brighter, the stronger: inferno's luminance rises with its value.
        order = np.corrcoef(picture.sum(axis=2).ravel(), mask.ravel())[0, 1]
        assert order > 0.9
        assert (empty == empty[0, 0]).all()
    elif style == "overlay":
        assert picture.shape == image.shape
        warm = picture[..., 0].astype(int) - picture[..., 2]
        assert warm[mask > 0.5].mean() > warm[mask == 0].mean() + 50
    else:
        assert picture.shape[0] == image.shape[0]
        assert picture.shape[1] > 3 * image.shape[1]
        np.testing.assert_array_equal(picture[:, : image.shape[1]], image)


FORMATS = {
    "jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "tiff": "TIFF", "bmp": "BMP", "avif": "AVIF",
    "jp2": "JPEG2000", "pnm": "PPM",
}  # fmt: skip
SUFFIXES = {"jpeg": ".jpg", "tiff": ".tif", "pnm": ".ppm"}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_goes_in_and_out(lgs, photos, photographs, name):
    run = lgs("clean", "photos/a.jpg", "-o", "out", "--format", name)
    assert run.returncode == 0
    output = lgs.folder / "out" / ("a" + SUFFIXES.get(name, f".{name}"))
    with Image.open(output) as picture:
        assert picture.format == FORMATS[name]
        assert picture.size == (180, 120)
    source = lgs.folder / output.name
    photographs[0].save(source)
    assert lgs("clean", source, "-o", "kept").returncode == 0
    with Image.open(lgs.folder / "kept" / source.name) as picture:
        assert picture.format == FORMATS[name]


def test_quality(lgs, photos):
    def cleaned(*options):
        assert lgs("clean", "photos/a.jpg", "-o", "out", *options).returncode == 0
        return lgs.folder / "out/a.jpg"

    with Image.open(photos / "a.jpg") as source, Image.open(cleaned()) as kept:
        assert kept.quantization == source.quantization
    sizes = [cleaned("--quality", quality).stat().st_size for quality in (5, 50, 100)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_optimize_makes_smaller_jpegs_of_the_same_pixels(lgs, photos):
    for options in ([], ["--format", "jpeg"]):
        cleaned = []
        for optimize in ([], ["--optimize"]):
            run = lgs(
                "clean", "photos/a.jpg", "-o", "out", "--method", "median", *options, *optimize
            )
            assert run.returncode == 0
            cleaned.append((lgs.folder / "out/a.jpg").read_bytes())
        usual, small = cleaned
        assert 0.85 * len(usual) < len(small) < 0.99 * len(usual)
        usual, small = (np.asarray(Image.open(io.BytesIO(data))) for data in cleaned)
        assert np.array_equal(usual, small)


def test_unchanged_images_are_copied_to_the_byte(lgs, photos):
    for name in ("plain.png", "plain.jpg", "plain.webp", "plain.tif", "plain.bmp"):
        plain(photos / name)
    # What no encoder would write: a comment behind the end of the image.
    with (photos / "plain.jpg").open("ab") as file:
        file.write(b"trailing bytes")
    lgs("clean", "photos", "-o", "out", "--report", "r.jsonl", "-j1")
    records = {Path(record["source"]).name: record for record in report(lgs.folder / "r.jsonl")}
    assert len(records) == 8
    for name, record in records.items():
        same = (photos / name).read_bytes() == (lgs.folder / "out" / name).read_bytes()
        assert record["unchanged"] is same is name.startswith("plain")
        assert (record["coverage"] == 0) is same


def test_several_methods_in_a_row(lgs, photos):
    run = lgs("clean", "photos/a.jpg", "-o", "out", "--method", "median,lgs", "--report", "-")
    record = json.loads(run.stdout)
    assert record["method"] == "median,lgs"
    assert record["params"]["median.window"] == 3
    assert record["params"]["lgs.smoothing"] == 2.3


# What is said


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


FIELDS = [
    "source", "output", "mask", "status", "error", "width", "height", "format", "coverage",
    "score", "regions", "unchanged", "seconds", "notes", "method", "params", "command",
]  # fmt: skip


@pytest.mark.parametrize("jobs", [1, 3])
def test_report(lgs, photos, jobs):
    (photos / "b2.jpg").write_bytes(b"")
    arguments = ("clean", "photos", "-o", "out", "--masks", "m", "--report", "r.jsonl", "-j", jobs)
    run = lgs(*arguments, "--threshold", 0.05)
    assert run.returncode == 1
    a, b, b2, c = records = report(lgs.folder / "r.jsonl")
    for record in records:
        assert list(record) == FIELDS
        assert record["method"] == "lgs"
        assert record["params"] == {
            "smoothing": 2.3, "threshold": 0.05, "block_size": 15, "overlap": 5,
        }  # fmt: skip
        assert record["command"] == f"lgs {' '.join(map(str, arguments))} --threshold 0.05"
    assert [r["source"] for r in records] == [f"photos/{n}.jpg" for n in ("a", "b", "b2", "c")]
    for name, record in (("a", a), ("b", b), ("c", c)):
        assert (record["output"], record["mask"]) == (f"out/{name}.jpg", f"m/{name}.png")
        assert (record["status"], record["error"]) == ("done", None)
        assert (record["width"], record["height"], record["format"]) == (180, 120, "jpeg")
        _, mask = local_gradients_smoothing(pixels(photos / f"{name}.jpg"), threshold=0.05)
        assert record["coverage"] == pytest.approx(np.mean(mask > 0))
        assert record["unchanged"] is (not mask.any())
        assert 0 < record["seconds"] < 60
    assert (b2["status"], b2["error"], b2["output"]) == ("failed", "empty file", None)
    assert (b2["width"], b2["coverage"], b2["unchanged"]) == (None, None, False)

    assert lgs(*arguments, "--threshold", 0.05).returncode == 1
    again = report(lgs.folder / "r.jsonl")
    assert [r["status"] for r in again] == ["skipped", "skipped", "failed", "skipped"]
    assert [r["coverage"] for r in again] == [r["coverage"] for r in records]


def test_the_report_is_streamed(lgs, photos):
    """A line is there before the next image is done."""
    slow = ["--method", "tvm", "--param", "iterations=100000"]
    (lgs.folder / "list").write_text("photos/gone.jpg\nphotos/a.jpg\n")
    lines = ["--files-from", "list", "--report", "-", "-q"]
    run = lgs.start("clean", *lines, "-o", "out", *slow, stdout=subprocess.PIPE)
    try:
        assert json.loads(run.stdout.readline())["source"] == "photos/gone.jpg"
        assert run.poll() is None
    finally:
        run.terminate()
        run.wait()
        run.stdout.close()


def test_quiet_and_verbose(lgs, photos):
    (photos / "bad.jpg").write_text("no image")
    failure = "lgs: photos/bad.jpg: not an image\n"
    assert lgs("clean", "photos", "-o", "one", "-q", "-j1").stderr == failure
    usual = lgs("clean", "photos", "-o", "two", "-j1").stderr
    assert usual.startswith(failure)
    assert usual.count("\n") == 2
    verbose = lgs("clean", "photos", "-o", "three", "--verbose", "-j1").stderr.splitlines()
    assert len(verbose) == 5
    assert re.fullmatch(
        r"photos/a\.jpg -> three/a\.jpg: done, \d+\.\d% changed", verbose[0]
    )  # fmt: skip


def test_the_summary_counts(lgs, photos):
    plain(photos / "plain.png")
    (photos / "bad.jpg").write_text("no image")

    def summary(*arguments):
        return SUMMARY.search(lgs("clean", *arguments, "-o", "out", "-j1").stderr)[1]

    assert re.fullmatch(r"1 image: 1 done, 0 skipped, 0 failed in .*", summary("photos/a.jpg"))
    assert re.fullmatch(
        r"5 images: 3 done \(1 unchanged\), 1 skipped, 1 failed in .*", summary("photos")
    )


def test_version_and_help(lgs):
    assert lgs("--version").stdout.decode() == f"lgs {lgs_cli.__version__}\n"
    for arguments in (["-h"], ["--help"]):
        run = lgs(*arguments)
        assert run.returncode == 0
        assert run.stdout.startswith(b"Usage: lgs [OPTIONS] COMMAND")
        assert lgs("clean", *arguments).stdout.startswith(b"Usage: lgs clean [OPTIONS] INPUT...")
    run = lgs()
    assert (run.returncode, run.stdout) == (2, b"")
    assert run.stderr.startswith("Usage: lgs ")


def test_help_fits_a_terminal_of_80_columns(lgs):
    text = lgs("clean", "--help").stdout.decode()
    assert max(map(len, text.splitlines())) <= 80
    for option in ("--smoothing", "--threshold", "--block-size", "--overlap"):
        assert option in text
    for default in ("2.3", "0.1", "15", "5"):
        assert re.search(rf"default:\s+{re.escape(default)}\]", text)


def on_a_terminal(lgs, *arguments) -> tuple[int, str]:
    """Run with stderr on a pseudo-terminal; give the exit code and what was shown."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    run = lgs.start(*arguments, stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # Linux says so when the last writer is gone
        while select.select([master], [], [], 60)[0] and (data := os.read(master, 4096)):
            shown += data
    os.close(master)
    return run.wait(), shown.decode()


def test_a_progress_bar_on_a_terminal_and_nowhere_else(lgs, photos):
    (photos / "bad.jpg").write_text("no image")
    arguments = ("clean", "photos", "-j1", "-o")
    code, shown = on_a_terminal(lgs, *arguments, "one")
    assert code == 1
    assert "0/4" in shown
    assert "lgs: photos/bad.jpg: not an image\r\n" in shown
    # The bar is gone at the end, and the summary stands alone on its line.
    assert re.search(r"\r *\r(4 images: 3 done, 0 skipped, 1 failed in .* s)\r\n$", shown)

    code, shown = on_a_terminal(lgs, *arguments, "two", "-q")
    assert shown == "lgs: photos/bad.jpg: not an image\r\n"
    shown = lgs(*arguments, "three").stderr
    assert "\r" not in shown
    assert "/4" not in shown


# What is refused


def test_no_image_is_exit_code_3(lgs):
    (lgs.folder / "empty").mkdir()
    (lgs.folder / "empty/notes.txt").touch()
    run = lgs("clean", "empty", "-o", "out")
    assert (run.returncode, run.stderr) == (3, "lgs: no image found\n")
    run = lgs("clean", "--files-from", "-", "-o", "out", input=b"")
    assert (run.returncode, run.stderr) == (3, "lgs: no image found\n")
    assert not (lgs.folder / "out").exists()


HINT = "\nTry 'lgs clean --help' for help."
REFUSED = {
    "no input": (["-o", "out"], "nothing to clean: name an INPUT, or --files-from"),
    "no output": (["photos"], "Missing option '-o' / '--output'." + HINT),
    "missing input": (["photos", "gone", "-o", "out"], "gone: no such file or directory"),
    "empty input": (["", "-o", "out"], "Invalid value for 'INPUT...': the path is empty" + HINT),
    "empty output": (
        ["photos", "-o", ""], "Invalid value for '-o' / '--output': the path is empty" + HINT,
    ),
    "output is input": (["photos", "-o", "photos"], "photos is both an input and where outputs go"),
    "output is input, spelled otherwise": (
        ["photos", "-o", "link/../photos/"], "photos is both an input and where outputs go",
    ),
    "output is a link to the input": (
        ["photos", "-o", "link"], "photos is both an input and where outputs go",
    ),
    "masks into the input": (
        ["photos", "-o", "out", "--masks", "photos"],
        "photos is both an input and where outputs go",
    ),
    "output would be an input": (
        ["photos/a.jpg", "-o", "photos"], "photos/a.jpg is an input; it would be overwritten",
    ),
    "output would be an input through a link": (
        ["photos/a.jpg", "-o", "link"], "link/a.jpg is an input; it would be overwritten",
    ),
    "output would be another input": (
        ["other/a.jpg", "photos/a.jpg", "-o", "other/.."],
        "other/a.jpg and photos/a.jpg would both be written to a.jpg",
    ),
    "report would be an input": (
        ["photos", "-o", "out", "--report", "photos/../photos/a.jpg"],
        "photos/../photos/a.jpg is an input; it would be overwritten",
    ),
    "report would be an output": (
        ["photos", "-o", "out", "--report", "out/a.jpg"], "out/a.jpg would be written twice",
    ),
    "two inputs with one output": (
        ["photos", "--format", "png", "-o", "out"],
        "photos/a.jpg and photos/a.png would both be written to out/a.png",
    ),
    "two masks with one name": (
        ["photos", "--masks", "m", "-o", "out"],
        "photos/a.jpg and photos/a.png would both be written to m/a.png",
    ),
    "mask in the place of its image": (
        ["photos/a.png", "--masks", "out", "-o", "out"],
        "photos/a.png and its mask would both be written to out/a.png",
    ),
    "twice the same": (["photos", "photos", "-o", "out"], "photos/a.jpg is given twice"),
    "output is a file": (["photos", "-o", "file"], "file is not a directory"),
    "output below a file": (["photos", "-o", "file/out"], "file is not a directory"),
    "masks is a file": (["photos", "-o", "out", "--masks", "file"], "file is not a directory"),
    "list with NUL": (
        ["--files-from", "nul", "-o", "out"], "--files-from: the paths end in NUL; add -0",
    ),
    "list that is not there": (
        ["--files-from", "gone", "-o", "out"],
        "Invalid value for '--files-from': 'gone': No such file or directory" + HINT,
    ),
    "threshold": (["photos", "-o", "out", "--threshold", "1.5"],
                  "threshold is 1.5; valid is 0 to 1" + HINT),
    "smoothing": (["photos", "-o", "out", "--smoothing", "-1"],
                  "smoothing is -1; valid is at least 0" + HINT),
    "block size": (["photos", "-o", "out", "--block-size", "0"],
                   "block_size is 0; valid is 1 to 100000" + HINT),
    "overlap": (["photos", "-o", "out", "--overlap", "15"],
                "overlap is 15; valid is less than block_size (15)" + HINT),
    "no number": (["photos", "-o", "out", "--smoothing", "nan"],
                  "smoothing is nan; valid is at least 0" + HINT),
    "no float": (["photos", "-o", "out", "--threshold", "x"],
                 "Invalid value for '--threshold': 'x' is not a valid float." + HINT),
    "by name": (["photos", "-o", "out", "--param", "block-size=x"],
                "block_size is 'x'; valid is a whole number" + HINT),
    "no parameter": (
        ["photos", "-o", "out", "--param", "gamma=1"],
        "lgs has no parameter 'gamma'; it has smoothing, threshold, block_size, overlap" + HINT,
    ),
    "parameter of another method": (
        ["photos", "-o", "out", "--method", "jpeg", "--threshold", "0.2"],
        "jpeg has no parameter 'threshold'; it has quality" + HINT,
    ),
    "no quality": (
        ["photos", "-o", "out", "--quality", "0"],
        "Invalid value for '--quality': 0 is not in the range 1<=x<=100." + HINT,
    ),
    "no jobs": (
        ["photos", "-o", "out", "-j", "0"],
        "Invalid value for '-j' / '--jobs': 0 is not in the range x>=1." + HINT,
    ),
    "a format that cannot be written": (
        ["photos", "-o", "out", "--format", "gif"], "Invalid value for '--format': 'gif' is not",
    ),
    "a method that is not there": (["photos", "-o", "out", "--method", "lsg"],
                                   "no method 'lsg'; there are lgs, localize, "),
    "a typo": (["photos", "-o", "out", "--treshold", "1"], "No such option '--treshold'"),
    "half a pipe": (
        ["-", "-o", "out"], "'-' is one image from stdin to stdout, and goes alone: - -o -",
    ),
    "the other half": (
        ["photos", "-o", "-"], "'-' is one image from stdin to stdout, and goes alone: - -o -",
    ),
    "a pipe with masks": (["-", "-o", "-", "--masks", "m"], "--masks needs an output directory"),
    "a pipe with a dry run": (["-", "-o", "-", "-n"], "--dry-run needs an output directory"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_before_any_work(lgs, photos, arguments, message):
    Image.new("RGB", (8, 8)).save(photos / "a.png")
    (lgs.folder / "other").mkdir()
    Image.new("RGB", (8, 8)).save(lgs.folder / "other/a.jpg")
    (lgs.folder / "link").symlink_to(photos)
    (lgs.folder / "file").write_text("mine")
    (lgs.folder / "nul").write_bytes(b"photos/a.jpg\0photos/b.jpg\0")
    before = snapshot(lgs.folder)
    run = lgs("clean", *arguments)
    assert run.stderr.startswith(f"lgs: {message}")
    lines = run.stderr.splitlines()
    assert len(lines) == 1 or (len(lines) == 2 and lines[1] == HINT.strip())
    assert (run.returncode, run.stdout) == (2, b"")
    assert snapshot(lgs.folder) == before


def test_a_typo_in_a_command(lgs):
    run = lgs("claen")
    assert run.returncode == 2
    assert run.stderr.startswith("lgs: No such command 'claen'.")
    assert run.stderr.endswith("\nTry 'lgs --help' for help.\n")


# What goes wrong


def test_bad_files_among_good_ones(lgs, photos, photographs):
    good = (photos / "a.jpg").read_bytes()
    (photos / "truncated.jpg").write_bytes(good[: len(good) // 2])
    noise = np.random.default_rng(5).bytes(3000)
    (photos / "corrupt.jpg").write_bytes(good[:1000] + noise + good[4000:])
    photographs[0].save(photos / "damaged.png")
    data = bytearray((photos / "damaged.png").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (photos / "damaged.png").write_bytes(data)
    (photos / "empty.tif").touch()
    (photos / "text.webp").write_text("no image")
    (photos / "directory.jpg").mkdir()
    (photos / "broken.jpg").symlink_to("nowhere")
    (photos / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(photos / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(photos)  # the path of a socket is short
        server.bind("socket.jpg")
        os.chdir(here)
    reasons = {
        "broken.jpg": "broken link",
        "corrupt.jpg": "broken JPEG",
        "damaged.png": "",  # broken or truncated: a stream that makes no sense may look like either
        "directory.jpg": "a directory, not an image file",
        "empty.tif": "empty file",
        "fifo.jpg": "is a FIFO",
        "loop.jpg": "too many levels of symbolic links",
        "socket.jpg": "is a socket",
        "text.webp": "not an image",
        "truncated.jpg": "truncated JPEG",
    }
    if os.geteuid() != 0:
        shutil.copy(photos / "a.jpg", photos / "unreadable.jpg")
        (photos / "unreadable.jpg").chmod(0)
        reasons["unreadable.jpg"] = "permission denied"
    before = snapshot(photos)
    run = lgs(
        *("clean", "photos", "-o", "out", "--masks", "masks", "-q", "-j2"),
        *("--report", "r.jsonl"),
    )
    assert run.returncode == 1
    # As they come, from two workers; the report has them in order.
    lines = sorted(run.stderr.splitlines())
    assert len(lines) == len(reasons)
    for line, (name, reason) in zip(lines, reasons.items(), strict=True):
        assert line.startswith(f"lgs: photos/{name}: {reason}")
    failed = [r for r in report(lgs.folder / "r.jsonl") if r["status"] == "failed"]
    assert [Path(r["source"]).name for r in failed] == list(reasons)
    for record, (name, reason) in zip(failed, reasons.items(), strict=True):
        assert record["error"].startswith(reason), name
    assert files_below(lgs.folder / "out") == {"a.jpg", "b.jpg", "c.jpg"}
    assert files_below(lgs.folder / "masks") == {"a.png", "b.png", "c.png"}
    assert snapshot(photos) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_directories_without_permission(lgs, photos):
    closed = photos / "closed"
    closed.mkdir(mode=0)
    run = lgs("clean", "photos", "-o", "out", "-qj1")
    assert run.stderr == "lgs: photos/closed: cannot list the directory: permission denied\n"
    assert run.returncode == 1
    assert files_below(lgs.folder / "out") == {"a.jpg", "b.jpg", "c.jpg"}
    run = lgs("clean", "photos/a.jpg", "-o", "photos/closed/out")
    assert run.stderr.startswith("lgs: photos/closed/out: cannot write: permission denied")
    assert run.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_under_the_report(lgs, photos):
    run = lgs("clean", "photos", "-o", "out", "-q", "-j1", "--report", "/dev/full")
    assert run.returncode == 1
    assert run.stderr == "lgs: --report /dev/full: no space left on device\n"


def test_a_reader_that_goes_away(lgs, photos):
    for arguments in (["photos", "-o", "out", "--report", "-", "-q", "-j1"], ["--help"]):
        reading, writing = os.pipe()
        os.close(reading)
        run = lgs.start("clean", *arguments, stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        _, complaint = run.communicate(timeout=60)
        assert (run.returncode, complaint) == (141, b"")


def processes_of(session: int) -> list[str]:
    """Name the processes that are left of a session."""
    left = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                left.append((directory / "cmdline").read_text())
    return left


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(lgs, photos, jobs, number, code):
    for path in photos.iterdir():
        with Image.open(path) as picture:
            picture.resize((900, 600)).save(path)
    # The first image is done at once, every other one would take a minute.
    plain(photos / "0.png", (4, 4))
    run = lgs.start(
        *("clean", "photos", "-o", "out", "--masks", "m", "-v", "-j", jobs),
        *("--method", "tvm", "--param", "iterations=2000", "--param", "drop_rate=0"),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr.readline().startswith("photos/0.png -> out/0.png: done")
    time.sleep(0.3)
    if number == signal.SIGINT:
        os.killpg(run.pid, number)  # as a terminal does it
    else:
        run.send_signal(number)
    shown = run.stderr.read()
    run.stderr.close()
    assert run.wait(timeout=30) == code
    deadline = time.monotonic() + 10
    while (left := processes_of(run.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
    assert "Traceback" not in shown
    summary = SUMMARY.search(shown)[1]
    assert summary.startswith("1 image: 1 done")
    assert summary.endswith("; 3 not reached")
    assert files_below(lgs.folder / "out") == {"0.png"}
    assert files_below(lgs.folder / "m") == {"0.png"}


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


def test_all_of_imagenet_samples(lgs):
    folder = DATA / "imagenet"
    if not folder.is_dir():
        pytest.skip(f"no photographs: {folder} is absent")
    run = lgs("clean", folder, "-o", "out")
    assert run.returncode == 0
    assert SUMMARY.fullmatch(run.stderr)[1].startswith("240 images: 240 done")
    names = {path.name for path in folder.glob("*.JPEG")}
    assert files_below(lgs.folder / "out") == names
    for name in names:
        with Image.open(folder / name) as source, Image.open(lgs.folder / "out" / name) as cleaned:
            assert cleaned.format == "JPEG"
            assert cleaned.size == source.size
            assert cleaned.mode == ("RGB" if source.mode == "CMYK" else source.mode)


def test_localized_noise_no_longer_misleads_a_classifier(lgs):
    cv2 = pytest.importorskip("cv2")
    attacked, model = DATA / "attacked", DATA / "models/squeezenet1_1.onnx"
    if not (attacked.is_dir() and model.is_file()):
        pytest.skip(f"no attacked photographs, or no classifier: {DATA} is absent")
    labels = {}
    for line in (attacked / "labels.csv").read_text().splitlines()[1:]:
        name, label = line.split(",")[:2]
        labels[name] = int(label)
    assert len(labels) == 48
    net = cv2.dnn.readNetFromONNX(str(model))

    def rightly_classified(folder: Path) -> float:
        right = 0
        for name, label in labels.items():
            image = pixels(folder / name).astype(np.float32) / 255
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
            stranger.rename(stranger.with_suffix(".png"))
            before = snapshot(photos)
        done = lgs("clean", "photos", *options)
        assert done.returncode == 2
        assert "is there already, inside an input" in done.stderr
        assert snapshot(photos) == before
