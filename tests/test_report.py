from __future__ import annotations

import json
import os

import pytest

from lgs_cli.defenses.chain import parse_chain
from lgs_cli.pipeline import Result
from lgs_cli.report import JsonLines, Report, describe_result
from lgs_cli.text import printable

DONE = Result(
    3, "in/a.jpg", "out/a.jpg", "m/a.png", width=500, height=375, format="jpeg", coverage=0.125,
    seconds=0.1234567, notes=("palette became RGB",),
)  # fmt: skip
FAILED = Result(4, "in/b.jpg", status="failed", error="truncated JPEG")


def test_counts_and_exit_code():
    report = Report()
    assert (report.total, report.exit_code) == (0, 0)
    for result in (DONE, Result(0, "c", "d", coverage=0.0, unchanged=True)):
        report.add(result)
    report.add(Result(1, "e", "f", status="skipped", unchanged=True))
    assert (report.done, report.unchanged, report.skipped, report.failed) == (2, 1, 1, 0)
    assert report.exit_code == 0
    assert report.summary(61.26) == "3 images: 2 done (1 unchanged), 1 skipped, 0 failed in 61.3 s"
    report.add(FAILED)
    assert (report.failed, report.total, report.exit_code) == (1, 4, 1)


def test_a_summary_of_one():
    report = Report()
    report.add(FAILED)
    assert report.summary(0) == "1 image: 0 done, 0 skipped, 1 failed in 0.0 s"


def test_a_line_holds_all_there_is_to_know():
    line = JsonLines(parse_chain("jpeg"), "lgs clean 'a b'").line(DONE)
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert json.loads(line) == {
        "source": "in/a.jpg", "output": "out/a.jpg", "mask": "m/a.png", "status": "done",
        "error": None, "width": 500, "height": 375, "format": "jpeg", "coverage": 0.125,
        "unchanged": False, "seconds": 0.123457, "notes": ["palette became RGB"],
        "method": "jpeg", "params": {"quality": 30}, "command": "lgs clean 'a b'",
    }  # fmt: skip


def test_names_of_any_bytes_survive_a_report():
    name = b"caf\xe9 \xff\n\xf0\x9f\x90\x88.jpg"
    line = JsonLines(parse_chain("lgs"), "").line(Result(0, os.fsdecode(name)))
    assert line.isascii()
    assert line.count("\n") == 1
    assert os.fsencode(json.loads(line)["source"]) == name


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (DONE, "in/a.jpg -> out/a.jpg: done, 12.5% changed; palette became RGB"),
        (FAILED, "in/b.jpg: truncated JPEG"),
        (Result(0, "a\nb", status="failed", error="bad\x1b[1m"), r"a\nb: bad\x1b[1m"),
        (Result(0, "a", "b", status="skipped"), "a -> b: skipped"),
    ],
)
def test_one_line_for_a_reader(result, text):
    assert describe_result(result) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"plain name.jpg", "plain name.jpg"),
        ("日本 ünï.jpg".encode(), "日本 ünï.jpg"),
        (b"tab\tnew\nline\r.jpg", r"tab\tnew\nline\r.jpg"),
        (b"\x1b]0;title\x07", r"\x1b]0;title\x07"),
        (b"latin-\xe9.jpg", r"latin-\xe9.jpg"),
        ("left\u202eright".encode(), r"left\u202eright"),
    ],
)
def test_names_are_safe_to_print(name, text):
    assert printable(os.fsdecode(name)) == text
