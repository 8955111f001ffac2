"""What runs beyond the files of one machine cost: each way beside a plain run, on two workers.

``python tests/benchmarks/scale.py [--images N] [--side N] [--pairs N] [WAY...]``: the ways are tar,
dask and s3; each needs its extra, and s3 needs moto[server]. Runs alternate, and a ratio is the
median of the ratios of neighboring runs, so that a noisy machine hurts both alike. The clusters and
servers run beforehand, as they do for whoever has one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image
from skimage import data

LGS = [sys.executable, "-m", "lgs_cli", "clean", "-j2", "--force", "-q"]
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


def make_images(folder: Path, count: int, side: int) -> None:
    """Write square JPEGs."""
    folder.mkdir()
    pictures = [Image.fromarray(getattr(data, name)()) for name in ("astronaut", "coffee")]
    for number in range(count):
        left, top = number * 37 % (512 - side), number * 53 % (400 - side)
        picture = pictures[number % 2].crop((left, top, left + side, top + side))
        picture.save(folder / f"{number:06}.jpg", quality=90)


@contextlib.contextmanager
def processes(*commands: list[str]) -> Iterator[None]:
    """Keep some processes running."""
    with contextlib.ExitStack() as stack:
        for command in commands:
            quiet = subprocess.DEVNULL
            process = subprocess.Popen([sys.executable, "-m", *command], stdout=quiet, stderr=quiet)
            stack.callback(process.wait)
            stack.callback(process.kill)
            time.sleep(5)
        yield


@contextlib.contextmanager
def tar(folder: Path) -> Iterator[list[str]]:
    """Clean four archives instead of files."""
    images = sorted((folder / "in").iterdir())
    for number in range(4):
        with tarfile.open(folder / f"s-{number}.tar", "w") as archive:
            for path in images[number::4]:
                archive.add(path, path.name)
                label = tarfile.TarInfo(f"{path.stem}.cls")
                label.size = 1
                archive.addfile(label, io.BytesIO(b"1"))
    yield ["s-{0..3}.tar", "-o", "tar-out"]


@contextlib.contextmanager
def dask(folder: Path) -> Iterator[list[str]]:
    """Clean files on a scheduler with two workers."""
    address = "tcp://127.0.0.1:18788"
    end = ["--no-dashboard"]
    worker = ["dask", "worker", address, "--nthreads", "1", "--no-nanny", *end]
    scratch = ["--local-directory", str(folder / "dask")]
    scheduler = ["dask", "scheduler", "--host", "127.0.0.1", "--port", "18788", *end]
    with processes(scheduler, [*worker, *scratch], [*worker, *scratch]):
        yield ["in", "-o", "dask-out", "--cluster", address]


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[list[str]]:
    """Clean objects into objects, through a server on this machine."""
    os.environ.update(KEYS, FSSPEC_S3_ENDPOINT_URL="http://127.0.0.1:18789")
    with processes(["moto.server", "-H", "127.0.0.1", "-p", "18789"]):
        import s3fs

        system = s3fs.S3FileSystem(endpoint_url=os.environ["FSSPEC_S3_ENDPOINT_URL"])
        system.mkdir("bench")
        system.put(str(folder / "in"), "bench/in", recursive=True)
        start = time.perf_counter()
        system.get("bench/in", str(folder / "copy"), recursive=True)
        system.put(str(folder / "copy"), "bench/copy", recursive=True)
        print(f"s3    s3fs alone, there and back: {time.perf_counter() - start:.2f} s")
        yield ["s3://bench/in", "-o", "s3://bench/out"]


WAYS: dict[str, Callable[[Path], contextlib.AbstractContextManager[list[str]]]] = {
    "tar": tar, "dask": dask, "s3": s3,
}  # fmt: skip


def seconds(folder: Path, words: list[str]) -> float:
    """Time one run."""
    start = time.perf_counter()
    subprocess.run([*LGS, *words], cwd=folder, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ways", nargs="*", choices=[*WAYS, []], metavar="WAY")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=224, help="pixels, below 400")
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder / "in", options.images, options.side)
        for way in options.ways or WAYS:
            with WAYS[way](folder) as words:
                seconds(folder, words)
                pairs = [
                    (seconds(folder, ["in", "-o", "out"]), seconds(folder, words))
                    for _ in range(options.pairs)
                ]
            ratio = statistics.median(theirs / files for files, theirs in pairs)
            files, other = (statistics.median(times) for times in zip(*pairs, strict=True))
            print(f"{way:5} files {files:6.2f} s  {way} {other:6.2f} s  ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
