"""What an attack is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lgs_cli.defenses.chain import Chain
from lgs_cli.evaluation.attacks.records import Crafted
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.victim import Victim
from lgs_cli.lazy import np
from lgs_cli.params import Params

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Prepared(NamedTuple):
    """An attack that is ready for images.

    Attributes
    ----------
    run : callable
        Attacks one batch of images, all labeled; called for one batch after another.
    patch : ndarray or None
        uint8 (P, P, 4) RGBA: the patch that was trained for all images, if there is one.
    """

    run: Callable[[Images], Crafted]
    patch: NDArray[np.uint8] | None = None


class Prepare(Protocol):
    """The function of an attack."""

    def __call__(self, victim: Victim, params: Any, material: Images | None) -> Prepared:
        """Get ready to attack a model.

        Parameters
        ----------
        victim : Victim
            The model, and the defenses that the attack goes through.
        params : Params
            An instance of the attack's parameters.
        material : Images or None
            Labeled images to train on; None only if the attack needs no training.

        Raises
        ------
        LgsError
            If the model gives no gradients and the attack needs them, or a file that it needs
            cannot be used.
        """
        ...


def never(params: Any) -> bool:
    """Return False: for an attack that does not need something, whatever its parameters."""
    return False


def always(params: Any) -> bool:
    """Return True: for an attack that needs something, whatever its parameters."""
    return True


def accept(params: Any, chain: Chain) -> None:
    """Check nothing: for an attack whose parameters make sense through any defenses."""


@dataclass(frozen=True)
class Attack:
    """One attack: what it is called, what it takes, what it needs and what it does.

    Attributes
    ----------
    name : str
        What ``lgs attack`` and ``--attack`` take.
    title : str
        Its full name.
    summary : str
        What it does, as the help text says it: a noun phrase, then sentences.
    papers : tuple of str
        arXiv identifiers of the papers that define it.
    params : type
        Its :class:`Params` dataclass.
    prepare : callable
        Makes it ready for a model.
    needs_gradients : callable
        Whether the model must give gradients, from the parameters.
    needs_training : callable
        Whether something is trained on other images first, from the parameters.
    check : callable
        Raises UsageError if the parameters make no sense through these defenses.
    variants : callable or None
        Its parameters changed in every way that suits these defenses, in the order in which they
        are tried. None: the attack is not made through each defense of a table.
    presets : mapping of str to str
        Well-known kinds of it, and the parameters that make them: ``"cells=8,gray=true"``.
    """

    name: str
    title: str
    summary: str
    papers: tuple[str, ...]
    params: type[Params]
    prepare: Prepare
    needs_gradients: Callable[[Any], bool] = always
    needs_training: Callable[[Any], bool] = never
    check: Callable[[Any, Chain], None] = accept
    variants: Callable[[Any, Chain], tuple[Any, ...]] | None = None
    presets: Mapping[str, str] = field(default_factory=dict)
