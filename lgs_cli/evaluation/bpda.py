"""Defenses as layers with a gradient, so that an attack can go through them.

References
----------
Athalye, Carlini, Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018,
arXiv 1802.00420 (Backward Pass Differentiable Approximation).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.chain import Chain, Step
from lgs_cli.errors import UsageError
from lgs_cli.evaluation.models.torch_model import to_pixels, to_tensor
from lgs_cli.lazy import np, torch
from lgs_cli.params import Params

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Layer = Callable[[Tensor], Tensor]


@runtime_checkable
class Detecting(Protocol):
    """A layer that looks for patches and repairs what it finds."""

    def __call__(self, x: Tensor) -> Tensor:
        """Repair images with a gradient, float32 (N, 3, H, W) in [0, 1] to the same."""
        ...

    def repaired(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Repair images as ``lgs clean`` does, without a gradient.

        Parameters
        ----------
        x : torch.Tensor
            float32 (N, 3, H, W) in [0, 1].

        Returns
        -------
        repaired : torch.Tensor
            (N, 3, H, W).
        found : torch.Tensor
            bool (N,): whether a patch was found in each.
        """
        ...

    def response(self, x: Tensor) -> Tensor:
        """Return how strongly the detector responds: what an attack that hides keeps low.

        Parameters
        ----------
        x : torch.Tensor
            float32 (N, 3, H, W) in [0, 1].

        Returns
        -------
        torch.Tensor
            (N,): a smooth maximum of the map, in logits above the threshold; with a gradient.
        """
        ...


def layer(chain: Chain, backward: str = "auto") -> Layer:
    """Make a layer whose forward pass is a chain of defenses and whose backward pass is chosen.

    Parameters
    ----------
    chain : tuple of Step
        The defenses, in order; none: the layer does nothing.
    backward : str
        ``identity``: the gradient passes the defense unchanged, as in the paper. ``exact``: that
        of the defense written in torch, in which what is piecewise constant (the block gate of
        LGS) has none. ``relaxed``: that of LGS with a sigmoid for its gate, and of `localize` with
        a soft mask. ``auto``: the best that the defense has, else identity.

    Returns
    -------
    callable
        float32 (N, 3, H, W) in [0, 1] to the same; a `Guarded` if a defense looks for patches.

    Raises
    ------
    UsageError
        If the defense has no such gradient, or a detector cannot be read.
    """
    layers = [_layer(step, backward) for step in chain]
    if any(isinstance(one, Detecting) for one in layers):
        return Guarded(layers)

    def apply(x: Tensor) -> Tensor:
        for one in layers:
            x = one(x)
        return x

    return apply


def _layer(step: Step, backward: str) -> Layer:
    own = _own_layers(step.name, step.params)
    if backward == "auto":
        backward = next(iter(own), "identity")
    if backward in own:
        return own[backward]
    if backward == "identity":
        return straight_through(step, lambda x: x)
    able = [
        name
        for name, defense in DEFENSES.items()
        if defense.torch_entry and backward in _own_layers(name, defense.params())
    ]
    names = " and ".join([", ".join(able[:-1]), able[-1]]) if len(able) > 1 else "".join(able)
    raise UsageError(
        f"{step.name} has no {backward} gradient (only {names} {'have' if len(able) > 1 else 'has'}"
        " one); attack through it with identity"
    )


def _own_layers(name: str, params: Params) -> dict[str, Layer]:
    """Return the layers that a defense brings itself, by the name of their gradient."""
    entry = DEFENSES[name].torch_entry
    if not entry:
        return {}
    module, _, function = entry.partition(":")
    layers: dict[str, Layer] = getattr(import_module(module), function)(params)
    return layers


def straight_through(step: Step, inner: Layer) -> Layer:
    """Make a layer of the defense itself forward, and of the gradient of `inner` backward."""

    def apply(x: Tensor) -> Tensor:
        cleaned = np.stack([step.defense.apply(i, step.params).image for i in to_pixels(x)])
        surrogate = inner(x)
        return surrogate + (to_tensor(cleaned, x.device) - surrogate).detach()

    return apply


class Guarded:
    """A chain of layers of which some look for patches: something to hide from.

    Parameters
    ----------
    layers : sequence of callable
        In the order they are applied.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers

    def __call__(self, x: Tensor) -> Tensor:
        """Apply every layer, float32 (N, 3, H, W) in [0, 1] to the same."""
        for layer in self._layers:
            x = layer(x)
        return x

    def passed(self, x: Tensor) -> Tensor:
        """Apply every layer that does not look for patches: the outcome if none is found.

        Parameters
        ----------
        x : torch.Tensor
            float32 (N, 3, H, W) in [0, 1].

        Returns
        -------
        torch.Tensor
            (N, 3, H, W), with a gradient.
        """
        for layer in self._layers:
            if not isinstance(layer, Detecting):
                x = layer(x)
        return x

    def response(self, x: Tensor) -> Tensor:
        """Return how strongly the detectors respond, see `Detecting.response`.

        Parameters
        ----------
        x : torch.Tensor
            float32 (N, 3, H, W) in [0, 1].

        Returns
        -------
        torch.Tensor
            (N,), with a gradient.
        """
        total = x.new_zeros(len(x))
        for layer in self._layers:
            if isinstance(layer, Detecting):
                total = total + layer.response(x)
            else:
                x = layer(x)
        return total

    def repaired(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the defenses without a gradient.

        Parameters
        ----------
        x : torch.Tensor
            float32 (N, 3, H, W) in [0, 1].

        Returns
        -------
        repaired : torch.Tensor
            (N, 3, H, W).
        found : torch.Tensor
            bool (N,): whether a patch was found in each.
        """
        found = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        with torch.no_grad():
            for layer in self._layers:
                if isinstance(layer, Detecting):
                    x, here = layer.repaired(x)
                    found = found | here
                else:
                    x = layer(x)
        return x, found
