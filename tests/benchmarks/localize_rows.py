"""The rows of the table of `localize`: what is measured, on what, and the goals."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from attacked_sets import (
    CACHE,
    DATA,
    NETWORKS,
    AttackedSet,
    attacked,
    network,
    photographs,
    predictions,
    rightly,
)
from clutter import KINDS, load, pictures
from figures import Goal, Line, of_mean, of_ratio, of_share, share_of
from localize_judge import Judged, area_under_curve, judge, overlap
from numpy.typing import NDArray
from pasted import SHAPES, paste

from lgs_cli.defenses import localize
from lgs_cli.defenses.chain import Step
from lgs_cli.defenses.defense import Region
from lgs_cli.defenses.localize import LocalizeParams
from lgs_cli.evaluation import dataset
from lgs_cli.evaluation.attacks.records import Attacked
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.table import Share

FIRST = "squeezenet1_1"
SIZES = (0.02, 0.03, 0.04)
HIDING = {
    "gray": "lavan:gray=yes",
    "gray of 16×16 flat cells": "lavan:gray=yes,cells=16,flat-cells=yes",
    "16×16 flat cells": "lavan:cells=16,flat-cells=yes",
    "8×8 flat cells": "lavan:cells=8,flat-cells=yes",
    "smoothed by total variation": "lavan:variation=1",
}
EVADE_WEIGHTS = (0.1, 0.3, 1, 3, 10)


@dataclass
class Measurement:
    """What one run measures, and with which detector."""

    count: int
    params: LocalizeParams
    white_box_count: int
    white_box_start: str
    clutter_count: int
    judged: dict[tuple[str, str], Judged] = field(default_factory=dict)

    def fewer(self, name: str) -> int:
        """Return how many photographs a network is attacked on: the slower ones on half."""
        return self.count if name == FIRST else max(1, self.count // 2)

    def set_of(self, name: str, attack: str) -> AttackedSet:
        """Return a set of attacked photographs."""
        return attacked(name, attack, rightly(name, self.fewer(name)))

    def judge(self, name: str, attack: str) -> Judged:
        """Return what the defense makes of a set."""
        key = name, attack
        if key not in self.judged:
            found = self.set_of(name, attack)
            masks = [found.mask(index) for index in range(len(found.records))]
            self.judged[key] = judge(
                network(name), found.pixels, found.clean.labels, masks, self.params
            )
        return self.judged[key]

    def clean_scores(self) -> NDArray[np.float64]:
        """Return the scores of all photographs, not attacked, as the networks see them."""
        return np.array([localize.find(image, self.params).score for image in photographs().pixels])


def blind_attack(fraction: float) -> str:
    """Return the attack of a size as ``lgs evaluate`` takes it."""
    return f"lavan:patch-fraction={fraction:g}"


def clean(run: Measurement) -> Iterator[Line]:
    """Photographs without a patch."""
    images = photographs()
    cleaned = np.stack([localize.apply(image, run.params).image for image in images.pixels])
    touched = np.array([(a != b).any() for a, b in zip(cleaned, images.pixels, strict=True)])
    for name, title in NETWORKS.items():
        right = predictions(name) == images.labels
        changed = np.flatnonzero(right & touched)
        kept = right.copy()
        if len(changed):
            kept[changed] = network(name).predict(cleaned[changed]) == images.labels[changed]
        yield of_share(
            f"clean accuracy kept, {title}", Share(int(kept.sum()), int(right.sum())), Goal(0.99, 1)
        )
    goal = Goal(0.02, 0.005, at_least=False)
    names = [name.partition("_")[2].partition(".")[0] for name in images.names]
    yield of_share(
        "clean photographs touched, crops of 224",
        share_of(touched),
        goal,
        _listed(names, touched),
    )
    files = sorted((DATA / "imagenet").glob("*.JPEG"))
    full = np.array([bool(_regions(dataset.read(file), run.params)) for file in files])
    yield of_share(
        "clean photographs touched, full size", share_of(full), goal, _listed(names, full)
    )


def _regions(image: NDArray[np.uint8], params: LocalizeParams) -> tuple[Region, ...]:
    return localize.find(image, params).regions


def _listed(names: Sequence[object], chosen: NDArray[np.bool_]) -> str:
    """Return the names of those chosen, of many only the first."""
    shown = [str(names[index]) for index in np.flatnonzero(chosen)]
    return ", ".join(shown[:8]) + (", …" if len(shown) > 8 else "")


def _note(judged: Judged) -> str:
    found = share_of(judged.overlaps > 0)
    return (
        f"defended {share_of(judged.right).value:.3f}, true mask repaired "
        f"{share_of(judged.repaired).value:.3f}, found {found.value:.3f}, "
        f"IoU {judged.overlaps.mean():.3f}"
    )


def _undefended(records: Sequence[Attacked]) -> str:
    return f"undefended {share_of(np.array([r.after == r.label for r in records])).value:.3f}"


def blind(run: Measurement) -> Iterator[Line]:
    """Attacks that do not know the defense."""
    scores = run.clean_scores()
    every, curves = [], {}
    for name, title in NETWORKS.items():
        for fraction in SIZES:
            attack = blind_attack(fraction)
            judged = run.judge(name, attack)
            every.append(judged)
            curves[f"{title}, {fraction:.0%}"] = area_under_curve(judged.scores, scores)
            yield of_ratio(
                f"blind {fraction:.0%}, {title}: of what the true mask keeps",
                share_of(judged.right), share_of(judged.repaired), Goal(0.97, 1),
                f"{len(judged.right)} photographs; {_undefended(run.set_of(name, attack).records)},"
                f" {_note(judged)}",
            )  # fmt: skip
    right, repaired = (
        share_of(np.concatenate([getattr(judged, what) for judged in every]))
        for what in ("right", "repaired")
    )
    yield of_ratio(
        "blind, all of these: of what the true mask keeps",
        right,
        repaired,
        Goal(0.97, 1),
        f"{right.total} attacked photographs",
    )
    overlaps = np.concatenate([judged.overlaps for judged in every])
    lowest = min(judged.overlaps.mean() for judged in every)
    yield of_mean(
        "blind, all of these: mean IoU", overlaps, Goal(0.8, 0.9), f"worst set {lowest:.3f}"
    )
    worst = min(curves, key=lambda key: curves[key])
    yield Line(
        "attacked against clean, AUC of the worst set", curves[worst],
        note=f"{worst}; mean {statistics.fmean(curves.values()):.4f}",
    )  # fmt: skip


def hiding(run: Measurement) -> Iterator[Line]:
    """Attacks whose noise is made to look like less than noise."""
    goal = Goal(0.9, 0.94)
    lines, overlaps = [], []
    for title, attack in HIDING.items():
        judged = run.judge(FIRST, attack)
        note = f"{_undefended(run.set_of(FIRST, attack).records)}, {_note(judged)}"
        lines.append(of_share(f"hiding 2 %: {title}", share_of(judged.right), goal, note))
        overlaps.append(judged.overlaps)
        yield lines[-1]
    worst = min(lines, key=lambda one: one.value)
    yield Line("hiding, worst", worst.value, worst.low, worst.high, goal, worst.row.split(": ")[1])
    yield of_mean("hiding: mean IoU", np.concatenate(overlaps), Goal(0.8, 0.9))


def transferable(run: Measurement) -> Iterator[Line]:
    """Patches that were trained on other networks, on all photographs."""
    images = photographs()
    found = attacked(FIRST, f"patch:apply={DATA / 'imagenet_patch'}", images)
    masks = [_pasted_mask(found, index) for index in range(len(images))]
    scores = run.clean_scores()
    for name, title in NETWORKS.items():
        model = network(name)
        judged = judge(model, found.pixels, images.labels, masks, run.params)
        undefended = share_of(model.predict(found.pixels) == images.labels)
        without = share_of(predictions(name) == images.labels)
        yield of_ratio(
            f"ImageNet-Patch, {title}: of what the true mask keeps",
            share_of(judged.right), share_of(judged.repaired), Goal(0.97, 1),
            f"without patch {without.value:.3f}, undefended {undefended.value:.3f}, "
            f"{_note(judged)}, AUC {area_under_curve(judged.scores, scores):.4f}",
        )  # fmt: skip


def _pasted_mask(found: AttackedSet, index: int) -> NDArray[np.uint8]:
    """Return where a patch lies that may be rotated: the hull of what differs."""
    changed = (found.pixels[index] != found.clean.pixels[index]).any(2)
    hull = cv2.convexHull(np.argwhere(changed)[:, ::-1].astype(np.int32))
    mask = np.zeros(changed.shape, np.uint8)
    cv2.fillConvexPoly(mask, hull, 1)
    return mask


def shapes(run: Measurement) -> Iterator[Line]:
    """Patches smaller, larger, and of other shapes: reported."""
    for fraction in (0.005, 0.1):
        attack = blind_attack(fraction)
        judged = run.judge(FIRST, attack)
        yield of_share(
            f"patches of {fraction:.1%}: found", share_of(judged.overlaps > 0),
            note=f"{_undefended(run.set_of(FIRST, attack).records)}, {_note(judged)}",
        )  # fmt: skip
    noise = run.set_of(FIRST, blind_attack(0.04))
    for shape in SHAPES:
        pixels, masks = paste(shape, noise)
        overlaps = np.array(
            [
                overlap(_regions(image, run.params), mask)
                for image, mask in zip(pixels, masks, strict=True)
            ]
        )
        yield of_share(
            f"patches {shape}: found", share_of(overlaps > 0),
            note=f"2 %, pasted noise; IoU of the boxes {overlaps.mean():.3f}",
        )  # fmt: skip


def white_box(run: Measurement) -> Iterator[Line]:
    """Attacks that go through the defense, with its weights and gradient."""
    images = rightly(FIRST, run.white_box_count)
    survived = np.ones(len(images), bool)
    for weight in EVADE_WEIGHTS:
        right, note = _hidden(run, images, f"evade={weight:g},evade-rise=1,restarts=3")
        survived &= right
        yield of_share(f"white box, evade weight {weight:g}: left", share_of(right), note=note)
    yield of_share("white box, the worst of all weights: left", share_of(survived), Goal(0.5, 0.8))
    right, note = _hidden(run, images, "evade=1,step-size=0.03")
    yield of_share("white box, a weight that adapts: left", share_of(right), note=note)


def _hidden(run: Measurement, images: Images, how: str) -> tuple[NDArray[np.bool_], str]:
    """Attack through the defense, hiding; return which photographs survive."""
    attack = f"lavan:{how},steps=200,start={run.white_box_start}"
    folder = CACHE / "white-box" / run.params.fingerprint()[:12]
    chain = (Step("localize", run.params),)
    found = attacked(FIRST, attack, images, folder=folder, chain=chain, batch_size=8)
    masks = [found.mask(index) for index in range(len(images))]
    judged = judge(network(FIRST), found.pixels, images.labels, masks, run.params)
    return judged.right, _note(judged)


def false_alarms(run: Measurement) -> Iterator[Line]:
    """Pictures that are no photographs, or hardly."""
    available = load(DATA / "imagenet")
    for kind in KINDS:
        scores = np.array(
            [
                localize.find(picture, run.params).score
                for picture in pictures(kind, run.clutter_count, available)
            ]
        )
        flagged = scores >= run.params.threshold
        note = f"highest score {scores.max():.3f}"
        if flagged.any():
            note += f"; number {_listed(range(len(scores)), flagged)}"
        goal = Goal(0.05, 0.01, at_least=False)
        yield of_share(f"false alarms: {kind}", share_of(flagged), goal, note)


def cost(run: Measurement) -> Iterator[Line]:
    """Processor time on photographs without a patch against their decoding, one thread."""
    cv2.setNumThreads(1)
    files = []
    for path in sorted((DATA / "imagenet").glob("*.JPEG")):
        data = np.frombuffer(path.read_bytes(), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if picture.shape == (375, 500, 3) and not _regions(picture, run.params):
            files.append(data)
        if len(files) == 20:
            break
    yield _cost_of("500×375", files, 9, run.params, Goal(2, 1, at_least=False))
    large = []
    for data in files[:3]:
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        enlarged = cv2.resize(picture, (6000, 4000), interpolation=cv2.INTER_CUBIC)
        large.append(cv2.imencode(".jpg", enlarged, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])
    yield _cost_of("24 megapixels", large, 5, run.params, Goal(0.5, 0.2, at_least=False))


def _cost_of(
    what: str, files: list[NDArray[np.uint8]], repeats: int, params: LocalizeParams, goal: Goal
) -> Line:
    ours, theirs = [], []
    for data in files:
        picture = np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(repeats):
            for times, function in (
                (seconds[0], lambda picture=picture: localize.apply(picture, params)),
                (seconds[1], lambda data=data: cv2.imdecode(data, cv2.IMREAD_COLOR)),
            ):
                started = time.process_time()
                function()
                times.append(time.process_time() - started)
        ours.append(statistics.median(seconds[0]))
        theirs.append(statistics.median(seconds[1]))
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    note = (
        f"{statistics.median(ours) * 1e3:.2f} ms against {statistics.median(theirs) * 1e3:.2f} ms, "
        f"{len(files)} photographs"
    )
    return Line(f"cost on {what} against decoding", ratio, goal=goal, note=note)


GROUPS: dict[str, Callable[[Measurement], Iterator[Line]]] = {
    "clean": clean,
    "blind": blind,
    "hiding": hiding,
    "transferable": transferable,
    "shapes": shapes,
    "clutter": false_alarms,
    "cost": cost,
    "white-box": white_box,
}
