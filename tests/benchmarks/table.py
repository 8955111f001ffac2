"""The README's tables: every defense against every attack, on three networks and real photographs.

Run from the repository's root, with the optional data (see tests/optional_data.py):

    python tests/benchmarks/table.py [--part lavan] [--network squeezenet1_1] [--side 42]
        [--defense "LGS λ 2.3"] [--count 100]

Each attack is made once, and its images are kept in results/table: run it again to go on where it
was stopped, or to print. All of it takes days on two cores; a part of one network takes hours. The
photographs and every draw are the same each time.

The first two parts follow the paper of Local Gradients Smoothing (arXiv 1807.01216) and that of
LaVAN (arXiv 1801.02608): patches of 42, 52 and 60 px of 299, random target classes, up to 1,000
steps, done at a confidence of 0.9; its baselines are JPEG of quality 60, 40 and 30, TVM of weights
10 and 30 (of split Bregman, 1/λ), median and bit depth. The networks are others, and take 224 px.
These settings come from summaries of the papers, and were not checked against their text.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

# One thread for each process: two networks at a time use two cores better.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from attacked_sets import NETWORKS, network, photographs, predictions
from optional_data import DATA

from lgs_cli.evaluation import dataset, provenance, table
from lgs_cli.evaluation.attacks.records import Crafted
from lgs_cli.evaluation.columns import run
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.evaluate import EvaluateParams, evaluate
from lgs_cli.evaluation.kept import Kept
from lgs_cli.evaluation.provenance import DataHash
from lgs_cli.evaluation.specs import AttackSpec, DefenseSpec, parse_attack, parse_defense
from lgs_cli.evaluation.table import Share
from lgs_cli.evaluation.victim import Victim

CACHE = Path(__file__).resolve().parents[2] / "results" / "table"

SIDES = (42, 52, 60)  # of 299

DEFENSES = {
    "none": "none",
    "LGS λ 2.3": "lgs",
    "LGS λ 1.9": "lgs:smoothing=1.9",
    "LGS λ 1.5": "lgs:smoothing=1.5",
    "localize": "localize",
    "JPEG 60": "jpeg:quality=60",
    "JPEG 40": "jpeg:quality=40",
    "JPEG 30": "jpeg:quality=30",
    "TVM 10": "tvm:weight=0.1",
    "TVM 30": "tvm:weight=0.0333",
    "median 3": "median",
    "bit depth 3": "bit-depth",
}
OURS = "LGS λ 2.3"
# What the paper says LGS is better than.
BASELINES = ("JPEG 60", "JPEG 40", "JPEG 30", "TVM 10", "TVM 30", "median 3", "bit depth 3")


def published(side: int) -> AttackSpec:
    """Return LaVAN as published, with a patch of `side` px of 299."""
    text = f"lavan:patch-fraction={(side / 299) ** 2:.5f},target=random,confidence=0.9,steps=1000"
    return replace(parse_attack(text), text=f"LaVAN {side} px")


@dataclass
class Run:
    """What is measured: on which networks and photographs, under which defenses."""

    networks: Sequence[str]
    count: int
    defenses: Sequence[DefenseSpec]
    sides: Sequence[int]
    cache: Path

    def victim(self, name: str, backward: str = "auto") -> Victim:
        """Return a network that says on stderr what is done with it."""
        return Victim(network(name), backward=backward, progress=Log(name))

    def kept(self, part: str, name: str) -> Kept:
        """Return the folder of a part's attacked images."""
        return Kept(self.cache / part / f"{name}-{self.count}", resume=True)

    def rightly(self, names: Sequence[str]) -> Images:
        """Return photographs that several networks classify rightly, in name order."""
        images = photographs()
        right = np.all([predictions(name) == images.labels for name in names], axis=0)
        return images.at(np.flatnonzero(right))


def crafted(
    victim: Victim, spec: AttackSpec, images: Images, kept: Kept, what: str, material: Images
) -> Crafted:
    """Attack images, or take what was made of them earlier."""
    data = DataHash()
    data.update(images)
    kept.begin(provenance.settings(victim, data), images)
    made = kept.find(what, images)
    if made is None:
        made = run(victim, spec.attack.prepare(victim, spec.params, material), images, what)
        kept.save(what, made)
    return made


def lavan(measured: Run) -> Iterator[str]:
    """Attack without knowing the defense: what each one saves."""
    attacks = [published(side) for side in measured.sides]
    for name in measured.networks:
        folder = DATA / "imagenet"
        made = evaluate(
            measured.victim(name), dataset.find(folder, folder / "labels.csv"),
            measured.defenses, attacks, EvaluateParams(count=measured.count),
            measured.kept("lavan", name),
        )  # fmt: skip
        yield table.write(replace(made, model=NETWORKS[name]), "markdown")
        for index, attack in enumerate(attacks):
            shares = {row.defense: row.accuracy[index] for row in made.rows}
            yield verdict(f"{NETWORKS[name]}, {attack.text}: LGS keeps most", shares, best=max)


def bpda(measured: Run) -> Iterator[str]:
    """Attack through each defense as published: identity backward, targeted."""
    for name in measured.networks:
        images = measured.rightly([name]).at(slice(0, measured.count))
        rows: dict[str, list[Share]] = {}
        for defense in measured.defenses:
            victim = measured.victim(name, "identity").behind(defense.chain)
            for side in measured.sides:
                what = f"LaVAN {side} px through {defense.text}"
                kept = measured.kept("bpda", name)
                made = crafted(victim, published(side), images, kept, what, images)
                reached = victim.predict(made.pixels) == [one.target for one in made.records]
                rows.setdefault(defense.text, []).append(Share(int(reached.sum()), len(images)))
        yield f"{NETWORKS[name]}: success of LaVAN through each defense, BPDA with the identity\n"
        yield markdown(["defense", *(f"{side} px" for side in measured.sides)], rows)
        for index, side in enumerate(measured.sides):
            shares = {defense: found[index] for defense, found in rows.items()}
            claim = f"{NETWORKS[name]}, BPDA {side} px: LGS resists most"
            yield verdict(claim, shares, best=min)


def strongest(measured: Run) -> Iterator[str]:
    """Attack through each defense with all there is: its best gradient, untargeted, more steps."""
    spec = replace(parse_attack("lavan:steps=300,restarts=2"), text="LaVAN 2 %, untargeted")
    for name in measured.networks:
        folder = DATA / "imagenet"
        made = evaluate(
            measured.victim(name), dataset.find(folder, folder / "labels.csv"),
            measured.defenses, [spec], EvaluateParams(count=measured.count, adaptive=True),
            measured.kept("strongest", name),
        )  # fmt: skip
        yield table.write(replace(made, model=NETWORKS[name]), "markdown")


def transfer(measured: Run) -> Iterator[str]:
    """Train one patch on each network, and try it on the others."""
    spec = parse_attack("patch:patch-fraction=0.05,steps=300")
    images = measured.rightly(list(NETWORKS))
    chosen, material = images.at(slice(0, measured.count)), images.at(slice(measured.count, None))
    for defense in [one for one in measured.defenses if one.text in ("none", OURS, "localize")]:
        rows = {}
        for maker in measured.networks:
            kept = measured.kept("transfer", maker)
            made = crafted(measured.victim(maker), spec, chosen, kept, "patch", material)
            judges = [measured.victim(judge).behind(defense.chain) for judge in NETWORKS]
            right = [judge.predict(made.pixels) == chosen.labels for judge in judges]
            rows[NETWORKS[maker]] = [Share(int(one.sum()), len(one)) for one in right]
        yield f"Accuracy under a patch of 5 % made on another network, defense: {defense.text}\n"
        yield markdown(["made on", *(f"judged by {title}" for title in NETWORKS.values())], rows)


PARTS: dict[str, Callable[[Run], Iterator[str]]] = {
    "lavan": lavan,
    "bpda": bpda,
    "strongest": strongest,
    "transfer": transfer,
}


def markdown(heads: Sequence[str], rows: dict[str, list[Share]]) -> str:
    """Return shares as a Markdown table."""
    lines = [[*heads], ["---", *["---:"] * (len(heads) - 1)]]
    lines += [[name, *map(str, shares)] for name, shares in rows.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def verdict(claim: str, shares: dict[str, Share], best: Callable[..., str]) -> str:
    """Say whether LGS does better than every baseline: by intervals, by figures, or not."""
    rivals = {name: share for name, share in shares.items() if name in BASELINES}
    if OURS not in shares or not rivals:
        return ""
    ours = shares[OURS]
    rival = best(rivals, key=lambda name: rivals[name].value)
    theirs = rivals[rival]
    (low, high), (rival_low, rival_high) = ours.interval, theirs.interval
    if best is min:
        low, high, rival_low, rival_high = -high, -low, -rival_high, -rival_low
    word = (
        "holds" if low > rival_high else "does not hold" if high < rival_low else "is not decided"
    )
    return f"- {claim}: {word}; {OURS} {ours}, {rival} {theirs}\n"


class Log:
    """Says on stderr when each piece of work begins."""

    def __init__(self, name: str) -> None:
        self._name = name

    def start(self, what: str, total: int) -> None:
        """Say what begins."""
        print(f"{self._name}: {what}, {total}", file=sys.stderr, flush=True)

    def advance(self, count: int = 1) -> None:
        """Say nothing in between."""


def main() -> None:
    """Make the tables, and print them as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--part", action="append", choices=PARTS, help="only this; repeatable")
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this")
    parser.add_argument("--defense", action="append", choices=DEFENSES, help="only this")
    parser.add_argument(
        "--side",
        action="append",
        type=int,
        choices=SIDES,
        help="only patches of this, in px of 299",
    )
    parser.add_argument("--count", type=int, default=100, help="photographs (100)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where attacked images are kept")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"the data is absent: {DATA}")
    measured = Run(
        arguments.network or list(NETWORKS),
        arguments.count,
        [
            replace(parse_defense(DEFENSES[title]), text=title)
            for title in arguments.defense or DEFENSES
        ],
        arguments.side or SIDES,
        arguments.cache,
    )
    for part in arguments.part or PARTS:
        print(f"## {part}: {PARTS[part].__doc__}\n")
        for text in PARTS[part](measured):
            print(text, flush=True)


if __name__ == "__main__":
    main()
