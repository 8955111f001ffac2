"""Disks that are full, read-only or forbidden, under whole runs."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
from pathlib import Path

import pytest
from folders import image, images, leftovers, records, tree
from shell import Lgs, Run, until

AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")


def stopped(run: Run, reason: str) -> None:
    """Check that a run has ended with one line on the disk, and its summary behind it."""
    assert run.returncode == 1, run.stderr
    lines = run.stderr.splitlines()
    assert len(lines) <= 2, run.stderr
    assert lines[0].startswith("lgs: "), run.stderr
    assert lines[0].endswith(reason), run.stderr


@pytest.fixture
def small_disk(tmp_path: Path):
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no right to mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@AS_ROOT
@pytest.mark.parametrize("jobs", [1, 2])
def test_disk_full(lgs: Lgs, tmp_path: Path, small_disk: Path, jobs: int) -> None:
    images(tmp_path / "in", 40, side=60)  # each takes a page of 4 KB at least
    run = lgs("clean", tmp_path / "in", "-o", small_disk / "out", "-j", jobs)
    stopped(run, f"cannot write into {small_disk / 'out'}: no space left on device")
    lgs("clean", tmp_path / "in", "-o", tmp_path / "whole")
    whole, written = tree(tmp_path / "whole"), tree(small_disk / "out")
    assert 0 < len(written) < 26
    assert all(whole[name] == data for name, data in written.items())


@AS_ROOT
def test_disk_full_when_only_the_report_is_on_it(
    lgs: Lgs, tmp_path: Path, small_disk: Path
) -> None:
    images(tmp_path / "in", 20)
    (small_disk / "filler").write_bytes(bytes(96 << 10))
    report = small_disk / "report.jsonl"
    run = lgs("clean", tmp_path / "in", "-o", tmp_path / "out", "--report", report)
    stopped(run, f"--report {report}: no space left on device")


@AS_ROOT
def test_disk_full_for_the_manifest(lgs: Lgs, tmp_path: Path, small_disk: Path) -> None:
    images(tmp_path / "in", 60, side=4)
    out = small_disk / "out"
    out.mkdir()
    with open(small_disk / "filler", "wb", buffering=0) as filler:
        while True:
            try:
                filler.write(bytes(4096))
            except OSError:
                break
    run = lgs("clean", tmp_path / "in", "-o", out)
    stopped(run, "no space left on device")
    assert leftovers(out) == []
    os.unlink(small_disk / "filler")
    assert lgs("clean", tmp_path / "in", "-o", tmp_path / "out").returncode == 0


def test_a_file_size_limit_is_one_of_the_disk(lgs: Lgs, tmp_path: Path) -> None:
    images(tmp_path / "in", 10, side=80)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    run = lgs(
        "clean", tmp_path / "in", "-o", tmp_path / "out", "--method", "jpeg", preexec_fn=limit
    )
    stopped(run, "file too large")
    assert tree(tmp_path / "out") == {}


@AS_ROOT
def test_read_only_output(lgs: Lgs, tmp_path: Path) -> None:
    images(tmp_path / "in", 4)
    out = tmp_path / "out"
    out.mkdir()
    if subprocess.run(["mount", "--bind", str(out), str(out)], capture_output=True).returncode:
        pytest.skip("no right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(out)], check=True)
        run = lgs("clean", tmp_path / "in", "-o", out)
    finally:
        subprocess.run(["umount", "-l", str(out)], check=True)
    stopped(run, f"cannot write into {out}: read-only file system")


def obey_permissions() -> None:
    """Make the process that is about to start bow to permissions, though root has started it."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        if os.getuid() == 0 and prctl(24, capability, 0, 0, 0) != 0:  # PR_CAPBSET_DROP
            os._exit(77)


@pytest.mark.parametrize("jobs", [1, 2])
def test_permission_lost_midway(lgs: Lgs, tmp_path: Path, jobs: int) -> None:
    """The right to write goes while an image is in work."""
    met, go = tmp_path / "met", tmp_path / "go"
    images(tmp_path / "in", 4)
    images(tmp_path / "in" / "then", 4, order=f"meet {met} {go}")
    out = tmp_path / "out"
    (out / "then").mkdir(parents=True)
    with lgs.start(
        "clean", tmp_path / "in", "-o", out, "-j", jobs, preexec_fn=obey_permissions
    ) as run:
        until(lambda: met.exists() and len(tree(out)) == 4)
        (out / "then").chmod(0o500)
        go.touch()
        run.end()
    (out / "then").chmod(0o700)
    stopped(run, f"cannot write into {out / 'then'}: permission denied")
    assert len(tree(out)) == 4
    assert leftovers(out) == []
    assert len(records(out / ".lgs-manifest.jsonl")) == 4


def test_no_right_to_make_the_output_directory(lgs: Lgs, tmp_path: Path) -> None:
    images(tmp_path / "in", 3)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    run = lgs("clean", tmp_path / "in", "-o", locked / "out", preexec_fn=obey_permissions)
    stopped(run, "permission denied")
    assert list(locked.iterdir()) == []


def test_an_output_that_is_a_directory_fails_alone(lgs: Lgs, tmp_path: Path) -> None:
    images(tmp_path / "in", 5)
    image(tmp_path / "in" / "taken.png")
    (tmp_path / "out" / "taken.png").mkdir(parents=True)
    run = lgs("clean", tmp_path / "in", "-o", tmp_path / "out")
    assert run.returncode == 1
    assert "taken.png: cannot write: is a directory" in run.stderr
    assert "6 images: 5 done, 0 skipped, 1 failed" in run.stderr
    assert leftovers(tmp_path / "out") == []
