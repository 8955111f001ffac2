"""Load a classifier and ask it for logits, with gradients where torch loads it."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lgs_cli.errors import LgsError, MissingExtraError, UsageError
from lgs_cli.evaluation.settings import Preprocessing
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from torch import Tensor


class Model(ABC):
    """A classifier of images.

    Attributes
    ----------
    spec : str
        What the user named it.
    preprocessing : Preprocessing
        How an image becomes its input.
    classes : int
        Number of classes; 0 until the first call of :meth:`logits`.
    """

    def __init__(self, spec: str, preprocessing: Preprocessing) -> None:
        self.spec = spec
        self.preprocessing = preprocessing
        self.classes = 0

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
            float32 (N, K), one logit a class.

        Raises
        ------
        LgsError
            Where the model fails on them, or does not return one row an image.
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
        """Turn whatever goes wrong inside of a model into one line that names it.

        Parameters
        ----------
        count, height, width : int
            How many images go through the model, and their size in pixels.

        Raises
        ------
        LgsError
            Where anything fails, for lack of memory too.
        """
        try:
            yield
        except LgsError:
            raise
        except Exception as error:
            raise LgsError(
                f"{printable(self.spec)} fails on a batch of {count} images of "
                f"{width}×{height}: {_reason(error)}"
            ) from error

    def _require_rows(self, shape: Sequence[int], count: int) -> None:
        if len(shape) != 2 or shape[0] != count:
            raise LgsError(
                f"{printable(self.spec)} returns shape {tuple(shape)} for {count} images; "
                "it must be one row of logits an image"
            )

    @abstractmethod
    def _forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 logits (N, K) of uint8 images (N, H, W, 3)."""


class OnnxModel(Model):
    """An ``.onnx`` file in OpenCV's DNN: scores, but gives no gradient."""

    def __init__(self, spec: str, preprocessing: Preprocessing) -> None:
        super().__init__(spec, preprocessing)
        try:
            self._net = cv2.dnn.readNetFromONNX(spec)
        except cv2.error as error:
            raise LgsError(
                f"OpenCV cannot load {printable(spec)}: {printable(error.err)}"
            ) from None

    def _forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pre = self.preprocessing
        pixels = images[..., ::-1] if pre.channels == "bgr" else images
        x: NDArray[np.float32] = pixels.astype(np.float32) * np.float32(pre.white / 255)
        x -= np.array(pre.means, np.float32)
        x /= np.array(pre.stds, np.float32)
        self._net.setInput(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        return np.asarray(self._net.forward(), np.float32).copy()


class TorchModel(Model):
    """A torch module: scores, and gives gradients with respect to its input.

    Attributes
    ----------
    device : torch.device
        Where it runs.
    """

    def __init__(self, spec: str, preprocessing: Preprocessing, module: Any, device: str) -> None:
        import torch

        super().__init__(spec, preprocessing)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        elif device == "cuda" and not torch.cuda.is_available():
            raise UsageError("no CUDA device is available to torch; use --device cpu")
        self.device = torch.device(device)
        self._module = module.to(self.device)
        for weight in self._module.parameters():
            weight.requires_grad_(False)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(preprocessing.means, device=self.device).view(shape)
        self._std = torch.tensor(preprocessing.stds, device=self.device).view(shape)

    def differentiable(self, x: Tensor) -> Tensor:
        """Return logits with a gradient.

        Parameters
        ----------
        x : torch.Tensor
            float32 (N, 3, H, W), RGB in [0, 1], on :attr:`device`.

        Returns
        -------
        torch.Tensor
            float32 (N, K).

        Raises
        ------
        LgsError
            Where the model fails on them, or does not return one row an image.
        """
        import torch

        if self.preprocessing.channels == "bgr":
            x = x.flip(1)
        with self.guard(len(x), *x.shape[2:]):
            x = (x * self.preprocessing.white - self._mean) / self._std
            # on CPUs convolutions are up to twice as fast in this layout
            logits: Tensor = self._module(x.contiguous(memory_format=torch.channels_last))
            shape = logits.shape
        self._require_rows(shape, len(x))
        return logits

    def gradient(self, value: Tensor, of: Tensor, images: Tensor) -> Tensor:
        """Return the gradient of what came of :meth:`differentiable`.

        Parameters
        ----------
        value : torch.Tensor
            One number.
        of : torch.Tensor
            What it is differentiated with respect to.
        images : torch.Tensor
            (N, 3, H, W) that went through the model, for the message of an error.

        Returns
        -------
        torch.Tensor
            Of the shape of `of`.

        Raises
        ------
        UsageError
            Where the model cuts off gradients.
        LgsError
            Where the way back fails, for instance for lack of memory.
        """
        import torch

        if not value.requires_grad:
            raise UsageError("the model cuts off gradients, so it cannot be attacked")
        with self.guard(len(images), *images.shape[2:]):
            (gradient,) = torch.autograd.grad(value, of)
        return gradient

    def _forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        with torch.no_grad():
            logits = self.differentiable(to_tensor(images, self.device))
        return np.asarray(logits.float().cpu().numpy(), np.float32)


def to_tensor(images: NDArray[np.uint8], device: Any) -> Tensor:
    """Turn pixels into what torch takes.

    Parameters
    ----------
    images : ndarray
        uint8 (N, H, W, 3).
    device : torch.device or str
        Where the result lies.

    Returns
    -------
    torch.Tensor
        float32 (N, 3, H, W) in [0, 1].
    """
    import torch

    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)
    return x.float() / 255


def to_pixels(x: Tensor) -> NDArray[np.uint8]:
    """Turn what torch takes into pixels.

    Parameters
    ----------
    x : torch.Tensor
        float (N, 3, H, W) in [0, 1].

    Returns
    -------
    ndarray
        uint8 (N, H, W, 3), rounded.
    """
    pixels = (x.detach() * 255).round().clamp(0, 255).byte().cpu().numpy()
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def load(spec: str, preprocessing: Preprocessing, device: str = "auto") -> Model:
    """Load a model.

    Parameters
    ----------
    spec : str
        ``FILE.onnx`` (scoring only, without torch), ``FILE.pt2`` (torch.export), ``FILE.pt``
        (TorchScript), or ``package.module:factory``, where ``factory()`` returns a
        ``torch.nn.Module``.
    preprocessing : Preprocessing
        How an image becomes its input.
    device : str
        One of `settings.DEVICES`; ``auto`` is CUDA where there is one.

    Returns
    -------
    Model

    Raises
    ------
    UsageError
        Where `spec` is none of these, or does not exist.
    MissingExtraError
        Where it needs torch and there is none.
    LgsError
        Where the file is damaged, or the factory fails.
    """
    suffix = Path(spec).suffix.lower()
    if suffix in {".onnx", ".pt2", ".pt"}:
        if not Path(spec).is_file():
            raise UsageError(f"model {printable(spec)} does not exist")
    elif ":" not in spec or not all(spec.split(":")) or spec.count(":") != 1:
        raise UsageError(
            f"model {spec!r} is not FILE.onnx, FILE.pt2, FILE.pt or package.module:factory"
        )
    if suffix == ".onnx":
        return OnnxModel(spec, preprocessing)
    try:
        import torch
    except ModuleNotFoundError:
        what = f"a {suffix} model" if suffix in {".pt2", ".pt"} else "package.module:factory"
        raise MissingExtraError(what, "torch", "eval") from None
    if suffix == ".pt2":
        module = _guarded(spec, lambda: torch.export.load(spec).module())
    elif suffix == ".pt":
        with warnings.catch_warnings():
            # torch would rather have a .pt2; the user has a .pt
            warnings.simplefilter("ignore", DeprecationWarning)
            read: Any = torch.jit.load
            module = _guarded(spec, lambda: read(spec, map_location="cpu").eval())
    else:
        module = _from_factory(spec)
    return TorchModel(spec, preprocessing, module, device)


def _guarded(spec: str, read: Any) -> Any:
    try:
        return read()
    except Exception as error:
        raise LgsError(f"torch cannot load {printable(spec)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return printable(lines[0] if lines else repr(error))


def _from_factory(spec: str) -> Any:
    import torch

    module_name, _, name = spec.partition(":")
    # as `python -m` does, and a console script does not
    sys.path.insert(0, os.getcwd())
    try:
        factory = getattr(import_module(module_name), name)
    except Exception as error:
        # the module is the user's: it may raise anything
        kind = (
            "" if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: "
        )
        raise UsageError(f"model {spec!r}: {kind}{_reason(error)}") from error
    finally:
        sys.path.remove(os.getcwd())
    module = _guarded(spec, factory)
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"model {spec!r} returned a {type(module).__name__}, not an nn.Module")
    return module.eval()


def any_size(model: TorchModel, side: int) -> Callable[[Tensor], Tensor]:
    """Let a model take square pictures of one size, also if it is made for another.

    Parameters
    ----------
    model : TorchModel
        The model.
    side : int
        Height and width of the pictures in pixels.

    Returns
    -------
    callable
        float (N, 3, side, side) in [0, 1] to logits (N, classes); pictures that the model does
        not take as they are are resized to what its preprocessing crops.

    Raises
    ------
    LgsError
        Where the model takes neither.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)

    own = model.preprocessing.crop or side

    def resized(x: Tensor) -> Tensor:
        size = (own, own)
        return model.differentiable(F.interpolate(x, size, mode="bilinear", align_corners=False))

    blank = torch.zeros(1, 3, side, side, device=model.device)
    try:
        with torch.no_grad():
            model.differentiable(blank)
    except LgsError:
        with torch.no_grad():
            resized(blank)
        return resized
    return model.differentiable


def require_torch(what: str) -> None:
    """Check that torch is installed.

    Parameters
    ----------
    what : str
        What needs it, as the subject of a sentence.

    Raises
    ------
    MissingExtraError
        Where it is not.
    """
    if find_spec("torch") is None:
        raise MissingExtraError(what, "torch", "eval")


def require_gradients(model: Model, what: str) -> TorchModel:
    """Return the model, where it gives gradients.

    Parameters
    ----------
    model : Model
        Any model.
    what : str
        What needs the gradients, as the subject of a sentence.

    Returns
    -------
    TorchModel
        `model` itself.

    Raises
    ------
    UsageError
        Where it gives none: an ``.onnx`` file.
    """
    if not isinstance(model, TorchModel):
        raise UsageError(
            f"{what} needs gradients, and {printable(model.spec)} only scores: "
            "give the model as .pt2, .pt or package.module:factory"
        )
    return model
