"""Damage the lines of a report by the thousand, and check what ``lgs report`` makes of them.

``python tests/fuzz_report.py --mutants 10000 --seed 1`` writes reports of whole and of damaged
lines and checks: each ends in a page, or in an error if no line is whole; the page holds every
record that is whole; each other line is named once, with its number, on one line of stderr; the
page is never larger than 19 MB and can be read again. ``test_report_run.py`` runs a small part.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import random
import re
import tempfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from lgs_cli.commands.report import report
from lgs_cli.errors import LgsError
from lgs_cli.report.page import MAX_BYTES
from lgs_cli.report.records import read_line

LINES = 25  # of each report
CLEANED: dict[str, Any] = {
    "source": "in/a.jpg", "output": "out/a.jpg", "mask": "masks/a.png", "status": "done",
    "error": None, "width": 500, "height": 375, "format": "jpeg", "coverage": 0.125, "score": 0.9,
    "regions": [{"x": 12, "y": 30, "width": 64, "height": 60, "score": 0.9}], "page": 2,
    "unchanged": False, "seconds": 0.123, "notes": ["palette became RGB"], "method": "lgs",
    "params": {"smoothing": 2.3, "threshold": 0.1}, "command": "lgs clean in -o out",
}  # fmt: skip
SCANNED: dict[str, Any] = {
    "source": "in/b.png", "status": "failed", "error": "truncated", "score": None, "regions": [],
    "page": None, "width": None, "height": None, "moved_to": "q/b.png",
}  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 2**31, 2**53 + 1, 10**30, 1e308, -0.0, 0.5, "", "x", "done",
    "failed", "\ud800", "\x00\x1b[2J", "</script>", "\u2028", "🦜" * 300, "y" * 5000, "../" * 2000,
    "nul\x00byte", "/dev/zero", [], [None], [[[]]], {}, {"x": 1}, {"": {"": []}}, ["n"] * 500,
    [{"x": 0, "y": 0, "width": 1, "height": 1, "score": 1}] * 50,
)  # fmt: skip


def value(dice: random.Random, record: dict[str, Any]) -> bytes:
    """Give a field another value, or take it away."""
    name = dice.choice(list(record))
    if dice.random() < 0.2:
        del record[name]
    else:
        record[name] = dice.choice(VALUES)
    return json.dumps(record).encode()


def region(dice: random.Random, record: dict[str, Any]) -> bytes:
    """Give a field of a region another value."""
    box = {"x": 1, "y": 2, "width": 3, "height": 4, "score": 0.5}
    box[dice.choice(list(box))] = dice.choice(VALUES)
    return json.dumps(record | {"regions": [box]}).encode()


def flip(dice: random.Random, record: dict[str, Any]) -> bytes:
    """Change a few bytes."""
    data = bytearray(json.dumps(record).encode())
    for _ in range(dice.choice((1, 1, 2, 8))):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data).replace(b"\n", b" ")


def cut(dice: random.Random, record: dict[str, Any]) -> bytes:
    """Leave the end out, or a part."""
    data = json.dumps(record).encode()
    start = dice.randrange(len(data))
    return data[:start] + data[len(data) if dice.random() < 0.7 else start + dice.randrange(40) :]


def number(dice: random.Random, record: dict[str, Any]) -> bytes:
    """Write a number that JSON, Python or JavaScript may choke on."""
    data = json.dumps(record).encode()
    extreme = dice.choice(
        (b"9" * 5000, b"1e999", b"-1e999", b"NaN", b"Infinity", b"1.", b"00", b"-")
    )
    return re.sub(rb"\b\d[\d.]*", lambda _: extreme, data, count=dice.randrange(1, 4))


def nest(dice: random.Random, record: dict[str, Any]) -> bytes:
    """Nest a value deeply."""
    name = dice.choice(list(record)).encode()
    depth = dice.choice((5, 500, 3000, 100_000))
    data = json.dumps(record).encode()
    return data[:-1] + b', "' + name + b'": ' + b"[" * depth + b"]" * depth + b"}"


def foreign(dice: random.Random, record: dict[str, Any]) -> bytes:
    """Write something else."""
    return dice.choice(
        (b"null", b"[]", b"\xff\xfe{}", b"{" * 9, b'"a"', b"\x00" * 50, dice.randbytes(60))
    )


MUTATIONS = (value, value, value, region, flip, flip, cut, number, nest, foreign)


def mutants(count: int, seed: int) -> list[bytes]:
    """Make damaged lines; some are whole all the same."""
    dice = random.Random(seed)
    lines = []
    for _ in range(count):
        record = dict(dice.choice((CLEANED, SCANNED)))
        line = dice.choice(MUTATIONS)(dice, record)
        lines.append(line.replace(b"\n", b" ").replace(b"\r", b" ") or b"{")
    return lines


def is_whole(line: bytes) -> bool:
    """Say whether a line is the record of an image; whatever it holds, only ValueError is right."""
    try:
        read_line(line)
    except ValueError:
        return False
    return True


def check(folder: Path, count: int, seed: int) -> collections.Counter[str]:
    """Make pages of damaged reports, and check all that is promised of them.

    Returns
    -------
    Counter
        Lines that were ``good`` and ``bad``, and ``pages``.

    Raises
    ------
    AssertionError
        If a promise is broken.
    """
    counts: collections.Counter[str] = collections.Counter()
    lines = mutants(count, seed)
    path, output = folder / "run.jsonl", folder / "page.html"
    for start in range(0, count, LINES):
        batch = lines[start : start + LINES]
        path.write_bytes(b"\n".join(batch) + b"\n")
        whole = [is_whole(line) for line in batch if line.strip()]
        bad = [n for n, line in enumerate(batch, 1) if line.strip() and not is_whole(line)]
        output.unlink(missing_ok=True)
        run = CliRunner().invoke(
            report, [str(path), "-o", str(output), "--thumbnails", "3"], standalone_mode=False
        )
        if isinstance(run.exception, LgsError):
            assert not any(whole), run.exception
        else:
            assert run.exception is None, run.exception
            assert run.return_value == (1 if bad else 0)
        said = [line for line in run.output.splitlines() if line.startswith("lgs: ")]
        assert all(line.isprintable() for line in said)
        named = [int(re.search(r", line (\d+): .", line)[1]) for line in said if ", line " in line]
        assert named == bad[:20], said
        assert len(said) == len(named) + (len(bad) > 20)
        if any(whole):
            page = output.read_bytes()
            assert len(page) < MAX_BYTES
            data = re.search('<script type="application/json" id="data">(.*?)</script>',
                             page.decode(), re.DOTALL)  # fmt: skip
            assert len(json.loads(data[1])["images"]) == sum(whole)
            counts["pages"] += 1
        counts["good"] += sum(whole)
        counts["bad"] += len(bad)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        counts = check(Path(folder), options.mutants, options.seed)
    print(f"{options.mutants} damaged lines, seed {options.seed}: {dict(counts)}")


if __name__ == "__main__":
    main()
