"""What a run over very many files keeps in memory: its peak, over files that nobody has to make.

``python tests/benchmarks/listing.py [--paths N]... [WAY...]``: a row for each way: paths, way,
megabytes at the peak, microseconds a path, gigabytes of the record. The ways are

- of ``lgs clean``: ``plan`` (``--dry-run`` over a directory), ``first`` (a first run), ``again`` (a
  run over what is up to date; after ``first``), ``several`` (several inputs), ``list`` (a list that
  comes through a pipe), ``relist`` (the same again), ``in-place`` (a directory),
- of ``lgs scan``: ``scan`` (a directory), ``scan-list`` (a list that comes through a pipe),
- of ``lgs clean`` between two prefixes of an object store: ``store`` (a first run), ``restore`` (a
  run over what is up to date; after ``store``); and ``scan-store``.

The command is the real one, and so are the walk, the checks, the queue of jobs, the summary, and
the record on the disk. Not real are the input files: ``os.scandir`` makes up a tree of folders of
a thousand images beside a thousand labels, ``os.stat`` the state of images and outputs, and in the
place of the workers each job is done at once. Nor is the store. One process a row; 10,000,000 paths
take minutes.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from multiprocessing import Process
from types import TracebackType
from typing import Any, NamedTuple, Self

WAYS = (
    "plan", "first", "again", "several", "list", "relist", "in-place", "scan",
    "scan-list", "store", "restore", "scan-store",
)  # fmt: skip
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
    st_mode: int = stat.S_IFREG


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
    scandir, real_stat, real_lstat = os.scandir, os.stat, os.lstat
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

    def fake_lstat(path: Any, *words: Any, **options: Any) -> Any:
        if "/out-relist/" in str(path) and str(path).endswith(".jpg"):
            return Found()
        return real_lstat(path, *words, **options)

    def fake_scandir(path: Any = ".") -> Any:
        return Entries(entries(path)) if str(path).startswith(root) else scandir(path)

    def fake_stat(path: Any, *words: Any, **options: Any) -> Any:
        if str(path).endswith(".jpg"):
            return Found()
        return real_stat(path, *words, **options)

    os.scandir, os.stat = fake_scandir, fake_stat  # type: ignore[assignment]
    os.lstat = fake_lstat


def make_up_store(*, cleaned: bool) -> None:
    """Let there be a store in which all images are, and perhaps their outputs."""
    import fsspec

    class MadeUpStore(fsspec.AbstractFileSystem):  # type: ignore[misc]
        """Images that nobody has made, and other objects on the disk."""

        protocol = "madeup"

        def ls(self, path: str, detail: bool = True, **options: Any) -> list[dict[str, Any]]:
            del detail, options
            path = self._strip_protocol(path)
            place = path.replace("out", "in", 1) if path.startswith("out") and cleaned else path
            found = []
            if place.startswith("in") and "/." not in place:
                with os.scandir(f"{place}/") as entries:
                    found = [
                        (entry.name, "directory" if entry.is_dir() else "file") for entry in entries
                    ]
            if os.path.isdir(f"disk/{path}"):
                for name in os.listdir(f"disk/{path}"):
                    is_folder = os.path.isdir(f"disk/{path}/{name}")
                    found.append((name, "directory" if is_folder else "file"))
            if not found:
                raise FileNotFoundError
            return [
                {"name": f"{path}/{name}", "type": kind, "size": 1, "ETag": "1"}
                for name, kind in found
            ]

        def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
            del options
            os.makedirs(f"disk/{os.path.dirname(path)}", exist_ok=True)
            with open(f"disk/{path}", "wb") as file:
                file.write(value)

        def cat_file(self, path: str, **options: Any) -> bytes:
            del options
            with open(f"disk/{path}", "rb") as file:
                return file.read()

        def get_file(self, path: str, near: str, **options: Any) -> None:
            del options
            shutil.copyfile(f"disk/{path}", near)

        def put_file(self, near: str, path: str, **options: Any) -> None:
            del options
            shutil.copyfile(near, f"disk/{path}")

        def rm_file(self, path: str) -> None:
            os.unlink(f"disk/{path}")

    fsspec.register_implementation("madeup", MadeUpStore)


def write_list(pipe: str, paths: int) -> None:
    """Write the paths of all images into a pipe, in the order of the walk."""
    with open(pipe, "w") as file:
        for number in range(paths):
            folder = number // FOLDER
            file.write(
                f"in/set-{folder // FOLDER:05}/folder-{folder:08}/photograph-{number:010}.jpg\n"
            )


def at_once(jobs: Iterable[Any], work: object, limits: object) -> Generator[Any]:
    """Do all jobs: an engine."""
    from lgs_cli.batch.job import Result

    for job in jobs:
        yield Result(
            job.place, job.source, job.output, job.mask,
            width=640, height=480, format="jpeg", coverage=0.25, score=0.25, seconds=0.01,
            source_size=1, source_mtime_ns=1_000_000_000,
            output_size=1, output_mtime_ns=1_000_000_000,
        )  # fmt: skip


def run(way: str, paths: int, folder: str) -> None:
    """Do one run, and print its row."""
    from lgs_cli.batch import engines
    from lgs_cli.commands.clean import clean
    from lgs_cli.commands.scan import scan

    engines.run = at_once
    os.chdir(folder)
    for name in ("in", "more"):
        os.makedirs(name, exist_ok=True)
    words = ["in"]
    if "list" in way:
        os.mkfifo("list")
        Process(target=write_list, args=("list", paths)).start()
        words = ["--files-from", "list"]
    make_up("in/", paths)
    # A record is used by the next way, if that is the same again.
    out = {"plan": "out-first", "again": "out-first", "list": "out-relist"}.get(way, f"out-{way}")
    if "store" in way:
        make_up_store(cleaned=way == "restore")
        words = ["madeup://in"]
        out = "madeup://out"
    words += ["more"] * (way == "several") + ["-n"] * (way == "plan") + ["-q"]
    command = scan if "scan" in way else clean
    if way == "in-place":
        words += ["--in-place", "--yes"]
    elif command is clean:
        words += ["-o", out]
    start = time.perf_counter()
    with open(os.devnull, "w") as sys.stdout:
        command.main(words, standalone_mode=False)
    sys.stdout = sys.__stdout__
    if "list" in way:
        os.unlink("list")
    spent = (time.perf_counter() - start) / paths * 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    records = [
        f"{out}/.lgs-manifest.jsonl", f"{out}/.lgs-manifest.volumes", "disk/out/.lgs-manifest",
        "in/.lgs-in-place.jsonl",
    ]  # fmt: skip
    sizes = subprocess.run(["du", "-bc", *records], capture_output=True, check=False).stdout
    size = int(sizes.splitlines()[-1].split()[0]) / 1e9
    print(
        f"{paths:>11,}  {way:9}  {peak:5.0f} MB  {spent:5.1f} us  record {size:.2f} GB", flush=True
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
