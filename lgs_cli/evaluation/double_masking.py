"""Double masking of the model that is evaluated: a row of a table, and its certificate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from lgs_cli.defenses.chain import Chain
from lgs_cli.defenses.double_mask import DoubleMaskParams
from lgs_cli.defenses.masking import Votes, is_certified
from lgs_cli.defenses.preprocessing import Preprocessing, fit, seen
from lgs_cli.evaluation import models
from lgs_cli.evaluation.models.model import Model
from lgs_cli.lazy import np
from lgs_cli.params import Params, parameter

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Asked(NamedTuple):
    """A model with its preprocessing, as double masking asks it."""

    model: Model
    preprocessing: Preprocessing

    def predict(self, pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.intp]:
        """Return the class of each picture."""
        return self.model.predict(np.stack([fit(one, self.preprocessing) for one in pictures]))


@dataclass(frozen=True)
class EvaluatedMaskParams(DoubleMaskParams):
    """Parameters of double masking where a model is evaluated.

    Attributes
    ----------
    model : str
        As `DoubleMaskParams` has it; empty: the evaluated model, with its own preprocessing.
    resize, crop : int
        As it has them; 0 by default, since the pictures are the crops that the evaluated model
        sees.
    """

    resize: int = parameter(0, "Resize the shorter side to this; 0: leave as is.", at_least=0)
    crop: int = parameter(0, "Crop the center to this side; 0: keep all.", at_least=0)

    def __post_init__(self) -> None:
        Params.__post_init__(self)  # the model may be left out

    @property
    def classifier(self) -> _Asked:  # type: ignore[override]  # asked in the same way
        """The model that answers.

        Raises
        ------
        LgsError
            If a model is named that cannot be loaded.
        ValueError
            If none is named or evaluated.
        """
        if self.model:
            return _Asked(_load(self.model, self.preprocessing), self.preprocessing)
        evaluated: Model | None = getattr(self, "_evaluated", None)
        if evaluated is None:
            raise ValueError("no model is evaluated, and none is named")
        return _Asked(evaluated, self.preprocessing)

    def of(self, model: Model) -> EvaluatedMaskParams:
        """Return the same parameters for the case that a model is evaluated."""
        other = replace(self)
        object.__setattr__(other, "_evaluated", model)  # no parameter: nobody writes or reads it
        return other


@lru_cache(maxsize=2)
def _load(spec: str, preprocessing: Preprocessing) -> Model:
    return models.load(spec, preprocessing)


def bound(chain: Chain, model: Model) -> Chain:
    """Return a chain in which double masking knows the model that is evaluated."""
    return tuple(
        step._replace(params=step.params.of(model))
        if isinstance(step.params, EvaluatedMaskParams)
        else step
        for step in chain
    )


def is_provable(chain: Chain) -> bool:
    """Say whether :func:`is_proved` says something about a chain: it is double masking alone."""
    return len(chain) == 1 and isinstance(chain[0].params, EvaluatedMaskParams)


def is_proved(picture: NDArray[np.uint8], label: int, chain: Chain) -> bool:
    """Say whether it is proved that double masking answers a label, whatever a patch holds.

    Parameters
    ----------
    picture : ndarray
        uint8 (H, W, 3) RGB, as the model sees it, without a patch.
    label : int
        The class it shows.
    chain : tuple of Step
        One that is `is_provable`, and `bound`.
    """
    (step,) = chain
    params = step.params
    assert isinstance(params, EvaluatedMaskParams)
    height, width = picture.shape[:2]
    masks = params.masks(seen(height, width, params.preprocessing))
    return is_certified(Votes(picture, masks, params.classifier.predict), label)
