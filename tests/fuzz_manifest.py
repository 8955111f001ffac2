"""Damage the record of an output directory by the thousand, and check what a run makes of it.

``python tests/fuzz_manifest.py --mutants 10000 --seed 1`` writes records of whole and of damaged
lines and checks: nothing but a clear error comes of them; what whole lines say still counts; what
is given of an image can be printed and reported; no path leads out of the output directory; and
what is left in the file are whole lines. ``test_manifest.py`` runs a small part.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from folders import MANIFEST, images
from fuzz_report import cut, flip, foreign, nest, number, value

from lgs_cli.batch import entry
from lgs_cli.batch.job import Job
from lgs_cli.batch.manifest import Manifest
from lgs_cli.batch.orphans import Wanted, find_orphans, remove_orphan
from lgs_cli.batch.outputs import Outputs
from lgs_cli.batch.pipeline import CleanSettings, process
from lgs_cli.defenses.chain import parse_chain
from lgs_cli.report.records import CleanLines, read_line
from lgs_cli.report.summary import describe_result

LINES = 25  # of each record
SETTINGS = CleanSettings(parse_chain("lgs"))
PATHS = (
    "../in/00.png", "/etc/passwd", "a/../../in/00.png", "", ".", "..", "./00.png", "00.png/",
    "a//b", "nul\0byte", "\ud800", "00.png", "x" * 5000, "../" * 2000 + "etc/passwd",
)  # fmt: skip


def path(dice: random.Random, record: dict[str, Any]) -> bytes:
    """Give a path another value."""
    record[dice.choice(("output", "output", "source"))] = dice.choice(PATHS)
    return json.dumps(record).encode()


def nested(dice: random.Random, record: dict[str, Any]) -> bytes:
    """Give a part of the mask, or of a region, another value."""
    mask, region = ["heatmap", 100, 10**18], [1, 2, 3, 4, 0.5]
    record["mask"], record["regions"] = mask, [region]
    target = dice.choice((mask, region))
    target[dice.randrange(len(target))] = dice.choice((None, -1, 1e308, "x", [], {}, True, 2**70))
    if dice.random() < 0.2:
        target.pop()
    return json.dumps(record).encode()


MUTATIONS = (value, value, path, nested, flip, flip, cut, number, nest, foreign)


def mutants(whole: list[bytes], count: int, dice: random.Random) -> list[bytes]:
    """Make damaged lines; some are whole all the same."""
    lines = []
    for _ in range(count):
        line = dice.choice(MUTATIONS)(dice, json.loads(dice.choice(whole)))
        lines.append((line.replace(b"\n", b" ") or b"{") + b"\n")
    return lines


def check(folder: Path, count: int, seed: int) -> collections.Counter[str]:
    """Read damaged records, and check all that is promised of them.

    Returns
    -------
    Counter
        Lines that were ``whole`` and ``damaged``, and ``records``.

    Raises
    ------
    AssertionError
        If a promise is broken.
    """
    dice = random.Random(seed)
    counts: collections.Counter[str] = collections.Counter()
    outputs = Outputs(str(folder / "out"), str(folder / "masks"), None)
    sources = images(folder / "in", 4)
    jobs = []
    for place, source in enumerate(sources):
        os.utime(source, (1e9, 1e9))
        name = source.name
        jobs.append(Job(place, str(source), f"{folder}/out/{name}", f"{folder}/masks/{name}.png"))
    (folder / "out").mkdir()
    manifest = Manifest(str(folder / "out"), SETTINGS)
    manifest.open(wait=False)
    for job in jobs:
        manifest.add(process(job, SETTINGS))
    manifest.close()
    record = folder / "out" / MANIFEST
    whole = record.read_bytes().splitlines(keepends=True)
    intact = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    volume = folder / "out" / ".lgs-manifest.volumes" / "0001.jsonl"
    for _ in range(0, count, LINES):
        damaged = mutants(whole, LINES, dice)
        older = dice.randrange(LINES + 1)
        volume.parent.mkdir(exist_ok=True)
        volume.write_bytes(b"".join(damaged[:older]))
        # The whole lines come last, and count, for all images but the first.
        record.write_bytes(b"".join([*damaged[older:], *whole[1:]]))
        readable = sum(entry.read(line) is not None for line in damaged)
        manifest.open(wait=False)
        try:
            assert manifest.foreign == LINES - readable
            assert all(manifest.is_current(job) for job in jobs[1:])
            for job in jobs:
                if manifest.knows(job):
                    check_result(manifest, job)
            for orphan in find_orphans(manifest, outputs, [str(folder / "in")], Wanted(outputs)):
                for path, _ in remove_orphan(orphan, outputs, rehearse=True):
                    assert os.path.dirname(os.path.realpath(path)) in (
                        f"{os.path.realpath(folder)}/out", f"{os.path.realpath(folder)}/masks",
                    )  # fmt: skip
        finally:
            manifest.close()
        older_left = volume.read_bytes() if volume.exists() else b""
        assert volume.exists() == bool(older_left)
        left = (older_left + record.read_bytes()).splitlines(keepends=True)
        assert set(whole[1:]) <= set(left)
        assert all(entry.read(line) is not None for line in left)
        counts["records"] += 1
        counts["whole"] += readable
        counts["damaged"] += LINES - readable
    shutil.rmtree(volume.parent, ignore_errors=True)
    record.write_bytes(intact[record])
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == intact
    return counts


def check_result(manifest: Manifest, job: Job) -> None:
    """See that what is given of an image can be printed and reported."""
    manifest.is_current(job)
    manifest.why_hopeless(job)
    if manifest.entry(job) is None:
        return
    result = manifest.skipped(job)
    assert describe_result(result).isprintable()
    line = CleanLines(SETTINGS.chain, "lgs").line(result)
    json.dumps(json.loads(line), allow_nan=False)
    read_line(line.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = check(Path(folder), options.mutants, options.seed)
    print(f"{options.mutants} damaged lines, seed {options.seed}: {dict(counts)}")


if __name__ == "__main__":
    main()
