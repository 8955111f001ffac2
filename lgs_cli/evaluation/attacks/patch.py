"""Adversarial Patch: one patch for every image and place (arXiv 1712.09665)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lgs_cli.evaluation.attacks import pasting, patch_training
from lgs_cli.evaluation.attacks.attack import Attack, Prepared
from lgs_cli.evaluation.attacks.placement import (
    fraction_parameter,
    location_parameter,
    target_parameter,
)
from lgs_cli.evaluation.attacks.records import Crafted
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.victim import Victim
from lgs_cli.params import Params, choice, parameter, text


@dataclass(frozen=True)
class PatchParams(Params):
    """Adversarial Patch: one patch for every image, by expectation over transformations.

    Attributes
    ----------
    patch_size : int
        Nominal side of the patch in pixels; 0: that of the file given to `apply`, else
        `patch_fraction` decides.
    patch_fraction : float
        Nominal area of the patch as a share of the image's.
    target : str
        ``none`` (away from the labels), ``random`` (one class, drawn once) or a class.
    location : str
        ``random``, ``border``, ``corner`` or ``X,Y``; drawn anew for every image and step.
    shape : str
        ``square`` or ``circle``.
    rotation : float
        Largest rotation in degrees, to either side.
    scale_min, scale_max : float
        Range of the side in units of the nominal side.
    steps, step_size : int, float
        Training steps, one batch each, and how far a pixel goes in one.
    apply : str
        A patch (image file), or a folder of them that the images take in turn, to paste instead
        of training one; empty: train.

    References
    ----------
    Brown, Mané, Roy, Abadi, Gilmer, "Adversarial Patch", 2017, arXiv 1712.09665.
    """

    patch_size: int = parameter(0, "Nominal side in px; 0: from file or fraction.", at_least=0)
    patch_fraction: float = fraction_parameter(0.05, "Nominal area as a share of the image.")
    target: str = target_parameter()
    location: str = location_parameter("random")
    shape: str = choice("square", "Shape of a trained patch.", "square", "circle")
    rotation: float = parameter(22.5, "Largest rotation in degrees.", at_least=0, at_most=180)
    scale_min: float = parameter(1.0, "Smallest scale.", at_least=0.05, at_most=10)
    scale_max: float = parameter(1.0, "Largest scale.", at_least=0.05, at_most=10)
    steps: int = parameter(200, "Training steps, one batch each.", at_least=1)
    step_size: float = parameter(0.02, "Step as a share of white.", at_least=0.0001, at_most=1)
    apply: str = text("", "Patch file or folder to paste, untrained.", "a path", lambda _: True)
    seed: int = parameter(0, "Seed of every draw.", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale_min > self.scale_max:
            raise ValueError(
                f"scale_min is {self.scale_min:g}; valid is at most scale_max ({self.scale_max:g})"
            )


def prepare(victim: Victim, params: PatchParams, material: Images | None) -> Prepared:
    """Read or train the patches, ready to paste them."""
    trained = None
    if params.apply:
        patches = pasting.read(Path(params.apply))
    else:
        assert material is not None
        patches = [patch_training.train(victim, material, params)]
        trained = patches[0].pixels
    turn = 0

    def run(images: Images) -> Crafted:
        nonlocal turn
        crafted = pasting.paste(victim, patches, images, params, turn)
        turn += len(images)
        victim.progress.advance(len(images))
        return crafted

    return Prepared(run, trained)


def is_trained(params: PatchParams) -> bool:
    """Say whether a patch is trained, not read."""
    return not params.apply


ATTACK = Attack(
    name="patch",
    title="Adversarial Patch",
    summary="one patch for all images. The patch is trained, written as patch.png, and pasted onto "
    "each image of the folder IMAGES; --apply pastes a patch that is there already.",
    papers=("1712.09665",),
    params=PatchParams,
    prepare=prepare,
    needs_gradients=is_trained,
    needs_training=is_trained,
)
