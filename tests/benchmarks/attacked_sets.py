"""Sets of attacked photographs, made once and kept: what they are does not depend on the detector.

A set is a folder of PNG files with their ``attacks.jsonl``, as ``lgs attack`` writes it. It grows
where more photographs are wanted than it holds; remove the folder to make it anew.
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from optional_data import DATA

from lgs_cli.defenses.chain import Chain
from lgs_cli.defenses.preprocessing import Preprocessing
from lgs_cli.evaluation import dataset, models
from lgs_cli.evaluation.attacks import records as attack_records
from lgs_cli.evaluation.attacks.records import Attacked
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.models.model import Model
from lgs_cli.evaluation.specs import parse_attack
from lgs_cli.evaluation.victim import Victim

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "results" / "localize-table"

NETWORKS = {
    "squeezenet1_1": "SqueezeNet 1.1",
    "mobilenet_v2": "MobileNetV2",
    "efficientnet_lite0": "EfficientNet-Lite0",
}


@dataclass(frozen=True, eq=False)
class AttackedSet:
    """Attacked photographs, and what they were before.

    Attributes
    ----------
    clean : Images
        The photographs as the network sees them, with their labels.
    pixels : ndarray
        uint8 (N, H, W, 3) RGB: the same, attacked.
    records : tuple of Attacked
        Where each patch lies, and what the network said.
    """

    clean: Images
    pixels: NDArray[np.uint8]
    records: tuple[Attacked, ...]

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Return where one patch lies: uint8 (H, W), 1 in its box."""
        record = self.records[index]
        made = np.zeros(self.pixels.shape[1:3], np.uint8)
        rows = slice(record.top, record.top + record.height)
        made[rows, record.left : record.left + record.width] = 1
        return made


@cache
def network(name: str) -> Model:
    """Return one of the classifiers of `NETWORKS`."""
    import torch

    torch.set_num_threads(1)
    return models.load(str(DATA / "models" / f"{name}.pt2"), Preprocessing())


@cache
def photographs() -> Images:
    """Return all photographs as the networks see them."""
    folder = DATA / "imagenet"
    return dataset.load(dataset.find(folder, folder / "labels.csv"), Preprocessing())


@cache
def predictions(name: str) -> NDArray[np.intp]:
    """Return what a network says of each photograph."""
    file = CACHE / f"predictions-{name}.npy"
    if file.exists():
        return np.asarray(np.load(file))
    found = network(name).predict(photographs().pixels)
    CACHE.mkdir(parents=True, exist_ok=True)
    np.save(file, found)
    return found


def rightly(name: str, count: int) -> Images:
    """Return the first `count` photographs that a network classifies rightly, in name order."""
    images = photographs()
    return images.at(np.flatnonzero(predictions(name) == images.labels)[:count])


def attacked(
    name: str,
    attack: str,
    images: Images,
    *,
    folder: Path = CACHE / "attacked",
    chain: Chain = (),
    batch_size: int = 16,
) -> AttackedSet:
    """Attack photographs, or read those of them that were attacked before.

    Parameters
    ----------
    name : str
        The network under attack.
    attack : str
        The attack as ``lgs evaluate`` takes it.
    images : Images
        What to attack.
    folder : Path
        Where the set is kept, in a folder named after network and attack.
    chain : tuple of Step
        Defenses that the attack goes through.
    batch_size : int
        Photographs attacked at once, and written together.
    """
    spec = parse_attack(attack)
    kept = folder / f"{name}-{_as_folder(attack)}"
    done = {r.source: r for r in attack_records.read_records(kept)} if kept.exists() else {}
    victim = Victim(network(name), chain)
    left = np.array([i for i, source in enumerate(images.names) if source not in done], np.intp)
    prepared = spec.attack.prepare(victim, spec.params, images)
    started = time.perf_counter()
    for start in range(0, len(left), batch_size):
        batch = images.at(left[start : start + batch_size])
        pixels, records = prepared.run(batch)
        attack_records.save(kept, pixels, records)
        done |= {record.source: record for record in records}
        seconds = (time.perf_counter() - started) / (start + len(batch))
        _tell(f"{kept.name}: {start + len(batch)} of {len(left)}, {seconds:.1f} s each")
    records = tuple(done[source] for source in images.names)
    size = images.pixels.shape[1:3]
    return AttackedSet(
        images, attack_records.read_images(kept, [r.file for r in records], size), records
    )


def _as_folder(attack: str) -> str:
    return re.sub(r"[^\w.=-]+", "_", attack.replace(str(DATA), ""))


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
