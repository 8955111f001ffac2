"""The whole training: from photographs to a detector with calibrated scores."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lgs_cli.defenses import localize
from lgs_cli.defenses.preprocessing import Preprocessing
from lgs_cli.errors import LgsError, UsageError
from lgs_cli.evaluation import models
from lgs_cli.evaluation.detector import scenes
from lgs_cli.evaluation.detector.learner import Learner, Outcome
from lgs_cli.evaluation.detector.network import Detector, smoothed
from lgs_cli.evaluation.detector.opponents import Advanced, Opponents, any_size
from lgs_cli.evaluation.detector.params import TrainParams
from lgs_cli.evaluation.detector.scenes import SIDE, Pixels
from lgs_cli.evaluation.models.reference import REFERENCES
from lgs_cli.wording import printable

_ATTACK_STEPS = 4  # of each attacker in a round
_STEPS = 12  # of the detector in a round
_SAVED_EVERY = 20  # rounds
_FLAGGED = 0.01  # share of clean pictures above the threshold
_COMMON = 0.9  # quantile at which pictures seen and not seen are compared
_VIEWS = 8  # of each held-out photograph


@dataclass(frozen=True)
class Progress:
    """How far the training is.

    Attributes
    ----------
    round, rounds : int
        The round that is done, and how many there are.
    loss, found : float
        Means over the round, see `Outcome`.
    passed : float
        Share of the attackers who know the detector that fool their classifier and are not
        found; NaN without attackers.
    """

    round: int
    rounds: int
    loss: float
    found: float
    passed: float


@dataclass(frozen=True)
class Material:
    """What a detector is trained on.

    Attributes
    ----------
    photos, held_out : sequence of ndarray
        uint8 (H, W, 3) RGB photographs without a patch. Those held out serve calibration and
        the figures only.
    patches : sequence of ndarray
        uint8 (h, w, 3) RGB patches to paste.
    model_specs : sequence of str
        The classifiers that attackers attack, as `models.load` takes them.
    preprocessing : Preprocessing
        How these take an image.
    """

    photos: Sequence[Pixels]
    held_out: Sequence[Pixels]
    patches: Sequence[Pixels]
    model_specs: Sequence[str]
    preprocessing: Preprocessing


def train(
    material: Material,
    params: TrainParams,
    checkpoint: Path,
    tell: Callable[[Progress], None],
) -> Detector:
    """Train a detector against attackers who learn along with it.

    The detector first learns from pasted textures and patches, then in rounds from what the
    attackers made in the round before, while these continue. On one machine the same material and
    seed give the same result, also if the training was interrupted.

    Parameters
    ----------
    material : Material
        What it is trained on.
    params : TrainParams
        How long, against how many, and the seed.
    checkpoint : Path
        Where the state is saved every few rounds; training continues from it if it is there.
    tell : callable
        Called after every round.

    Returns
    -------
    Detector
        Calibrated so that about 1 % of photographs that it has not seen score 0.5 or more.

    Raises
    ------
    UsageError
        If the checkpoint belongs to another training.
    LgsError
        If a model cannot be attacked, or the process of an attacker dies.
    """
    torch.set_num_threads(1)
    learner = Learner(material.photos, material.patches, params.seed)
    identity = {
        "rounds": params.rounds, "warmup": params.warmup, "attackers": params.attackers,
        "seed": params.seed, "photos": len(material.photos), "models": list(material.model_specs),
    }  # fmt: skip
    saved = _read_checkpoint(checkpoint, identity)
    with contextlib.ExitStack() as stack:
        sparring = [
            stack.enter_context(_sparring(material, spec, params, index))
            for index, spec in enumerate(material.model_specs)
        ]
        recent: list[Advanced] = []
        first = 0
        if saved is not None:
            learner.restore(saved["learner"])
            recent, first = saved["recent"], saved["round"]
            for pipe, state in zip(sparring, saved["opponents"], strict=True):
                _ask(pipe, "restore", state)
        else:
            for _ in range(params.warmup):
                learner.step([])
        for number in range(first + 1, params.rounds + 1):
            kept = {k: v.clone() for k, v in learner.kept.state_dict().items()}
            for pipe in sparring:
                pipe.send(("advance", (kept, learner.bar)))
            over = number / params.rounds
            outcomes = [learner.step(recent, over) for _ in range(_STEPS)]
            advanced = [_answer(pipe) for pipe in sparring]
            for made in advanced:
                learner.remember(made.retired)
            recent = (recent + advanced)[-2 * len(sparring) :] if sparring else []
            if number % _SAVED_EVERY == 0 or number == params.rounds:
                state = {
                    "identity": identity, "round": number, "learner": learner.state(),
                    "recent": recent, "opponents": [_ask(pipe, "state") for pipe in sparring],
                }  # fmt: skip
                _write_checkpoint(checkpoint, state)
            tell(_progress(number, params.rounds, outcomes, advanced))
    detector = learner.kept.fold()
    level = calibration_level(detector, material.photos, material.held_out, params.seed)
    with torch.no_grad():
        assert detector.cells.bias is not None
        detector.cells.bias -= level
    return detector


def _progress(
    number: int, rounds: int, outcomes: Sequence[Outcome], advanced: Sequence[Advanced]
) -> Progress:
    loss = float(np.mean([outcome.loss for outcome in outcomes]))
    found = float(np.mean([outcome.found for outcome in outcomes]))
    passed = [made.fooled[made.knowing] & made.hidden[made.knowing] for made in advanced]
    everyone = np.concatenate(passed) if passed else np.zeros(0)
    share = float(everyone.mean()) if everyone.size else float("nan")
    return Progress(number, rounds, loss, found, share)


def _read_checkpoint(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    if not path.exists():
        return None
    shown = printable(str(path))
    try:
        # The file is our own, and holds arrays as well as tensors.
        saved: dict[str, Any] = torch.load(path, weights_only=False)
        known = saved["identity"]
    except Exception as error:
        raise UsageError(f"{shown} is no checkpoint of a training: remove it") from error
    if known != identity:
        raise UsageError(f"{shown} is of a training with other settings: remove it, or repeat them")
    return saved


def _write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    fresh = path.with_name(f".{path.name}.part")
    torch.save(state, fresh)
    os.replace(fresh, path)


@contextlib.contextmanager
def _sparring(
    material: Material, spec: str, params: TrainParams, index: int
) -> Iterator[Connection]:
    """Run the attackers of one model in a process of its own, with one thread of torch."""
    # A forked process with the threads of torch can hang.
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    seed = params.seed * 1000 + index + 1
    arguments = (other, spec, material.preprocessing, material.photos, params.attackers, seed)
    process = context.Process(target=_attack, args=arguments, daemon=True)
    process.start()
    other.close()
    try:
        _answer(pipe)
        yield pipe
    finally:
        process.terminate()
        process.join()
        pipe.close()


def _attack(
    pipe: Connection,
    spec: str,
    preprocessing: Preprocessing,
    photos: Sequence[Pixels],
    count: int,
    seed: int,
) -> None:
    """Keep the attackers of one model, and answer what the training asks."""
    torch.set_num_threads(1)
    try:
        if spec in REFERENCES:
            preprocessing = REFERENCES[spec].preprocessing
        model = models.require_gradients(models.load(spec, preprocessing, "cpu"), "training")
        opponents = Opponents(any_size(model, SIDE), photos, count, seed)
        detector = Detector().eval().requires_grad_(False)
        pipe.send(None)
        while True:
            what, given = pipe.recv()
            if what == "advance":
                state, bar = given
                detector.load_state_dict(state)
                pipe.send(opponents.advance(detector, bar, _ATTACK_STEPS))
            elif what == "state":
                pipe.send(opponents.state())
            else:
                opponents.restore(given)
                pipe.send(None)
    except (EOFError, KeyboardInterrupt):
        return
    except LgsError as error:
        pipe.send(error)


def _ask(pipe: Connection, what: str, given: Any = None) -> Any:
    pipe.send((what, given))
    return _answer(pipe)


def _answer(pipe: Connection) -> Any:
    try:
        answer = pipe.recv()
    except EOFError:
        raise LgsError("the process of an attacker has died") from None
    if isinstance(answer, LgsError):
        raise answer
    return answer


def views(photo: Pixels, draw: np.random.Generator) -> list[Pixels]:
    """Return a photograph as the detector may see it: whole, cropped, recompressed.

    Returns
    -------
    list of ndarray
        uint8 (h, w, 3) RGB at the size at which the network sees them.
    """
    whole = localize.reduced(photo)[0]
    made = [whole, np.ascontiguousarray(whole[:, ::-1]), scenes.recompressed(whole, draw)]
    while len(made) < _VIEWS:
        height, width = photo.shape[:2]
        share = draw.uniform(0.6, 1.0)
        rows, columns = round(height * share), round(width * share)
        top, left = (int(draw.integers(n + 1)) for n in (height - rows, width - columns))
        part = photo[top : top + rows, left : left + columns]
        made.append(localize.reduced(np.ascontiguousarray(part))[0])
    return made


def calibration_level(
    detector: Detector, photos: Sequence[Pixels], held_out: Sequence[Pixels], seed: int
) -> float:
    """Find the logit that few images without a patch reach.

    A few dozen held-out photographs are too few for this: a single odd one would decide. The many
    photographs of the training show how rare high scores are, and the held-out ones how much
    higher images score that the detector has not seen.

    Parameters
    ----------
    detector : Detector
        Folded.
    photos, held_out : sequence of ndarray
        uint8 (H, W, 3) RGB photographs that it was trained on, and others.
    seed : int
        Of the views of them.

    Returns
    -------
    float
    """
    draw = np.random.default_rng([seed, 2])
    seen, unseen = (
        [peak(detector, view) for photo in some for view in views(photo, draw)]
        for some in (photos, held_out)
    )
    shift = np.quantile(unseen, _COMMON) - np.quantile(seen, _COMMON)
    return float(np.quantile(seen, 1 - _FLAGGED) + shift)


def peak(detector: Detector, picture: NDArray[Any]) -> float:
    """Return the logit that decides about an image, uint8 (H, W, 3) at the network's size."""
    x = torch.from_numpy(picture.transpose(2, 0, 1).copy())[None].float() / 255
    with torch.no_grad():
        return float(smoothed(detector(x)).amax())
