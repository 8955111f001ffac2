"""The program as a whole: what it does with its standard files, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from folders import files_below
from shell import Lgs, Run


def closed(lgs: Lgs, number: int, *arguments: str) -> tuple[int, str]:
    """Run without one of the standard files; what is said where that is not stderr."""
    shell = f'exec "$@" {number}>&-' if number else 'exec "$@" <&-'
    command = ["sh", "-c", shell, "sh", *lgs.command(*arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Run(command, lgs.environment, cwd=lgs.folder, **pipes) as run:
        return run.end(), run.stderr


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
        run = lgs("clean", "photos", "-o", "out", "-q", "--report", "-", stdout=full)
    assert run.returncode == 1
    assert run.stderr.endswith("no space left on device\n") and run.stderr.count("\n") == 1


@pytest.mark.parametrize("up_to_date", [False, True])
def test_a_reader_that_has_gone(lgs: Lgs, photos: Path, up_to_date: bool) -> None:
    if up_to_date:
        lgs("clean", "photos", "-o", "out")
    reading, writing = os.pipe()
    os.close(reading)
    with lgs.start("clean", "photos", "-o", "out", "-q", "--report", "-", stdout=writing) as run:
        os.close(writing)
        assert (run.end(), run.stderr) == (141, "")


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
        words = ("clean", "photos", "-o", "out", "-q", "--report", "-")
        with lgs.start(*words, stdout=writing) as run:
            time.sleep(1)
            assert run.process.poll() is None
            run.process.send_signal(number)
            assert (run.end(), run.stderr) == (128 + number, "")
    finally:
        os.close(writing)
        os.close(reading)
