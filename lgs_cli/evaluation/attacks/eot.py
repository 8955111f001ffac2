"""Expectation over Transformation: physical-style patches, one for each image (arXiv 1707.07397).

A patch that is printed and photographed is seen turned, nearer or farther, in another light. One
made for a single view loses its effect then; this one is made for all views at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lgs_cli.errors import UsageError
from lgs_cli.evaluation.attacks import lavan, warping
from lgs_cli.evaluation.attacks.attack import Attack, Prepared
from lgs_cli.evaluation.attacks.lavan import LavanParams
from lgs_cli.evaluation.attacks.lavan_batch import Batch, rounded
from lgs_cli.evaluation.attacks.pasting import Box, Spot, box_around
from lgs_cli.evaluation.attacks.placement import draws, fraction_parameter
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.models.torch_model import TorchModel
from lgs_cli.evaluation.victim import Victim
from lgs_cli.lazy import np, torch
from lgs_cli.params import parameter

if TYPE_CHECKING:
    from torch import Tensor

    from lgs_cli.evaluation.bpda import Layer

_CHECKS = 32
"""Under how many transformations a finished patch is tried."""

# What tells an image's draws for its steps, its checks and its written view apart.
_STEPS, _CHECK, _VIEW = 1, 2, 3


@dataclass(frozen=True)
class EotParams(LavanParams):
    """Expectation over Transformation: a patch an image that works from many views.

    The parameters of LaVAN, and those of the views. A patch of `patch_size` or `patch_fraction`
    has that size at scale 1.

    Attributes
    ----------
    samples : int
        Views of each patch at each step, over which the gradient is averaged. All views of a batch
        go through the model at once: memory limits their number.
    rotation : float
        Largest rotation in degrees, to either side.
    scale_min, scale_max : float
        Range of the side in units of the nominal side.
    shift : float
        Farthest move along each axis, as a share of the nominal side.
    brightness : float
        Most that is added to the patch's colors, or taken away, as a share of white.
    contrast : float
        Most by which their distance from middle gray grows or shrinks, as a share of it.
    upright : bool
        Whether the patch is written as it is. Otherwise each image shows it in a view of its own,
        drawn from the same ranges.

    References
    ----------
    Athalye, Engstrom, Ilyas, Kwok, "Synthesizing Robust Adversarial Examples", ICML 2018,
    arXiv 1707.07397. The views are those of a flat patch: rotation, scale and shift in the plane
    of the image, and light that falls on the patch alone.
    """

    patch_fraction: float = fraction_parameter(0.05, "Area of the patch as a share of the image.")
    samples: int = parameter(8, "Views of each patch a step, all in one pass.", at_least=1)
    rotation: float = parameter(20.0, "Largest rotation in degrees.", at_least=0, at_most=180)
    scale_min: float = parameter(0.8, "Smallest scale.", at_least=0.05, at_most=10)
    scale_max: float = parameter(1.2, "Largest scale.", at_least=0.05, at_most=10)
    shift: float = parameter(
        0.1, "Farthest move along each axis, as a share of the side.", at_least=0, at_most=10
    )
    brightness: float = parameter(
        0.1, "Most that light adds or takes, as a share of white.", at_least=0, at_most=1
    )
    contrast: float = parameter(
        0.2, "Most by which contrast grows or shrinks, as a share.", at_least=0, at_most=0.9
    )
    upright: bool = parameter(False, "Write the patch as it is, not in a view drawn for it.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale_min > self.scale_max:
            raise ValueError(
                f"scale_min is {self.scale_min:g}; valid is at most scale_max ({self.scale_max:g})"
            )


class View(NamedTuple):
    """One transformation of a patch.

    Attributes
    ----------
    spot : Spot
        Where it lies, how large, and how far turned.
    contrast : float
        Factor of its colors' distance from middle gray.
    brightness : float
        What is added to them, as a share of white.
    """

    spot: Spot
    contrast: float = 1.0
    brightness: float = 0.0


def draw_view(
    params: EotParams,
    size: tuple[int, int],
    corner: tuple[int, int],
    side: int,
    draw: np.random.Generator,
) -> View:
    """Draw a view of a patch that lies in the image as a whole.

    Parameters
    ----------
    params : EotParams
        The ranges.
    size : tuple of int
        Height and width of the image in pixels.
    corner : tuple of int
        Top and left of the patch at its nominal place.
    side : int
        Its nominal side in pixels.
    draw : numpy.random.Generator
        Source of randomness.

    Raises
    ------
    UsageError
        If the largest patch, turned as far as it may be, does not fit into the image.
    """
    turn = math.radians(min(params.rotation, 45))
    reach = math.ceil(side * params.scale_max * (math.cos(turn) + math.sin(turn)) - 1e-9)
    if reach > min(size):
        raise UsageError(
            f"a patch of {side} px, enlarged and turned, takes up {reach} px, which does not fit "
            f"into images of {size[1]}×{size[0]}: lower its size, --scale-max or --rotation"
        )
    scaled = side * float(draw.uniform(params.scale_min, params.scale_max))
    angle = math.radians(float(draw.uniform(-params.rotation, params.rotation)))
    half = scaled * (abs(math.cos(angle)) + abs(math.sin(angle))) / 2
    moves = side * draw.uniform(-params.shift, params.shift, 2)
    row, column = (
        min(max(start + side / 2 + float(move), half), length - half)
        for start, move, length in zip(corner, moves, size, strict=True)
    )
    return View(
        Spot(row, column, scaled, angle),
        1 + float(draw.uniform(-params.contrast, params.contrast)),
        float(draw.uniform(-params.brightness, params.brightness)),
    )


class EotBatch(Batch):
    """One start of the attack on one batch of images, each patch seen in several views."""

    params: EotParams

    def __init__(
        self, x: Tensor, images: Images, classes: int, params: EotParams, restart: int
    ) -> None:
        super().__init__(x, images, classes, params, restart)
        self.looks = params.samples
        self._draws = [draws(params.seed, name, _STEPS, restart + 1) for name in images.names]
        # other starts are tried in the same views, and written in the same
        self._checks = [draws(params.seed, name, _CHECK) for name in images.names]
        self._views = [
            View(Spot(top + self.side / 2, left + self.side / 2, self.side, 0.0))
            if params.upright
            else self._view(index, draws(params.seed, name, _VIEW))
            for index, (name, (top, left)) in enumerate(
                zip(images.names, self.corners, strict=True)
            )
        ]

    def run(self, model: TorchModel, defend: Layer) -> Iterator[None]:
        """Take steps, then see how well the patches do in views that no step has seen."""
        yield from super().run(model, defend)
        everyone = torch.arange(len(self.x), device=self.x.device)
        hits = torch.zeros(len(self.x), device=self.x.device)
        with torch.no_grad():
            for _ in range(_CHECKS):
                views = [self._view(index, draw) for index, draw in enumerate(self._checks)]
                logits = model.differentiable(defend(self.viewed(self.best, everyone, views)))
                hits += self.margin(logits, everyone) > 0
        self.score = hits / _CHECKS

    def is_better(self, score: Tensor, active: Tensor) -> Tensor:
        """Take the last patch: the scores of two steps are of different views."""
        return torch.ones_like(score, dtype=torch.bool)

    def survival(self, index: int) -> float:
        """Return the share of transformations that a patch survives."""
        return round(float(self.score[index]), 6)

    def seen(self, patch: Tensor, active: Tensor) -> Tensor:
        """Return several views of each patch."""
        indices = active.repeat_interleave(self.looks)
        views = [self._view(index, self._draws[index]) for index in indices.tolist()]
        return self.viewed(patch.repeat_interleave(self.looks, 0), indices, views)

    def written(self) -> Tensor:
        """Return the images with their best patches, each in the view that is drawn for it."""
        return self.viewed(self.best, torch.arange(len(self.x)), self._views)

    def box(self, index: int) -> Box:
        """Return the box around the patch of one of the images that are written."""
        nothing = torch.zeros(1, 1, *self.x.shape[2:])
        full = torch.ones(1, 1, self.side, self.side)
        covered = warping.paste(nothing, full, full[0], [self._views[index].spot])
        return box_around(covered[0, 0].numpy() > 0)

    def viewed(self, patch: Tensor, indices: Tensor, views: Sequence[View]) -> Tensor:
        """Return images with their patches in one view each, rounded to 8 bits."""
        light = patch.new_tensor([(view.contrast, view.brightness) for view in views])
        contrast, brightness = light.T[..., None, None, None]
        lit = ((self.enlarged(patch) - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)
        masks = torch.ones_like(lit[:, 0])
        x = self.x[indices.to(self.x.device)]
        return rounded(warping.paste(x, lit, masks, [view.spot for view in views]))

    def _view(self, index: int, draw: np.random.Generator) -> View:
        height, width = self.x.shape[2:]
        return draw_view(self.params, (height, width), self.corners[index], self.side, draw)


def prepare(victim: Victim, params: EotParams, material: Images | None) -> Prepared:
    """Get ready to attack a model; nothing is trained, so `material` is not used."""
    return lavan.ready(victim, params, EotBatch)


ATTACK = Attack(
    name="eot",
    title="Expectation over Transformation",
    summary="a patch for each image that works turned, scaled, moved and in other light, as a "
    "printed one must. A step costs --samples times as much as one of LaVAN.",
    papers=("1707.07397",),
    params=EotParams,
    prepare=prepare,
    check=lavan.check,
    variants=lavan.variants,
)
