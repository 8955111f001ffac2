"""LaVAN: localized and visible noise, one patch for each image (arXiv 1801.02608)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from lgs_cli.defenses.chain import Chain
from lgs_cli.errors import UsageError
from lgs_cli.evaluation.attacks.attack import Attack, Prepared
from lgs_cli.evaluation.attacks.lavan_batch import Batch
from lgs_cli.evaluation.attacks.placement import (
    fraction_parameter,
    location_parameter,
    require_classes,
    target_parameter,
)
from lgs_cli.evaluation.attacks.records import Attacked, Crafted, file_name, with_findings
from lgs_cli.evaluation.bpda import Guarded
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.models import require_gradients
from lgs_cli.evaluation.models.torch_model import TorchModel, to_pixels, to_tensor
from lgs_cli.evaluation.victim import Victim
from lgs_cli.lazy import torch
from lgs_cli.params import Params, choice, parameter

if TYPE_CHECKING:
    from torch import Tensor

    from lgs_cli.evaluation.bpda import Layer

ADAPTIVE_CELLS = 16

EVADE_WEIGHTS = (1.0, 0.1, 10.0)
"""With which an attack hides from `localize`, in turn."""

# Longer steps are found, and it costs more of them to get hidden again.
_HIDING_STEP = 0.03


@dataclass(frozen=True)
class LavanParams(Params):
    """Localized and visible noise: one patch of free pixels an image.

    Attributes
    ----------
    patch_size : int
        Side of the patch in pixels; 0: `patch_fraction` decides.
    patch_fraction : float
        Area of the patch as a share of the image's.
    target : str
        ``none`` (away from the label), ``random`` (a class drawn for each image) or a class.
    location : str
        ``random``, ``border`` (next to a side drawn at random), ``corner`` or ``X,Y`` (left and
        top of the patch in pixels).
    steps : int
        Gradient steps.
    step_size : float
        How far a pixel goes in the first step, as a share of white; it shrinks linearly to 0.
    confidence : float
        An image is done where the attack's class has at least this probability; 1: never before
        the last step.
    restarts : int
        Independent starts, of which the best is kept.
    cells : int
        Cells along each side of the patch, bicubically enlarged to it; 0: every pixel is free.
    flat_cells : bool
        Whether cells are squares of one color each, not enlarged smoothly.
    gray : bool
        Whether the patch has no color.
    variation : float
        Weight of the patch's total variation against the attack's aim: smooth patches hide better.
    start : str
        ``noise``, or ``content``: what the picture itself shows there, which hides better.
    evade : float
        Weight, at first, of not being found by a `localize` that the attack goes through, against
        the attack's aim; each has a gradient of mean size 1. 0: the attack does not hide. Without
        effect on an attack that goes through no `localize`, such as the blind ones of a table.
    evade_rise : float
        By which factor that weight rises after a step on which the patch is found, and falls
        after one on which it is not, which itself goes for the aim alone. 1: the weight stays,
        and counts on every step.
    exploit_normalization : bool
        Whether one maximal black-to-white corner is put inside the patch: defenses that divide
        by the largest gradient of the image then see every other gradient scaled down.

    References
    ----------
    Karmon, Zoran, Goldberg, "LaVAN: Localized and Visible Adversarial Noise", ICML 2018,
    arXiv 1801.02608.
    """

    patch_size: int = parameter(0, "Side of the patch in px; 0: from the fraction.", at_least=0)
    patch_fraction: float = fraction_parameter(0.02, "Area of the patch as a share of the image.")
    target: str = target_parameter()
    location: str = location_parameter("border")
    steps: int = parameter(80, "Gradient steps.", at_least=1)
    step_size: float = parameter(0.1, "First step as a share of white.", at_least=0.0001, at_most=1)
    confidence: float = parameter(
        1.0, "Probability at which an image is done; 1: use every step.", at_least=0, at_most=1
    )
    restarts: int = parameter(1, "Starts, of which the best counts.", at_least=1)
    cells: int = parameter(0, "Cells a side, enlarged to the patch; 0: free pixels.", at_least=0)
    flat_cells: bool = parameter(False, "Cells of one color each, not enlarged smoothly.")
    gray: bool = parameter(False, "A patch without color.")
    variation: float = parameter(
        0, "Weight of the patch's total variation: higher is smoother.", at_least=0
    )
    start: str = choice("noise", "What the patch is at first.", "noise", "content")
    evade: float = parameter(
        0, "Weight of not being found by the localize of --through.", at_least=0
    )
    evade_rise: float = parameter(
        1.15, "Its rise a step while found, and fall while not; 1: none.", at_least=1, at_most=10
    )
    exploit_normalization: bool = parameter(
        False, "Put one maximal step into the patch, which scales all other gradients down."
    )
    seed: int = parameter(0, "Seed of every draw.", at_least=0)


def attack(
    model: TorchModel,
    images: Images,
    params: LavanParams,
    through: Layer | None = None,
    advance: Callable[[int], None] | None = None,
    kind: type[Batch] = Batch,
) -> Crafted:
    """Attack one batch of images.

    x′ = (1 − m) ⊙ x + m ⊙ δ, with δ found by signed gradient steps with momentum on the logits:
    that of the target against that of the class to beat, which is at first the source's, or,
    untargeted, that of the strongest other class against that of the label. δ is rounded to 8
    bits in the loop, so what is optimized is what a PNG holds, and of all steps the best is kept.

    An attack that hides from `localize` (``params.evade``) steps on the image unrepaired, since
    a patch that passes is not repaired, and against the detector's response; the best of its steps
    is the one that does best behind the real defense.

    Parameters
    ----------
    model : TorchModel
        The model under attack.
    images : Images
        The batch, cropped as the model takes it; the names together with the seed decide every
        draw.
    params : LavanParams
        The attack's parameters.
    through : callable, optional
        The defenses inside the attack's loop, from `bpda.layer`.
    advance : callable, optional
        Called with how many more images are done; after a share of the steps that is the
        same share of the images.
    kind : type
        How patches are laid into images and judged.

    Returns
    -------
    Crafted
        The pixels equal the input outside the patch.

    Raises
    ------
    UsageError
        If the patch does not fit into the images, the model lacks a class, or it cuts off
        gradients.
    LgsError
        If the model fails on the images.
    """
    started = time.perf_counter()
    defend = through if through is not None else _nothing
    x = to_tensor(images.pixels, model.device)
    with torch.no_grad():
        before = model.differentiable(defend(x))
    require_classes(images.labels.tolist(), images.names, before.shape[1])
    total = params.restarts * params.steps
    steps = done = 0
    best: Batch | None = None
    for restart in range(params.restarts):
        batch = kind(x, images, before.shape[1], params, restart)
        for _ in batch.run(model, defend):
            steps += 1
            share = steps * len(images) // total
            if advance is not None and share > done:
                advance(share - done)
                done = share
        best = batch if best is None else best.joined(batch)
    assert best is not None
    pixels = to_pixels(best.written())
    with torch.no_grad():
        after = model.differentiable(defend(to_tensor(pixels, model.device))).softmax(1)
    if advance is not None and done < len(images):
        advance(len(images) - done)  # a batch may end before its last step
    seconds = (time.perf_counter() - started) / len(images)
    boxes = [best.box(i) for i in range(len(images))]
    records = [
        Attacked(
            file=file_name(images.names[i]),
            source=images.names[i],
            label=int(images.labels[i]),
            target=best.targets[i],
            top=boxes[i].top,
            left=boxes[i].left,
            height=boxes[i].height,
            width=boxes[i].width,
            before=int(before[i].argmax()),
            after=int(after[i].argmax()),
            confidence=float(after[i].max()),
            steps=int(best.steps[i]),
            dead_steps=int(best.dead[i]),
            seconds=seconds,
            survives=best.survival(i),
        )
        for i in range(len(images))
    ]
    return Crafted(pixels, records)


def _nothing(x: Tensor) -> Tensor:
    return x


def prepare(victim: Victim, params: LavanParams, material: Images | None) -> Prepared:
    """Get ready to attack a model; LaVAN trains on nothing, so `material` is not used."""
    return ready(victim, params, Batch)


def ready(victim: Victim, params: LavanParams, kind: type[Batch]) -> Prepared:
    """Get ready to attack a model, with patches that are laid and judged as `kind` does it."""
    model = require_gradients(victim.model, "an attack")
    through = victim.layer()

    def run(images: Images) -> Crafted:
        crafted = attack(model, images, params, through, victim.progress.advance, kind)
        if not isinstance(through, Guarded):
            return crafted
        behind = victim.clean(crafted.pixels)
        records = with_findings(crafted.records, behind.found, behind.scores)
        return Crafted(crafted.pixels, records)

    return Prepared(run)


def check(params: LavanParams, chain: Chain) -> None:
    """Refuse to hide if there is nothing to hide from."""
    if params.evade and not hides_from(chain):
        raise UsageError("--evade hides a patch from localize: add --through localize")


def hides_from(chain: Chain) -> bool:
    """Say whether an attack through a chain can hide from it: `localize` is in it."""
    return any(step.name == "localize" for step in chain)


def variants(base: LavanParams, chain: Chain) -> tuple[LavanParams, ...]:
    """Return the variants of an attack that suit a defense best.

    Smooth cells stay below the threshold of LGS, and the maximal step scales them down further;
    defenses that blur or quantize sometimes give way to free pixels. From `localize` a patch
    hides: as the attack says, else with every weight and start in turn, and last without hiding,
    to make the most of the repair.
    """
    smooth = replace(base, cells=base.cells or ADAPTIVE_CELLS, exploit_normalization=True)
    if not hides_from(chain):
        return smooth, base
    if base.evade:
        return (base,)
    step_size = min(base.step_size, _HIDING_STEP)
    hidden = [
        replace(base, start=start, evade=evade, step_size=step_size)
        for evade, start in product(EVADE_WEIGHTS, ("content", "noise"))
    ]
    if len(chain) > 1:
        hidden.append(replace(smooth, start="content", evade=EVADE_WEIGHTS[0]))
    return *hidden, base


ATTACK = Attack(
    name="lavan",
    title="LaVAN",
    summary="a patch of visible noise for each image.",
    papers=("1801.02608",),
    params=LavanParams,
    prepare=prepare,
    check=check,
    variants=variants,
    presets={
        "textured": "cells=8,flat-cells=true",
        "smooth": "cells=8",
        "gray": "gray=true",
        "soft": "variation=1",
        "blended": "start=content,variation=1,step-size=0.03",
    },
)
