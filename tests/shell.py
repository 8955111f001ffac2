"""The real command line, in processes of its own, and what is left of them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
# Generous: the machine may be busy with other things. Only a failing test waits this long.
PATIENCE = 60.0
# The last line of ``lgs clean``.
SUMMARY = re.compile(
    r"(\d+ images?: .* in \d+\.\d s(?:; [\d,]+ files? of (?:another kind|other kinds) passed over)?"
    r"(?:; [\d,]+ not reached)?)\n"
)
_NAME = "LGS_TEST_RUN"


class Run:
    """One ``lgs`` process and all processes that it starts.

    As a context manager, it kills whatever is left of them.

    Attributes
    ----------
    process : subprocess.Popen
        Its pipes are there while the process runs.
    stdout : bytes
        What it wrote, once :meth:`end` has returned.
    stderr : str
        The same of stderr.
    """

    def __init__(self, command: list[Any], environment: dict[str, str], **options: Any) -> None:
        self.name = uuid.uuid4().hex
        self.process = subprocess.Popen(
            command, env={**environment, _NAME: self.name}, start_new_session=True, **options
        )
        self.stdout, self.stderr = b"", ""

    @property
    def returncode(self) -> int | None:
        return self.process.returncode

    def end(self, input: bytes | None = None) -> int:
        """Wait for the process and for the end of its output; return its exit code."""
        out, err = self.process.communicate(input, timeout=PATIENCE)
        self.stdout, self.stderr = out or b"", (err or b"").decode()
        return self.process.returncode

    def processes(self) -> list[int]:
        """List all living processes of this run."""
        mark = f"{_NAME}={self.name}".encode()
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    state = Path(entry.path, "stat").read_bytes().rpartition(b")")[2].split()[0]
                    if state != b"Z" and mark in Path(entry.path, "environ").read_bytes():
                        found.append(int(entry.name))
        return found

    def children(self, parent: int) -> list[int]:
        """List the living processes of this run that a certain one has started."""
        return [pid for pid in self.processes() if _parent(pid) == parent]

    def server(self) -> int:
        """Return the process that forks the workers."""
        return self.children(self.process.pid)[0]

    def kill(self) -> None:
        """End whatever is left."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


class Lgs:
    """``lgs``, run in a folder, with ``faults/sitecustomize.py`` on its path.

    Attributes
    ----------
    folder : Path
        Where relative paths start.
    environment : dict
        The environment of each run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = [str(TESTS.parent), str(TESTS / "faults")]
        self.environment = {
            **os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "80", "PYTHONUTF8": "1",
        }  # fmt: skip
        self.environment.pop("PYTHONUNBUFFERED", None)  # it would hide what is never flushed

    def command(self, *words: object) -> list[str | bytes]:
        """Return the words of the command line that runs ``lgs`` with these words."""
        named = [word if isinstance(word, bytes) else str(word) for word in words]
        return [sys.executable, "-W", "error", "-m", "lgs_cli", *named]

    def start(self, *words: object, env: dict[str, str] | None = None, **options: Any) -> Run:
        """Start it and don't wait; its output goes to pipes. Use it in a ``with`` statement."""
        options = {
            "cwd": self.folder, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE, **options,
        }  # fmt: skip
        return Run(self.command(*words), self.environment | (env or {}), **options)

    def __call__(self, *words: object, input: bytes | None = None, **options: Any) -> Run:
        """Run it to its end."""
        if input is not None:
            options["stdin"] = subprocess.PIPE
        with self.start(*words, **options) as run:
            run.end(input)
        assert "Traceback" not in run.stderr, run.stderr
        return run


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition to hold."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"nothing came of it in {PATIENCE:.0f} s"
        time.sleep(0.005)
