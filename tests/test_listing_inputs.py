"""Very many inputs of other kinds than one directory: several, lists, pipes, and ``lgs scan``."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import detectors
import numpy as np
import pytest
from few_ahead import FewAhead
from folders import files_below, image, images, report, snapshot, tree
from PIL import Image
from shell import Lgs, until

from lgs_cli.batch import early, index, path_table
from lgs_cli.batch.early import Early
from lgs_cli.batch.job import Result
from lgs_cli.batch.path_table import LARGEST, PathTable
from lgs_cli.storage.inputs import Source


@pytest.fixture
def few(tmp_path: Path) -> FewAhead:
    return FewAhead(tmp_path)


# --------------------------------------------------------------------- several and lists


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Two directories, a file, and a list of both files and directories."""
    images(tmp_path / "in", 5)
    images(tmp_path / "more/deep", 5)
    (tmp_path / "more/text.txt").write_text("no image")
    image(tmp_path / "single.png", 50)
    paths = [image(tmp_path / f"listed/{number}.png", 60 + number) for number in range(8)]
    image(tmp_path / "walked/below/x.png", 80)
    (tmp_path / "walked/bad.png").write_text("no image")
    names = [str(path.relative_to(tmp_path)) for path in paths]
    (tmp_path / "list").write_text("\n".join([*names, "walked", "gone.png"]))
    return tmp_path


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_same_comes_of_it(lgs: Lgs, few: FewAhead, many: Path, jobs: int) -> None:
    words = ("clean", "in", "more", "single.png", "--files-from", "list", "-j", jobs, "--masks")
    usual = lgs(*words, "m1", "-o", "one", "--report", "one.jsonl")
    other = few(*words, "m2", "-o", "two", "--report", "two.jsonl")
    assert usual.returncode == other.returncode == 1
    assert tree(many / "one") == tree(many / "two")
    assert tree(many / "m1") == tree(many / "m2")
    assert len(tree(many / "two")) == 5 + 5 + 1 + 8 + 1
    found = [
        {line["source"]: line["status"] for line in report(many / f"{name}.jsonl")}
        for name in ("one", "two")
    ]
    assert found[0] == found[1]
    assert found[1]["more/text.txt"] == "unsupported"
    ends = [run.stderr.splitlines()[-1].split(" in ")[0] for run in (usual, other)]
    assert ends[0] == ends[1] == "22 images: 20 done, 0 skipped, 2 failed"


def test_what_is_there_already_comes_last_and_is_as_good(few: FewAhead, many: Path) -> None:
    """Outputs of an earlier run, and of none, are replaced or skipped as they should be."""
    words = ("clean", "--files-from", "list", "--report", "r.jsonl")
    few(*words, "-o", "expected")
    expected = tree(many / "expected")
    stranger = image(many / "out/listed/3.png", 99)
    few(*words, "-o", "out")
    assert tree(many / "out") == expected
    image(many / "listed/5.png", 98)
    few(*words, "-o", "out")
    lines = {line["source"]: line["status"] for line in report(many / "r.jsonl")}
    assert [name for name, status in lines.items() if status == "done"] == ["listed/5.png"]
    assert list(lines.values()).count("skipped") == 8
    few("clean", "listed/5.png", "-o", "alone")
    assert (many / "out/listed/5.png").read_bytes() == (many / "alone/5.png").read_bytes()
    assert stranger.read_bytes() == expected["listed/3.png"]


CLASHES = {
    "two directories": ((), "z.png", "out/z.png is the output of another input as well"),
    "a list": (("--files-from", "list"), "z.png", "out/z.png is the output of another input"),
    "twice": (("more/z.png",), "z.png", "more/z.png: is given twice"),
    "one format": (("--format", "jpeg"), "z.webp", "out/z.jpg is the output of another input"),
}


@pytest.mark.parametrize(("words", "name", "message"), CLASHES.values(), ids=CLASHES)
def test_the_second_of_two_that_have_one_output_fails(
    few: FewAhead, tmp_path: Path, words: tuple[str, ...], name: str, message: str
) -> None:
    images(tmp_path / "in", 6)
    image(tmp_path / "in/sub/z.png")
    first = image(tmp_path / "more/z.png", 70)
    second = image(tmp_path / "other/z.png", 71)
    second = second.rename(second.with_name(name))
    (tmp_path / "list").write_text(f"{second}\n")
    others = [] if "list" in words or "more/z.png" in words else ["other"]
    run = few("clean", "in", "more", *others, *words, "-o", "out")
    assert run.returncode == 1
    assert message in run.stderr
    assert "1 failed" in run.stderr
    few("clean", first, "-o", "alone", *(words if "--format" in words else ()))
    (alone,) = tree(tmp_path / "alone").values()
    assert tree(tmp_path / "out")[f"z.{'jpg' if '--format' in words else 'png'}"] == alone
    assert len(files_below(tmp_path / "out")) == 8


@pytest.mark.parametrize("through_a_link", [False, True])
@pytest.mark.parametrize("is_late", [False, True])
def test_no_input_is_overwritten_because_a_list_leads_to_where_outputs_go(
    few: FewAhead, tmp_path: Path, through_a_link: bool, is_late: bool
) -> None:
    (tmp_path / "listed").mkdir()
    names = [f"listed/{path.name}" for path in images(tmp_path / "listed", 8)]
    mine = image(tmp_path / "out/listed/06.png", 99)
    before = mine.read_bytes()
    named = "out/listed/06.png"
    if through_a_link:
        named = "link.png"
        (tmp_path / named).symlink_to(mine)
    names.insert(len(names) if is_late else 1, named)
    (tmp_path / "list").write_text("\n".join(names))
    run = few("clean", "--files-from", "list", "-o", "out")
    if is_late:  # else it is refused before anything is written, or fails as well
        assert run.returncode == 1
        reason = "a link to where outputs go" if through_a_link else "lies where outputs go"
        assert f"lgs: {named}: {reason}\n" in run.stderr
        assert "lgs: listed/06.png: out/listed/06.png is an input; it would be" in run.stderr
        assert len(files_below(tmp_path / "out")) == 8
    assert run.returncode in (1, 2)
    assert mine.read_bytes() == before


def test_outputs_are_not_read_because_a_list_names_them(few: FewAhead, tmp_path: Path) -> None:
    """They are not there yet when the list begins."""
    images(tmp_path / "listed", 6)
    names = [f"{number:02}.png" for number in range(6)]
    (tmp_path / "list").write_text("\n".join([*names, *(f"../out/{name}" for name in names)]))
    run = few("clean", "--files-from", "../list", "-o", "../out", cwd=tmp_path / "listed")
    assert run.returncode == 1
    assert "lgs: ../out/05.png: lies where outputs go\n" in run.stderr
    assert "12 images: 6 done, 0 skipped, 6 failed" in run.stderr
    assert files_below(tmp_path / "out") == set(names)


def test_inputs_inside_the_output_directory_are_known_before_anything_is_written(
    few: FewAhead, lgs: Lgs, tmp_path: Path
) -> None:
    """Else the walk would meet outputs of the run itself."""
    for number in range(6):
        image(tmp_path / f"out/in/in/sub/{number}.png", number)
    images(tmp_path / "more", 2)
    inputs = files_below(tmp_path / "out")
    run = few("clean", "more", "out/in", "-o", "out")
    assert run.returncode == 0
    assert "8 images: 8 done" in run.stderr
    outputs = {f"in/sub/{number}.png" for number in range(6)} | {"00.png", "01.png"}
    assert files_below(tmp_path / "out") == inputs | outputs


def test_parts_of_a_list(few: FewAhead, many: Path) -> None:
    few("clean", "in", "--files-from", "list", "-o", "whole")
    done = []
    for number in (1, 2):
        words = ("--shard", f"{number}/2", "--report", "r.jsonl")
        few("clean", "in", "--files-from", "list", "-o", "out", *words)
        done += [line["source"] for line in report(many / "r.jsonl") if line["status"] == "done"]
    assert len(done) == len(set(done)) == 5 + 8 + 1
    assert {name for name in files_below(many / "out") if not name.startswith(".lgs")} == (
        files_below(many / "whole")
    )


def test_work_begins_before_a_list_ends(few: FewAhead, tmp_path: Path) -> None:
    paths = images(tmp_path / "in", 12)
    with few.start("clean", "--files-from", "-", "-0", "-o", "out", stdin=subprocess.PIPE) as run:
        assert run.process.stdin is not None
        run.process.stdin.write(b"".join(os.fsencode(path) + b"\0" for path in paths[:10]))
        run.process.stdin.flush()
        until((tmp_path / "out/00.png").exists)
        assert run.process.poll() is None
        assert run.end(b"".join(os.fsencode(path) + b"\0" for path in paths[10:])) == 0
    assert files_below(tmp_path / "out") == {path.name for path in paths}


def test_a_list_that_turns_out_to_end_its_paths_in_nul(
    few: FewAhead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was listed before is done: nothing is lost if the list is given again as it should."""
    paths = images(tmp_path / "in", 8)
    with few.start("clean", "--files-from", "-", "-o", "out", stdin=subprocess.PIPE) as run:
        assert run.process.stdin is not None
        run.process.stdin.write(b"".join(os.fsencode(path) + b"\n" for path in paths))
        run.process.stdin.flush()
        until((tmp_path / "out/00.png").exists)
        assert run.end(b"more\0") == 2
    assert "lgs: --files-from: the paths end in NUL; add -0" in run.stderr.splitlines()


# --------------------------------------------------------------------------- lgs scan


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return detectors.write_magenta(tmp_path_factory.mktemp("detector") / "magenta.onnx")


def picture(path: Path, *, with_patch: bool, order: str = "") -> Path:
    pixels = np.full((64, 64, 3), 110, np.uint8)
    if with_patch:
        pixels[16:48, 16:48] = (255, 0, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    if order:
        path.write_bytes(path.read_bytes() + f"LGS-FAULT {order}".encode())
    return path


@pytest.fixture
def suspects(tmp_path: Path) -> Path:
    """Two directories and a list; each third image has a patch."""
    for number in range(12):
        folder = ("in", "in/sub", "more/deep")[number % 3 if number < 6 else 0]
        picture(tmp_path / folder / f"{number:02}.png", with_patch=number % 3 == 1)
    for number in range(6):
        picture(tmp_path / f"listed/{number}.png", with_patch=number % 3 == 0)
    (tmp_path / "in/03b.png").write_text("no image")
    (tmp_path / "in/03c.png").mkdir()
    for name in ("in/a.txt", "more/b.txt"):
        (tmp_path / name).write_text("no image either")
    names = [f"listed/{number}.png" for number in range(6)]
    (tmp_path / "list").write_text("\n".join([*names[:3], "gone.png", *names[3:]]))
    return tmp_path


SCANS = {
    "one": ["in"],
    "two": ["in", "more", "--json", "-j1"],
    "found": ["more", "in", "--found-only"],
    "list": ["more", "in/sub/01.png", "--files-from", "list", "--json"],
    "part": ["in", "--files-from", "list", "--shard", "1/2"],
    "verbose": ["more", "in", "-v"],
}


@pytest.mark.parametrize("words", SCANS.values(), ids=SCANS)
def test_a_scan_prints_the_same(
    lgs: Lgs, few: FewAhead, suspects: Path, detector: Path, words: list[str]
) -> None:
    runs = [each("scan", *words, "--detector", detector) for each in (lgs, few)]
    outs = [[_untimed(line) for line in run.stdout.splitlines()] for run in runs]
    assert outs[0] == outs[1]
    assert outs[1]
    errors = [[line.partition(" in ")[0] for line in run.stderr.splitlines()] for run in runs]
    assert errors[0] == errors[1]
    assert runs[0].returncode == runs[1].returncode
    assert (runs[1].returncode == 1) == (
        "failed" in runs[1].stderr and "0 failed" not in runs[1].stderr
    )


def _untimed(line: bytes) -> object:
    if not line.startswith(b"{"):
        return line
    return {key: value for key, value in json.loads(line).items() if key != "seconds"}


def test_a_scan_knows_its_total_when_all_are_found(
    few: FewAhead, suspects: Path, detector: Path
) -> None:
    run = few("scan", "more", "in", "--detector", detector, "--progress", "json", "-j1")
    events = [json.loads(line) for line in run.stderr.splitlines() if line.startswith("{")]
    assert (events[0]["total"], events[0]["seconds_left"]) == (None, None)
    assert (events[-1]["done"], events[-1]["total"], events[-1]["found"]) == (14, 14, 14)
    assert run.stderr.rstrip().endswith("; 2 files of other kinds passed over")


def test_nothing_is_printed_if_an_input_is_not_there(
    few: FewAhead, suspects: Path, detector: Path
) -> None:
    run = few("scan", "in", "more", "gone", "--detector", detector)
    assert (run.returncode, run.stdout) == (2, b"")
    assert run.stderr.startswith("lgs: gone: no such file or directory")


def test_where_there_is_no_image(few: FewAhead, tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"empty{number}").mkdir()
    (tmp_path / "list").write_text("empty1\nempty2\nempty3\n")
    for words in (["scan"], ["clean", "-o", "out"]):
        run = few(*words, "empty0", "--files-from", "list")
        assert run.returncode == 3
        where = "empty0, 3 paths of --files-from"
        assert run.stderr.startswith(f"lgs: no image found in {where}: no name ends in one of")


def test_directories_of_outputs_are_named_once(
    few: FewAhead, tmp_path: Path, detector: Path
) -> None:
    images(tmp_path / "in/a", 6)
    few("clean", "in/a", "-o", "in/b")
    images(tmp_path / "in/c", 2)
    run = few("scan", "in", "--detector", detector)
    told = "lgs: outputs of lgs passed over: in/b; --include-outputs takes them too"
    assert run.stderr.splitlines().count(told) == 1
    assert "8 images" in run.stderr


def test_what_was_found_is_moved(few: FewAhead, suspects: Path, detector: Path) -> None:
    before = tree(suspects)
    words = ("in", "more", "--files-from", "list", "--move-to", "in/q", "--json")
    run = few("scan", *words, "--detector", detector)
    moved = {line["source"]: line["moved_to"] for line in map(json.loads, run.stdout.splitlines())}
    moved = {source: target for source, target in moved.items() if target is not None}
    assert moved == {
        "in/07.png": "in/q/07.png", "in/10.png": "in/q/10.png", "in/sub/01.png": "in/q/sub/01.png",
        "in/sub/04.png": "in/q/sub/04.png", "listed/0.png": "in/q/listed/0.png",
        "listed/3.png": "in/q/listed/3.png",
    }  # fmt: skip
    after = tree(suspects)
    for source, target in moved.items():
        assert after.pop(target) == before.pop(source)
    assert after == before


def test_what_has_been_moved_is_not_met_again(
    few: FewAhead, tmp_path: Path, detector: Path
) -> None:
    for number in range(12):
        picture(tmp_path / f"in/sub/{number:02}.png", with_patch=True)
    (tmp_path / "q/sub").mkdir(parents=True)
    names = sorted(files_below(tmp_path / "in"))
    run = few("scan", "in", "q/sub", "--move-to", "q", "-j1", "--detector", detector)
    assert run.returncode == 1
    assert {line.split("\t")[1] for line in run.stdout.decode().splitlines()} == {
        f"in/{name}" for name in names
    }
    assert run.stderr.count(": lies where files are moved to\n") > 3
    assert sorted(files_below(tmp_path / "q")) == names


def test_early_results_wait_and_the_workers_do_not(
    few: FewAhead, tmp_path: Path, detector: Path
) -> None:
    """The first image takes as long as all others, whose lines wait for it."""
    met, go = tmp_path / "met", tmp_path / "go"
    picture(tmp_path / "in/00.png", with_patch=True, order=f"meet {met} {go}")
    for number in range(1, 30):
        picture(tmp_path / f"in/{number:02}.png", with_patch=number % 2 == 0)
    last = tmp_path / "last"
    picture(tmp_path / "in/30.png", with_patch=True, order=f"meet {last} {tmp_path}")
    with few.start("scan", "in", "--detector", detector, "-j2") as run:
        until(last.exists)
        go.touch()
        assert run.end() == 0
    names = [line.split("\t")[1] for line in run.stdout.decode().splitlines()]
    assert names == [f"in/{number:02}.png" for number in range(31)]


# --------------------------------------------------------------------- beyond the memory


def test_results_wait_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "MOST", 3)
    monkeypatch.setattr(index, "MOST", 4)
    dice = random.Random(3)
    kept, there = Early(), {}
    place = given = 0
    while given < 400:
        if dice.random() < 0.6 and place < 400:
            source = Source("in/\udcff/", f"{place}\n.png")
            there[place] = source, Result(place, source.path, score=place / 400)
            kept.add(*there[place])
            place += 1
        else:
            wanted = dice.randrange(max(place, 1) + 3)
            found = kept.pop(wanted)
            assert found == there.pop(wanted, None)
            given += found is not None
        if place == 400:
            for wanted in list(there):
                assert kept.pop(wanted) == there.pop(wanted)
            break
    assert kept._file is not None
    assert kept._file.seek(0, os.SEEK_END) == 0  # it does not grow with what has come and gone
    kept.close()


@pytest.mark.parametrize("few_keys", [False, True])
def test_two_paths_are_never_taken_for_one(monkeypatch: pytest.MonkeyPatch, few_keys: bool) -> None:
    """Not even if the keys of all are the same."""
    monkeypatch.setattr(index, "MOST", 50)
    if few_keys:
        monkeypatch.setattr(path_table, "key_of", lambda path: 2**63 - 1 - len(path) % 2)
    table = PathTable()
    for number in range(200):
        assert f"out/{number}.png" not in table
        assert table.setdefault(f"out/{number}.png", number) is None
        table[f"more/{number}.png"] = LARGEST - number
    for number in range(200):
        assert table.get(f"out/{number}.png") == number
        assert table.setdefault(f"more/{number}.png", 5) == LARGEST - number
        table[f"out/{number}.png"] = 1000 - number
    assert table.get("out/200.png") is None
    assert sorted(table.numbers())[:200] == list(range(801, 1001))
    table.close()


def test_a_dry_run_of_a_list_writes_nothing(few: FewAhead, lgs: Lgs, many: Path) -> None:
    words = ("clean", "in", "more", "--files-from", "list", "-o", "out", "-n")
    before = snapshot(many)
    assert few(*words).stdout == lgs(*words).stdout
    assert snapshot(many) == before
