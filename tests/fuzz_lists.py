"""Damage lists of files by the thousand, and check what ``lgs clean --files-from`` makes of them.

``python tests/fuzz_lists.py --mutants 10000 --seed 1`` writes lists of whole and of damaged paths,
ended by line feeds or by NUL, and checks: each ends in a plan, or in one clear error; the plan
names every whole path once, and as many images as the list says; no output lies elsewhere than in
its directory. Some lists are also run, in a process: what is whole is done, all else fails with a
reason, and no input changes. ``test_inputs.py`` runs a small part.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from folders import image, images, report, snapshot

from lgs_cli.commands.clean import clean
from lgs_cli.errors import LgsError

ROOT = Path(__file__).resolve().parent.parent
LINES = 25  # of each list
RUN_EVERY = 20  # lists
PATIENCE = 120.0
STRANGE = (
    b".", b"..", b"./", b"../here/in", b"in", b"in/", b"in//", b"in/sub/..", b"//", b"-", b"--",
    b"-o", b"--help", b"in/00.png/", b"in/00.png/x.png", b"in//00.png", b"./in/00.png",
    b"in/../in/01.png", b"in/gone.png", b"in/link.png", b"in/loop.png", b"in/broken.png",
    b"in/pipe.png", b"in/folder.png", b"in/notes.txt", b"in/empty.png", b"/dev/null", b"/dev/zero",
    b"/dev/stdin", b"/etc/passwd", b"out", b"out/in/00.png", b"masks/in/00.png.png", b"a.zip",
    b"s3://bucket/a.png", b"file:///a.png", b"~/a.png", b"$HOME/a.png", b"*.png", b"in/*.png",
    b"\xef\xbb\xbfin/00.png", b'"in/00.png"', b"# a remark", b" in/00.png", b"in/00.png ",
    b"in/00.png\r", b"\r", b" ", b"\t", b"\x1b[2J", b"\xff\xfe", "b\u00e4r.png".encode(),
    "\U0001f99c.png".encode(), b"x" * 300 + b".png", b"x" * 5000, b"in/" + b"y" * 250 + b".png",
    b"d/" * 3000 + b"a.png", b"../" * 500 + b"a.png",
)  # fmt: skip


def strange(dice: random.Random, path: bytes) -> bytes:
    """Write something else."""
    return dice.choice(STRANGE)


def flip(dice: random.Random, path: bytes) -> bytes:
    """Change a few bytes."""
    data = bytearray(path)
    for _ in range(dice.choice((1, 1, 2, 5))):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data)


def cut(dice: random.Random, path: bytes) -> bytes:
    """Leave the end out, or the beginning."""
    at = dice.randrange(len(path))
    return path[:at] if dice.random() < 0.5 else path[at:]


def noise(dice: random.Random, path: bytes) -> bytes:
    """Write bytes that nobody has seen before."""
    return dice.randbytes(dice.choice((1, 5, 40, 200)))


def longer(dice: random.Random, path: bytes) -> bytes:
    """Make a path longer than names, or paths, may be."""
    return (
        path[:-4] + dice.choice((b"z", b"\xcc\x81", b"/q")) * dice.choice((90, 255, 5000)) + b".png"
    )


def around(dice: random.Random, path: bytes) -> bytes:
    """Lead around before the path."""
    return dice.choice((b"./", b".//", b"in/../", b"../here/", b"./././")) + path


MUTATIONS = (strange, strange, strange, flip, flip, cut, noise, longer, around)


def mutants(whole: list[bytes], count: int, dice: random.Random) -> list[bytes]:
    """Make damaged paths, none of a directory outside."""
    here = os.path.realpath(os.curdir)
    paths: list[bytes] = []
    while len(paths) < count:
        path = dice.choice(MUTATIONS)(dice, dice.choice(whole))
        with contextlib.suppress(ValueError):  # NUL
            place = os.path.realpath(os.fsdecode(path))
            if os.path.isdir(path) and not f"{place}/".startswith(f"{here}/"):
                continue
        paths.append(path)
    return paths


def check(folder: Path, count: int, seed: int) -> collections.Counter[str]:
    """Clean what damaged lists name, and check all that is promised of them.

    Returns
    -------
    Counter
        Lists that were ``planned``, ``refused`` and ``run``.

    Raises
    ------
    AssertionError
        If a promise is broken.
    """
    dice = random.Random(seed)
    counts: collections.Counter[str] = collections.Counter()
    work = folder / "here"
    whole = [bytes(path.relative_to(work)) for path in images(work / "in", 6)]
    whole.append(bytes(image(work / "in/sub/a b.png", 9).relative_to(work)))
    make_oddities(work / "in")
    before = snapshot(work)
    with contextlib.chdir(work):
        for _ in range(0, count, LINES):
            null = dice.random() < 0.5
            # Few lists name nothing twice, which is refused; so some have only a few strange lines.
            damaged = mutants(whole, LINES, dice)
            kept = damaged[: dice.choice((1, 2, 3, 5, LINES))]
            named = dice.sample(whole, dice.randrange(len(whole)))
            paths = [*kept, *named]
            dice.shuffle(paths)
            ends = (b"\0",) if null else (b"\n", b"\r\n")
            data = b"".join(path + dice.choice(ends) for path in paths)
            data = data if dice.random() < 0.8 else data.rstrip(b"\r\n\0")
            listing = folder / "list"
            listing.write_bytes(data)
            told = planned(listing, null, dice)
            if told is None:
                counts["refused"] += 1
                continue
            counts["planned"] += 1
            lines = [line for line in told if not line.startswith("would remove")]
            assert all(line.isprintable() for line in lines), lines
            assert len(lines) == sum(map(images_of, split(data, null))), (data, lines)
            for path in map(os.fsdecode, named):
                assert any(f": {path} -> " in line or f": in/{path}" in line for line in lines), (
                    path
                )
            if counts["planned"] % RUN_EVERY == 1:
                run(listing, null, len(lines), folder)
                counts["run"] += 1
            assert snapshot(work) == before
    assert {path.name for path in folder.iterdir()} <= {"here", "list", "out", "masks", "r.jsonl"}
    return counts


def make_oddities(folder: Path) -> None:
    """Put what is no plain image beside the images."""
    (folder / "notes.txt").write_text("no image")
    (folder / "empty.png").touch()
    (folder / "folder.png").mkdir()
    (folder / "link.png").symlink_to("00.png")
    (folder / "broken.png").symlink_to("gone.png")
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")


def split(data: bytes, null: bool) -> list[bytes]:
    """Take a list apart as its description says: a path a line, or up to a NUL."""
    if null:
        return [path for path in data.split(b"\0") if path]
    return [line.rstrip(b"\r") for line in data.split(b"\n") if line.rstrip(b"\r")]


def images_of(path: bytes) -> int:
    """Count what a path of a list stands for: itself, or the images of a directory."""
    if not os.path.isdir(path):
        return 1
    return sum(
        name.endswith(b".png") and not name.startswith(b".")
        for _, folders, files in os.walk(path)
        for name in (*folders, *files)
    )


def planned(listing: Path, null: bool, dice: random.Random) -> list[str] | None:
    """Say what a run would do; None if it is refused, which takes one line."""
    place = dice.choice((["-o", "../out"], ["-o", "../out", "--masks", "../masks"], ["--in-place"]))
    if place == ["--in-place"]:
        place = [*place, "--backup", ".orig"]
    words = ["--files-from", str(listing), *place, "--dry-run", *(["-0"] if null else [])]
    done = CliRunner().invoke(clean, words, standalone_mode=False)
    if isinstance(done.exception, LgsError):
        error = str(done.exception)
        assert error.isprintable(), error
        assert done.exception.exit_code in (2, 3)
        assert any(
            reason in error
            for reason in ("given twice", "would both be written", "add -0", "no image found",
                           "is an input; ", "would be written twice", "is already")
        ), error  # fmt: skip
        return None
    assert done.exception is None, done.exc_info
    assert done.return_value == 0
    for line in done.stdout.splitlines():
        output = line.rpartition(" -> ")[2] if line.startswith("would clean: ") else ""
        assert "--in-place" in place or not output or output.startswith("../out/"), line
        assert "/../" not in output[3:], line
    return done.stdout.splitlines()


def run(listing: Path, null: bool, count: int, folder: Path) -> None:
    """Clean what a list names, and see that nothing is lost."""
    words: list[Any] = [
        sys.executable, "-m", "lgs_cli", "clean", "--files-from", listing, "-o", "../out",
        "--force", "--report", "../r.jsonl", "-j", "1", "--timeout", "20",
    ]  # fmt: skip
    done = subprocess.run(
        [*words, *(["-0"] if null else [])],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode in (0, 1, 2), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode == 2:
        return  # two masks, or outputs, that only a dry run without masks lets pass
    lines = report(folder / "r.jsonl")
    tried = [line for line in lines if line["status"] != "unsupported"]
    assert len(tried) == count, done.stderr
    failed = [line for line in tried if line["status"] == "failed"]
    assert all(line["error"] and line["error"].isprintable() for line in failed)
    assert done.returncode == (1 if failed else 0)
    for line in tried:
        if line["status"] == "failed":
            assert not line["source"].startswith("in/0") or not os.path.isfile(line["source"]), line


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        counts = check(Path(folder), options.mutants, options.seed)
    print(f"{options.mutants} damaged paths, seed {options.seed}: {dict(counts)}")


if __name__ == "__main__":
    main()
