from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from folders import image, images, leftovers, records, tree
from shell import PATIENCE, Lgs, until

FATAL = {
    "segfault": "the worker died: signal 11",
    "abort": "the worker died: signal 6",
    "signal 9": "the worker died: signal 9",
    "signal 7": "the worker died: signal 7",
    "exit 3": "the worker died: exit code 3",
    "exit 0": "the worker died: exit code 0",
}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_crash_costs_exactly_the_image_that_caused_it(
    lgs: Lgs, tmp_path: Path, jobs: int
) -> None:
    """Each way to die, between healthy images; those come out as if they were alone."""
    healthy = images(tmp_path / "in", 12)
    lgs("clean", tmp_path / "in", "-o", tmp_path / "expected")
    for index, order in enumerate(FATAL):
        image(tmp_path / "in" / f"{2 * index:02}-bad.png", order=order)

    report = tmp_path / "report.jsonl"
    run = lgs("clean", tmp_path / "in", "-o", tmp_path / "out", "-j", jobs, "--report", report)

    assert run.returncode == 1
    lines = records(report)
    assert list(lines) == sorted(lines)
    for index, error in enumerate(FATAL.values()):
        line = lines[f"{2 * index:02}-bad.png"]
        assert line["status"] == "failed"
        assert line["error"].startswith(error)
    assert [lines[path.name]["status"] for path in healthy] == ["done"] * 12
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")
    assert len(run.stderr.splitlines()) == len(FATAL) + 1
    assert run.stderr.splitlines()[-1].startswith("18 images: 12 done, 0 skipped, 6 failed")


def test_what_needs_no_worker_starts_no_process(lgs: Lgs, tmp_path: Path) -> None:
    images(tmp_path / "in", 3)
    assert lgs("clean", tmp_path / "in", "-o", tmp_path / "out").returncode == 0
    lgs.environment["LGS_TEST_SIGNAL_AT_FORK"] = str(int(signal.SIGTERM))
    assert lgs("clean", tmp_path / "in", "-o", tmp_path / "out").returncode == 0
    assert lgs("clean", tmp_path / "in", "-o", tmp_path / "new", "--dry-run").returncode == 0
    assert lgs("clean", tmp_path / "in" / "00.png", "-o", "-").returncode == 0
    assert lgs("clean", tmp_path / "in", "-o", tmp_path / "new").returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nothing", "-o", "out"], 3),
        (["no-such-file", "-o", "out"], 2),
        (["in", "-o", "out", "--jobs", "0"], 2),
        (["in", "-o", "out", "--report", "in/00.png/a"], 2),
        (["in", "-o", "out", "--smoothing", "nan"], 2),
    ],
)
def test_what_was_started_for_a_run_that_comes_to_nothing_ends_with_it(
    lgs: Lgs, tmp_path: Path, words: list[str], code: int
) -> None:
    images(tmp_path / "in", 3)
    (tmp_path / "nothing").mkdir()
    with lgs.start("clean", *words) as run:
        assert run.end() == code
        assert run.processes() == []
    assert "warn" not in run.stderr.lower()


def test_few_images_are_as_safe_as_many(lgs: Lgs, tmp_path: Path) -> None:
    path = image(tmp_path / "bad.png", order="segfault")
    run = lgs("clean", path, "-o", tmp_path / "out")
    assert run.returncode == 1
    assert "bad.png: the worker died: signal 11" in run.stderr


def test_every_image_crashes(lgs: Lgs, tmp_path: Path) -> None:
    images(tmp_path / "in", 30, order="segfault")
    run = lgs("clean", tmp_path / "in", "-o", tmp_path / "out", "-j", 3)
    assert run.returncode == 1
    assert run.stderr.count("the worker died: signal 11") == 30


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_image_is_acquitted_of_the_damage_another_has_done(
    lgs: Lgs, tmp_path: Path, jobs: int
) -> None:
    """An image breaks the memory of its worker, which dies of it only at the next one."""
    images(tmp_path / "in", 8)
    image(tmp_path / "in" / "03-poison.png", order="poison")
    run = lgs("clean", tmp_path / "in", "-o", tmp_path / "out", "-j", jobs)
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("9 images: 9 done")


def test_slow_images_behind_quick_ones_are_shared_among_the_workers(
    lgs: Lgs, tmp_path: Path
) -> None:
    noted = tmp_path / "noted"
    noted.mkdir()
    images(tmp_path / "in", 80)
    images(tmp_path / "in" / "slow", 3, order=f"note {noted}")
    run = lgs("clean", tmp_path / "in", "-o", tmp_path / "out", "-j", 2)
    assert run.stderr.startswith("83 images: 83 done")
    assert len(list(noted.iterdir())) == 2


def test_a_crash_among_many_quick_images_costs_one(lgs: Lgs, tmp_path: Path) -> None:
    images(tmp_path / "in", 99)
    image(tmp_path / "in" / "70-bad.png", order="segfault")
    run = lgs("clean", tmp_path / "in", "-o", tmp_path / "out", "-j", 2)
    assert run.stderr.splitlines()[-1].startswith("100 images: 99 done, 0 skipped, 1 failed")
    assert not leftovers(tmp_path / "out")


_RUNS = """
import os, sys
from lgs_cli.batch import pool
from lgs_cli.defenses.chain import parse_chain
from lgs_cli.batch.pipeline import CleanSettings, Job

workers, *paths = sys.argv[1:]
jobs = [Job(place, path, path + ".out.png") for place, path in enumerate(paths)]
for _ in range(3):
    results = list(pool.run(jobs, CleanSettings(parse_chain("lgs")), pool.Limits(int(workers))))
    assert [result.status for result in results] == ["done"] * len(jobs)
    print(len(os.listdir("/proc/self/fd")))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_no_run_leaves_files_open(tmp_path: Path, workers: int) -> None:
    # In a process of its own: this one has threads, and a fork of it may wait for them for ever.
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", _RUNS, str(workers)]
    command += map(str, images(tmp_path, 6))
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    first, *others = run.stdout.split()
    assert others == [first, first]
    assert "ResourceWarning" not in run.stderr


@pytest.mark.parametrize("jobs", [1, 2])
def test_timeout_ends_an_image_that_hangs_in_c_code(lgs: Lgs, tmp_path: Path, jobs: int) -> None:
    images(tmp_path / "in", 4)
    image(tmp_path / "in" / "01-hangs.png", order="hang")
    report = tmp_path / "report.jsonl"
    run = lgs(
        "clean", tmp_path / "in", "-o", tmp_path / "out", "-j", jobs,
        "--timeout", 8, "--report", report,
    )  # fmt: skip
    assert run.returncode == 1
    lines = records(report)
    assert lines.pop("01-hangs.png")["error"] == "took longer than --timeout 8 s"
    assert {line["status"] for line in lines.values()} == {"done"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_memory_limit_turns_a_bomb_into_a_failed_image(lgs: Lgs, tmp_path: Path, jobs: int) -> None:
    """The limit is what an image may take: 200 MB do for one of 150, not for one of 250."""
    images(tmp_path / "in", 6)
    image(tmp_path / "in" / "01-bomb.png", order=f"allocate {250 << 20}")
    image(tmp_path / "in" / "02-large.png", order=f"allocate {150 << 20}")
    image(tmp_path / "in" / "03-hoard.png", order="hoard")
    report = tmp_path / "report.jsonl"
    run = lgs(
        "clean", tmp_path / "in", "-o", tmp_path / "out", "-j", jobs,
        "--memory-limit", "200M", "--report", report,
    )  # fmt: skip
    assert run.returncode == 1
    lines = records(report)
    assert lines.pop("01-bomb.png")["error"] == "not enough memory"
    assert lines.pop("03-hoard.png")["error"] == "not enough memory"
    assert {line["status"] for line in lines.values()} == {"done"}


def test_memory_limit_leaves_room_for_the_libraries(lgs: Lgs, tmp_path: Path) -> None:
    images(tmp_path / "in", 3)
    run = lgs("clean", tmp_path / "in", "-o", tmp_path / "out", "--memory-limit", "16M")
    assert run.returncode == 0, run.stderr


def test_what_libraries_print_is_nobody_s_noise(lgs: Lgs, tmp_path: Path) -> None:
    images(tmp_path / "in", 4, order="shout")
    run = lgs("clean", tmp_path / "in", "-o", tmp_path / "out")
    assert run.returncode == 0
    assert run.stdout == b""
    assert re.fullmatch(r"4 images: 4 done, 0 skipped, 0 failed in [0-9.]+ s\n", run.stderr)


@pytest.mark.parametrize(("option", "printed"), [(("--fail-fast",), 1), (("--max-failures", 2), 3)])
def test_failures_end_the_run(
    lgs: Lgs, tmp_path: Path, option: tuple[object, ...], printed: int
) -> None:
    images(tmp_path / "in", 40, order="exit 9")
    run = lgs("clean", tmp_path / "in", "-o", tmp_path / "out", "-j", 2, *option)
    assert run.returncode == 1
    assert run.stderr.count("the worker died") == printed
    noun = "1 failure" if printed == 1 else f"{printed} failures"
    end, summary = run.stderr.splitlines()[-2:]
    assert end == f"lgs: stopped after {noun}"
    assert f" {printed} failed" in summary


def test_max_failures_allows_as_many(lgs: Lgs, tmp_path: Path) -> None:
    images(tmp_path / "in", 4)
    image(tmp_path / "in" / "a.png", order="exit 9")
    image(tmp_path / "in" / "b.png", order="exit 9")
    run = lgs("clean", tmp_path / "in", "-o", tmp_path / "out", "--max-failures", 2)
    assert "6 images: 4 done, 0 skipped, 2 failed" in run.stderr


def test_a_worker_killed_from_outside_loses_no_image(lgs: Lgs, tmp_path: Path) -> None:
    """Only what a new worker dies of is an image's fault: one kill from outside is not."""
    images(tmp_path / "in", 6)
    met, go = tmp_path / "met", tmp_path / "go"
    image(tmp_path / "in" / "03-meets.png", order=f"meet {met} {go}")
    with lgs.start("clean", tmp_path / "in", "-o", tmp_path / "out", "-j", 1) as run:
        until(met.exists)
        os.kill(run.children(run.server())[0], signal.SIGKILL)
        go.touch()
        run.end()
    assert run.stderr.startswith("7 images: 7 done"), run.stderr
    assert not leftovers(tmp_path / "out")


@pytest.mark.parametrize("jobs", [1, 2])
def test_without_the_process_that_forks_no_crash_is_survived(
    lgs: Lgs, tmp_path: Path, jobs: int
) -> None:
    met, go = tmp_path / "met", tmp_path / "go"
    images(tmp_path / "in", 2, order=f"meet {met} {go}")
    image(tmp_path / "in" / "02-bad.png", order="segfault")
    images(tmp_path / "in" / "more", 4)
    with lgs.start("clean", tmp_path / "in", "-o", tmp_path / "out", "-j", jobs) as run:
        until(met.exists)
        os.kill(run.server(), signal.SIGKILL)
        go.touch()
        assert run.end() == 1
        until(lambda: not run.processes())
    assert run.stderr.splitlines()[0] == "lgs: the process that starts the workers has died"
    assert "Traceback" not in run.stderr
