"""Clean damaged images by the thousand, and check what a user relies on.

``python tests/fuzz.py --mutants 10000 --seed 1`` makes the mutants, runs ``lgs clean`` over them,
and checks: each ends as done or failed with a reason; counts and exit code are right; every output
can be read by another library; stderr holds the failures and the summary, nothing else; no process
took more memory than it might; nothing is left over. ``test_hostile.py`` runs a small part of it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

with contextlib.suppress(ImportError):
    import pillow_heif

    pillow_heif.register_heif_opener()

ROOT = Path(__file__).resolve().parent.parent
MEMORY_LIMIT = 400 << 20
# What a worker has before any image: interpreter and libraries.
AT_REST = 150 << 20


def picture(seed: int, mode: str = "RGB", size: tuple[int, int] = (48, 36)) -> Image.Image:
    """Smooth colors with a noisy patch, as an attacked photograph has them."""
    generator = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 5, y * 7, (x + y) * 3], axis=-1).astype(np.uint8)
    pixels[5:20, 5:20] = generator.integers(0, 256, (15, 15, 3))
    image = Image.fromarray(pixels).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray((x * 4 % 256).astype(np.uint8)))
    return image


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@functools.cache  # an animated AVIF holds the second in which it was made
def seeds() -> dict[str, bytes]:
    """Give one small real file of each kind of each format, by name."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description" * 9
    more = [picture(2), picture(3)]
    deep = (np.asarray(picture(4)).astype(np.uint16) << 8) | 77
    found = {
        "baseline.jpg": saved(picture(1), "JPEG", quality=90, exif=exif),
        "progressive.jpg": saved(picture(1), "JPEG", progressive=True, icc_profile=bytes(400)),
        "gray.jpg": saved(picture(1, "L"), "JPEG"),
        "cmyk.jpg": saved(picture(1, "CMYK"), "JPEG"),
        "rgb.png": saved(picture(1), "PNG", exif=exif),
        "rgba.png": saved(picture(1, "RGBA"), "PNG"),
        "palette.png": saved(picture(1, "P"), "PNG"),
        "bits.png": saved(picture(1, "1"), "PNG"),
        "deep.png": cv2.imencode(".png", deep)[1].tobytes(),
        "frames.png": saved(picture(1), "PNG", save_all=True, append_images=more, duration=40),
        "lossy.webp": saved(picture(1), "WEBP", quality=80, exif=exif),
        "lossless.webp": saved(picture(1, "RGBA"), "WEBP", lossless=True),
        "moving.webp": saved(picture(1), "WEBP", save_all=True, append_images=more, duration=40),
        "strips.tiff": saved(picture(1), "TIFF"),
        "lzw.tiff": saved(picture(1), "TIFF", compression="tiff_lzw"),
        "deflate.tiff": saved(picture(1, "RGBA"), "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tiff": saved(picture(1), "TIFF", compression="jpeg"),
        "fax.tiff": saved(picture(1, "1"), "TIFF", compression="group4"),
        "big.tiff": saved(picture(1), "TIFF", big_tiff=True, exif=exif, icc_profile=bytes(400)),
        "pages.tiff": saved(picture(1), "TIFF", save_all=True, append_images=more),
        "sixteen.tiff": cv2.imencode(".tiff", deep)[1].tobytes(),
        "plain.bmp": saved(picture(1), "BMP"),
        "indexed.bmp": saved(picture(1, "P"), "BMP"),
        "animated.gif": saved(picture(1, "P"), "GIF", save_all=True, append_images=more),
        "still.gif": saved(picture(1, "P"), "GIF"),
        "wavelet.jp2": saved(picture(1), "JPEG2000"),
        "raw.j2k": saved(picture(1, "L"), "JPEG2000", no_jp2=True),
        "color.ppm": saved(picture(1), "PPM"),
        "shades.pgm": saved(picture(1, "L"), "PPM"),
        "bitmap.pbm": saved(picture(1, "1"), "PPM"),
        "text.ppm": b"P3\n3 2\n255\n" + b" ".join(b"%d" % (7 * i) for i in range(18)) + b"\n",
    }
    if "avif" in Image.registered_extensions().get(".avif", "").lower():
        found["coded.avif"] = saved(picture(1), "AVIF", exif=exif)
        found["sequence.avif"] = saved(picture(1), "AVIF", save_all=True, append_images=more)
        found["deep.avif"] = cv2.imencode(
            ".avif", np.asarray(picture(4)).astype(np.uint16) << 2, [cv2.IMWRITE_AVIF_DEPTH, 10]
        )[1].tobytes()
    if "pillow_heif" in sys.modules:
        file = io.BytesIO()
        pillow_heif.from_pillow(picture(1)).save(file, exif=exif.tobytes())
        found["phone.heic"] = file.getvalue()
    return found


# -------------------------------------------------------------------------------- mutations


def flip(data: bytearray, dice: random.Random, others: list[bytes]) -> None:
    """Flip a few bits anywhere, or in the headers."""
    span = len(data) if dice.random() < 0.5 else min(len(data), 200)
    for _ in range(dice.choice((1, 1, 2, 4, 16, 64))):
        data[dice.randrange(span)] ^= 1 << dice.randrange(8)


def forge(data: bytearray, dice: random.Random, others: list[bytes]) -> None:
    """Write an extreme number where a size or an offset may stand."""
    width = dice.choice((1, 2, 4, 8))
    value = dice.choice((0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63, 65500))
    number = (value % (1 << 8 * width)).to_bytes(width, dice.choice(("big", "little")))
    at = dice.randrange(min(len(data), dice.choice((64, 256, 4096))))
    data[at : at + width] = number


def splice(data: bytearray, dice: random.Random, others: list[bytes]) -> None:
    """Put the beginning of another file before the rest of this one."""
    other = dice.choice(others)
    cut = dice.randrange(4, 200)
    data[:cut] = other[:cut]


def repeat(data: bytearray, dice: random.Random, others: list[bytes]) -> None:
    """Repeat a part, many times now and then."""
    start = dice.randrange(len(data))
    part = bytes(data[start : start + dice.choice((4, 16, 64, 512))])
    data[start:start] = part * dice.choice((1, 1, 2, 50))


def drop(data: bytearray, dice: random.Random, others: list[bytes]) -> None:
    """Leave a part out."""
    start = dice.randrange(len(data))
    del data[start : start + dice.choice((1, 4, 16, 64, 512))]


def swap(data: bytearray, dice: random.Random, others: list[bytes]) -> None:
    """Let two parts change places."""
    length = dice.choice((4, 16, 64))
    one, two = sorted((dice.randrange(len(data)), dice.randrange(len(data))))
    first, second = bytes(data[one : one + length]), bytes(data[two : two + length])
    data[two : two + len(second)] = first
    data[one : one + len(first)] = second


def garbage(data: bytearray, dice: random.Random, others: list[bytes]) -> None:
    """Replace a part with noise."""
    start = dice.randrange(len(data))
    length = dice.choice((1, 8, 64, 1024))
    data[start : start + length] = dice.randbytes(length)


MUTATIONS: tuple[Callable[[bytearray, random.Random, list[bytes]], None], ...] = (
    flip, flip, forge, forge, splice, repeat, drop, swap, garbage,
)  # fmt: skip


def mutants(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Damage the seed files: first each cut at every sixteenth, then at random.

    Yields
    ------
    name, data
        The name ends in the suffix of the file that was damaged.
    """
    dice = random.Random(seed)
    originals = seeds()
    names, others = list(originals), list(originals.values())
    cuts = [(name, sixteenth) for sixteenth in range(1, 16) for name in names]
    if count < 4 * len(cuts):
        cuts = dice.sample(cuts, count // 4)
    for name, sixteenth in cuts:
        data = originals[name]
        yield f"cut{sixteenth:02}-{name}", data[: len(data) * sixteenth // 16]
    for number in range(count - len(cuts)):
        name = dice.choice(names)
        damaged = bytearray(originals[name])
        mutations = dice.choices(MUTATIONS, k=dice.choice((1, 1, 1, 2, 3)))
        for mutate in mutations:
            if damaged:
                mutate(damaged, dice, others)
        yield f"{number:06}-{mutations[-1].__name__}-{name}", bytes(damaged)


# ---------------------------------------------------------------------------------- the run


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keep what C libraries print from the terminal."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def readable(path: Path) -> bool:
    """Say whether Pillow or OpenCV can read a whole image file."""
    with warnings.catch_warnings(), hushed():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                image.load()
            return True
        except Exception:
            return cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None


# The kernel counts what a process was before it became another program, so the one that runs lgs
# must be small itself.
_MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def check(folder: Path, jobs: int = 2) -> collections.Counter[str]:
    """Clean ``folder/in`` into ``folder/out``, and check all that is promised of it.

    Returns
    -------
    Counter
        How many images ended in which way.

    Raises
    ------
    AssertionError
        Where a promise is broken.
    """
    report = folder / "report.jsonl"
    out, masks = folder / "out", folder / "masks"
    command = [
        sys.executable, "-m", "lgs_cli", "clean", folder / "in", "-o", out, "--masks", masks,
        "--jobs", str(jobs), "--report", report, "--timeout", "60",
        "--max-pixels", "20000000", "--memory-limit", str(MEMORY_LIMIT),
    ]  # fmt: skip
    used = folder / "peak"
    run = subprocess.run(
        [sys.executable, "-c", _MEASURED, used, *command],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert report.exists(), run.stderr
    sources = sorted(os.listdir(folder / "in"))
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert run.stdout == ""
    assert [os.path.basename(line["source"]) for line in lines] == sources

    ended: collections.Counter[str] = collections.Counter()
    for line in lines:
        ended[line["status"]] += 1
        if line["status"] == "failed":
            assert line["error"], line
            assert line["error"].isprintable(), line
            ended["crashed"] += line["error"].startswith("the worker died")
            ended["out of time"] += line["error"].startswith("took longer")
            ended["out of memory"] += line["error"] == "not enough memory"
        else:
            assert line["status"] == "done", line
            for path in (line["output"], line["mask"]):
                assert readable(Path(path)), f"unreadable: {path}"
    assert run.returncode == (1 if ended["failed"] else 0), run.stderr

    *failures, summary = run.stderr.splitlines()
    unexpected = [line for line in failures if not line.startswith(f"lgs: {folder / 'in'}/")]
    assert not unexpected, f"noise on stderr: {unexpected[:5]}"
    assert len(failures) == ended["failed"]
    assert f"{len(sources):,} images: {ended['done']} done" in summary
    assert f"{ended['failed']} failed" in summary

    written = {path.name for path in out.iterdir()} - {".lgs-manifest.jsonl"}
    assert written == {os.path.basename(line["output"]) for line in lines if line["output"]}
    peak = int(used.read_text()) * 1024
    assert peak < MEMORY_LIMIT + AT_REST, f"a process took {peak >> 20} MB"
    ended["peak MB"] = peak >> 20
    return ended


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="make the files here, and leave them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        (folder / "in").mkdir(parents=True)
        for name, data in mutants(options.mutants, options.seed):
            (folder / "in" / name).write_bytes(data)
        start = time.perf_counter()
        ended = check(folder, os.cpu_count() or 1)
        seconds = time.perf_counter() - start
    print(f"{options.mutants} mutants, seed {options.seed}, {seconds:.0f} s: {dict(ended)}")


if __name__ == "__main__":
    main()
