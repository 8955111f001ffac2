"""How strong `localize` is: the figures that it is built for, measured, with their bar and aim.

Run from the repository's root, with the optional data (see tests/optional_data.py):

    python tests/benchmarks/localize_table.py [--count 48] [--only GROUP] [--skip-white-box]

Attacks that do not know the detector are made once, and kept in results/localize-table (about an
hour on one core); those that go through it are made for each detector (hours). The photographs are
the 240 of imagenet, on which nothing was trained; every draw is the same each time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

# One thread: the figures of cost are of one, and training beside it needs the other core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from attacked_sets import DATA
from figures import Goal
from localize_rows import GROUPS, Measurement

from lgs_cli.defenses.localize import LocalizeParams


def main() -> int:
    """Print the table as Markdown; exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=48, help="attacked photographs (48)")
    parser.add_argument("--only", action="append", choices=GROUPS, help="only this group of rows")
    parser.add_argument("--detector", default="", help="another detector (.onnx)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    parser.add_argument("--clutter-count", type=int, default=48, help="pictures of each kind (48)")
    parser.add_argument("--white-box-count", type=int, default=32, help="photographs (32)")
    parser.add_argument("--white-box-start", choices=("content", "noise"), default="content")
    parser.add_argument("--skip-white-box", action="store_true")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"the data is absent: {DATA}")
    run = Measurement(
        count=arguments.count,
        params=LocalizeParams(detector=arguments.detector),
        white_box_count=arguments.white_box_count,
        white_box_start=arguments.white_box_start,
        clutter_count=arguments.clutter_count,
    )
    groups = arguments.only or [
        g for g in GROUPS if g != "white-box" or not arguments.skip_white_box
    ]
    print(f"Detector {run.params.fingerprint()[:12]}, threshold {run.params.threshold:g}; [95 %]\n")
    print("| | figure | bar | aim | verdict | |\n|---|---|---|---|---|---|")
    lines = []
    for group in groups:
        started = time.perf_counter()
        for line in GROUPS[group](run):
            print(line.markdown(), flush=True)
            lines.append({"group": group} | asdict(line))
        print(f"{group}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(_plain(lines), indent=2) + "\n", encoding="utf-8")
    return int(any(_missed(line) for line in lines))


def _missed(line: dict[str, Any]) -> bool:
    return bool(line["goal"]) and Goal(**line["goal"]).verdict(line["value"]) == "MISSED"


def _plain(value: Any) -> Any:
    """Return a value with None for what is not a number, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return None if math.isnan(value) else float(value)
    return value


if __name__ == "__main__":
    sys.exit(main())
