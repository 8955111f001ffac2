"""``lgs scan`` as a shell runs it, with a detector that finds magenta."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import sys
from pathlib import Path

import detectors
import numpy as np
import pytest
from folders import files_below, snapshot
from PIL import Image
from shell import PATIENCE, until

SIZE = 128, 96
TIME = re.compile(r"in \d+\.\d s")


@pytest.fixture(scope="session")
def detector(tmp_path_factory) -> Path:
    return detectors.write_magenta(tmp_path_factory.mktemp("detector") / "magenta.onnx")


@pytest.fixture
def scan(lgs, detector):
    """Run ``lgs scan`` with that detector."""
    return lambda *words, **options: lgs("scan", *words, "--detector", detector, **options)


def pixels(*patches: tuple[int, int, int], size: tuple[int, int] = SIZE) -> Image.Image:
    """A gray ramp with a magenta square at each (x, y, side)."""
    width, height = size
    ramp = np.linspace(60, 180, width).astype(np.uint8)
    array = np.repeat(np.tile(ramp, (height, 1))[..., None], 3, axis=2)
    for x, y, side in patches:
        array[y : y + side, x : x + side] = (255, 0, 255)
    return Image.fromarray(array)


def save(path: Path, *patches: tuple[int, int, int], order: str = "", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels(*patches).save(path, **options)
    if order:  # for faults/sitecustomize.py
        path.write_bytes(path.read_bytes() + f"LGS-FAULT {order}".encode())
    return path


def overlap(region: dict, patch: tuple[int, int, int]) -> float:
    """Intersection over union of a region and a square."""
    x, y, side = patch
    across = min(region["x"] + region["width"], x + side) - max(region["x"], x)
    down = min(region["y"] + region["height"], y + side) - max(region["y"], y)
    both = max(across, 0) * max(down, 0)
    return both / (region["width"] * region["height"] + side**2 - both)


ONE, TWO = (16, 24, 32), (80, 8, 32)


@pytest.fixture
def tree(tmp_path) -> Path:
    """Five images: three with patches (one with two), one without, one that is none."""
    root = tmp_path / "in"
    save(root / "a.png")
    save(root / "b.png", ONE)
    save(root / "c/d.png", ONE, TWO)
    save(root / "c/f.jpg", TWO, quality=95)
    (root / "c/e.png").write_text("no image")
    return root


FOUND = ["in/b.png", "in/c/d.png", "in/c/f.jpg"]
SUMMARY = "5 images: 3 with a patch, 1 without, 1 failed in # s\n"


def untimed(text: str) -> str:
    return TIME.sub("in # s", text)


# What is printed


def test_a_line_an_image_in_the_order_of_the_inputs(scan, tree):
    run = scan("in")
    rows = [line.split("\t") for line in run.stdout.decode().splitlines()]
    assert [row[1] for row in rows] == ["in/a.png", *FOUND]
    assert [len(row) - 2 for row in rows] == [0, 1, 2, 1]
    assert all(re.fullmatch(r"[01]\.\d\d", row[0]) for row in rows)
    assert float(rows[0][0]) < 0.5 <= min(float(row[0]) for row in rows[1:])
    found = re.fullmatch(r"x=(\d+),y=(\d+),w=(\d+),h=(\d+) \(([01]\.\d\d)\)", rows[1][2])
    x, y, width, height = map(int, found.groups()[:4])
    assert overlap({"x": x, "y": y, "width": width, "height": height}, ONE) > 0.7
    assert 0.5 <= float(found[5]) <= float(rows[1][0])
    assert untimed(run.stderr) == "lgs: in/c/e.png: not an image\n" + SUMMARY
    assert run.returncode == 1


def test_json_lines(scan, tree):
    run = scan("in", "--json")
    lines = run.stdout.splitlines()
    records = [json.loads(line) for line in lines]
    assert run.stdout.isascii()
    for record in records:
        assert list(record) == [
            "source", "status", "error", "score", "regions", "page", "width", "height",
        ]  # fmt: skip
    a, b, d, e, f = records
    assert [r["source"] for r in records] == [
        "in/a.png", "in/b.png", "in/c/d.png", "in/c/e.png", "in/c/f.jpg",
    ]  # fmt: skip
    assert e == {
        "source": "in/c/e.png", "status": "failed", "error": "not an image", "score": None,
        "regions": [], "page": None, "width": None, "height": None,
    }  # fmt: skip
    for record in (a, b, d, f):
        assert (record["status"], record["error"]) == ("done", None)
        assert (record["width"], record["height"]) == SIZE
    assert 0 <= a["score"] < 0.5 and a["regions"] == []
    for record, patches in ((b, [ONE]), (d, [ONE, TWO]), (f, [TWO])):
        regions = record["regions"]
        assert len(regions) == len(patches)
        for patch in patches:
            assert max(overlap(region, patch) for region in regions) > 0.7
        scores = [region["score"] for region in regions]
        assert scores == sorted(scores, reverse=True)
        assert 0.5 <= scores[0] <= record["score"] <= 1


@pytest.mark.parametrize("options", [[], ["--json"], ["--found-only", "-0"]])
def test_any_number_of_workers_says_the_same(scan, tree, options):
    for name in range(20):
        save(tree / f"{name}.png", *[ONE] * (name % 3 == 0))
    one, two = (scan("in", "-j", jobs, *options) for jobs in (1, 2))
    assert one.stdout == two.stdout
    assert one.stdout.count(b"in/") >= 10
    assert untimed(one.stderr) == untimed(two.stderr)


def test_only_what_was_found(scan, tree):
    every = scan("in").stdout.splitlines()
    assert scan("in", "--found-only").stdout.splitlines() == every[1:]
    records = [
        json.loads(line) for line in scan("in", "--found-only", "--json").stdout.splitlines()
    ]
    assert [record["source"] for record in records] == FOUND


NAMES = [b"new\nline.png", b"tab\t.png", b"\xff\xfe.png", b"\x1b[31m.png", "日本.png".encode()]


def test_paths_of_any_bytes_end_in_nul_in_and_out(scan, tmp_path):
    data = save(tmp_path / "x.png", ONE).read_bytes()
    for name in NAMES:
        (tmp_path / os.fsdecode(name)).write_bytes(data)
    save(tmp_path / "clear.png")
    listed = b"".join(name + b"\0" for name in [*NAMES, b"clear.png"])
    words = ("--files-from", "-", "-0")
    run = scan(*words, "--found-only", input=listed)
    assert run.stdout.split(b"\0") == [*NAMES, b""]
    assert run.returncode == 0
    # As text they take one line each, with nothing in them that a terminal obeys.
    lines = scan(*words, input=listed).stdout.decode().splitlines()
    assert [line.split("\t")[1] for line in lines] == [
        r"new\nline.png", r"tab\t.png", r"\xff\xfe.png", r"\x1b[31m.png", "日本.png", "clear.png",
    ]  # fmt: skip
    records = [
        json.loads(line) for line in scan(*words, "--json", input=listed).stdout.splitlines()
    ]
    assert [os.fsencode(record["source"]) for record in records] == [*NAMES, b"clear.png"]


def test_a_name_that_the_terminal_cannot_show(lgs, scan, tmp_path):
    save(tmp_path / "日.png", ONE)
    lgs.environment |= {"PYTHONIOENCODING": "ascii"}
    assert rb"	\u65e5.png	" in scan("日.png").stdout


def test_the_threshold_decides_what_is_found(scan, tree):
    score = json.loads(scan("in/b.png", "--json").stdout)["score"]
    for threshold, regions in ((score, 1), (np.nextafter(score, 1), 0), (1, 0)):
        run = scan("in/b.png", "--json", "--threshold", repr(float(threshold)))
        record = json.loads(run.stdout)
        assert (record["score"], len(record["regions"])) == (score, regions)


def test_of_several_frames_the_most_suspicious_counts(scan, tmp_path):
    frames = [pixels(), pixels(TWO), pixels()]
    for name in ("a.tif", "a.gif", "a.webp"):
        options = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        (region,) = json.loads(scan(name, "--json").stdout)["regions"]
        assert overlap(region, TWO) > 0.7


def test_regions_are_in_pixels_as_stored(scan, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    save(tmp_path / "turned.jpg", TWO, quality=95, exif=exif)
    record = json.loads(scan("turned.jpg", "--json").stdout)
    assert (record["width"], record["height"]) == SIZE
    assert overlap(record["regions"][0], TWO) > 0.7


def test_the_lines_are_streamed(lgs, tmp_path, detector):
    """Each is there as soon as its turn comes, while later images are in work."""
    save(tmp_path / "0.png", ONE)
    met, go = tmp_path / "met", tmp_path / "go"
    save(tmp_path / "1.png", order=f"meet {met} {go}")
    save(tmp_path / "2.png", ONE)
    with lgs.start("scan", tmp_path, "--detector", detector, "-j", 2) as run:
        assert b"0.png" in run.process.stdout.readline()
        until(met.exists)
        assert run.process.poll() is None
        go.touch()
        assert run.end() == 0
    rows = [line.split("\t") for line in run.stdout.decode().splitlines()]
    assert [Path(row[1]).name for row in rows] == ["1.png", "2.png"]


def test_quiet_and_verbose(scan, tree):
    assert scan("in", "-q").stderr == "lgs: in/c/e.png: not an image\n"
    run = scan("in", "-v", "--move-to", "q")
    assert untimed(run.stderr).splitlines() == [
        "in/b.png -> q/b.png: moved",
        "in/c/d.png -> q/c/d.png: moved",
        "lgs: in/c/e.png: not an image",
        "in/c/f.jpg -> q/c/f.jpg: moved",
        "5 images: 3 with a patch (3 moved), 1 without, 1 failed in # s",
    ]


def test_nothing_is_written(lgs, scan, tree):
    before = snapshot(lgs.folder)
    scan("in")
    scan("in", "--json", "--found-only")
    assert snapshot(lgs.folder) == before


def test_the_shipped_detector_finds_nothing_on_a_plain_picture(lgs, tmp_path):
    save(tmp_path / "a.png")
    run = lgs("scan", "a.png", "--json")
    assert json.loads(run.stdout)["status"] == "done"
    assert run.returncode == 0


# Exit codes


@pytest.mark.parametrize(
    ("inputs", "options", "code"),
    [
        (["a.png"], [], 0),
        (["b.png"], [], 0),
        (["a.png"], ["--exit-code"], 0),
        (["b.png"], ["--exit-code"], 5),
        (["a.png", "c/e.png"], [], 1),
        (["a.png", "c/e.png"], ["--exit-code"], 1),
        # A broken image beside it does not hide a find.
        (["c/e.png", "b.png"], ["--exit-code"], 5),
        (["b.png", "c/e.png"], ["--exit-code", "--fail-fast"], 5),
        (["c/e.png", "b.png"], ["--exit-code", "--fail-fast"], 1),
        (["b.png"], ["--exit-code", "--found-only", "-0"], 5),
    ],
)
def test_exit_codes(scan, tree, inputs, options, code):
    assert scan(*inputs, *options, cwd=tree).returncode == code


def test_no_image_is_exit_code_3(scan, tmp_path):
    (tmp_path / "empty").mkdir()
    run = scan("empty")
    assert (run.returncode, run.stdout) == (3, b"")
    assert run.stderr.startswith("lgs: no image found in empty") and run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "nothing to scan: name files or directories, or --files-from"),
        (["gone.png"], "gone.png: no such file or directory"),
        (["in", "-0"], "-0 is for the paths of --files-from, and of --found-only"),
        (["in", "-0", "--json", "--found-only"], "-0 is for the paths of"),
        (["in", "-"], "'-' is one image from stdin, and goes alone"),
        (["-", "--move-to", "q"], "--move-to needs files, not '-'"),
        (["-", "--timeout", "3"], "--timeout needs files, not '-'"),
        (["in", "--threshold", "1.5"], "threshold is 1.5; valid is 0 to 1"),
        (["in", "--move-to", "in"], "in is both an input and where files are moved"),
        (["in", "--move-to", "in/b.png"], "--move-to in/b.png: not a directory"),
        (["in", "--move-to", ""], "--move-to: the path is empty"),
    ],
)
def test_refused_before_any_work(lgs, scan, tree, words, reason):
    before = snapshot(lgs.folder)
    run = scan(*words)
    assert run.returncode == 2
    assert run.stdout == b""
    assert run.stderr.startswith(f"lgs: {reason}")
    assert snapshot(lgs.folder) == before


@pytest.mark.parametrize(("name", "reason"), [("gone.onnx", "gone.onnx"), ("in/b.png", "in/b.png")])
def test_what_is_no_detector_is_refused_once(lgs, tree, name, reason):
    run = lgs("scan", "in", "--detector", name)
    assert run.returncode == 2
    assert (run.stdout, run.stderr.count("\n")) == (b"", 1)
    assert reason in run.stderr


def test_help_fits_a_terminal_of_80_columns(lgs):
    text = lgs("scan", "--help").stdout.decode()
    assert max(map(len, text.splitlines())) <= 80
    for words in ("jq", "xargs -0", "--move-to", "default: 0.5"):
        assert words in text


# Quarantine


def test_what_was_found_is_moved_in_its_tree(lgs, scan, tree):
    before = {path: (tree / path).read_bytes() for path in files_below(tree)}
    run = scan("in", "--move-to", "in/q/deep", "--json")
    assert run.returncode == 1  # for the one that is no image
    assert files_below(lgs.folder) == {
        "in/a.png", "in/c/e.png", "in/q/deep/b.png", "in/q/deep/c/d.png", "in/q/deep/c/f.jpg",
    }  # fmt: skip
    for path in ("b.png", "c/d.png", "c/f.jpg"):
        assert (tree / "q/deep" / path).read_bytes() == before[path]
    records = [json.loads(line) for line in run.stdout.splitlines()]
    assert {r["source"]: r["moved_to"] for r in records} == {
        "in/a.png": None, "in/b.png": "in/q/deep/b.png", "in/c/d.png": "in/q/deep/c/d.png",
        "in/c/e.png": None, "in/c/f.jpg": "in/q/deep/c/f.jpg",
    }  # fmt: skip
    # A second scan does not look into the quarantine.
    run = scan("in", "--move-to", "in/q/deep")
    assert untimed(run.stderr).endswith("2 images: 0 with a patch, 1 without, 1 failed in # s\n")


def test_nothing_in_quarantine_is_replaced(lgs, scan, tree):
    (lgs.folder / "q").mkdir()
    (lgs.folder / "q/b.png").write_text("older")
    (lgs.folder / "q/c").write_text("a file where a folder should be")
    before = snapshot(tree)
    run = scan("in", "--move-to", "q", "--exclude", "e.png")
    assert run.returncode == 1
    assert untimed(run.stderr).splitlines() == [
        "lgs: in/b.png: q/b.png is there already",
        "lgs: in/c/d.png: cannot move to q/c/d.png: not a directory",
        "lgs: in/c/f.jpg: cannot move to q/c/f.jpg: not a directory",
        "4 images: 3 with a patch (3 not moved), 1 without, 0 failed in # s",
    ]
    assert snapshot(tree) == before
    assert (lgs.folder / "q/b.png").read_text() == "older"


def test_two_files_of_one_name(lgs, scan, tmp_path):
    first, second = save(tmp_path / "x/a.png", ONE), save(tmp_path / "y/a.png", TWO)
    contents = first.read_bytes(), second.read_bytes()
    run = scan("x/a.png", "y/a.png", "--move-to", "q")
    assert run.returncode == 1
    assert "lgs: y/a.png: q/a.png is there already\n" in run.stderr
    assert ((tmp_path / "q/a.png").read_bytes(), second.read_bytes()) == contents
    assert not first.exists()


def test_a_file_that_is_in_quarantine_stays_there(lgs, scan, tmp_path):
    path = save(tmp_path / "q/a.png", ONE)
    data = path.read_bytes()
    run = scan("q/a.png", "--move-to", "q")
    assert run.returncode == 1
    assert path.read_bytes() == data


def test_links_stay_and_lead_nowhere(lgs, scan, tree):
    (tree / "link.png").symlink_to("b.png")
    outside = lgs.folder / "outside"
    outside.mkdir()
    (lgs.folder / "q").mkdir()
    (lgs.folder / "q/c").symlink_to(outside)
    run = scan("in", "--move-to", "q", "--exclude", "e.png")
    assert "lgs: in/c/d.png: q/c leads out of the directory\n" in run.stderr
    assert "lgs: in/link.png: " in run.stderr
    assert (tree / "link.png").is_symlink()
    assert list(outside.iterdir()) == []
    assert files_below(lgs.folder / "q") == {"b.png"}


def elsewhere(near: Path) -> Path:
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK) or folder.stat().st_dev == near.stat().st_dev:
        pytest.skip("no second file system")
    return folder / f"lgs-test-{os.getpid()}"


def test_quarantine_on_another_file_system(lgs, scan, tree):
    there = elsewhere(tree)
    os.chmod(tree / "b.png", 0o640)
    os.utime(tree / "b.png", ns=(10**18, 10**18))
    before = {path: (tree / path).read_bytes() for path in files_below(tree)}
    try:
        (there / "c").mkdir(parents=True)
        (there / "c/f.jpg").write_text("older")
        run = scan("in", "--move-to", there)
        assert f"lgs: in/c/f.jpg: {there}/c/f.jpg is there already\n" in run.stderr
        assert files_below(there) == {"b.png", "c/d.png", "c/f.jpg"}
        assert files_below(tree) == {"a.png", "c/e.png", "c/f.jpg"}
        assert (there / "b.png").read_bytes() == before["b.png"]
        assert (there / "b.png").stat().st_mode & 0o777 == 0o640
        assert (there / "b.png").stat().st_mtime_ns == 10**18
        assert (there / "c/f.jpg").read_text() == "older"
    finally:
        shutil.rmtree(there, ignore_errors=True)


# Safety


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_poisonous_image_costs_one_image(lgs, tmp_path, detector, jobs):
    for name in range(6):
        save(tmp_path / f"in/{name}.png", *[ONE] * (name % 2))
    save(tmp_path / "in/2-crash.png", order="segfault")
    save(tmp_path / "in/3-hang.png", order="hang")
    save(tmp_path / "in/4-bomb.png", order=f"allocate {600 << 20}")
    run = lgs(
        "scan", tmp_path / "in", "--json", "-j", jobs, "--detector", detector,
        "--timeout", 8, "--memory-limit", "400M",
    )  # fmt: skip
    records = {Path(r["source"]).name: r for r in map(json.loads, run.stdout.splitlines())}
    assert list(records) == sorted(records)
    errors = {name: r["error"] for name, r in records.items() if r["status"] == "failed"}
    assert errors.pop("2-crash.png").startswith("the worker died: signal 11")
    assert errors == {
        "3-hang.png": "took longer than --timeout 8 s", "4-bomb.png": "not enough memory",
    }  # fmt: skip
    for name in range(6):
        assert len(records[f"{name}.png"]["regions"]) == name % 2
    assert run.returncode == 1
    assert untimed(run.stderr.splitlines()[-1]) == (
        "9 images: 3 with a patch, 3 without, 3 failed in # s"
    )


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(("option", "failed"), [(["--fail-fast"], 1), (["--max-failures", "2"], 3)])
def test_failures_end_the_scan_at_the_same_image(scan, tmp_path, jobs, option, failed):
    for name in range(0, 20, 2):
        save(tmp_path / f"in/{name:02}.png")
        (tmp_path / f"in/{name + 1:02}.png").write_text("no image")
    run = scan("in", "-j", jobs, *option)
    assert run.returncode == 1
    assert len(run.stdout.splitlines()) == failed
    noun = "1 failure" if failed == 1 else f"{failed} failures"
    assert run.stderr.splitlines()[-2] == f"lgs: stopped after {noun}"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it(lgs, tmp_path, detector, number, code):
    save(tmp_path / "in/0.png", ONE)
    for name in range(1, 5):
        save(tmp_path / f"in/{name}.png", ONE, order="hang")
    words = ("scan", tmp_path / "in", "--detector", detector, "-j", 2, "--move-to", tmp_path / "q")
    with lgs.start(*words) as run:
        assert b"0.png" in run.process.stdout.readline()
        run.process.send_signal(number)
        assert run.end() == code
        assert run.processes() == []
    assert files_below(tmp_path / "q") == {"0.png"}
    assert run.stderr.startswith("1 image: 1 with a patch (1 moved), 0 without, 0 failed")
    assert run.stderr.endswith("; 4 not reached\n")


def test_a_reader_that_goes_away(lgs, tree, detector):
    reading, writing = os.pipe()
    os.close(reading)
    with lgs.start("scan", "in/a.png", "-q", "--detector", detector, stdout=writing) as run:
        os.close(writing)
        assert (run.end(), run.stderr) == (141, "")


def test_a_full_disk_under_stdout(lgs, tree, detector):
    with open("/dev/full", "wb") as full:
        run = lgs("scan", "in/a.png", "-q", "--detector", detector, stdout=full)
    assert (run.returncode, run.stderr) == (1, "lgs: no space left on device\n")


# What is looked at


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        (["--no-recursive"], ["a.png", "b.png"]),
        (["--include", "*.jpg"], ["c/f.jpg"]),
        (["--exclude", "c"], ["a.png", "b.png"]),
    ],
)
def test_the_selection_is_that_of_clean(scan, tree, options, taken):
    rows = scan("in", *options).stdout.decode().splitlines()
    assert [row.split("\t")[1] for row in rows] == [f"in/{name}" for name in taken]


def test_a_listed_path_that_is_not_there_is_one_failure(scan, tree):
    run = scan("--files-from", "-", input=b"in/gone.png\nin/a.png\n")
    assert run.returncode == 1
    assert run.stderr.startswith("lgs: in/gone.png: no such file")
    assert run.stdout.endswith(b"\tin/a.png\n")


def test_a_list_that_is_still_being_written(lgs, tree, detector):
    listed, writing = os.pipe()
    reading, printed = os.pipe()
    words = ("scan", "--files-from", "-", "--detector", detector, "-j2")
    with lgs.start(*words, stdin=listed, stdout=printed) as run:
        os.close(listed)
        os.close(printed)
        with open(writing, "wb", buffering=0) as paths, open(reading, "rb") as lines:
            paths.write(b"in/a.png\n" * 20)  # a few go to each worker at a time
            assert select.select([lines], [], [], PATIENCE)[0]
            assert lines.readline().endswith(b"\tin/a.png\n")
            paths.write(b"in/b.png\n")
            paths.close()
            assert b"\tin/b.png\t" in lines.read().splitlines()[-1]
        assert run.end() == 0
    assert run.stderr.startswith("21 images: ")


def test_max_pixels(scan, tree):
    run = scan("in/a.png", "--max-pixels", 1000)
    assert run.stderr.startswith("lgs: in/a.png: 12,288 pixels are more than --max-pixels 1,000")


def test_one_image_through_a_pipe(scan, tree):
    data = (tree / "b.png").read_bytes()
    run = scan("-", "--exit-code", input=data)
    score, name, region = run.stdout.decode().rstrip("\n").split("\t")
    assert (run.returncode, name) == (5, "-")
    assert (score, region) == tuple(
        scan("in/b.png").stdout.decode().rstrip("\n").split("\t")[column] for column in (0, 2)
    )
    assert untimed(run.stderr) == "1 image: 1 with a patch, 0 without, 0 failed in # s\n"
    piped, filed = (
        json.loads(run.stdout)
        for run in (scan("-", "--json", input=data), scan("in/b.png", "--json"))
    )
    assert piped == filed | {"source": "-"}


def test_a_pipe_without_an_image(scan):
    run = scan("-", "--json", input=b"no image")
    assert run.returncode == 1
    assert run.stderr.startswith("lgs: -: not an image\n")
    assert json.loads(run.stdout)["error"] == "not an image"


# What comes of it


def test_a_page_of_a_scan(lgs, scan, tree):
    scanned = scan("in", "--json", "--move-to", "q")
    run = lgs("report", "-", "-o", "page.html", input=scanned.stdout)
    assert run.returncode == 0
    # Also of those that were moved.
    assert run.stderr == "page.html: 5 images, 4 with pictures\n"


def test_clean_reports_what_localize_found(lgs, tree, detector):
    (tree / "c/e.png").unlink()
    for path in tree.rglob("*.*"):
        os.utime(path, (1e9, 1e9))
    words = (
        "clean", "in", "-o", "out", "--method", "localize", "--param", f"detector={detector}",
        "--report", "r.jsonl", "-v",
    )  # fmt: skip
    scanned = [
        json.loads(line)
        for line in lgs("scan", "in", "--json", "--detector", detector).stdout.splitlines()
    ]
    for status in ("done", "skipped"):
        run = lgs(*words)
        assert run.returncode == 0, run.stderr
        records = [json.loads(line) for line in (lgs.folder / "r.jsonl").read_text().splitlines()]
        assert {record["status"] for record in records} == {status}
        for record, scan in zip(records, scanned, strict=True):
            assert record["source"] == scan["source"]
            assert (record["score"], record["regions"]) == (scan["score"], scan["regions"])
            assert record["unchanged"] is (not scan["regions"])
        said = dict(line.split(" -> ") for line in run.stderr.splitlines() if " -> " in line)
        assert re.search(r", score 0\.\d\d, no region$", said["in/a.png"])
        assert re.search(r"% changed, score 0\.\d\d, 1 region$", said["in/b.png"])
        assert re.search(r"% changed, score 0\.\d\d, 2 regions$", said["in/c/d.png"])


def test_clean_reports_the_most_suspicious_frame_and_the_step_that_looks(lgs, tmp_path, detector):
    frames = [pixels(ONE), pixels(ONE, TWO), pixels()]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    run = lgs(
        "clean", "a.tif", "-o", "out", "--method", "localize,bit-depth", "--report", "-",
        "--param", f"detector={detector}",
    )  # fmt: skip
    record = json.loads(run.stdout)
    scores = []
    for number, frame in enumerate(frames):
        frame.save(tmp_path / f"{number}.png")
        line = lgs("scan", f"{number}.png", "--json", "--detector", detector).stdout
        scores.append(json.loads(line)["score"])
    assert record["score"] == max(scores)
    assert len(record["regions"]) == scores.index(max(scores)) + 1
