"""``make bench``: what the speed of lgs is, each figure beside a baseline measured in the same run.

``python tests/benchmarks/bench.py [--quick] [--json FILE] [--only WORD]``: groups are kernel,
masks, commands, folders, rerun, memory, rivals and torch_module. Runs of the two sides alternate,
and the ratio is the median of the ratios of neighboring runs, so that a noisy machine hurts both
alike.
Photographs are ImageNet's where they lie beside the repository, else scikit-image's; large pictures
are mosaics of them.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from bench_defenses import rows as defense_rows
from optional_data import DATA

import lgs_cli
from lgs_cli import visualize
from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.lgs import LgsParams
from lgs_cli.formats import MASK_STYLES
from lgs_cli.image_io.formats.png import encode_png

IMAGENET = DATA / "imagenet"
# Files that are made and removed by the thousand leave a disk slow for minutes.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SIZES = ((299, 299), (375, 500), (1080, 1920), (4000, 6000))
LGS = [str(Path(sys.executable).with_name("lgs"))]


@dataclass(frozen=True)
class Row:
    """One line of the table; `ratio` is ours by theirs, and is what the bar is for."""

    what: str
    ours: str
    theirs: str
    ratio: float
    bar: float
    aim: float
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """Whether the figure holds the bar and the aim."""
        better = (lambda limit: self.ratio >= limit) if self.at_least else self.ratio.__le__
        return "aim" if better(self.aim) else "bar" if better(self.bar) else "MISSED"


def main() -> int:
    """Print the table; exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images and runs")
    parser.add_argument("--json", metavar="FILE", help="write the table there, too")
    parser.add_argument("--only", metavar="WORD", default="", help="only these groups")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    # As pip does when it installs; not every environment lets Python do it when it imports.
    compileall.compile_dir(Path(lgs_cli.__file__).parent, quiet=1)
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, NumPy {np.__version__}, OpenCV {cv2.__version__}")
    print(f"{'':58} {'lgs':>12} {'baseline':>12} {'ratio':>6} {'bar':>6} {'aim':>6}")
    found = []
    for group in (kernel, masks, commands, folders, rerun, memory, rivals, torch_module):
        if arguments.only in group.__name__:
            for row in group(arguments.quick):
                sign = "≥" if row.at_least else "≤"
                print(
                    f"{row.what:58} {row.ours:>12} {row.theirs:>12} {row.ratio:6.2f} "
                    f"{sign}{row.bar:<5g} {sign}{row.aim:<5g} {row.verdict}",
                    flush=True,
                )
                found.append(row)
    if arguments.json:
        table = [asdict(row) | {"verdict": row.verdict} for row in found]
        Path(arguments.json).write_text(json.dumps(table, indent=2) + "\n")
    return int(any(row.verdict == "MISSED" for row in found))


@cache
def photographs() -> list[NDArray[np.uint8]]:
    """Real photographs, uint8 RGB, each 375 by 500."""
    if IMAGENET.is_dir():
        files = sorted(IMAGENET.glob("*.JPEG"))[:120]
        pictures = [Image.open(file).convert("RGB") for file in files]
    else:
        from skimage import data

        names = ("astronaut", "chelsea", "coffee", "rocket")
        pictures = [Image.fromarray(getattr(data, name)()) for name in names]
    return [np.asarray(picture.resize((500, 375))) for picture in pictures]


def mosaic(height: int, width: int) -> NDArray[np.uint8]:
    """Photographs side by side, cut to a size."""
    rows, columns = -(-height // 375), -(-width // 500)
    tiles = photographs()
    lines = [
        np.concatenate([tiles[(y * columns + x) % len(tiles)] for x in range(columns)], axis=1)
        for y in range(rows)
    ]
    return np.ascontiguousarray(np.concatenate(lines)[:height, :width])


def paired(
    ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int, clock: Callable[[], float]
) -> tuple[float, float, float]:
    """Run two functions in turn; median seconds of each, and the median of the ratios."""
    times: tuple[list[float], list[float]] = ([], [])
    for function in (ours, theirs):
        function()
    for _ in range(repeats):
        for function, seconds in zip((ours, theirs), times, strict=True):
            start = clock()
            function()
            seconds.append(clock() - start)
    ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
    return statistics.median(times[0]), statistics.median(times[1]), ratio


def kernel(quick: bool) -> Iterator[Row]:
    """LGS on uint8 RGB against decoding the same picture as JPEG, one thread, processor time."""
    params = LgsParams()
    defense = DEFENSES["lgs"]
    nanoseconds = {}
    for height, width in SIZES:
        # One small photograph would say more of itself than of photographs.
        count = max(1, min(40, 2_000_000 // (height * width)))
        tiles = photographs()
        pictures = (
            [np.ascontiguousarray(tile[:height, :width]) for tile in tiles[:count]]
            if height <= 375
            else [mosaic(height, width)]
        )
        files = [
            cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1] for picture in pictures
        ]
        pixels = height * width * len(pictures)

        def clean(pictures: list[NDArray[np.uint8]] = pictures) -> None:
            for picture in pictures:
                defense.apply(picture, params)

        def decode(files: list[NDArray[np.uint8]] = files) -> None:
            for file in files:
                cv2.imdecode(file, cv2.IMREAD_COLOR)

        repeats = 5 if quick or height > 1080 else 15
        with one_core():
            ours, theirs, ratio = paired(clean, decode, repeats, time.process_time)
        nanoseconds[height] = ours / pixels * 1e9
        yield Row(
            f"kernel / JPEG decode, {width} x {height}, ns a pixel",
            f"{nanoseconds[height]:.2f}", f"{theirs / pixels * 1e9:.2f}", ratio, 0.7, 0.45,
        )  # fmt: skip
    small, large = nanoseconds[375], nanoseconds[4000]
    yield Row(
        "kernel, 6000 x 4000 / 500 x 375, ns a pixel",
        f"{large:.2f}", f"{small:.2f}", large / small, 1.25, 1.1,
    )  # fmt: skip


def masks(quick: bool) -> Iterator[Row]:
    """Masks as PNG files, against OpenCV's own writer at its defaults; processor time."""
    defense, params = DEFENSES["lgs"], LgsParams()
    photos = photographs()[: 10 if quick else 40]
    for style in MASK_STYLES:
        drawn = []
        for photo in photos:
            cleaned = defense.apply(photo, params, with_mask=True)
            assert cleaned.mask is not None
            drawn.append(visualize.render(style, photo, cleaned.mask, cleaned.image))
        few_colors = style != "overlay"

        def ours(drawn: list[NDArray[np.uint8]] = drawn, few_colors: bool = few_colors) -> None:
            for mask in drawn:
                encode_png(mask, few_colors=few_colors)

        def theirs(drawn: list[NDArray[np.uint8]] = drawn) -> None:
            for mask in drawn:
                cv2.imencode(".png", mask)

        with one_core():
            mine, other, ratio = paired(ours, theirs, 5 if quick else 15, time.process_time)
        yield Row(
            f"{style} to PNG / cv2.imencode, ms",
            f"{mine / len(drawn) * 1e3:.2f}", f"{other / len(drawn) * 1e3:.2f}", ratio, 1.3, 1.1,
        )  # fmt: skip


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep this process and those it starts on one core: another may be slower just then."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(every)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)


def run(*command: str) -> None:
    """Run a command to its end, its output thrown away."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def commands(quick: bool) -> Iterator[Row]:
    """Whole commands that do next to nothing, against importing what they are made of."""
    repeats = 7 if quick else 21
    with tempfile.TemporaryDirectory() as folder:
        picture = os.path.join(folder, "a.jpg")
        Image.fromarray(photographs()[0]).save(picture, quality=90)
        for what, ours, code, where, bar, aim in (
            ("lgs --help / import click", [*LGS, "--help"], "import click", one_core(), 1.4, 1.2),
            (
                "lgs clean, one 500 x 375 image / import cv2",
                [*LGS, "clean", picture, "-o", os.path.join(folder, "out"), "--force"],
                "import cv2", contextlib.nullcontext(), 1.6, 1.3,
            ),
        ):  # fmt: skip
            with where:
                mine, theirs, ratio = paired(
                    lambda ours=ours: run(*ours),
                    lambda code=code: run(sys.executable, "-c", code),
                    repeats, time.perf_counter,
                )  # fmt: skip
            yield Row(f"{what}, ms", f"{mine * 1e3:.0f}", f"{theirs * 1e3:.0f}", ratio, bar, aim)


# The fastest public way to the same files, without a thought for metadata or broken input. Quality
# is the one that most of the photographs have (JPEG), or ours (WebP).
_PLAIN_LOOP = """
import os, sys
import cv2
from joblib import Parallel, delayed

def recode(sources, out, suffix, options):
    cv2.setNumThreads(1)
    for source in sources:
        picture = cv2.imread(source, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        cv2.imwrite(os.path.join(out, os.path.basename(source) + suffix), picture, options)

if __name__ == "__main__":
    folder, out, suffix, workers = sys.argv[1:]
    options = {".webp": [cv2.IMWRITE_WEBP_QUALITY, 90], ".tiff": [cv2.IMWRITE_TIFF_COMPRESSION, 8]}
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    Parallel(n_jobs=int(workers))(
        delayed(recode)(paths[at : at + 20], out, suffix, options.get(suffix, []))
        for at in range(0, len(paths), 20)
    )
"""


def folders(quick: bool) -> Iterator[Row]:
    """Whole runs over a folder of JPEG photographs."""
    count, repeats = (240, 3) if quick else (1000, 9)
    workers = str(len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        photos = os.path.join(folder, "photos")
        os.mkdir(photos)
        _fill(photos, count)
        loop = os.path.join(folder, "loop.py")
        Path(loop).write_text(_PLAIN_LOOP)

        def out() -> str:
            return tempfile.mkdtemp(dir=folder)

        def lgs(form: str = "keep", jobs: str = workers) -> None:
            target = out()
            run(*LGS, "clean", photos, "-o", target, "-j", jobs, "--format", form)
            shutil.rmtree(target)

        def recode(suffix: str) -> None:
            target = out()
            run(sys.executable, loop, photos, target, suffix, workers)
            shutil.rmtree(target)

        def mogrify() -> None:
            target = out()
            with subprocess.Popen(["ls", photos], stdout=subprocess.PIPE) as names:
                options = ["-path", target, "-quality", "95"]
                subprocess.run(
                    ["xargs", "-P", workers, "-n", "50", "mogrify", *options],
                    stdin=names.stdout, cwd=photos, check=True,
                )  # fmt: skip
            shutil.rmtree(target)

        def row(what: str, times: tuple[float, float, float], *limits: float) -> Row:
            ours, theirs, ratio = times
            return Row(what, f"{ours:.2f}", f"{theirs:.2f}", ratio, *limits)

        clock = time.perf_counter
        yield row(
            f"{count} JPEG to JPEG / cv2.imread and imwrite, s",
            paired(lgs, lambda: recode(".jpg"), repeats, clock), 1.4, 1.2,
        )  # fmt: skip
        for form, suffix, bar, aim in (
            ("png", ".png", 1.3, 1.2), ("webp", ".webp", 1.3, 1.1), ("tiff", ".tiff", 1.3, 1.1),
        ):  # fmt: skip
            yield row(
                f"{count} JPEG to {form.upper()} / cv2.imread and imwrite, s",
                paired(
                    lambda form=form: lgs(form), lambda suffix=suffix: recode(suffix), 3, clock
                ),
                bar, aim,
            )  # fmt: skip
        if shutil.which("mogrify"):
            yield row(
                f"{count} JPEG to JPEG / mogrify -quality 95, s",
                paired(lgs, mogrify, repeats, clock), 0.8, 0.6,
            )  # fmt: skip
        else:
            print("mogrify (ImageMagick) is not installed: its row is left out")
        # The bar is close, and a core's own speed varies by more than what is left to it.
        one, two, ratio = paired(
            lambda: lgs(jobs="1"), lambda: lgs(jobs="2"), 3 if quick else 25, clock
        )
        yield Row(
            f"{count} JPEG to JPEG, one worker / two workers, s",
            f"{one:.2f}", f"{two:.2f}", ratio, 1.85, 1.95, at_least=True,
        )  # fmt: skip


def _fill(folder: str, count: int) -> None:
    """Put JPEG photographs into a folder."""
    if IMAGENET.is_dir():
        files = [file.read_bytes() for file in sorted(IMAGENET.glob("*.JPEG"))]
    else:
        files = []
        for picture in photographs():
            stream = io.BytesIO()
            Image.fromarray(picture).save(stream, "JPEG", quality=95)
            files.append(stream.getvalue())
    for index in range(count):
        Path(folder, f"{index:05}.jpg").write_bytes(files[index % len(files)])


def rerun(quick: bool) -> Iterator[Row]:
    """A run in which everything is up to date."""
    count = 2_000 if quick else 20_000
    with tempfile.TemporaryDirectory() as folder:
        photos, out = os.path.join(folder, "photos"), os.path.join(folder, "out")
        os.mkdir(photos)
        stream = io.BytesIO()
        Image.fromarray(photographs()[0][:16, :16]).save(stream, "PNG")
        for index in range(count):
            Path(photos, f"{index:06}.png").write_bytes(stream.getvalue())
        command = (*LGS, "clean", photos, "-o", out)
        run(*command)
        ours, theirs, _ = paired(
            lambda: run(*command), lambda: run(*LGS, "--help"), 3 if quick else 7, time.perf_counter
        )
        rate = count / (ours - theirs)
        yield Row(
            f"up-to-date rerun over {count} files, thousand files/s",
            f"{rate / 1e3:.1f}", "", rate / 1e3, 20, 50, at_least=True,
        )  # fmt: skip


_PEAK = """
import sys
from lgs_cli import image_io
from lgs_cli.batch.pool import Limits
from lgs_cli.defenses import lgs
from lgs_cli.defenses.chain import parse_chain
from lgs_cli.batch.pipeline import CleanSettings, Job, process

small, large, out = sys.argv[1:]
peaks = []
for source in (small, large):
    result = process(Job(0, source, out), CleanSettings(parse_chain("lgs")))
    assert result.status == "done", result.error
    # The resident set of the parent counts in ru_maxrss, but not here.
    status = open("/proc/self/status").read()
    peaks.append(int(status.split("VmHWM:")[1].split()[0]))
print((peaks[1] - peaks[0]) * 1024)
"""


def memory(quick: bool) -> Iterator[Row]:
    """Peak memory of one worker over a 24-megapixel photograph, beyond that over a tiny one."""
    del quick
    with tempfile.TemporaryDirectory() as folder:
        small, large = os.path.join(folder, "small.jpg"), os.path.join(folder, "large.jpg")
        Image.fromarray(mosaic(100, 100)).save(small, quality=95)
        Image.fromarray(mosaic(4000, 6000)).save(large, quality=95)
        command = [sys.executable, "-c", _PEAK, small, large, os.path.join(folder, "out.jpg")]
        peak = int(subprocess.run(command, check=True, capture_output=True).stdout)
        decoded = 4000 * 6000 * 3
        yield Row(
            "peak memory over 24 megapixels / decoded size, MB",
            f"{peak / 1e6:.0f}", f"{decoded / 1e6:.0f}", peak / decoded, 12, 6,
        )  # fmt: skip


def rivals(quick: bool) -> Iterator[Row]:
    """The other defenses, each against the fastest public implementation of it."""
    fastest: dict[tuple[str, str], Any] = {}
    with one_core():
        for row in defense_rows(photographs()[0], 3 if quick else 9):
            key = row.defense, row.note
            if key not in fastest or row.theirs < fastest[key].theirs:
                fastest[key] = row
    for row in fastest.values():
        note = f" ({row.note})" if row.note else ""
        yield Row(
            f"{row.defense}{note[:30]} / {row.rival}, ms",
            f"{row.ours:.2f}", f"{row.theirs:.2f}", row.ratio, 1.0, 0.5,
        )  # fmt: skip


def torch_module(quick: bool) -> Iterator[Row]:
    """The module of LGS for torch, against the public ways to write it, and against the kernel."""
    if find_spec("torch") is None:
        print("torch module: torch is not installed")
        return
    from bench_torch import rows

    bars = {"unfold, slices": (1.5, 3), "unfold": (3, 10), "NumPy kernel": (0.5, 1)}
    with one_core():
        for row in rows(photographs(), 3 if quick else 9):
            bar, aim = next(pair for word, pair in bars.items() if f"/ {word}" in row.what)
            yield Row(
                f"torch module, {row.what}, ms",
                f"{row.ours:.1f}", f"{row.theirs:.1f}", row.ratio, bar, aim, at_least=True,
            )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
