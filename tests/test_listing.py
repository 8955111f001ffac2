"""Inputs that are found while others are cleaned: what a run over very many of them does."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from few_ahead import FewAhead
from folders import files_below, image, images, report, snapshot, tree
from shell import Lgs

from lgs_cli.batch import index, run
from lgs_cli.batch.guard import Guard
from lgs_cli.batch.index import Index, key_of
from lgs_cli.batch.manifest import Manifest
from lgs_cli.batch.outputs import Outputs
from lgs_cli.batch.pipeline import CleanSettings
from lgs_cli.batch.sources import Sources
from lgs_cli.batch.workers import Limits
from lgs_cli.defenses.chain import parse_chain
from lgs_cli.errors import StorageError
from lgs_cli.storage import spool
from lgs_cli.storage.inputs import Source
from lgs_cli.storage.spool import Spool


@pytest.fixture
def few(tmp_path: Path) -> FewAhead:
    return FewAhead(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty old images in a tree, one that is none, and files of other kinds."""
    images(tmp_path / "in", 8)
    for number in range(12):
        image(tmp_path / f"in/sub{number % 3}/deep/{number:02}.png", 100 + number)
    (tmp_path / "in/sub1/bad.png").write_bytes(b"no image")
    for name in ("a.txt", "sub0/b.txt", "sub2/c.txt"):
        (tmp_path / "in" / name).write_text("no image either")
    for path in (tmp_path / "in").rglob("*.*"):
        os.utime(path, (1e9, 1e9))
    return tmp_path


# -------------------------------------------------------------------------- how far ahead


def test_only_the_next_ones_are_found() -> None:
    taken = 0

    def listing() -> Iterator[Source]:
        nonlocal taken
        for taken in range(1, 101):
            yield Source("in/", f"{taken}.png")

    found = listing()
    sources = Sources([next(found) for _ in range(10)], found)
    assert (taken, sources.count, sources.total) == (11, 11, None)
    for given, source in enumerate(sources, 1):
        assert source.relative == f"{given}.png"
        assert taken <= min(given + 10, 100)
        assert sources.count == taken
        assert sources.total == (None if given < 91 else 100)
    assert (given, sources.total) == (100, 100)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_takes_few_images_more_than_it_has_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(run, "_MOST_OUT", 20)
    images(tmp_path / "in", 60)
    taken = 0

    def listing() -> Iterator[Source]:
        nonlocal taken
        for name in sorted(path.name for path in (tmp_path / "in").iterdir()):
            taken += 1
            yield Source(f"{tmp_path}/in/", name)

    outputs = Outputs(f"{tmp_path}/out", None, None)
    settings = CleanSettings(parse_chain("median"))
    manifest = Manifest(outputs.directory, settings)
    manifest.open(wait=False)
    results = run.clean_all(listing(), outputs, settings, Limits(workers), manifest)
    ahead = []
    for number, result in enumerate(results):
        assert result.status == "done"
        ahead.append(taken - number)
        time.sleep(0.01)  # who takes them is slower than the workers
    manifest.close()
    assert max(ahead) <= 20
    assert (len(ahead), taken) == (60, 60)


def test_what_needs_no_work_does_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few images to clean among many that are up to date: all come, and few at a time wait."""
    monkeypatch.setattr(run, "_FEW", 5)
    monkeypatch.setattr(run, "_MANY", 10)
    paths = images(tmp_path / "in", 60)
    for path in paths:
        os.utime(path, (1e9, 1e9))
    outputs = Outputs(f"{tmp_path}/out", None, None)
    settings = CleanSettings(parse_chain("median"))
    taken = 0

    def listing() -> Iterator[Source]:
        nonlocal taken
        for path in paths:
            taken += 1
            yield Source(f"{tmp_path}/in/", path.name)

    changed = {2, 3, 17, 40, 41, 59}
    for wanted in (set(range(60)), changed):
        taken = 0
        manifest = Manifest(outputs.directory, settings)
        manifest.open(wait=False)
        done, places = set(), []
        for result in run.clean_all(listing(), outputs, settings, Limits(2), manifest):
            places.append(result.place)
            if result.status == "done":
                done.add(result.place)
            if wanted is changed:
                assert taken - len(places) <= 10 + 5 + 12
        manifest.close()
        assert done == wanted
        assert sorted(places) == list(range(60))
        for place in changed:
            os.utime(paths[place], (2e9, 1.1e9))


# -------------------------------------------------------------------- a run like any other


def lines(path: Path, *changing: str) -> list[dict[str, object]]:
    """Read a report, without what is never the same."""
    return [
        {key: value for key, value in line.items() if key not in ("seconds", "command", *changing)}
        for line in report(path)
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_same_comes_of_it(lgs: Lgs, few: FewAhead, folder: Path, jobs: int) -> None:
    words = ("clean", "in", "-j", jobs, "--method", "median", "--masks")
    usual = lgs(*words, "m1", "-o", "one", "--report", "one.jsonl")
    other = few(*words, "m2", "-o", "two", "--report", "two.jsonl")
    assert usual.returncode == other.returncode == 1
    assert tree(folder / "one") == tree(folder / "two")
    assert tree(folder / "m1") == tree(folder / "m2")
    assert len(tree(folder / "one")) == 20
    names = ("output", "mask")
    assert lines(folder / "one.jsonl", *names) == lines(folder / "two.jsonl", *names)
    ends = [run.stderr.splitlines()[-1].split(" in ") for run in (usual, other)]
    assert ends[0][0] == ends[1][0] == "21 images: 20 done, 0 skipped, 1 failed"
    assert all(end[1].endswith("3 files of other kinds passed over") for end in ends)


def test_what_is_up_to_date_is_skipped(few: FewAhead, lgs: Lgs, folder: Path) -> None:
    words = ("clean", "in", "-o", "out", "--report", "r.jsonl")
    assert few(*words).returncode == 1
    os.utime(folder / "in/sub2/deep/05.png", (2e9, 1.1e9))
    for cleaned in (["in/sub2/deep/05.png"], []):
        few(*words)
        found = report(folder / "r.jsonl")
        assert [line["source"] for line in found if line["status"] == "done"] == cleaned
        assert sum(line["status"] == "skipped" for line in found) == 20 - len(cleaned)
    # The record is that of any other run.
    lgs(*words)
    assert {line["status"] for line in report(folder / "r.jsonl")} == {
        "skipped", "failed", "unsupported",
    }  # fmt: skip


def test_dry_run(lgs: Lgs, few: FewAhead, folder: Path) -> None:
    before = snapshot(folder)
    words = ("clean", "in", "-o", "out", "-n")
    assert few(*words).stdout == lgs(*words).stdout
    assert snapshot(folder) == before


def test_parts(few: FewAhead, folder: Path) -> None:
    few("clean", "in", "-o", "whole")
    done = []
    for number in (1, 2, 3):
        few("clean", "in", "-o", "out", "--shard", f"{number}/3", "--report", "r.jsonl")
        done += [line["source"] for line in report(folder / "r.jsonl") if line["status"] == "done"]
    assert len(done) == len(set(done)) == 20
    shutil.rmtree(folder / "out/.lgs-shards")
    assert tree(folder / "out") == tree(folder / "whole")


def test_delete(few: FewAhead, folder: Path) -> None:
    words = ("clean", "in", "-o", "out", "--delete")
    few(*words)
    gone = {"00.png", "07.png", "sub0/deep/00.png", "sub2/deep/11.png"}
    for name in gone:
        (folder / "in" / name).unlink()
    expected = files_below(folder / "out") - gone
    rehearsed = few(*words, "-n").stdout.decode().splitlines()
    removed = {line for line in rehearsed if line.startswith("would remove: ")}
    assert removed == {f"would remove: out/{name}" for name in gone}
    assert "4 outdated files removed" in few(*words).stderr
    assert files_below(folder / "out") == expected


def test_outputs_of_another_format_go(few: FewAhead, folder: Path) -> None:
    few("clean", "in", "-o", "out")
    pngs = files_below(folder / "out")
    few("clean", "in", "-o", "out", "--format", "webp", "--delete")
    assert files_below(folder / "out") == {f"{name[:-4]}.webp" for name in pngs}


# ----------------------------------------------------------------------- how far it is said


def test_the_total_comes_when_all_are_found(few: FewAhead, folder: Path) -> None:
    told = few("clean", "in", "-o", "out", "--progress", "json").stderr.splitlines()
    events = [json.loads(line) for line in told if line.startswith("{")]
    assert (events[0]["total"], events[0]["seconds_left"]) == (None, None)
    last = events[-1]
    assert (last["done"], last["total"], last["found"], last["seconds_left"]) == (21, 21, 21, 0)


def test_a_run_that_is_cut_short_says_what_it_knows(few: FewAhead, tmp_path: Path) -> None:
    for number in range(30):
        image(tmp_path / f"in/{number:02}.png").write_bytes(b"no image")
    cut = few("clean", "in", "-o", "out", "-j1", "--fail-fast")
    assert cut.returncode == 1
    failure, end, summary = cut.stderr.splitlines()
    assert failure == "lgs: in/00.png: not an image"
    assert end == "lgs: stopped after 1 failure"
    left = int(summary.rpartition("; ")[2].split()[0])
    assert summary.endswith(" or more not reached")
    assert 0 < left < 12


# -------------------------------------------------------------------------- what is refused

OVERLAPS = {
    "an output that is an input": (
        ["out/in", "-o", "out"], ["out/in/in/z.png", "out/in/z.png"], "is an input; it would be",
    ),
    "a mask that is an output": (
        ["in", "-o", "out", "--masks", "out/m"], ["in/z.png", "in/m/z.png.png"],
        "in/m/z.png.png and in/z.png would both be written to out/m/z.png.png",
    ),
    "a report that is an input": (
        ["in", "-o", "out", "--report", "in/z.png"], ["in/z.png"], "in/z.png is an input",
    ),
    "the directory itself": (
        ["in", "-o", "in/"], ["in/z.png"], "is both an input and where outputs go",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("words", "names", "message"), OVERLAPS.values(), ids=OVERLAPS)
def test_what_overlaps_is_refused_before_anything_is_written(
    few: FewAhead, tmp_path: Path, words: list[str], names: list[str], message: str
) -> None:
    images(tmp_path / words[0], 8)
    for name in names:
        image(tmp_path / name)
    before = snapshot(tmp_path)
    refused = few("clean", *words)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert message in refused.stderr
    assert snapshot(tmp_path) == before


def test_the_second_of_two_that_have_one_output_fails(few: FewAhead, tmp_path: Path) -> None:
    images(tmp_path / "in", 6)
    for name in ("sub/a.png", "sub/between/b.png", "sub/a.webp", "sub/z/a.webp"):
        image(tmp_path / "in" / name)
    (tmp_path / "in/sub/a.webp").write_bytes((tmp_path / "in/05.png").read_bytes())
    run = few("clean", "in", "-o", "out", "--format", "jpeg")
    assert run.returncode == 1
    assert "lgs: in/sub/a.webp: out/sub/a.jpg is the output of sub/a.png" in run.stderr
    assert files_below(tmp_path / "out") == {
        *(f"{number:02}.jpg" for number in range(6)),
        "sub/a.jpg", "sub/between/b.jpg", "sub/z/a.jpg",
    }  # fmt: skip
    few("clean", "in/sub/a.png", "-o", "alone", "--format", "jpeg")
    assert (tmp_path / "out/sub/a.jpg").read_bytes() == (tmp_path / "alone/a.jpg").read_bytes()


def test_photographs_where_outputs_go_are_not_replaced(few: FewAhead, tmp_path: Path) -> None:
    images(tmp_path / "in", 8)
    mine = image(tmp_path / "in/out/07.png", 99)
    before = mine.read_bytes()
    run = few("clean", "in", "-o", "in/out")
    assert run.returncode == 1
    assert "in/out/07.png is there already, inside an input, and not of lgs" in run.stderr
    assert mine.read_bytes() == before
    assert len(files_below(tmp_path / "in/out")) == 8


def test_links_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an input to an output, and from the output directory elsewhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in/sub").mkdir(parents=True)
    image(tmp_path / "out/a.png")
    image(tmp_path / "elsewhere/a.png")
    (tmp_path / "in/a.png").symlink_to("../out/a.png")
    (tmp_path / "in/b.png").symlink_to("../elsewhere/a.png")
    (tmp_path / "out/sub").symlink_to("../elsewhere")
    guard = Guard.over(Outputs("out", None, None), ["in"], [], has_list=False, write=False)
    assert guard is not None
    found = guard.checked(Source("in/", name) for name in ("a.png", "b.png", "sub/c.png"))
    assert [source.problem for source in found] == [
        "a link to where outputs go",
        None,
        "out/sub/c.png would be written through a link below out",
    ]


def test_where_case_is_folded_all_names_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    inputs, outputs = [str(tmp_path / "in")], Outputs(str(tmp_path / "out"), None, None)
    for folds in (False, True):
        monkeypatch.setattr("lgs_cli.batch.guard.folds_case", lambda path, folds=folds: folds)
        guard = Guard.over(outputs, inputs, [], has_list=False, write=True)
        assert (guard is None) == folds


# ---------------------------------------------------------------------- beyond the memory


@pytest.mark.parametrize("most", [1, 7, 10_000])
def test_an_index_is_a_dictionary(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(index, "MOST", most)
    dice = random.Random(5)
    table, expected = Index(), {}
    for _ in range(600):
        key = dice.choice([0, 2**63 - 1, dice.getrandbits(63), dice.randrange(40)])
        if dice.random() < 0.25:
            del table[key]
            expected.pop(key, None)
        else:
            # No two with the same place in a file.
            value = dice.getrandbits(128) << 64 | len(expected) << 40 | dice.getrandbits(40)
            table[key] = expected[key] = value
    assert len(table) == len(expected)
    for key in [*expected, 41, 2**62]:
        assert table.get(key) == expected.get(key)
        assert (key in table) == (key in expected)
    low = (1 << 64) - 1
    assert list(table.items()) == sorted(expected.items(), key=lambda item: item[1] & low)
    assert list(table.values()) == [value for _, value in table.items()]
    table.close()


def test_keys_of_one_directory_are_neighbors() -> None:
    keys = {
        path: key_of(path) for path in (f"a/b{d}/{n}.png" for d in range(50) for n in range(50))
    }
    assert len(set(keys.values())) == 2500
    assert all(0 <= key < 2**63 for key in keys.values())
    ordered = sorted(keys, key=keys.__getitem__)
    changes = sum(a.split("/")[1] != b.split("/")[1] for a, b in itertools.pairwise(ordered))
    assert changes == 49


@pytest.mark.skipif(sys.platform != "linux", reason="/proc lists the open files")
def test_a_spool_keeps_paths_of_any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MOST", 3)
    paths = [f"in/{number}\udcff\n.txt" for number in range(11)]
    kept = Spool()
    before = len(os.listdir("/proc/self/fd"))
    for path in paths:
        kept.append(path)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    assert (len(kept), list(kept), list(kept)) == (11, paths, paths)
    kept.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_full_disk_for_temporary_files_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MOST", 500)
    monkeypatch.setattr(spool, "MOST", 500)
    table, kept = Index(), Spool()
    for number in range(500):
        table[number] = number
        kept.append(f"{number}")
    assert table._disk is not None
    table._disk.execute("PRAGMA max_page_count = 4")
    with pytest.raises(StorageError, match=r"TMPDIR\): database or disk is full$"):
        for number in range(2000):
            table[number] = number
    kept.close()
    kept._file = open("/dev/full", "wb", buffering=0)
    with pytest.raises(StorageError, match=r"TMPDIR\): no space left on device$"):
        for number in range(500):
            kept.append(f"{number}")
    table.close()
    kept.close()


# ------------------------------------------------------------------------------- in place


IN_PLACE = {
    "backup": (["in", "--backup", ".orig"], 0),
    "masks": (["in", "--yes", "--masks", "in/m"], 0),
    "all lies where masks go": (["in", "--yes", "--masks", "."], 2),
}


@pytest.mark.parametrize(("words", "code"), IN_PLACE.values(), ids=IN_PLACE)
def test_in_place(lgs: Lgs, few: FewAhead, tmp_path: Path, words: list[str], code: int) -> None:
    """The same comes of it, also if a mask would be in the place of an image found later."""
    trees = []
    for each in (lgs, few):
        shutil.rmtree(tmp_path / "in", ignore_errors=True)
        images(tmp_path / "in", 5)
        for name in ("in/sub/05.png", "in/sub/06.png", "in/in/00.png", "in/00.png.png"):
            image(tmp_path / name, 33)
        (tmp_path / "in/sub/link.png").symlink_to(image(tmp_path / "elsewhere.png"))
        before = snapshot(tmp_path)
        run = each("clean", *words, "--in-place")
        assert run.returncode == (code or 1)  # for the link
        if code:
            assert "in/00.png.png is an input; its mask would replace it" in run.stderr
            assert snapshot(tmp_path) == before
            continue
        assert "10 images: 9 done, 0 skipped, 1 failed" in run.stderr
        assert "in/sub/link.png: a link; name the file that it leads to" in run.stderr
        assert "9 skipped, 1 failed" in each("clean", *words, "--in-place").stderr
        trees.append(
            {name: data for name, data in tree(tmp_path).items() if not name.endswith(".jsonl")}
        )
    assert code or trees[0] == trees[1]
