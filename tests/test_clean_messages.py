"""``lgs clean``: its report, its lines, its progress bar."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios

import numpy as np
import pytest
from folders import plain_image, report
from pictures import read
from reference import local_gradients_smoothing
from shell import SUMMARY

FIELDS = [
    "source", "output", "mask", "status", "error", "width", "height", "format", "coverage",
    "score", "regions", "page", "unchanged", "seconds", "notes", "stale", "method", "params",
    "command",
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
        assert (record["output"], record["mask"]) == (f"out/{name}.jpg", f"m/{name}.jpg.png")
        assert (record["status"], record["error"]) == ("done", None)
        assert (record["width"], record["height"], record["format"]) == (180, 120, "jpeg")
        _, mask = local_gradients_smoothing(read(photos / f"{name}.jpg"), threshold=0.05)
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
    with lgs.start("clean", *lines, "-o", "out", *slow) as run:
        assert json.loads(run.process.stdout.readline())["source"] == "photos/gone.jpg"
        assert run.process.poll() is None


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
    plain_image(photos / "plain.png")
    (photos / "bad.jpg").write_text("no image")

    def summary(*arguments):
        return SUMMARY.search(lgs("clean", *arguments, "-o", "out", "-j1").stderr)[1]

    assert re.fullmatch(r"1 image: 1 done, 0 skipped, 0 failed in .*", summary("photos/a.jpg"))
    assert re.fullmatch(
        r"5 images: 3 done \(1 unchanged\), 1 skipped, 1 failed in .*", summary("photos")
    )


def on_a_terminal(lgs, *arguments) -> tuple[int, str]:
    """Run with stderr on a pseudo-terminal; give the exit code and what was shown."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shown = b""
    with lgs.start(*arguments, stdout=subprocess.DEVNULL, stderr=slave) as run:
        os.close(slave)
        with contextlib.suppress(OSError):  # Linux raises it when the last writer is gone
            while select.select([master], [], [], 60)[0] and (data := os.read(master, 4096)):
                shown += data
        os.close(master)
        return run.end(), shown.decode()


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
