"""What a run over very many files keeps in memory: its peak, over files that nobody has to make.

``python tests/benchmarks/listing.py [--paths N]... [WAY...]``: the ways are plan (``--dry-run``),
first (a first run) and again (a run over what is up to date; after first). A row each: paths, way,
megabytes at the peak, microseconds a path, gigabytes of temporary files and records.

The command is the real one, and so are the walk, the checks, the queue of jobs, the summary, and
the manifest on the disk. Not real are the input files: ``os.scandir`` makes up a tree of folders of
a thousand images beside a thousand labels, ``os.stat`` the state of images and outputs, and in the
place of the workers each job is done at once. One process a row; 10,000,000 paths take minutes.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

WAYS = ("plan", "first", "again")
FOLDER = 1000  # images in each, and folders in the one above


class MadeUp(NamedTuple):
    """A directory entry."""

    name: str
    folder: bool

    def is_dir(self) -> bool:
        return self.folder

    def is_symlink(self) -> bool:
        return False


class Found(NamedTuple):
    """What ``os.stat`` returns, as far as anybody asks."""

    st_size: int = 1
    st_mtime_ns: int = 1_000_000_000


class Entries:
    """What ``os.scandir`` returns."""

    def __init__(self, entries: Iterator[MadeUp]) -> None:
        self._entries = entries

    def __iter__(self) -> Iterator[MadeUp]:
        return self._entries

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass


def make_up(root: str, paths: int) -> None:
    """Let there be so many images below a directory, and have nobody notice."""
    scandir, real_stat = os.scandir, os.stat
    folders = -(-paths // FOLDER)

    def entries(path: str) -> Iterator[MadeUp]:
        parts = path[len(root) :].strip(os.sep).split(os.sep)
        if parts == [""]:
            for number in range(-(-folders // FOLDER)):
                yield MadeUp(f"set-{number:05}", folder=True)
        elif len(parts) == 1:
            first = int(parts[0][4:]) * FOLDER
            for number in range(first, min(first + FOLDER, folders)):
                yield MadeUp(f"folder-{number:08}", folder=True)
        else:
            first = int(parts[1][7:]) * FOLDER
            for number in range(first, min(first + FOLDER, paths)):
                yield MadeUp(f"photograph-{number:010}.jpg", folder=False)
                yield MadeUp(f"photograph-{number:010}.txt", folder=False)

    def fake_scandir(path: Any = ".") -> Any:
        return Entries(entries(path)) if str(path).startswith(root) else scandir(path)

    def fake_stat(path: Any, *words: Any, **options: Any) -> Any:
        if str(path).endswith(".jpg"):
            return Found()
        return real_stat(path, *words, **options)

    os.scandir, os.stat = fake_scandir, fake_stat  # type: ignore[assignment]


def at_once(jobs: Iterable[Any], work: object, limits: object) -> Generator[Any]:
    """Do all jobs: an engine."""
    from lgs_cli.batch.job import Result

    for job in jobs:
        yield Result(
            *job, width=640, height=480, format="jpeg", coverage=0.25, seconds=0.01, source_size=1,
            source_mtime_ns=1_000_000_000, output_size=1, output_mtime_ns=1_000_000_000,
        )  # fmt: skip


def run(way: str, paths: int, folder: str) -> None:
    """Do one run, and print its row."""
    from lgs_cli.batch import engines
    from lgs_cli.commands.clean import clean

    engines.run = at_once
    root = os.path.join(folder, "in")
    os.makedirs(root, exist_ok=True)
    make_up(root, paths)
    words = [root, "-o", os.path.join(folder, "out"), "-q"]
    start = time.perf_counter()
    with open(os.devnull, "w") as sys.stdout:
        clean.main([*words, "-n"] if way == "plan" else words, standalone_mode=False)
    sys.stdout = sys.__stdout__
    spent = (time.perf_counter() - start) / paths * 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    record = os.path.join(folder, "out", ".lgs-manifest.jsonl")
    size = os.path.getsize(record) / 1e9 if os.path.exists(record) else 0.0
    print(
        f"{paths:>11,}  {way:5}  {peak:5.0f} MB  {spent:5.1f} us  record {size:.2f} GB", flush=True
    )


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--paths", type=int, action="append")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("ways", metavar="WAY", nargs="*", help="; ".join(WAYS))
    words = parser.parse_args()
    if words.folder is not None:
        run(words.ways[0], words.paths[0], words.folder)
        return
    for paths in words.paths or [1_000_000, 10_000_000]:
        folder = tempfile.mkdtemp(prefix="lgs-listing-")
        try:
            for way in words.ways or WAYS:
                child = [sys.executable, __file__, "--paths", str(paths), "--folder", folder, way]
                subprocess.run(child, check=True)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
