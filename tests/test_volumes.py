"""A record of several files: a limit of a few lines stands for that of millions."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from folders import MANIFEST, image, images, leftovers, records, report, snapshot, tree
from PIL import Image
from shell import TESTS, Lgs, until

from lgs_cli.batch import record_file, volumes
from lgs_cli.batch.job import Job
from lgs_cli.batch.manifest import Manifest
from lgs_cli.batch.pipeline import CleanSettings, process
from lgs_cli.batch.shards import DIRECTORY, SharedManifest
from lgs_cli.defenses.chain import parse_chain

FULL = 1000  # bytes: three lines
SETTINGS = CleanSettings(parse_chain("lgs"))
FOLDER = ".lgs-manifest.volumes"
COUNT = 14

SMALL = f"""
import lgs_cli.batch.index, lgs_cli.batch.record_file, lgs_cli.batch.volumes
lgs_cli.batch.index.MOST = 5
lgs_cli.batch.record_file.BLOCK = lgs_cli.batch.volumes.FULL = {FULL}
"""
RUN = """
from lgs_cli.__main__ import main
main()
"""


class Small(Lgs):
    """``lgs`` whose volumes are full after three lines."""

    def command(self, *words: object) -> list[str | bytes]:
        head, *rest = super().command(*words)
        place = rest.index("-m")
        return [head, *rest[:place], "-c", SMALL + RUN, *rest[place + 2 :]]


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


@pytest.fixture
def done(small: Small) -> Path:
    """A folder with ``in`` of old images, and with ``out`` and ``masks``, up to date."""
    sources(small.folder)
    run = small(*WORDS, "-j", 1)  # so that the lines are in order
    assert run.returncode == 0, run.stderr
    return small.folder


WORDS = ("clean", "in", "-o", "out", "--masks", "masks")


def sources(folder: Path) -> None:
    for path in images(folder / "in", COUNT):
        os.utime(path, (1e9, 1e9))


def again(lgs: Lgs, *options: object) -> dict[str, str]:
    """Run once more; say what became of each image."""
    run = lgs(*WORDS, "--report", "again.jsonl", *options)
    assert run.returncode == 0, run.stderr
    lines = records(lgs.folder / "again.jsonl")
    return {name: line["status"] for name, line in lines.items()}


def skipped(*but_done: str) -> dict[str, str]:
    names = [f"{index:02}.png" for index in range(COUNT)]
    return {name: "done" if name in but_done else "skipped" for name in names}


def full(out: Path) -> list[Path]:
    """List the volumes of a record that are full, the oldest first."""
    return sorted((out / FOLDER).glob("*.jsonl"))


def lines(out: Path) -> list[str]:
    """Read all lines of a record, the oldest first."""
    return [line for path in [*full(out), out / MANIFEST] for line in path.read_text().splitlines()]


def outputs(listed: list[str]) -> list[str]:
    return sorted(json.loads(line)["output"] for line in listed)


# ------------------------------------------------------------------------------ whole runs


def test_a_record_becomes_several_files_midway(small: Small, done: Path) -> None:
    out = done / "out"
    assert [path.name for path in full(out)] == [
        "0001.jsonl",
        "0002.jsonl",
        "0003.jsonl",
        "0004.jsonl",
    ]
    longest = max(len(line) + 1 for line in lines(out))
    for path in full(out):
        assert FULL <= path.stat().st_size < FULL + longest
    assert (out / MANIFEST).stat().st_size < FULL
    assert outputs(lines(out)) == sorted(skipped())
    before = snapshot(out)
    rehearsed = small(*WORDS, "-n")
    assert rehearsed.stdout.count(b"up to date") == COUNT
    assert again(small) == skipped()
    assert snapshot(out) == before


def test_what_is_not_full_knows_volumes_too(small: Small, lgs: Lgs, done: Path) -> None:
    """That is, whatever the limit is: the one of today reads what another one has written."""
    (done / "in" / "03.png").unlink()
    image(done / "in" / "new.png", 99)
    expected = {**skipped(), "new.png": "done"}
    del expected["03.png"]
    assert again(lgs, "--delete") == expected
    assert not (done / "out" / "03.png").exists()
    assert again(small, "--delete") == {**expected, "new.png": "skipped"}


def test_a_record_of_one_file_is_divided(small: Small, lgs: Lgs) -> None:
    sources(lgs.folder)
    assert lgs(*WORDS).returncode == 0
    out = lgs.folder / "out"
    assert full(out) == []
    first = (out / MANIFEST).read_text()
    image(lgs.folder / "in" / "new.png", 99)
    assert again(small) == {**skipped(), "new.png": "done"}
    assert len(full(out)) >= 4
    assert max(path.stat().st_size for path in full(out)) < 2 * FULL
    assert "".join(f"{line}\n" for line in lines(out)).startswith(first)
    assert again(small) == {**skipped(), "new.png": "skipped"}


def test_lines_that_count_no_more_go_with_their_volumes(small: Small, done: Path) -> None:
    out = done / "out"
    old = full(out)
    assert again(small, "--smoothing", 5) == dict.fromkeys(skipped(), "done")
    assert len(lines(out)) == 2 * COUNT
    assert again(small, "--smoothing", 5) == skipped()
    assert outputs(lines(out)) == sorted(skipped())
    assert not any(path.exists() for path in old)
    assert leftovers(out) == []


def test_one_volume_is_written_again_without_the_others(small: Small, done: Path) -> None:
    """But not yet if nearly all lines count."""
    out = done / "out"
    name = json.loads(full(out)[1].read_text().splitlines()[1])["output"]
    before = {path: path.stat().st_mtime_ns for path in full(out)}
    for seed, changed in (1, []), (2, ["0002.jsonl"]):
        image(done / "in" / name, seed)
        os.utime(done / "in" / name, (1e9, 1e9 + seed))
        assert again(small) == skipped(name)
        assert again(small) == skipped()
        assert {line["width"] for line in report(done / "again.jsonl")} == {24}
        times = {path: path.stat().st_mtime_ns for path in before}
        assert [path.name for path in before if times[path] != before[path]] == changed
    assert outputs(lines(out)) == sorted(skipped())


def test_what_was_removed_stays_removed(small: Small, done: Path) -> None:
    """Its line is in another volume than the line that takes it back."""
    gone = [json.loads(path.read_text().splitlines()[0])["output"] for path in full(done / "out")]
    for name in gone:
        (done / "in" / name).unlink()
    run = small(*WORDS, "--delete")
    assert run.stderr.splitlines()[-1] == f"{2 * len(gone)} outdated files removed"
    left = {name: status for name, status in skipped().items() if name not in gone}
    for _ in range(2):
        assert again(small, "--delete") == left
        assert outputs(lines(done / "out")) == sorted(left)
    assert set(tree(done / "out")) & set(gone) == set()


def test_a_record_that_was_written_again_is_still_locked(
    small: Small, lgs: Lgs, done: Path
) -> None:
    met, go = done / "met", done / "go"
    for _ in range(2):
        again(lgs, "--force")
    image(done / "in" / "0.png", order=f"meet {met} {go}")
    with small.start(*WORDS) as run:
        until(met.exists)
        assert outputs(lines(done / "out")) == sorted(skipped())
        for options in ([], ["--shard", "1/2"]):
            assert small(*WORDS, *options).returncode == 4
        go.touch()
        assert run.end() == 0, run.stderr


def test_files_are_no_more_open_than_the_record(small: Small) -> None:
    sources(small.folder)
    (small.folder / "out").mkdir()
    (small.folder / "out" / MANIFEST).touch(0o640)
    small(*WORDS)
    modes = {path.stat().st_mode & 0o777 for path in full(small.folder / "out")}
    assert modes == {0o640}
    assert (small.folder / "out" / FOLDER).stat().st_mode & 0o777 == 0o750


def test_volumes_are_never_inputs(small: Small, done: Path) -> None:
    run = small("scan", "out", "--json")
    assert run.returncode in (0, 1)
    assert len(run.stdout.splitlines()) == COUNT
    assert "passed over" not in run.stderr


def test_what_was_moved_meanwhile_is_still_read(small: Small, done: Path) -> None:
    """The report of an image that is up to date says what its line said."""
    for number in range(7):
        image(done / "in" / f"{number:02}.png", 50 + number)
    before = full(done / "out")
    assert {"12.png", "13.png"} <= last(done / "out")
    assert again(small) == skipped(*(f"{number:02}.png" for number in range(7)))
    assert len(full(done / "out")) > len(before)
    assert not {"12.png", "13.png"} & last(done / "out")
    assert {line["width"] for line in report(done / "again.jsonl")} == {24}


def test_a_killed_run_goes_on_where_it_was(small: Small) -> None:
    sources(small.folder)
    met, go = small.folder / "met", small.folder / "go"
    image(small.folder / "in" / "10.png", order=f"meet {met} {go}")
    with small.start(*WORDS, "-j", 1) as run:
        until(met.exists)
        run.process.kill()
        run.process.wait()
    go.touch()
    assert len(full(small.folder / "out")) == 3
    assert again(small) == skipped("10.png", "11.png", "12.png", "13.png")
    assert outputs(lines(small.folder / "out")) == sorted(skipped())


# ---------------------------------------------------------------------------------- shards


def parts(small: Lgs, count: int, *options: object) -> None:
    for number in range(1, count + 1):
        run = small(*WORDS, "--shard", f"{number}/{count}", *options)
        assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("later", [[], ["--shard", "1/1"]], ids=str)
def test_the_volumes_of_parts_end_in_the_record(small: Small, later: list[str]) -> None:
    sources(small.folder)
    parts(small, 2)
    shards = small.folder / "out" / DIRECTORY
    for number in (1, 2):
        assert len(list((shards / f"{number}-of-2.volumes").glob("*.jsonl"))) >= 1
    assert small(*WORDS, "-n").stdout.count(b"up to date") == COUNT
    assert again(small, *later) == skipped()
    assert len(full(small.folder / "out")) >= 3
    assert outputs(lines(small.folder / "out")) == sorted(skipped())
    left = {path.name for path in shards.iterdir()}
    assert left == ({"lock", "1-of-1.jsonl"} if later else {"lock"})


def test_the_newest_line_counts_over_parts_and_volumes(small: Small, lgs: Lgs) -> None:
    """Outputs of one size under two settings: only the records tell them apart."""
    sources(small.folder)
    for path in (small.folder / "in").iterdir():
        Image.open(path).save(path.with_suffix(".bmp"))
        os.utime(path.with_suffix(".bmp"), (1e9, 1e9))
        path.unlink()
    lgs("clean", "in", "-o", "expected", "--masks", "masks-expected")
    assert small(*WORDS).returncode == 0
    parts(small, 2, "--smoothing", 5)
    between = tree(small.folder / "out")
    parts(small, 3)
    assert {name: tree(small.folder / "out")[name] for name in tree(small.folder / "expected")} == (
        tree(small.folder / "expected")
    )
    assert {name for name, data in between.items() if name.endswith(".bmp")} == set(
        tree(small.folder / "expected")
    )
    assert set(again(small).values()) == {"skipped"}
    assert set(again(small, "--smoothing", 5).values()) == {"done"}


# ------------------------------------------------------------------- killed at any moment

# Before each call that changes a file is a moment to be killed at.
KILLED = """
import os, signal, sys

left = int(sys.argv.pop(1))


class Killing:
    def __getattr__(self, name):
        call = getattr(os, name)
        if name not in ("ftruncate", "mkdir", "replace", "rmdir", "unlink", "write"):
            return call
        return lambda *words, **options: step() or call(*words, **options)


def step():
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1


lgs_cli.batch.record_file.os = lgs_cli.batch.volumes.os = Killing()
"""
ADD = """
from lgs_cli.batch.record_file import lock_record
import fcntl

record = lgs_cli.batch.volumes.Volumes(sys.argv[1] + "/.lgs-manifest.jsonl")
record.open(lock_record(sys.argv[1] + "/.lgs-manifest.jsonl", fcntl.LOCK_EX, wait=False))
for line in open(sys.argv[2], "rb"):
    record.append(line)
"""
OPEN = """
from lgs_cli.batch.pipeline import CleanSettings
from lgs_cli.batch.shards import SharedManifest, Shard
from lgs_cli.defenses.chain import parse_chain

shard = Shard(1, 3) if sys.argv[2:] else None
SharedManifest(sys.argv[1], CleanSettings(parse_chain("lgs")), shard).open(wait=False)
"""


def at_each_moment(start: Path, script: str, check: Callable[[Path], None], *words: object) -> int:
    """Kill a script at each moment of its work on a copy of a folder, and check what is left."""
    for moment in range(1000):
        folder = start.with_name("copy")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(start, folder)
        command = [sys.executable, "-c", SMALL + KILLED + script, moment, folder, *words]
        run = subprocess.run([*map(str, command)], cwd=TESTS.parent, capture_output=True)
        assert run.returncode in (0, -signal.SIGKILL), run.stderr
        check(folder)
        if run.returncode == 0:
            return moment
    raise AssertionError("it never ends")


def known(out: Path, *, peek: bool) -> dict[str, str]:
    """Read the settings of each output, as another run would."""
    manifest = SharedManifest(str(out), SETTINGS, None)
    try:
        manifest.peek() if peek else manifest.open(wait=False)
        return {entry.output: entry.settings for entry in manifest.entries()}
    finally:
        manifest.close()


def test_killed_while_a_record_is_divided(done: Path) -> None:
    whole = lines(done / "out")
    expected = dict.fromkeys(skipped(), SETTINGS.digest())
    shutil.rmtree(done / "out" / FOLDER)
    (done / "out" / MANIFEST).write_text("".join(f"{line}\n" for line in whole[:-2]))
    (done / "last").write_text("".join(f"{line}\n" for line in whole[-2:]))
    counts = []

    def check(out: Path) -> None:
        found = known(out, peek=True)
        counts.append(len(found))
        assert found == {name: expected[name] for name in found}
        assert known(out, peek=False) == found
        assert len(lines(out)) == len(found)
        assert leftovers(out) == []

    assert at_each_moment(done / "out", ADD, check, done / "last") > 8
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (COUNT - 2, COUNT)


def test_killed_while_a_record_is_compacted(small: Small, done: Path) -> None:
    """A third of the images is done again, and some are removed."""
    for name in ("01.png", "04.png", "09.png", "12.png"):
        image(done / "in" / name, 50 + int(name[:2]))
    (done / "in" / "05.png").unlink()
    small(*WORDS, "--delete")
    expected = known(done / "out", peek=True)
    assert len(expected) == COUNT - 1
    assert len(lines(done / "out")) > COUNT + 4

    def check(out: Path) -> None:
        assert known(out, peek=True) == expected
        assert known(out, peek=False) == expected
        # Less than a tenth may stay.
        assert len(lines(out)) - len(expected) <= 1
        assert leftovers(out) == []

    assert at_each_moment(done / "out", OPEN, check) > 8
    assert outputs(lines(done / "copy")) == sorted(expected)


@pytest.mark.parametrize("later", [[], ["1/3"]], ids=str)
def test_killed_while_parts_are_taken_in(small: Small, done: Path, later: list[str]) -> None:
    """All is done with other settings, in parts, so that the older lines must not come back."""
    parts(small, 2, "--smoothing", 5)
    settings = CleanSettings(parse_chain("lgs", [("smoothing", 5.0)])).digest()
    expected = dict.fromkeys(skipped(), settings)

    def check(out: Path) -> None:
        assert known(out, peek=True) == expected
        assert known(out, peek=False) == expected
        assert outputs(lines(out)) == sorted(expected)
        assert [path.name for path in (out / DIRECTORY).iterdir()] == ["lock"]

    assert at_each_moment(done / "out", OPEN, check, *later) > 20


# ------------------------------------------------------------------------ what else is there


def test_a_foreign_volume_costs_its_lines(small: Small, done: Path) -> None:
    """It stands behind the others, and what it holds of whole lines counts."""
    out = done / "out"
    first = json.loads(lines(out)[0])
    stale = json.dumps({**first, "output_size": 1})
    (out / FOLDER / "0077.jsonl").write_text(f"what is this\n{stale}\n\n{stale[:50]}")
    (out / FOLDER / "notes.txt").write_text("of the user")
    (out / FOLDER / "5.jsonl").write_text("of the user")
    del first
    run = small(*WORDS, "-n")
    assert run.stderr == f"lgs: out/{MANIFEST}: 1 line not of lgs, passed over\n"
    assert run.stdout.count(b"up to date") == COUNT - (json.loads(stale)["output"] not in last(out))
    run = small(*WORDS)
    assert run.stderr.startswith(f"lgs: out/{MANIFEST}: 1 line not of lgs, passed over\n")
    assert again(small) == skipped()
    assert {path.name for path in (out / FOLDER).iterdir()} >= {"notes.txt", "5.jsonl"}
    image(done / "in" / "new.png", 99)
    for number in range(3):
        image(done / "in" / f"new-{number}.png", number)
    small(*WORDS)
    assert (out / FOLDER / "0078.jsonl").exists()


def test_one_line_among_many_goes_if_it_is_foreign_or_torn(small: Small, done: Path) -> None:
    out = done / "out"
    (out / FOLDER / "0077.jsonl").write_text("what is this\n")
    assert "not of lgs" in small(*WORDS).stderr
    assert "not of lgs" not in small(*WORDS).stderr
    with (out / MANIFEST).open("a") as file:
        file.write(lines(out)[0][:50])
    image(done / "in" / "new.png", 99)
    os.utime(done / "in" / "new.png", (1e9, 1e9))
    assert again(small) == {**skipped(), "new.png": "done"}
    assert again(small) == {**skipped(), "new.png": "skipped"}


def last(out: Path) -> set[str]:
    """Name the outputs whose lines stand in the file that is appended to."""
    return {json.loads(line)["output"] for line in (out / MANIFEST).read_text().splitlines()}


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--shard", "1/2")], ids=str)
@pytest.mark.parametrize("kind", ["fifo", "link", "directory"])
def test_a_volume_that_is_no_file_is_refused(
    small: Small, done: Path, kind: str, options: tuple[str, ...]
) -> None:
    path = done / "out" / FOLDER / "0099.jsonl"
    precious = done / "precious"
    precious.write_text("theirs\n")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(precious)
    else:
        path.mkdir()
    run = small(*WORDS, *options)
    assert run.returncode == 1
    reason = "not a file, so not the record of a run; remove it"
    assert run.stderr == f"lgs: out/{FOLDER}/0099.jsonl: {reason}\n"
    assert precious.read_text() == "theirs\n"


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--shard", "1/2")], ids=str)
@pytest.mark.parametrize("kind", ["link", "file"])
def test_volumes_are_nowhere_else(
    small: Small, done: Path, kind: str, options: tuple[str, ...]
) -> None:
    theirs = done / "theirs"
    (done / "out" / FOLDER).rename(theirs)
    if kind == "link":
        (done / "out" / FOLDER).symlink_to("../theirs")
    else:
        (done / "out" / FOLDER).write_text("a file")
    before = tree(theirs)
    run = small(*WORDS, "--force", *options)
    assert run.returncode == 1
    reason = "not a directory, so not the record of a run; remove it"
    assert run.stderr == f"lgs: out/{FOLDER}: {reason}\n"
    assert tree(theirs) == before


def test_what_is_far_larger_than_any_volume_is_refused(small: Small, done: Path) -> None:
    """A hole of a terabyte takes no room, but hours to read."""
    path = done / "out" / FOLDER / "0099.jsonl"
    path.touch()
    try:
        os.truncate(path, (1 << 40) + 1)
    except OSError:
        pytest.skip("the file system has no files of a terabyte")
    run = small(*WORDS)
    assert run.returncode == 1
    reason = "larger than 1 TB, so not the record of a run; remove it"
    assert run.stderr == f"lgs: out/{FOLDER}/0099.jsonl: {reason}\n"


def test_what_has_another_name_is_not_written_to(small: Small, done: Path) -> None:
    """As in a backup by hard links, also one that is made while a run is at work."""
    met, go = done / "met", done / "go"
    image(done / "in" / "0.png", order=f"meet {met} {go}")
    paths = [*full(done / "out"), done / "out" / MANIFEST]
    (done / "backup").mkdir()

    def back_up(name: str) -> dict[Path, bytes]:
        copies = {}
        for path in [*full(done / "out"), done / "out" / MANIFEST]:
            copy = done / "backup" / f"{name}-{path.name}"
            os.link(path, copy)
            copies[copy] = copy.read_bytes()
        return copies

    before = back_up("before")
    with small.start(*WORDS, "--smoothing", 5, "-j", 1) as run:
        until(met.exists)
        meanwhile = back_up("meanwhile")
        go.touch()
        assert run.end() == 0, run.stderr
    assert {path: path.read_bytes() for path in before} == before
    for path, data in meanwhile.items():
        assert path.read_bytes().startswith(data)  # the run that began before may add to it
    assert len(paths) > 1
    assert again(small, "--smoothing", 5) == {**skipped(), "0.png": "skipped"}


def test_a_disk_without_room_for_a_copy(
    lgs: Lgs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on with one file, as long as lines have room in it."""
    monkeypatch.setattr(volumes, "FULL", FULL)
    monkeypatch.setattr(record_file, "BLOCK", FULL)
    create = volumes.create

    def refuse(path: str, mode: int, folder: int | None) -> int:
        if folder is not None:
            raise OSError(errno.ENOSPC, "no space left on device")
        return create(path, mode, folder)

    jobs = []
    sources(tmp_path)
    for place, path in enumerate(sorted((tmp_path / "in").iterdir())):
        jobs.append(Job(place, str(path), f"{tmp_path}/out/{path.name}"))
    (tmp_path / "out").mkdir()
    manifest = Manifest(f"{tmp_path}/out", SETTINGS)
    manifest.open(wait=False)
    monkeypatch.setattr(volumes, "create", refuse)
    for job in jobs[:8]:
        manifest.add(process(job, SETTINGS))
    assert full(tmp_path / "out") == []
    monkeypatch.setattr(volumes, "create", create)
    for job in jobs[8:]:
        manifest.add(process(job, SETTINGS))
    manifest.close()
    assert len(full(tmp_path / "out")) >= 3
    assert outputs(lines(tmp_path / "out")) == sorted(skipped())
    assert leftovers(tmp_path) == []
    run = lgs("clean", "in", "-o", "out", "--report", "r.jsonl")
    assert run.returncode == 0
    assert {line["status"] for line in report(tmp_path / "r.jsonl")} == {"skipped"}
