"""A classifier in an ``.onnx`` file, for defenses that have to ask one."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lgs_cli.defenses.onnx_network import OnnxNetwork
from lgs_cli.defenses.preprocessing import Preprocessing, as_input, fit
from lgs_cli.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Classifier:
    """A network and its preprocessing.

    Parameters
    ----------
    path : str
        The ``.onnx`` file: float (N, 3, H, W) in, (N, K) out.
    preprocessing : Preprocessing
        How a picture becomes its input.

    Raises
    ------
    ValueError
        If the file cannot be read or loaded.
    """

    def __init__(self, path: str, preprocessing: Preprocessing) -> None:
        try:
            status = os.stat(path)
        except OSError as error:
            raise ValueError(f"{path}: {(error.strerror or '').lower()}") from None
        self._path = path
        self._preprocessing = preprocessing
        self._network = _network(path, status.st_mtime_ns, status.st_size)

    def predict(self, pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.intp]:
        """Return the class of each picture.

        Parameters
        ----------
        pictures : iterable of ndarray
            uint8 (H, W, 3) RGB, of any size. Each goes through the network alone: that costs no
            time on a CPU, and networks that take one picture only can be used.

        Returns
        -------
        ndarray
            intp (N,), from 0.

        Raises
        ------
        ValueError
            If a picture is smaller than the crop, or the network does not return one row of
            logits.
        """
        return np.asarray([self._label(picture) for picture in pictures], np.intp)

    def _label(self, picture: NDArray[np.uint8]) -> int:
        crop = fit(picture, self._preprocessing)
        try:
            logits = self._network(as_input(crop[None], self._preprocessing))
        except ValueError:
            height, width = crop.shape[:2]
            raise ValueError(f"{self._path} fails on {width}×{height} pixels") from None
        if logits.ndim != 2 or len(logits) != 1:
            raise ValueError(f"{self._path} returns shape {logits.shape}, not one row of logits")
        return int(logits.argmax())


@functools.lru_cache(maxsize=2)
def _network(path: str, mtime_ns: int, size: int) -> OnnxNetwork:
    """Load a network once in each process; a file that changes is another."""
    return OnnxNetwork(path, threads=1)  # the images of a folder are shared among processes
