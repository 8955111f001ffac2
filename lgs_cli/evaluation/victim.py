"""What an attack is made on: a model, the defenses in front of it, and how to work with both."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from lgs_cli.defenses.chain import Chain, apply_chain
from lgs_cli.errors import LgsError
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.double_masking import bound
from lgs_cli.evaluation.models.model import Model
from lgs_cli.evaluation.progress import Progress, Silence
from lgs_cli.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lgs_cli.evaluation.bpda import Layer

BACKWARDS = ("auto", "identity", "exact", "relaxed")


class Defended(NamedTuple):
    """Images behind a chain of defenses.

    Attributes
    ----------
    pixels : ndarray
        uint8 (N, H, W, 3) RGB.
    seconds : list of float
        Wall time for each image.
    scores : list of float or None
        How suspicious each image is, in [0, 1]; None if no defense looks for patches.
    found : list of bool or None
        Whether a patch was found in it; None likewise.
    """

    pixels: NDArray[np.uint8]
    seconds: list[float]
    scores: list[float | None]
    found: list[bool | None]


@dataclass(frozen=True, eq=False)
class Victim:
    """A model behind defenses.

    Attributes
    ----------
    model : Model
        The classifier.
    chain : tuple of Step
        The defenses that an image passes first, in order.
    backward : str
        One of `BACKWARDS`: the gradient of the defenses, see :func:`lgs_cli.evaluation.bpda.layer`.
    batch_size : int
        Images that go through the model at once.
    progress : Progress
        Hears how far the work is.
    """

    model: Model
    chain: Chain = ()
    backward: str = "auto"
    batch_size: int = 16
    progress: Progress = field(default_factory=Silence)

    def behind(self, chain: Chain) -> Victim:
        """Return the same model behind other defenses."""
        return replace(self, chain=bound(chain, self.model))

    def clean(self, pixels: NDArray[np.uint8]) -> Defended:
        """Run the defenses over images, uint8 (N, H, W, 3) RGB.

        Raises
        ------
        LgsError
            If a defense cannot take an image.
        """
        cleaned, seconds = [], []
        for image in pixels:
            started = time.perf_counter()
            try:
                cleaned.append(apply_chain(image, self.chain))
            except ValueError as error:
                raise LgsError(str(error)) from error
            seconds.append(time.perf_counter() - started)
        return Defended(
            np.stack([one.image for one in cleaned]),
            seconds,
            [one.score for one in cleaned],
            [None if one.score is None else bool(one.regions) for one in cleaned],
        )

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the model's logits (N, K) for images behind the defenses."""
        return self.model.logits(self.clean(pixels).pixels, self.batch_size)

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.intp]:
        """Return the class (N,) that the model gives each image behind the defenses."""
        return self.model.predict(self.clean(pixels).pixels, self.batch_size)

    def layer(self) -> Layer | None:
        """Return the defenses as a layer with a gradient; None if there are none.

        Raises
        ------
        UsageError
            If a defense has no such gradient.
        """
        if not self.chain:
            return None
        from lgs_cli.evaluation import bpda

        return bpda.layer(self.chain, self.backward)

    def batches(self, images: Images) -> Iterator[Images]:
        """Part images into batches."""
        for start in range(0, len(images), self.batch_size):
            yield images.at(slice(start, start + self.batch_size))

    def labeled(self, images: Images) -> Images:
        """Return images with the undefended model's answer for every label that is not known."""
        if (images.labels >= 0).all():
            return images
        predicted = self.model.predict(images.pixels, self.batch_size)
        labels = np.where(images.labels < 0, predicted, images.labels)
        return replace(images, labels=labels)
