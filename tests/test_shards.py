"""Runs that share one output directory: parts of the images, locks, records, and reports."""

from __future__ import annotations

import contextlib
import json
import os
import shutil

import pytest
from folders import files_below, image, images, leftovers, records, report, tree
from PIL import Image
from shell import until

from lgs_cli.batch.shards import DIRECTORY, Shard


@pytest.fixture
def folder(tmp_path):
    """Twelve images in two directories."""
    images(tmp_path / "in", 6)
    images(tmp_path / "in" / "below", 6)
    return tmp_path / "in"


def outputs(directory):
    return {name: data for name, data in tree(directory).items() if DIRECTORY not in name}


@pytest.mark.parametrize(
    ("relative", "of_2", "of_3", "of_16"),
    [("a.png", 2, 3, 16), ("b/a.png", 2, 3, 14), ("photo.jpg", 2, 2, 12), ("ü.png", 2, 1, 8)],
)
def test_the_part_of_an_image_is_fixed_for_ever(relative, of_2, of_3, of_16):
    # printf NAME-WITHOUT-SUFFIX | b2sum -l 64, as a number, modulo N, from 1
    for count, number in ((2, of_2), (3, of_3), (16, of_16)):
        holders = [n for n in range(1, count + 1) if Shard(n, count).holds(relative)]
        assert holders == [number]


def test_parts_at_the_same_time_do_what_one_run_does(lgs, tmp_path, folder):
    assert lgs("clean", folder, "-o", "whole", "--masks", "whole-masks").returncode == 0
    with contextlib.ExitStack() as stack:
        runs = [
            stack.enter_context(
                lgs.start(
                    "clean", folder, "-o", "out", "--masks", "masks", "--shard", f"{n}/3",
                    "--report", f"part-{n}.jsonl", "-j1",
                )
            )
            for n in (1, 2, 3)
        ]  # fmt: skip
        assert [run.end() for run in runs] == [0, 0, 0], [run.stderr for run in runs]
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
    assert len(outputs(tmp_path / "out")) == 12
    assert tree(tmp_path / "masks") == tree(tmp_path / "whole-masks")
    assert leftovers(tmp_path / "out", tmp_path / "masks") == []
    parts = [report(tmp_path / f"part-{n}.jsonl") for n in (1, 2, 3)]
    sources = [line["source"] for part in parts for line in part]
    assert sorted(sources) == sorted(str(path) for path in folder.rglob("*.png"))
    assert all(parts)
    assert all(line["status"] == "done" for part in parts for line in part)


@pytest.mark.parametrize("later", [[], ["--shard", "1/1"], ["--shard", "2/5"], ["--shard", "2/3"]])
def test_a_later_run_knows_what_all_parts_did(lgs, tmp_path, folder, later):
    for n in (1, 2, 3):
        assert lgs("clean", folder, "-o", "out", "--shard", f"{n}/3").returncode == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    rehearsal = lgs("clean", folder, "-o", "out", "-n", *later)
    assert b"would clean" not in rehearsal.stdout
    run = lgs("clean", folder, "-o", "out", "--report", "r.jsonl", *later)
    assert run.returncode == 0
    assert {line["status"] for line in report(tmp_path / "r.jsonl")} == {"skipped"}
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")} == before
    for n in (1, 2):  # and once more, in parts again
        lgs("clean", folder, "-o", "out", "--shard", f"{n}/2", "--report", f"{n}.jsonl")
        assert {line["status"] for line in report(tmp_path / f"{n}.jsonl")} == {"skipped"}


def test_the_files_of_parts_end_in_the_manifest(lgs, tmp_path, folder):
    for n in (1, 2, 3):
        lgs("clean", folder, "-o", "out", "--shard", f"{n}/3")
    assert files_below(tmp_path / "out" / DIRECTORY) == {"lock"} | {
        f"{n}-of-3.jsonl" for n in (1, 2, 3)
    }
    lgs("clean", folder, "-o", "out")
    assert files_below(tmp_path / "out" / DIRECTORY) == {"lock"}
    assert len(report(tmp_path / "out" / ".lgs-manifest.jsonl")) == 12


@pytest.mark.parametrize("middle", [["1/2", "2/2"], ["1/3", "2/3", "3/3"], [None]], ids=str)
@pytest.mark.parametrize("last", [["1/2", "2/2"], [None]], ids=str)
def test_the_newest_record_of_an_output_counts(lgs, tmp_path, middle, last):
    """Outputs of one size under two settings: only the records tell them apart."""
    folder = tmp_path / "in"
    folder.mkdir()
    for path in images(tmp_path / "png", 4):
        Image.open(path).save(folder / f"{path.stem}.bmp")

    def clean(out, smoothing, shards):
        for shard in shards:
            part = [] if shard is None else ["--shard", shard]
            run = lgs("clean", folder, "-o", out, "--smoothing", smoothing, *part)
            assert run.returncode == 0

    clean("expected", "2.3", [None])
    clean("out", "2.3", ["1/2", "2/2"])
    first = outputs(tmp_path / "out")
    clean("out", "5", middle)
    between = outputs(tmp_path / "out")
    assert {name: len(data) for name, data in between.items()} == {
        name: len(data) for name, data in first.items()
    }
    assert all(between[name] != first[name] for name in first)
    clean("out", "2.3", last)
    assert outputs(tmp_path / "out") == outputs(tmp_path / "expected")


@pytest.fixture
def at_work(lgs, tmp_path):
    """Start a run over part 1 of 2 that waits in its only image; give an order to end it."""
    names = (f"{letter}.png" for letter in "abcdefgh")
    held = next(name for name in names if Shard(1, 2).holds(name))
    order = f"meet {tmp_path / 'met'} {tmp_path / 'go'}"
    image(tmp_path / "in" / held, order=order)
    with lgs.start("clean", "in", "-o", "out", "--shard", "1/2") as run:
        until((tmp_path / "met").exists)
        other = next(n for n in map("{}.png".format, range(99)) if Shard(2, 2).holds(n))
        image(tmp_path / "in" / other)
        yield lambda: ((tmp_path / "go").touch(), run.end())[1]


@pytest.mark.parametrize("shard", [None, "1/2", "1/3", "3/3"])
def test_who_would_write_the_same_outputs_is_turned_away(lgs, at_work, shard):
    part = [] if shard is None else ["--shard", shard]
    run = lgs("clean", "in", "-o", "out", *part)
    assert run.returncode == 4
    assert run.stderr == "lgs: another lgs is writing into out; --wait waits for it\n"
    assert lgs("clean", "in", "-o", "out", "--shard", "2/2").returncode == 0
    assert at_work() == 0


@pytest.mark.parametrize("shard", [None, "1/2", "2/3"])
def test_wait_waits_for_the_parts(lgs, tmp_path, at_work, shard):
    part = [] if shard is None else ["--shard", shard]
    with lgs.start("clean", "in", "-o", "out", "--wait", *part) as waiting:
        with pytest.raises(Exception, match="timed out"):
            waiting.process.wait(1)
        assert at_work() == 0
        assert waiting.end() == 0, waiting.stderr
    assert lgs("clean", "in", "-o", "out", "--report", "r.jsonl").returncode == 0
    assert len(report(tmp_path / "r.jsonl")) == 2


def test_a_part_waits_for_a_run_over_all(lgs, tmp_path):
    order = f"meet {tmp_path / 'met'} {tmp_path / 'go'}"
    image(tmp_path / "in" / "a.png", order=order)
    with lgs.start("clean", "in", "-o", "out") as run:
        until((tmp_path / "met").exists)
        assert lgs("clean", "in", "-o", "out", "--shard", "1/2").returncode == 4
        (tmp_path / "go").touch()
        assert run.end() == 0


def test_a_torn_line_costs_its_image_only(lgs, tmp_path, folder):
    for n in (1, 2):
        lgs("clean", folder, "-o", "out", "--shard", f"{n}/2")
    part = tmp_path / "out" / DIRECTORY / "1-of-2.jsonl"
    lines = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join(lines)[:-9])
    lost = json.loads(lines[-1])["output"]
    run = lgs("clean", folder, "-o", "out", "--report", "r.jsonl")
    assert "not of lgs" not in run.stderr
    done = [line for line in report(tmp_path / "r.jsonl") if line["status"] == "done"]
    assert [os.path.relpath(line["output"], "out") for line in done] == [lost]


def test_a_run_killed_while_it_moves_records_does_it_again(lgs, tmp_path, folder):
    for n in (1, 2):
        lgs("clean", folder, "-o", "out", "--shard", f"{n}/2")
    moved = (tmp_path / "out" / DIRECTORY / "1-of-2.jsonl").read_bytes()
    (tmp_path / "out" / ".lgs-manifest.jsonl").write_bytes(moved[: len(moved) // 2])
    lgs("clean", folder, "-o", "out", "--report", "r.jsonl", "--shard", "1/1")
    assert {line["status"] for line in report(tmp_path / "r.jsonl")} == {"skipped"}
    assert len(records(tmp_path / "r.jsonl")) == 6  # names are the same in both directories


def test_a_link_leads_no_record_elsewhere(lgs, tmp_path, folder):
    """Whoever may write to the output directory has no files removed that lie outside of it."""
    theirs = tmp_path / "theirs" / "1-of-2.jsonl"
    theirs.parent.mkdir()
    theirs.write_text("precious\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / DIRECTORY).symlink_to(theirs.parent)
    for words in ([], ["--shard", "1/2"], ["--shard", "1/3"]):
        run = lgs("clean", folder, "-o", "out", *words)
        assert run.returncode == 1
        assert f"out/{DIRECTORY}: a link, and no directory of lgs" in run.stderr
    assert [path.name for path in theirs.parent.iterdir()] == ["1-of-2.jsonl"]
    assert theirs.read_text() == "precious\n"


def test_more_parts_than_images(lgs, tmp_path):
    image(tmp_path / "in" / "a.png")  # belongs to 16 of 16, see above
    run = lgs("clean", "in", "-o", "out", "--shard", "1/16", "--report", "r.jsonl")
    assert run.returncode == 0
    assert run.stderr.startswith("0 images: 0 done, 0 skipped, 0 failed in ")
    assert (tmp_path / "r.jsonl").read_bytes() == b""
    assert lgs("clean", "in", "-o", "out", "--shard", "16/16").stderr.startswith("1 image: 1 done")


def test_all_parts_refuse_what_one_run_refuses(lgs, tmp_path, folder):
    shutil.copytree(folder, folder / "out")  # photographs of the user's, say
    before = tree(folder / "out")
    for n in (1, 2):
        run = lgs("clean", folder, "-o", folder / "out", "--shard", f"{n}/2")
        assert run.returncode == 2
        assert "is there already, inside an input, and not of lgs" in run.stderr
    assert tree(folder / "out") == before


@pytest.mark.parametrize(
    ("shard", "reason"),
    [
        ("0/4", "I is from 1 to N; the first is 1/4"),
        ("5/4", "I is from 1 to N"),
        ("0/0", "I is from 1 to N"),
        ("-1/4", "is not I/N, as 3/16"),
        ("1", "is not I/N, as 3/16"),
        ("a/b", "is not I/N, as 3/16"),
        ("1/4/2", "is not I/N, as 3/16"),
    ],
)
def test_a_part_that_is_none(lgs, folder, shard, reason):
    for command in (["clean", folder, "-o", "out"], ["scan", folder]):
        run = lgs(*command, f"--shard={shard}")
        assert run.returncode == 2
        assert reason in run.stderr


def test_parts_are_of_directories(lgs, folder):
    for words in (["-o", "b.png"], ["--in-place", "--yes"], ["-o", "-"]):
        run = lgs("clean", folder / "00.png", *words, "--shard", "1/2")
        assert run.returncode == 2
        assert "--shard is for outputs in a directory" in run.stderr


def test_scan_in_parts(lgs, folder):
    whole = lgs("scan", folder).stdout.splitlines()
    parts = [lgs("scan", folder, "--shard", f"{n}/2").stdout.splitlines() for n in (1, 2)]
    assert all(parts)
    assert sorted(parts[0] + parts[1]) == sorted(whole)
    assert [line for line in whole if line in parts[0]] == parts[0]  # in the same order


def test_one_page_of_several_reports(lgs, tmp_path, folder):
    for n in (1, 2):
        lgs("clean", folder, "-o", "out", "--shard", f"{n}/2", "--report", f"part-{n}.jsonl")
    run = lgs("report", "part-1.jsonl", "part-2.jsonl", "-o", "page.html")
    assert run.returncode == 0
    assert run.stderr.startswith("page.html: 12 images, 12 with pictures")
    page = (tmp_path / "page.html").read_text()
    assert "Report of 12 images" in page
    assert "part-1.jsonl and 1 other" in page
    for path in folder.rglob("*.png"):
        assert json.dumps(str(path)) in page
    refused = lgs("report", "part-1.jsonl", "part-2.jsonl", "-o", "part-2.jsonl")
    assert refused.returncode == 2
    assert "part-2.jsonl is " in refused.stderr


def test_a_local_run_imports_no_extra(lgs, tmp_path, folder):
    """Packages of extras that cannot be imported: nobody notices."""
    without = tmp_path / "without"
    without.mkdir()
    for name in ("dask", "distributed", "fsspec", "pyarrow", "s3fs"):
        (without / f"{name}.py").write_text("raise RuntimeError('imported')")
    paths = lgs.environment["PYTHONPATH"]
    lgs.environment["PYTHONPATH"] = f"{without}{os.pathsep}{paths}"
    assert lgs("clean", folder, "-o", "out", "--shard", "1/1").returncode == 0
    assert lgs("scan", folder).returncode == 0
    assert len(outputs(tmp_path / "out")) == 12
