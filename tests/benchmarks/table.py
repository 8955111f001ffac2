"""The README's table: every defense against every attack, on SqueezeNet and real photographs.

Run from the repository's root, with the data beside it (shared/data):

    python tests/benchmarks/table.py [--count 100] [--adaptive-count 32]

It takes about an hour on two cores; the photographs and every draw are the same each time.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from lgs_cli.evaluation import dataset, models, score, table
from lgs_cli.evaluation.settings import (
    EvaluateParams,
    Preprocessing,
    parse_attack,
    parse_defense,
)

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

DEFENSES = ("none", "lgs", "jpeg", "tvm", "bit-depth", "median")

ATTACKS = {
    "lavan:patch-fraction=0.02": "LaVAN 2 %",
    "lavan:patch-fraction=0.04,target=random": "LaVAN 4 %, targeted",
    f"patch:apply={DATA / 'imagenet_patch'}": "ImageNet-Patch",
}


def main() -> None:
    """Make the table, print it as Markdown, and what it took on stderr."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--adaptive-count", type=int, default=32)
    parser.add_argument("--defense", action="append", help="default: " + ", ".join(DEFENSES))
    parser.add_argument("--chart", type=Path, help="write the bar chart there, as SVG")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"the data is absent: {DATA}")

    model = models.load(str(DATA / "models" / "squeezenet1_1.pt2"), Preprocessing())
    model.spec = "SqueezeNet 1.1"
    started = last = time.perf_counter()
    done: dict[str, tuple[float, int]] = {}

    def tell(what: str, count: int) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds, images = done.get(what, (0.0, 0))
        done[what] = (seconds + now - last, images + count)
        last = now
        print(f"{now - started:7.0f} s  {what}: {images + count}", file=sys.stderr, flush=True)

    made = score.evaluate(
        model,
        dataset.find(DATA / "imagenet", DATA / "imagenet" / "labels.csv"),
        [parse_defense(text) for text in arguments.defense or DEFENSES],
        [replace(parse_attack(text), text=name) for text, name in ATTACKS.items()],
        params=EvaluateParams(
            count=arguments.count, adaptive=True, adaptive_count=arguments.adaptive_count
        ),
        progress=tell,
    )
    print(table.write(made, "markdown"), end="")
    if arguments.chart:
        arguments.chart.write_text(table.chart(made), encoding="utf-8")
    for what, (seconds, images) in done.items():
        print(f"{what}: {seconds / images:.2f} s an image", file=sys.stderr)


if __name__ == "__main__":
    main()
