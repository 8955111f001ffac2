"""Sources that are gone, that turned bad, or that never were any good: what becomes of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from folders import MANIFEST, image, images, records, tree
from shell import Lgs


@pytest.fixture
def done(lgs: Lgs) -> Path:
    """A folder with ``in`` of five old images, and with ``out`` and ``masks``, up to date."""
    images(lgs.folder / "in", 4)
    image(lgs.folder / "in" / "sub" / "deep.png", 5)
    for path in (lgs.folder / "in").rglob("*.png"):
        os.utime(path, (1e9, 1e9))
    run = lgs("clean", "in", "-o", "out", "--masks", "masks")
    assert run.returncode == 0, run.stderr
    return lgs.folder


WORDS = ("clean", "in", "-o", "out", "--masks", "masks")


def test_delete_removes_what_lost_its_source(lgs: Lgs, done: Path) -> None:
    (done / "in" / "01.png").unlink()
    (done / "in" / "sub" / "deep.png").unlink()
    (done / "out" / "mine.png").write_bytes(b"of the user")
    (done / "masks" / "mine.png").write_bytes(b"of the user")
    before = {**tree(done / "out"), **tree(done / "masks")}

    rehearsed = lgs(*WORDS, "--delete", "-n")
    gone = ["out/01.png", "masks/01.png.png", "out/sub/deep.png", "masks/sub/deep.png.png"]
    removed = [line for line in rehearsed.stdout.decode().splitlines() if "up to date" not in line]
    assert sorted(removed) == sorted(f"would remove: {path}" for path in gone)
    assert {**tree(done / "out"), **tree(done / "masks")} == before

    assert not any("removed" in line for line in lgs(*WORDS).stderr.splitlines())
    assert {**tree(done / "out"), **tree(done / "masks")} == before

    run = lgs(*WORDS, "--delete")
    assert run.returncode == 0
    assert run.stderr.splitlines()[-1] == "4 outdated files removed"
    assert set(tree(done / "out")) == {"00.png", "02.png", "03.png", "mine.png"}
    assert set(tree(done / "masks")) == {"00.png.png", "02.png.png", "03.png.png", "mine.png"}
    assert "removed" not in lgs(*WORDS, "--delete").stderr


def test_delete_spares_what_others_have_changed(lgs: Lgs, done: Path) -> None:
    (done / "in" / "01.png").unlink()
    (done / "in" / "02.png").unlink()
    output = done / "out" / "01.png"
    size = output.stat().st_size
    output.write_bytes(bytes(size))  # the same size
    (done / "out" / "02.png").unlink()
    (done / "out" / "02.png").symlink_to("../in/00.png")
    run = lgs(*WORDS, "--delete")
    assert run.stderr.count("changed by others, and stays") == 2
    assert output.read_bytes() == bytes(size)
    assert (done / "out" / "02.png").is_symlink()
    assert (done / "in" / "00.png").exists()


def test_delete_follows_no_link(lgs: Lgs, done: Path) -> None:
    (done / "in" / "sub" / "deep.png").unlink()
    (done / "out" / "sub").rename(done / "moved")
    (done / "out" / "sub").symlink_to("../moved")
    lgs(*WORDS, "--delete")
    assert (done / "moved" / "deep.png").exists()


def test_delete_spares_what_came_from_elsewhere(lgs: Lgs, done: Path) -> None:
    """Sources of another run, and those that are only left out of this one."""
    image(done / "other" / "o.png", 9)
    lgs("clean", "other", "-o", "out")
    (done / "other" / "o.png").unlink()
    (done / "in" / "00.png").unlink()
    lgs(*WORDS, "--delete", "--exclude", "01.png")
    assert set(tree(done / "out")) == {"01.png", "02.png", "03.png", "sub/deep.png", "o.png"}


def test_delete_does_nothing_if_the_source_directory_is_empty(lgs: Lgs, done: Path) -> None:
    """A disk that is not mounted looks like that."""
    before = tree(done / "out")
    (done / "in").rename(done / "aside")
    (done / "in").mkdir()
    assert lgs(*WORDS, "--delete").returncode == 3
    assert tree(done / "out") == before


@pytest.mark.parametrize("output", ["b.png", "-"])
def test_delete_needs_a_directory(lgs: Lgs, done: Path, output: str) -> None:
    run = lgs("clean", "in/00.png", "-o", output, "--delete")
    assert run.returncode == 2
    assert "--delete is for outputs in a directory" in run.stderr


# ------------------------------------------------------------------------------- turned bad


def test_an_output_whose_source_turned_bad_is_called_stale(lgs: Lgs, done: Path) -> None:
    good = (done / "in" / "02.png").read_bytes()
    (done / "in" / "02.png").write_bytes(b"no longer an image")
    os.utime(done / "in" / "02.png", (2e9, 1.1e9))
    for _ in range(2):
        run = lgs(*WORDS, "--report", "r.jsonl")
        assert run.returncode == 1
        assert "02.png: not an image; the output of an earlier run is still there" in run.stderr
        line = records(done / "r.jsonl")["02.png"]
        assert (line["status"], line["stale"], line["output"]) == ("failed", True, None)
        assert records(done / "out" / MANIFEST)["02.png"]["stale"] is True
    assert not records(done / "r.jsonl")["01.png"]["stale"]
    # It is done again when it is as it was.
    (done / "in" / "02.png").write_bytes(good)
    os.utime(done / "in" / "02.png", (1e9, 1e9))
    run = lgs(*WORDS, "--report", "r.jsonl")
    assert run.returncode == 0
    assert records(done / "r.jsonl")["02.png"]["status"] == "done"
    assert records(done / "out" / MANIFEST)["02.png"].get("stale") is None


def test_a_failure_that_leaves_the_source_as_it_was_is_not_stale(lgs: Lgs, done: Path) -> None:
    """What was done, and would be skipped, is done again and fails for another reason."""
    (done / "masks" / "02.png.png").unlink()
    (done / "masks" / "02.png.png").mkdir()
    run = lgs("clean", "in", "-o", "out", "--masks", "masks")
    assert "02.png: cannot write: is a directory" in run.stderr
    (done / "masks" / "02.png.png").rmdir()
    assert lgs(*WORDS).returncode == 0


# --------------------------------------------------------------------------------- nightly


def test_a_nightly_run_fails_until_all_that_is_bad_is_known(lgs: Lgs, done: Path) -> None:
    bad = done / "in" / "bad.png"
    bad.write_bytes(b"not an image")
    image(done / "in" / "crash.png", order="segfault")
    os.utime(bad, (1e9, 1e9))
    os.utime(done / "in" / "crash.png", (1e9, 1e9))
    night = (*WORDS, "--skip-unsupported", "--report", "r.jsonl")
    codes = [lgs(*night).returncode for _ in range(3)]
    assert codes == [1, 0, 0]
    lines = records(done / "r.jsonl")
    assert (lines["bad.png"]["status"], lines["bad.png"]["error"]) == (
        "unsupported",
        "not an image",
    )
    assert lines["crash.png"]["error"].startswith("the worker died: signal 11")
    # Without the option they fail, as ever.
    assert lgs(*WORDS).returncode == 1
    # Something new fails, and is known from then on.
    (done / "in" / "new.png").write_bytes(b"bad as well")
    os.utime(done / "in" / "new.png", (1e9, 1e9))
    run = lgs(*night)
    assert run.returncode == 1
    assert run.stderr.splitlines()[0] == "lgs: in/new.png: not an image"
    assert "2 unsupported, 1 failed" in run.stderr
    assert lgs(*night).returncode == 0
    # What changes is tried again.
    image(bad, 7)
    run = lgs(*night)
    assert run.returncode == 0
    assert records(done / "r.jsonl")["bad.png"]["status"] == "done"


def test_what_fails_for_other_reasons_is_never_taken_for_bad(lgs: Lgs, done: Path) -> None:
    source = image(done / "in" / "slow.png", order="hang")
    os.utime(source, (1e9, 1e9))
    (done / "out" / "taken.png").mkdir()
    image(done / "in" / "taken.png")
    os.utime(done / "in" / "taken.png", (1e9, 1e9))
    for _ in range(2):
        run = lgs(*WORDS, "--skip-unsupported", "--timeout", "2")
        assert run.returncode == 1
        assert "5 skipped, 2 failed" in run.stderr


def test_files_of_other_kinds_are_counted_and_named(lgs: Lgs, done: Path) -> None:
    for name in ("x.tga", "y.ico", "notes.txt"):
        (done / "in" / name).write_bytes(b"something")
    run = lgs(*WORDS, "--report", "r.jsonl")
    assert run.returncode == 0
    assert run.stderr.endswith(" s; 3 files of other kinds passed over\n")
    lines = records(done / "r.jsonl")
    assert {name for name, line in lines.items() if line["status"] == "unsupported"} == {
        "x.tga", "y.ico", "notes.txt",
    }  # fmt: skip
    assert "in/x.tga: unsupported, a file of another kind" in lgs(*WORDS, "-v").stderr
    page = lgs("report", "r.jsonl", "-o", "page.html")
    assert page.returncode == 0, page.stderr
    scanned = lgs("scan", "in", "-v")
    assert "3 files of other kinds passed over" in scanned.stderr
    assert "in/y.ico: unsupported" in scanned.stderr


def test_a_single_file_of_another_kind_is_counted_in_the_singular(lgs: Lgs, done: Path) -> None:
    (done / "in" / "x.tga").write_bytes(b"something")
    assert lgs(*WORDS).stderr.endswith(" s; 1 file of another kind passed over\n")


def test_outputs_of_earlier_runs_are_passed_over_with_a_line(lgs: Lgs, done: Path) -> None:
    run = lgs("clean", ".", "-o", "again", "--report", "r.jsonl")
    assert run.returncode == 0
    assert {line["source"] for line in map(dict, records(done / "r.jsonl").values())} == {
        *(f"./in/{index:02}.png" for index in range(4)), "./in/sub/deep.png",
    }  # fmt: skip
    assert run.stderr.splitlines()[0] == (
        "lgs: outputs of lgs passed over: ./masks, ./out; --include-outputs takes them too"
    )
    run = lgs("clean", ".", "-o", "all", "--include-outputs", "--exclude", "again")
    assert run.stderr.startswith("15 images: 15 done")
