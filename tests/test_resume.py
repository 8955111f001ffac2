from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from folders import image, images, leftovers, records, tree
from shell import Lgs

from lgs_cli import image_io
from lgs_cli.batch import pipeline
from lgs_cli.batch.manifest import Manifest
from lgs_cli.batch.pipeline import CleanSettings, Job, process
from lgs_cli.defenses.chain import parse_chain
from lgs_cli.storage import temporary_path

OLD = 1_600_000_000_123_456_789
KILLS = 50

Again = Callable[..., dict[str, str]]


def age(*paths: Path) -> None:
    """Make files old enough for their mtime to be trusted."""
    for path in paths:
        os.utime(path, ns=(OLD, OLD))


def statuses(report: Path) -> dict[str, str]:
    return {name: line["status"] for name, line in records(report).items()}


@pytest.fixture
def done(lgs: Lgs, tmp_path: Path) -> Path:
    """A folder with ``in`` of four images and ``out``, up to date."""
    age(*images(tmp_path / "in", 4))
    assert lgs("clean", tmp_path / "in", "-o", tmp_path / "out").returncode == 0
    return tmp_path


@pytest.fixture
def again(lgs: Lgs) -> Again:
    """Run once more over a folder; return the status of each image."""

    def run_again(folder: Path, *options: object) -> dict[str, str]:
        report = folder / "again.jsonl"
        run = lgs("clean", folder / "in", "-o", folder / "out", "--report", report, *options)
        assert run.returncode == 0, run.stderr
        return statuses(report)

    return run_again


SKIPPED = {f"{index:02}.png": "skipped" for index in range(4)}
DONE = dict.fromkeys(SKIPPED, "done")


def test_what_is_up_to_date_is_skipped_and_left_alone(again: Again, done: Path) -> None:
    before = {path: path.stat() for path in (done / "out").glob("*.png")}
    first = (done / "out" / ".lgs-manifest.jsonl").read_bytes()
    assert again(done) == SKIPPED
    assert {path: path.stat() for path in before} == before
    assert (done / "out" / ".lgs-manifest.jsonl").read_bytes() == first


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--dry-run", "--force")], ids=str)
def test_what_is_up_to_date_starts_no_process(
    lgs: Lgs, done: Path, options: tuple[str, ...]
) -> None:
    words = ("clean", done / "in", "-o", done / "out", *options)
    killed_by_a_fork = {"LGS_TEST_SIGNAL_AT_FORK": str(int(signal.SIGKILL))}
    assert lgs(*words, env=killed_by_a_fork).returncode == 0
    image(done / "in" / "new.png", 9)
    wanted = 0 if options else -signal.SIGKILL
    assert lgs(*words, env=killed_by_a_fork).returncode == wanted


def test_a_skipped_image_is_reported_as_it_was_done(lgs: Lgs, done: Path) -> None:
    one, two = done / "one.jsonl", done / "two.jsonl"
    lgs("clean", done / "in", "-o", done / "out", "--force", "--report", one)
    lgs("clean", done / "in", "-o", done / "out", "--report", two)
    for name, line in records(one).items():
        other = records(two)[name]
        for key in ("width", "height", "format", "coverage", "unchanged", "notes", "output"):
            assert line[key] == other[key]


@pytest.mark.parametrize("change", ["touched", "grown", "output gone", "output cut"])
def test_what_has_changed_is_done_again(again: Again, done: Path, change: str) -> None:
    expected = tree(done / "out")
    source, output = done / "in" / "01.png", done / "out" / "01.png"
    if change == "touched":
        os.utime(source, ns=(OLD + 1, OLD + 1))
    elif change == "grown":
        image(source, 99, side=30)
        age(source)
        expected.pop("01.png")
    elif change == "output gone":
        output.unlink()
    else:
        output.write_bytes(output.read_bytes()[:-1])
    assert again(done) == {**SKIPPED, "01.png": "done"}
    written = tree(done / "out")
    assert {name: written[name] for name in expected} == expected
    assert again(done) == SKIPPED


@pytest.mark.parametrize(
    "options",
    [
        ("--threshold", 0.2),
        ("--method", "median"),
        ("--method", "lgs,median"),
        ("--format", "webp"),
        ("--quality", 50),
        ("--optimize",),
        ("--force",),
    ],
    ids=str,
)
def test_other_settings_do_all_again(again: Again, done: Path, options: tuple[object, ...]) -> None:
    assert again(done, *options) == DONE
    if options != ("--force",):
        assert again(done, *options) == SKIPPED


def test_another_version_does_all_again(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = CleanSettings(parse_chain("lgs"))

    def found() -> dict[str, bool]:
        manifest = Manifest(str(done / "out"), settings)
        manifest.peek()
        try:
            jobs = [
                Job(0, str(done / "in" / name), os.path.join(done / "out", name))
                for name in SKIPPED
            ]
            return {os.path.basename(job.source): manifest.is_current(job) for job in jobs}
        finally:
            manifest.close()

    assert set(found().values()) == {True}
    monkeypatch.setattr(pipeline, "__version__", "999")
    assert set(found().values()) == {False}


def test_masks_asked_for(again: Again, done: Path) -> None:
    """Absent ones, ones of another style, lost ones; one not asked for is no reason."""
    masks = ("--masks", done / "masks")
    assert again(done, *masks) == DONE
    assert again(done, *masks) == SKIPPED
    assert again(done) == SKIPPED
    (done / "masks" / "02.png.png").unlink()
    assert again(done, *masks) == {**SKIPPED, "02.png": "done"}
    assert again(done, *masks, "--mask-style", "binary") == DONE
    assert again(done, *masks, "--mask-style", "binary") == SKIPPED


def test_failed_is_not_done(lgs: Lgs, done: Path) -> None:
    bad = done / "in" / "bad.png"
    bad.write_bytes(b"not an image")
    age(bad)
    for _ in range(2):
        run = lgs("clean", done / "in", "-o", done / "out", "--report", done / "r.jsonl")
        assert run.returncode == 1
        assert statuses(done / "r.jsonl") == {**SKIPPED, "bad.png": "failed"}


@pytest.mark.parametrize(
    ("mtime", "since", "trusted"),
    [
        (OLD, 10**7, False),  # within one tick of the kernel's clock
        (OLD, 10**8, True),
        (OLD, -(10**7), False),  # a clock a little ahead of ours
        (OLD // 10**9 * 10**9, 10**9, False),  # a file system that counts seconds, or two
        (OLD // 10**9 * 10**9, 3 * 10**9, True),
    ],
)
def test_a_source_too_young_for_its_mtime_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mtime: int, since: int, trusted: bool
) -> None:
    """It can change once more, and have the same mtime and size."""
    path = image(tmp_path / "a.png")
    os.utime(path, ns=(mtime, mtime))
    monkeypatch.setattr(time, "time_ns", lambda: mtime + since)
    settings = CleanSettings(parse_chain("lgs"))
    (tmp_path / "out").mkdir()
    job = Job(0, str(path), str(tmp_path / "out" / "a.png"))
    manifest = Manifest(str(tmp_path / "out"), settings)
    manifest.open(wait=False)
    manifest.add(process(job, settings))
    manifest.close()
    manifest.open(wait=False)
    assert manifest.is_current(job) is trusted
    manifest.close()


def test_a_source_that_changes_while_it_is_read_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = image(tmp_path / "a.png")
    age(path)
    read = image_io.read

    def read_and_change(path: str, **options: int) -> image_io.Picture:
        picture = read(path, **options)
        os.utime(path, ns=(OLD + 5, OLD + 5))
        return picture

    monkeypatch.setattr(image_io, "read", read_and_change)
    settings = CleanSettings(parse_chain("lgs"))
    (tmp_path / "out").mkdir()
    job = Job(0, str(path), str(tmp_path / "out" / "a.png"))
    manifest = Manifest(str(tmp_path / "out"), settings)
    manifest.open(wait=False)
    manifest.add(process(job, settings))
    manifest.close()
    manifest.open(wait=False)
    assert not manifest.is_current(job)
    manifest.close()


def test_whatever_a_manifest_holds_it_is_read(again: Again, done: Path) -> None:
    """Torn, doubled and foreign lines; what stands in whole ones still counts."""
    path = done / "out" / ".lgs-manifest.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    first = json.loads(lines[0])
    foreign = [
        b"\n", b"{}\n", b"null\n", b"[1, 2]\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n",
        json.dumps({"output": "00.png"}).encode() + b"\n",
        json.dumps({**first, "output": 7}).encode() + b"\n",
        json.dumps({**first, "output": [7]}).encode() + b"\n",
    ]  # fmt: skip
    path.write_bytes(b"".join([*foreign, *lines, *lines[:2], lines[3][:-20]]))
    assert again(done) == SKIPPED
    assert sorted(path.read_bytes().splitlines(keepends=True)) == sorted(lines)


def test_the_last_line_of_an_output_counts(again: Again, done: Path) -> None:
    path = done / "out" / ".lgs-manifest.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    stale = json.dumps({**json.loads(lines[1]), "output_size": 1}) + "\n"
    path.write_text("".join([stale, *lines]))
    assert again(done) == SKIPPED
    path.write_text("".join([*lines, stale]))
    name = json.loads(stale)["output"]
    assert again(done) == {**SKIPPED, name: "done"}


def test_what_a_killed_run_left_of_the_manifest_goes(again: Again, done: Path) -> None:
    left = Path(temporary_path(str(done / "out" / ".lgs-manifest.jsonl")))
    left.write_bytes(b"half")
    assert again(done) == SKIPPED
    assert leftovers(done) == []


def test_a_temporary_file_of_a_killed_run_goes_though_its_image_now_fails(
    lgs: Lgs, done: Path
) -> None:
    (done / "in" / "bad.png").write_bytes(b"no image any more")
    left = Path(temporary_path(str(done / "out" / "bad.png")))
    left.write_bytes(b"half")
    lgs("clean", done / "in", "-o", done / "out")
    assert leftovers(done) == []


@pytest.mark.parametrize("part", range(2))
def test_killed_at_random_moments(lgs: Lgs, tmp_path: Path, part: int) -> None:
    """SIGKILL, then the run again: byte for byte what an uninterrupted run gives."""
    dice = random.Random(1807_01216 + part)
    sources = images(tmp_path / "in", 24, order="sleep 0.02", side=48)
    age(*sources)
    out, masks = tmp_path / "out", tmp_path / "masks"
    words = ["clean", tmp_path / "in", "--jobs", 2]
    lgs(*words, "-o", tmp_path / "whole", "--masks", tmp_path / "whole-masks")
    whole = tree(tmp_path / "whole"), tree(tmp_path / "whole-masks")
    assert len(whole[0]) == 24

    kills = 0
    while kills < KILLS // 2:
        with lgs.start(*words, "-o", out, "--masks", masks, stderr=None) as run:
            # From the first work of the run on; what comes before it is not worth a kill.
            deadline = time.monotonic() + dice.uniform(0.1, 1.5)
            while time.monotonic() < deadline and run.process.poll() is None:
                time.sleep(0.002)
            if run.process.poll() is None:
                if dice.random() < 0.5:
                    run.process.kill()
                else:
                    os.killpg(run.process.pid, signal.SIGKILL)
                run.process.wait()
                kills += 1
                ended = True
            else:
                ended = False
        # What is there under its own name is whole at every moment.
        for folder, expected in ((out, whole[0]), (masks, whole[1])):
            for name, data in tree(folder).items() if folder.exists() else ():
                assert name.endswith(".tmp") or data == expected[name]
        if not ended:
            shutil.rmtree(out)
            shutil.rmtree(masks)

    assert lgs(*words, "-o", out, "--masks", masks).returncode == 0
    assert (tree(out), tree(masks)) == whole
    assert leftovers(out, masks) == []
    report = tmp_path / "report.jsonl"
    lgs(*words, "-o", out, "--masks", masks, "--report", report)
    assert set(statuses(report).values()) == {"skipped"}
