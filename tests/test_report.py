from __future__ import annotations

import json
import os

import pytest

from lgs_cli.batch.job import Result
from lgs_cli.defenses.chain import parse_chain
from lgs_cli.defenses.defense import Region
from lgs_cli.report.records import CleanLines, scan_line
from lgs_cli.report.summary import (
    CleanCounts,
    ScanCounts,
    describe_result,
    scan_text,
    short_score,
)
from lgs_cli.wording import printable

DONE = Result(
    3, "in/a.jpg", "out/a.jpg", "m/a.png", width=500, height=375, format="jpeg", coverage=0.125,
    seconds=0.1234567, notes=("palette became RGB",),
)  # fmt: skip
LOCALIZED = Result(
    0, "in/a\tb.jpg", "out/a.jpg", coverage=0.031, score=0.98765, width=9, height=8,
    regions=(Region(12, 30, 64, 60, 0.98765), Region(5, 0, 10, 20, 0.6)),
)  # fmt: skip
FAILED = Result(4, "in/b.jpg", status="failed", error="truncated JPEG")


def test_counts_and_exit_code():
    report = CleanCounts()
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
    report = CleanCounts()
    report.add(FAILED)
    assert report.summary(0) == "1 image: 0 done, 0 skipped, 1 failed in 0.0 s"


def test_a_line_holds_all_there_is_to_know():
    line = CleanLines(parse_chain("jpeg"), "lgs clean 'a b'").line(DONE)
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert json.loads(line) == {
        "source": "in/a.jpg", "output": "out/a.jpg", "mask": "m/a.png", "status": "done",
        "error": None, "width": 500, "height": 375, "format": "jpeg", "coverage": 0.125,
        "score": None, "regions": [], "page": None, "unchanged": False, "seconds": 0.123457,
        "notes": ["palette became RGB"], "stale": False,
        "method": "jpeg", "params": {"quality": 30}, "command": "lgs clean 'a b'",
    }  # fmt: skip


def test_names_of_any_bytes_survive_a_report():
    name = b"caf\xe9 \xff\n\xf0\x9f\x90\x88.jpg"
    line = CleanLines(parse_chain("lgs"), "").line(Result(0, os.fsdecode(name)))
    assert line.isascii()
    assert line.count("\n") == 1
    assert os.fsencode(json.loads(line)["source"]) == name


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (DONE, "in/a.jpg -> out/a.jpg: done, 12.5% changed; palette became RGB"),
        (
            LOCALIZED,
            r"in/a\tb.jpg -> out/a.jpg: done, 3.1% changed, score 0.98, 2 regions",
        ),
        (
            LOCALIZED._replace(coverage=0.0, score=0.0, regions=(), notes=("n",)),
            r"in/a\tb.jpg -> out/a.jpg: done, 0.0% changed, score 0.00, no region; n",
        ),
        (
            LOCALIZED._replace(page=3),
            r"in/a\tb.jpg -> out/a.jpg: done, 3.1% changed, score 0.98, 2 regions on page 3",
        ),
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


def test_regions_are_objects_in_a_line():
    line = json.loads(CleanLines(parse_chain("localize"), "").line(LOCALIZED))
    assert line["score"] == 0.98765
    assert line["regions"] == [
        {"x": 12, "y": 30, "width": 64, "height": 60, "score": 0.98765},
        {"x": 5, "y": 0, "width": 10, "height": 20, "score": 0.6},
    ]


def test_columns_of_a_scan():
    columns = [
        "0.98", r"in/a\tb.jpg", "x=12,y=30,w=64,h=60 (0.98)", "x=5,y=0,w=10,h=20 (0.60)",
    ]  # fmt: skip
    assert scan_text(LOCALIZED) == "\t".join(columns) + "\n"
    assert scan_text(Result(0, "a", score=0.0)) == "0.00\ta\n"
    paged = scan_text(LOCALIZED._replace(page=3)).split("\t")
    assert paged[2:] == ["page=3,x=12,y=30,w=64,h=60 (0.98)", "page=3,x=5,y=0,w=10,h=20 (0.60)\n"]


def test_a_line_of_a_scan():
    line = scan_line(FAILED, moved_to=None)
    assert line.endswith("}\n") and line.count("\n") == 1
    assert json.loads(line) == {
        "source": "in/b.jpg", "status": "failed", "error": "truncated JPEG", "score": None,
        "regions": [], "page": None, "width": None, "height": None, "moved_to": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (0, "0.00"),
        (0.29, "0.29"),
        (0.57, "0.57"),
        (0.4999, "0.49"),
        (0.999999, "0.99"),
        (1, "1.00"),
    ],
)
def test_a_score_is_cut_and_never_rounded_up(score, text):
    assert short_score(score) == text


def test_counts_of_a_scan():
    report = ScanCounts()
    assert (report.total, report.exit_code) == (0, 0)
    for result in (LOCALIZED, LOCALIZED, Result(0, "a", score=0.1)):
        report.add(result)
    assert report.summary(1.24) == "3 images: 2 with a patch, 1 without, 0 failed in 1.2 s"
    assert report.exit_code == 0
    report.moved = 1
    report.unmoved = 1
    assert report.exit_code == 1
    report.add(FAILED)
    assert report.summary(0) == (
        "4 images: 2 with a patch (1 moved, 1 not moved), 1 without, 1 failed in 0.0 s"
    )
    failing = ScanCounts()
    failing.add(FAILED)
    assert failing.exit_code == 1
