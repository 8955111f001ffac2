"""Which photographs are evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lgs_cli.errors import UsageError
from lgs_cli.evaluation import dataset, preset_check
from lgs_cli.evaluation.dataset import Images, Photograph
from lgs_cli.evaluation.victim import Victim
from lgs_cli.lazy import np
from lgs_cli.wording import printable


class Selection(NamedTuple):
    """The photographs of an evaluation.

    Attributes
    ----------
    chosen : Images
        The first that qualify, as many as were asked for.
    left_over : Images
        Up to as many of those after them, to train a patch on.
    population : str
        Which photographs were chosen, in words.
    doubt : str
        A warning if the preprocessing seems to be wrong, else empty.
    """

    chosen: Images
    left_over: Images
    population: str
    doubt: str = ""

    @property
    def material(self) -> Images:
        """What to train on: the photographs left over or, if none are, the chosen ones."""
        return self.left_over if len(self.left_over) else self.chosen


def choose(
    victim: Victim, photographs: Sequence[Photograph], count: int, *, all_images: bool = False
) -> Selection:
    """Choose the photographs to evaluate.

    Parameters
    ----------
    victim : Victim
        Its model and batch size are used.
    photographs : sequence of Photograph
        All there are.
    count : int
        How many to choose; 0: all that qualify.
    all_images : bool
        Whether photographs that the undefended model classifies wrongly qualify, too.

    Raises
    ------
    UsageError
        If a photograph has no label, its label is no class of the model, or none qualifies.
    ImageError
        If one cannot be read, or differs from the first in size.
    """
    model = victim.model
    for photograph in photographs:
        if photograph.label is None:
            photograph.require_class(0, printable(model.spec))
    qualified: list[Images] = []
    sample: list[Images] = []
    seen = right = 0
    # enough for the table and for training, then no further file is opened
    wanted = 2 * count or len(photographs)
    for start in range(0, len(photographs), victim.batch_size):
        batch = photographs[start : start + victim.batch_size]
        size = qualified[0].pixels.shape[1:3] if qualified else None
        images = dataset.load(batch, model.preprocessing, size)
        labels = images.labels
        predicted = model.predict(images.pixels, victim.batch_size)
        for photograph in batch:
            photograph.require_class(model.classes, printable(model.spec))
        if seen < preset_check.SAMPLE:
            sample.append(images)
        seen += len(batch)
        right += int((predicted == labels).sum())
        qualified.append(images if all_images else images.at(np.flatnonzero(predicted == labels)))
        if sum(map(len, qualified)) >= wanted:
            break
    doubt = preset_check.doubt(victim, Images.joined(sample).at(slice(0, preset_check.SAMPLE)))
    images = Images.joined(qualified)
    if not len(images):
        advice = doubt or "check the labels and the preprocessing"
        raise UsageError(
            f"{printable(model.spec)} classifies none of {seen} photographs rightly: {advice}"
        )
    count = count or len(images)
    chosen, left_over = images.at(slice(0, count)), images.at(slice(count, None))
    population = f"{len(chosen)} photographs"
    if not all_images:
        population += f" that it classifies rightly undefended ({right} of {seen} are)"
    return Selection(chosen, left_over, population, doubt)
