"""``lgs clean``: what it refuses before it starts, and what goes wrong on the way."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from folders import files_below, plain_image, report, snapshot
from PIL import Image
from shell import SUMMARY, until

# What is refused


def test_no_image_is_exit_code_3(lgs):
    (lgs.folder / "empty").mkdir()
    (lgs.folder / "empty/notes.txt").touch()
    run = lgs("clean", "empty", "-o", "out")
    assert run.returncode == 3
    assert run.stderr.startswith("lgs: no image found in empty: no name ends in one of .jpg .png ")
    run = lgs("clean", "--files-from", "-", "-o", "out", input=b"")
    assert run.returncode == 3
    assert run.stderr.startswith("lgs: no image found")
    assert not (lgs.folder / "out").exists()


REFUSED = {
    "no input": (["-o", "out"], "nothing to clean: lgs clean FILE_OR_DIRECTORY... -o DIR"),
    "no output": (
        ["photos"], "--output DIR is missing: name where cleaned images go, or --in-place",
    ),
    "missing input": (
        ["photos", "gone", "-o", "out"], "gone: no such file or directory; it is looked for in ",
    ),
    "empty input": (["", "-o", "out"], "INPUT...: the path is empty; is a variable"),
    "empty output": (
        ["photos", "-o", ""], "--output: the path is empty; is a variable",
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
        ["photos", "-o", "other", "--report", "other/a.jpg"],
        "other/a.jpg would be written twice",
    ),
    "two inputs with one output": (
        ["photos", "--format", "png", "-o", "out"],
        "photos/a.jpg and photos/a.png would both be written to out/a.png",
    ),
    "twice the same": (["photos", "photos", "-o", "out"], "photos/a.jpg is given twice"),
    "output is a file": (["photos", "-o", "file"], "file is a file: name a directory"),
    "output below a file": (["photos", "-o", "file/out"], "file is not a directory"),
    "masks is a file": (["photos", "-o", "out", "--masks", "file"], "file is not a directory"),
    "list with NUL": (
        ["--files-from", "nul", "-o", "out"], "--files-from: the paths end in NUL; add -0",
    ),
    "list that is not there": (
        ["--files-from", "gone", "-o", "out"],
        "--files-from: 'gone': No such file or directory",
    ),
    "threshold": (["photos", "-o", "out", "--threshold", "1.5"],
                  "threshold is 1.5; valid is 0 to 1"),
    "smoothing": (["photos", "-o", "out", "--smoothing", "-1"],
                  "smoothing is -1; valid is at least 0"),
    "block size": (["photos", "-o", "out", "--block-size", "0"],
                   "block_size is 0; valid is 1 to 100000"),
    "overlap": (["photos", "-o", "out", "--overlap", "15"],
                "overlap is 15; valid is less than block_size (15)"),
    "no number": (["photos", "-o", "out", "--smoothing", "nan"],
                  "smoothing is nan; valid is at least 0"),
    "no float": (["photos", "-o", "out", "--threshold", "x"],
                 "--threshold: 'x' is no number; valid is 0 to 1"),
    "by name": (["photos", "-o", "out", "--param", "block-size=x"],
                "block_size is 'x'; valid is a whole number"),
    "no parameter": (
        ["photos", "-o", "out", "--param", "gamma=1"],
        "lgs has no parameter 'gamma'; it has smoothing, threshold, block_size, overlap",
    ),
    "parameter of another method": (
        ["photos", "-o", "out", "--method", "jpeg", "--threshold", "0.2"],
        "jpeg has no parameter 'threshold'; it has quality",
    ),
    "no quality": (
        ["photos", "-o", "out", "--quality", "0"],
        "--quality: 0 is not valid; valid is 1 to 100",
    ),
    "no jobs": (
        ["photos", "-o", "out", "-j", "0"],
        "--jobs: 0 is not valid; valid is at least 1",
    ),
    "a format that is not there": (
        ["photos", "-o", "out", "--format", "jgp"],
        "--format: no format 'jgp'; did you mean 'jpeg'? valid is keep, jpeg",
    ),
    "a method that is not there": (
        ["photos", "-o", "out", "--method", "lsg"],
        "no method 'lsg'; did you mean 'lgs'? there are lgs, localize, ",
    ),
    "a typo": (
        ["photos", "-o", "out", "--treshold", "1"],
        "no option '--treshold'; did you mean '--threshold'?",
    ),
    "half a pipe": (
        ["-", "-o", "out"], "an image from stdin has no name: write -o out/a.jpg, or -o -",
    ),
    "the other half": (
        ["photos", "-o", "-"], "stdout takes a single image, and photos is a directory: ",
    ),
    "a pipe with masks": (
        ["-", "-o", "-", "--masks", "m"], "--masks needs files as input and output, not '-'",
    ),
    "a pipe with a dry run": (
        ["-", "-o", "-", "-n"], "--dry-run needs files as input and output, not '-'",
    ),
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
    assert run.stderr.count("\n") == 1
    assert (run.returncode, run.stdout) == (2, b"")
    assert snapshot(lgs.folder) == before


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
    assert files_below(lgs.folder / "masks") == {"a.jpg.png", "b.jpg.png", "c.jpg.png"}
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
        with lgs.start("clean", *arguments, stdout=writing) as run:
            os.close(writing)
            assert (run.end(), run.stderr) == (141, "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(lgs, photos, jobs, number, code):
    for path in photos.iterdir():
        with Image.open(path) as picture:
            picture.resize((900, 600)).save(path)
    # The first image is done at once, every other one would take a minute.
    plain_image(photos / "0.png", (4, 4))
    with lgs.start(
        *("clean", "photos", "-o", "out", "--masks", "m", "-v", "-j", jobs),
        *("--method", "tvm", "--param", "iterations=2000", "--param", "drop_rate=0"),
    ) as run:
        assert run.process.stderr.readline().startswith(b"photos/0.png -> out/0.png: done")
        time.sleep(0.3)
        if number == signal.SIGINT:
            os.killpg(run.process.pid, number)  # as a terminal does it
        else:
            run.process.send_signal(number)
        assert run.end() == code
        until(lambda: not run.processes())
    assert "Traceback" not in run.stderr
    summary = SUMMARY.search(run.stderr)[1]
    assert summary.startswith("1 image: 1 done")
    assert summary.endswith("; 3 not reached")
    assert files_below(lgs.folder / "out") == {"0.png"}
    assert files_below(lgs.folder / "m") == {"0.png.png"}
