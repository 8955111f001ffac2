"""What a classifier of images is, whatever runs it."""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Self

from lgs_cli.defenses.preprocessing import Preprocessing
from lgs_cli.errors import LgsError
from lgs_cli.lazy import np
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Model(ABC):
    """A classifier of images.

    Attributes
    ----------
    spec : str
        What the user named it.
    preprocessing : Preprocessing
        How an image becomes its input.
    engine : str
        What runs it, with its version.
    classes : int
        Number of classes; 0 until the first call of :meth:`logits`.
    """

    def __init__(self, spec: str, preprocessing: Preprocessing, engine: str = "") -> None:
        self.spec = spec
        self.preprocessing = preprocessing
        self.engine = engine
        self.classes = 0

    @property
    def device_name(self) -> str:
        """Where it runs: ``cpu`` or ``cuda``."""
        return "cpu"

    def digest(self) -> str:
        """Return the SHA-256 of its file; empty if it has none."""
        if not Path(self.spec).is_file():
            return ""
        with Path(self.spec).open("rb") as file:
            return file_digest(file, "sha256").hexdigest()

    def taking(self, preprocessing: Preprocessing) -> Self:
        """Return the same model with another preprocessing."""
        other = copy.copy(self)
        other.preprocessing = preprocessing
        return other

    def logits(self, images: NDArray[np.uint8], batch_size: int = 16) -> NDArray[np.float32]:
        """Classify images.

        Parameters
        ----------
        images : ndarray
            uint8 (N, H, W, 3) RGB, cropped as the model takes them.
        batch_size : int
            How many go through the model at once.

        Returns
        -------
        ndarray
            float32 (N, K), one logit per class.

        Raises
        ------
        LgsError
            If the model fails on them, or does not return one row per image.
        """
        rows = []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            with self.guard(*batch.shape[:3]):
                found = self._forward(batch)
            self._require_rows(found.shape, len(batch))
            rows.append(found)
        logits = np.concatenate(rows)
        self.classes = logits.shape[1]
        return logits

    def predict(self, images: NDArray[np.uint8], batch_size: int = 16) -> NDArray[np.intp]:
        """Return the class each image gets.

        Parameters
        ----------
        images : ndarray
            uint8 (N, H, W, 3) RGB, cropped as the model takes them.
        batch_size : int
            How many go through the model at once.

        Returns
        -------
        ndarray
            intp (N,), from 0.

        Raises
        ------
        LgsError
            As :meth:`logits`.
        """
        return np.asarray(self.logits(images, batch_size).argmax(axis=1), np.intp)

    @contextlib.contextmanager
    def guard(self, count: int, height: int, width: int) -> Iterator[None]:
        """Turn whatever goes wrong inside a model into one line that names it.

        Parameters
        ----------
        count, height, width : int
            How many images go through the model, and their size in pixels.

        Raises
        ------
        LgsError
            If anything fails, also if memory runs out.
        """
        try:
            yield
        except LgsError:
            raise
        except Exception as error:
            raise LgsError(
                f"{printable(self.spec)} fails on a batch of {count} images of "
                f"{width}×{height}: {first_line(error)}"
            ) from error

    def _require_rows(self, shape: Sequence[int], count: int) -> None:
        if len(shape) != 2 or shape[0] != count:
            raise LgsError(
                f"{printable(self.spec)} returns shape {tuple(shape)} for {count} images; "
                "it must be one row of logits per image"
            )

    @abstractmethod
    def _forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 logits (N, K) of uint8 images (N, H, W, 3)."""


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, printable."""
    lines = str(error).strip().splitlines()
    return printable(lines[0] if lines else repr(error))
