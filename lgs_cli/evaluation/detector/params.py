"""The parameters of training a detector. Light: ``--help`` reads them."""

from __future__ import annotations

from dataclasses import dataclass

from lgs_cli.params import Params, parameter


@dataclass(frozen=True)
class TrainParams(Params):
    """How a detector is trained.

    Attributes
    ----------
    warmup : int
        Steps on pasted textures and patches before the attackers join.
    rounds : int
        Rounds against attackers: 12 steps of the detector, 4 of each attacker.
    attackers : int
        Attackers at a time on each model.
    seed : int
        Seed of every draw.
    """

    warmup: int = parameter(800, "Steps before the attackers join.", at_least=1)
    rounds: int = parameter(600, "Rounds against the attackers.", at_least=0)
    attackers: int = parameter(32, "Attackers at a time on each model.", at_least=1)
    seed: int = parameter(0, "Seed of every draw.", at_least=0)
