"""Runs of the real command line in processes of their own, and what is left of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
# Generous: the machine may be busy with other things. Nothing waits for it but a failing test.
PATIENCE = 60.0
_NAME = "LGS_TEST_RUN"


class Run:
    """One ``lgs`` process, and all processes that come of it."""

    def __init__(self, *words: object, faults: bool = True, **options: Any) -> None:
        self.name = uuid.uuid4().hex
        paths = [str(ROOT), str(ROOT / "tests" / "faults")] if faults else [str(ROOT)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), _NAME: self.name}
        environment.update(options.pop("env", {}))
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        command = [sys.executable, "-m", "lgs_cli", *map(os.fspath, map(_word, words))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, env=environment, **options
        )
        self.out = self.err = ""

    def end(self) -> int:
        """Wait for the process and for the end of its output; give its exit code."""
        out, err = self.process.communicate(timeout=PATIENCE)
        self.out, self.err = (out or b"").decode(), (err or b"").decode()
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
        """Find the process that forks the workers."""
        return self.children(self.process.pid)[0]

    def kill(self) -> None:
        """End whatever is left."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def _word(word: object) -> str | bytes | os.PathLike[str]:
    return word if isinstance(word, str | bytes | os.PathLike) else str(word)


@contextlib.contextmanager
def started(*words: object, **options: Any) -> Iterator[Run]:
    """Start ``lgs``, and leave nothing of it behind."""
    run = Run(*words, **options)
    try:
        yield run
    finally:
        run.kill()


def lgs(*words: object, **options: Any) -> Run:
    """Run ``lgs`` to its end."""
    with started(*words, **options) as run:
        run.end()
    return run


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition to hold."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def image(path: Path, seed: int = 0, order: str = "", side: int = 24) -> Path:
    """Write a small noisy PNG, with an order for ``faults/sitecustomize.py`` at its end."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    fault = f"LGS-FAULT {order}".encode() if order else b""
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes() + fault)
    return path


def images(folder: Path, count: int, **options: Any) -> list[Path]:
    """Write images ``00.png``, ``01.png``, ..., each with its own pixels."""
    return [image(folder / f"{index:02}.png", index, **options) for index in range(count)]


def tree(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder, but for the manifest."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lgs-manifest.jsonl"
    }


def leftovers(*folders: Path) -> list[Path]:
    """List temporary files below folders."""
    return [path for folder in folders for path in folder.rglob("*.tmp")]


def records(path: Path) -> dict[str, dict[str, Any]]:
    """Read a report, or a manifest, by the names of its images."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {os.path.basename(line.get("source", line["output"])): line for line in lines}
