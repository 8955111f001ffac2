"""Reports read back: every line that is a record counts, every other is named."""

from __future__ import annotations

import json
from pathlib import Path

import fuzz_report
import pytest
from runs import PARAMS

from lgs_cli.batch.job import Result
from lgs_cli.defenses.chain import parse_chain
from lgs_cli.defenses.defense import Region
from lgs_cli.errors import LgsError
from lgs_cli.report.records import CleanLines, Record, read_line, scan_line
from lgs_cli.report.run import Run, collect, read_runs

GOOD = {"source": "a", "status": "done"}


def write(folder: Path, *lines: object) -> Path:
    path = folder / "run.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", "utf-8")
    return path


def read(path: Path) -> Run:
    complaints: list[str] = []
    run = read_runs([path], complaints.append)
    assert complaints == []
    return run


def test_reads_what_the_report_holds_in_its_order(tmp_path):
    line = {
        "source": "caf\udce9.jpg", "output": "o.jpg", "mask": None, "status": "done",
        "error": None, "width": 3, "height": 4, "format": "jpeg", "coverage": 0,
        "unchanged": True, "seconds": 1.5, "method": "lgs", "params": PARAMS, "notes": ["n"],
    }  # fmt: skip
    path = write(
        tmp_path,
        line | {"command": "lgs clean in -o out"},
        "",
        {"source": "b", "status": "failed"},
    )
    run = read(path)
    assert run.name == "run.jsonl"
    assert run.records == (
        Record(
            "caf\udce9.jpg", "done", "o.jpg", None, None, "jpeg", "lgs", 3, 4, 0, True, 1.5,
            PARAMS, ("n",),
        ),
        Record("b", "failed"),
    )  # fmt: skip
    assert run.totals.commands == ["lgs clean in -o out"]


def test_reads_what_a_scan_prints(tmp_path):
    line = {
        "source": "a.tif", "status": "done", "error": None, "score": 0.75, "width": 3, "height": 4,
        "regions": [{"x": 1, "y": 2, "width": 3, "height": 4, "score": 0.75}], "page": 2,
        "moved_to": "q/a.tif",
    }  # fmt: skip
    assert read(write(tmp_path, line)).records == (
        Record(
            "a.tif", "done", width=3, height=4, score=0.75, regions=(Region(1, 2, 3, 4, 0.75),),
            page=2, moved_to="q/a.tif",
        ),
    )  # fmt: skip


def test_what_is_written_is_read():
    result = Result(
        0, "caf\udce9.tif", "o\n.tif", "m.png", "done", None, 30, 40, "tiff", 0.25, 0.9,
        (Region(1, 2, 3, 4, 0.9),), 2, False, 0.123456, ("a note", "another"),
    )  # fmt: skip
    line = CleanLines(parse_chain("lgs,jpeg"), "lgs clean").line(result)
    record, command = read_line(line.encode())
    assert command == "lgs clean"
    for name in ("source", "output", "mask", "status", "width", "height", "format", "coverage",
                 "score", "regions", "page", "unchanged", "seconds", "notes", "stale"):  # fmt: skip
        assert getattr(record, name) == getattr(result, name), name
    assert record.method == "lgs,jpeg"
    assert record.params["jpeg.quality"] == 30
    scanned, _ = read_line(scan_line(result, moved_to="q/a.tif").encode())
    assert (scanned.score, scanned.regions, scanned.page) == (0.9, result.regions, 2)
    assert scanned.moved_to == "q/a.tif"


BAD = [
    ('{"source": "a", "sta', "Unterminated string starting at, column 17"),
    ("[1]", "not an object"),
    ("{}", 'no "source"'),
    ('{"source": 3, "status": "done"}', '"source" is 3'),
    ('{"source": "a", "status": "fine"}',
     '"status" is "fine"; valid is done, skipped, failed, unsupported'),
    ('{"source": "a", "status": "done", "coverage": 1.2}', '"coverage" is 1.2; valid is 0 to 1'),
    ('{"source": "a", "status": "done", "coverage": true}', '"coverage" is true'),
    ('{"source": "a", "status": "done", "seconds": NaN}', "NaN is not JSON"),
    ('{"source": "a", "status": "done", "seconds": 1e999}', '"seconds" is out of range'),
    ('{"source": "a", "status": "done", "seconds": -1}', '"seconds" is -1; valid is at least 0'),
    ('{"source": "a", "status": "done", "width": 0}', '"width" is 0; valid is at least 1'),
    ('{"source": "a", "status": "done", "width": ' + "9" * 5000 + "}",
     '"width" is out of range'),
    ('{"source": "a", "status": "done", "score": 1.5}', '"score" is 1.5; valid is 0 to 1'),
    ('{"source": "a", "status": "done", "regions": [3]}', '"regions" holds 3'),
    ('{"source": "a", "status": "done", "regions": [{"x": 1}]}', '"regions" holds {"x": 1}'),
    (
        '{"source": "a", "status": "done", "regions": '
        '[{"x": -1, "y": 0, "width": 1, "height": 1, "score": 1}]}',
        '"regions" holds {"x": -1, "y": 0, "width": 1, "height": 1, "score": 1}',
    ),
    ('{"source": "a", "status": "done", "params": [1]}', '"params" is [1]'),
    ("[" * 100_000, "nested too deeply"),
    ('{"source": "' + "a" * (1 << 20), "longer than 1 MB"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "reason"), BAD, ids=[reason[:30] for _, reason in BAD])
def test_a_bad_line_is_named_and_the_others_count(tmp_path, line, reason):
    path = write(tmp_path, GOOD, line, {**GOOD, "source": "b"})
    complaints: list[str] = []
    run = read_runs([path], complaints.append)
    assert complaints == [f"{path}, line 2: {reason}"]
    assert [record.source for record in run.records] == ["a", "b"]
    assert (run.bad_lines, run.totals.images) == (1, 2)


def test_fields_of_a_later_version_are_passed_over(tmp_path):
    record = {**GOOD, "source_mtime_ns": 1_700_000_000_123_456_789, "new": {"a": [1e308]}}
    assert read(write(tmp_path, record)).records == (Record("a", "done"),)


def test_a_line_that_is_not_utf_8_is_named(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(b'{"source": "a", "status": "done"}\n{"source": "\xff"}\n')
    complaints: list[str] = []
    assert len(read_runs([path], complaints.append).records) == 1
    assert "line 2: 'utf-8' codec" in complaints[0]
    assert len(complaints) == 1


def test_a_missing_report_is_an_error_of_one_line(tmp_path):
    with pytest.raises(LgsError, match=r"none\.jsonl: no such file or directory"):
        read_runs([tmp_path / "none.jsonl"], print)


def test_several_reports_are_one_run(tmp_path):
    paths = []
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        record = {**GOOD, "source": str(number)}
        paths.append(write(tmp_path / str(number), record).rename(tmp_path / f"{number}.jsonl"))
    run = read_runs(paths, print)
    assert run.name == "0.jsonl and 2 others"
    assert [record.source for record in run.records] == ["0", "1", "2"]


# Of a run too large for a page


def test_what_is_kept_of_very_many_images_is_what_a_reader_looks_for():
    """40,000 images with long names, of which some 9,000 have room."""
    name = "x" * 2000
    records = [
        Record(f"{place}{name}", "failed" if place % 100 == 7 else "done", coverage=place / 40_000)
        for place in range(40_000)
    ]
    run = collect("run", [(record, None) for record in records])
    assert (run.totals.images, run.totals.statuses["failed"]) == (40_000, 400)
    assert len(run.totals.coverages) == 40_000
    kept = [int(record.source.rstrip("x")) for record in run.records]
    assert kept == sorted(kept)
    assert [place for place in range(7, 40_000, 100) if place not in set(kept)] == []
    others = [place for place in kept if place % 100 != 7]
    assert 5000 < len(others) < 15_000
    assert others == [place for place in range(others[0], 40_000) if place % 100 != 7]


def test_settings_without_end_are_counted_and_not_kept():
    records = [Record("a", "done", method="m" * 50, params={"p": n}) for n in range(5000)]
    run = collect("run", [(record, f"command {n}") for n, record in enumerate(records)])
    assert len(run.totals.settings) == 101
    assert run.totals.settings[None] == 4900
    assert len(run.totals.commands) == 10


# Mutants


def test_mutants_of_reports(lgs):
    """A small part of ``make fuzz``: a page of what is whole, a line for what is not."""
    counts = fuzz_report.check(lgs.folder, 300, seed=11)
    assert counts["bad"] > 100
    assert counts["good"] > 30
    assert counts["pages"] > 0
