from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from folders import image, images, leftovers, records
from shell import PATIENCE, Lgs, until

ENDS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize(("number", "code"), ENDS)
def test_a_signal_ends_a_run_in_order(
    lgs: Lgs, tmp_path: Path, jobs: int, number: signal.Signals, code: int
) -> None:
    """One image hangs in C code, the rest are done, then comes the signal."""
    healthy = images(tmp_path / "in", 6)
    if jobs > 1:
        image(tmp_path / "in" / "00-hangs.png", order="hang")
    image(tmp_path / "in" / "99-hangs.png", order="hang")
    out, masks, report = tmp_path / "out", tmp_path / "masks", tmp_path / "report.jsonl"
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    with lgs.start(
        "clean", tmp_path / "in", "-o", out, "--masks", masks, "-j", jobs, "--report", report,
        env={"TMPDIR": str(scratch)},
    ) as run:  # fmt: skip
        manifest = out / ".lgs-manifest.jsonl"
        until(lambda: manifest.exists() and manifest.read_text().count("\n") == len(healthy))
        run.process.send_signal(number)
        assert run.end() == code
        until(lambda: not run.processes())

    assert run.stdout == b""
    assert run.stderr.splitlines() == [run.stderr.strip()], run.stderr
    assert run.stderr.startswith("6 images: 6 done, 0 skipped, 0 failed")
    # In the report and in the manifest stands what has finished, and nothing else.
    assert set(records(report)) == {path.name for path in healthy}
    assert set(records(out / ".lgs-manifest.jsonl")) == {path.name for path in healthy}
    assert leftovers(out, masks) == []
    assert os.listdir(scratch) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment(lgs: Lgs, tmp_path: Path, number: signal.Signals) -> None:
    """From the start of the interpreter to the end of the run, in steps of 60 ms, with crashes."""
    images(tmp_path / "in", 8)
    images(tmp_path / "in" / "bad", 3, order="segfault")
    moments = [0.06 * step for step in range(1, 17)]
    codes = []
    for step, moment in enumerate(moments):
        out = tmp_path / f"out{step}"
        with lgs.start("clean", tmp_path / "in", "-o", out, "-j", 2) as run:
            time.sleep(moment)
            run.process.send_signal(number)
            codes.append(run.end())
            until(lambda run=run: not run.processes())  # a dying one may still be listed
        if codes[-1] == 128 + number:
            # Python itself, before any line of lgs has run, has a word for Ctrl-C.
            assert "Traceback" not in run.stderr or "site" in run.stderr, run.stderr
            assert "warn" not in run.stderr.lower()
            assert leftovers(out) == []
        else:
            # Not yet listening, or already done.
            assert codes[-1] in (1, -number), (codes, run.stderr)
    assert 128 + number in codes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_right_after_the_fork(lgs: Lgs, tmp_path: Path, number: signal.Signals) -> None:
    """Nothing has been asked of the new process, and yet it must be waited for."""
    source = image(tmp_path / "in.png")
    at_fork = {"LGS_TEST_SIGNAL_AT_FORK": str(int(number))}
    with lgs.start("clean", source, "-o", tmp_path / "out", env=at_fork) as run:
        assert run.end() == 128 + number
        assert run.processes() == []


@pytest.mark.parametrize("module", ["click", "lgs_cli.commands.clean", "joblib"])
@pytest.mark.parametrize(("number", "code"), ENDS)
def test_a_signal_while_a_module_loads(
    lgs: Lgs, tmp_path: Path, module: str, number: signal.Signals, code: int
) -> None:
    images(tmp_path / "in", 4)
    lgs.environment["LGS_TEST_SIGNAL_AT_IMPORT"] = f"{module} {int(number)}"
    with lgs.start("clean", tmp_path / "in", "-o", tmp_path / "out", "-j", 2) as run:
        assert run.end() == code
        assert run.processes() == []
    assert "Traceback" not in run.stderr
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_signal_while_the_workers_are_ended(
    lgs: Lgs, tmp_path: Path, number: signal.Signals, jobs: int
) -> None:
    """They are slow to end; the run waits for them all the same."""
    met, go = tmp_path / "met", tmp_path / "go"
    images(tmp_path / "in", 3)
    image(tmp_path / "in" / "99.png", order=f"meet {met} {go}")
    with lgs.start("clean", tmp_path / "in", "-o", tmp_path / "out", "-j", jobs) as run:
        until(met.exists)
        server = run.server()
        os.kill(server, signal.SIGSTOP)
        go.touch()
        manifest = tmp_path / "out" / ".lgs-manifest.jsonl"
        until(lambda: manifest.exists() and manifest.read_text().count("\n") == 4)
        time.sleep(0.2)
        run.process.send_signal(number)
        time.sleep(0.2)
        assert run.process.poll() is None
        os.kill(server, signal.SIGCONT)
        assert run.end() == 128 + number
        assert run.processes() == []


def test_ctrl_c_reaches_the_whole_group(lgs: Lgs, tmp_path: Path) -> None:
    """A terminal sends SIGINT to workers too: none takes it for a crash."""
    met, go = tmp_path / "met", tmp_path / "go"
    images(tmp_path / "in", 4, order=f"meet {met} {go}")
    with lgs.start("clean", tmp_path / "in", "-o", tmp_path / "out", "-j", 2) as run:
        until(met.exists)
        os.killpg(run.process.pid, signal.SIGINT)
        assert run.end() == 130
        assert run.processes() == []
    assert run.stderr.startswith("0 images")
    assert "worker" not in run.stderr


@pytest.mark.parametrize("jobs", [1, 2])
def test_workers_do_not_outlive_a_killed_parent(lgs: Lgs, tmp_path: Path, jobs: int) -> None:
    """They hang in C code with Python's lock held; the reader of the pipe sees its end at once."""
    images(tmp_path / "in", 4, order="hang")
    with lgs.start("clean", tmp_path / "in", "-o", tmp_path / "out", "-j", jobs) as run:
        until(lambda: len(run.processes()) == 2 + jobs)
        run.process.kill()
        assert run.end() == -signal.SIGKILL
        until(lambda: not run.processes())


def test_the_lock_ends_with_the_process(lgs: Lgs, tmp_path: Path) -> None:
    """A second run is turned away while the first lives, however the first ends."""
    images(tmp_path / "in", 4, order="hang")
    good = image(tmp_path / "good.png")
    out = tmp_path / "out"
    with lgs.start("clean", tmp_path / "in", "-o", out, "-j", 2) as run:
        until(lambda: len(run.processes()) == 4)
        second = lgs("clean", good, "-o", out)
        assert second.returncode == 4
        assert second.stderr == f"lgs: another lgs is writing into {out}; --wait waits for it\n"
        run.process.kill()
        run.process.wait(PATIENCE)
        # Not even the time that its workers take to go.
        assert lgs("clean", good, "-o", out).returncode == 0


def test_wait_waits(lgs: Lgs, tmp_path: Path) -> None:
    met, go = tmp_path / "met", tmp_path / "go"
    image(tmp_path / "in" / "a.png", order=f"meet {met} {go}")
    good = image(tmp_path / "good.png")
    out = tmp_path / "out"
    with lgs.start("clean", tmp_path / "in", "-o", out) as first:
        until(met.exists)
        with lgs.start("clean", good, "-o", out, "--wait") as second:
            until(lambda: _waits_for_a_lock(second.process.pid))
            assert second.process.poll() is None
            go.touch()
            assert second.end() == 0
        assert first.end() == 0
    assert set(records(out / ".lgs-manifest.jsonl")) == {"a.png", "good.png"}


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_a_signal_ends_the_waiting(
    lgs: Lgs, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    image(tmp_path / "in" / "a.png", order="hang")
    out = tmp_path / "out"
    with lgs.start("clean", tmp_path / "in", "-o", out) as first:
        until(lambda: len(first.processes()) == 3)
        with lgs.start("clean", tmp_path / "in", "-o", out, "--wait") as second:
            until(lambda: _waits_for_a_lock(second.process.pid))
            second.process.send_signal(number)
            assert second.end() == code
        assert second.stderr == ""


def _waits_for_a_lock(pid: int) -> bool:
    """Say whether the kernel lists a process as waiting for a lock."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and f" {pid} " in line for line in lines)


def test_the_reader_of_the_report_may_go(lgs: Lgs, tmp_path: Path) -> None:
    """``lgs clean --report - | head -1``: no word, no process, no file left behind."""
    met, go = tmp_path / "met", tmp_path / "go"
    image(tmp_path / "in" / "00.png")
    images(tmp_path / "in" / "then", 4, order=f"meet {met} {go}")
    out = tmp_path / "out"
    with lgs.start("clean", tmp_path / "in", "-o", out, "--report", "-", "-q") as run:
        assert run.process.stdout is not None
        first = run.process.stdout.readline()
        run.process.stdout.close()
        run.process.stdout = None
        go.touch()
        assert run.end() in (1, 128 + signal.SIGPIPE)
        assert run.processes() == []
    assert b"00.png" in first
    assert run.stderr == ""
    assert leftovers(out) == []


def test_the_reader_of_a_pipe_sees_its_end(lgs: Lgs, tmp_path: Path) -> None:
    """Of stdout and stderr at once: no worker keeps the other end."""
    images(tmp_path / "in", 3, order="hang")
    with lgs.start(
        "clean", tmp_path / "in", "-o", tmp_path / "out", "--report", "-", stderr=subprocess.STDOUT
    ) as run:
        until(lambda: len(run.processes()) >= 3)
        ended = threading.Event()
        reader = threading.Thread(
            target=lambda: (run.process.stdout.read(), ended.set()), daemon=True
        )
        reader.start()
        os.kill(run.process.pid, signal.SIGKILL)
        assert ended.wait(PATIENCE)
        reader.join()
