"""The program as a whole: what it does with its standard files, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Lgs, files_below
from shell import PATIENCE


def end(process: subprocess.Popen) -> tuple[int, str]:
    _, said = process.communicate(timeout=PATIENCE)
    return process.returncode, (said or b"").decode()


def closed(lgs: Lgs, number: int, *arguments: str) -> tuple[int, str]:
    """Run without one of the standard files; what is said where that is not stderr."""
    shell = f'exec "$@" {number}>&-' if number else 'exec "$@" <&-'
    process = subprocess.Popen(
        ["sh", "-c", shell, "sh", *lgs.command(*arguments)],
        cwd=lgs.folder, env=lgs.environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    return end(process)


def test_without_stderr_all_is_done(lgs: Lgs, photos: Path) -> None:
    assert closed(lgs, 2, "clean", "photos", "-o", "out", "--masks", "masks") == (0, "")
    assert len(files_below(lgs.folder / "out")) == len(files_below(lgs.folder / "masks")) == 3


@pytest.mark.parametrize(
    ("number", "arguments", "reason"),
    [
        (0, ["clean", "-", "-o", "-"], "bad file descriptor"),
        (1, ["clean", "photos", "-o", "out", "-q", "--report", "-"], "--report -: bad file descr"),
        (1, ["methods"], "bad file descriptor"),
    ],
)
def test_without_what_it_needs_it_says_so(
    lgs: Lgs, photos: Path, number: int, arguments: list[str], reason: str
) -> None:
    code, said = closed(lgs, number, *arguments)
    assert code == 1
    assert said.startswith(f"lgs: {reason}") and said.count("\n") == 1


def test_without_stdout_that_it_does_not_need(lgs: Lgs, photos: Path) -> None:
    code, said = closed(lgs, 1, "clean", "photos", "-o", "out")
    assert (code, said[:23]) == (0, "3 images: 3 done, 0 ski")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("up_to_date", [False, True])
def test_a_full_disk_under_stdout(lgs: Lgs, photos: Path, up_to_date: bool) -> None:
    if up_to_date:
        lgs("clean", "photos", "-o", "out")
    with open("/dev/full", "wb") as full:
        process = lgs.start(
            "clean", "photos", "-o", "out", "-q", "--report", "-",
            stdout=full, stderr=subprocess.PIPE,
        )  # fmt: skip
        code, said = end(process)
    assert code == 1
    assert said.endswith("no space left on device\n") and said.count("\n") == 1


@pytest.mark.parametrize("up_to_date", [False, True])
def test_a_reader_that_has_gone(lgs: Lgs, photos: Path, up_to_date: bool) -> None:
    if up_to_date:
        lgs("clean", "photos", "-o", "out")
    reading, writing = os.pipe()
    os.close(reading)
    process = lgs.start(
        "clean", "photos", "-o", "out", "-q", "--report", "-",
        stdout=writing, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(writing)
    assert end(process) == (141, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_reader_that_does_not_read_cannot_hold_it_up(
    lgs: Lgs, photos: Path, number: signal.Signals
) -> None:
    """The pipe is full, the run waits for it, and a signal ends it all the same."""
    lgs("clean", "photos", "-o", "out")
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(writing, bytes(4096))
        os.set_blocking(writing, True)
        process = lgs.start(
            "clean", "photos", "-o", "out", "-q", "--report", "-",
            stdout=writing, stderr=subprocess.PIPE,
        )  # fmt: skip
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(number)
        assert end(process) == (128 + number, "")
    finally:
        os.close(writing)
        os.close(reading)
