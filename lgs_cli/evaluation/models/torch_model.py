"""A torch module as a classifier. It scores, and gives gradients."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
import zipfile
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from lgs_cli.defenses.preprocessing import Preprocessing
from lgs_cli.errors import LgsError, UsageError
from lgs_cli.evaluation.models.model import Model, first_line
from lgs_cli.lazy import np, torch
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

DEVICES = ("auto", "cpu", "cuda")

HOW_TO_EXPORT = (
    "write a Python function that returns the network with them, and give --model MODULE:FUNCTION; "
    "or export it once with torch.export.save(torch.export.export(network.eval(), "
    "(torch.rand(2, 3, 224, 224),)), 'net.pt2')"
)


class TorchModel(Model):
    """A torch module: scores, and gives gradients with respect to its input.

    It runs in this process, unlike an ``.onnx`` file: gradients are worked out step by step between
    the attack and the model, and a fork of a process in which torch has threads would hang.

    Attributes
    ----------
    device : torch.device
        Where it runs.
    """

    def __init__(self, spec: str, preprocessing: Preprocessing, module: Any, device: str) -> None:
        super().__init__(spec, preprocessing, f"torch {torch.__version__}")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        elif device == "cuda" and not torch.cuda.is_available():
            raise UsageError("no CUDA device is available to torch; use --device cpu")
        self.device = torch.device(device)
        self._module = module.to(self.device)
        for weight in self._module.parameters():
            weight.requires_grad_(False)
        self._normalize()

    def taking(self, preprocessing: Preprocessing) -> Self:
        """Return the same model with another preprocessing."""
        other = super().taking(preprocessing)
        other._normalize()
        return other

    @property
    def device_name(self) -> str:
        """Where it runs: ``cpu`` or ``cuda``."""
        return str(self.device.type)

    def digest(self) -> str:
        """Return the SHA-256 of its file or, if code made it, of its weights."""
        of_file = super().digest()
        if of_file:
            return of_file
        digest = hashlib.sha256()
        for name, weight in self._module.state_dict().items():
            digest.update(f"{name}\0{tuple(weight.shape)}\0".encode())
            digest.update(np.ascontiguousarray(weight.detach().cpu().numpy()).tobytes())
        return digest.hexdigest()

    def _normalize(self) -> None:
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(self.preprocessing.means, device=self.device).view(shape)
        self._std = torch.tensor(self.preprocessing.stds, device=self.device).view(shape)

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
            If the model fails on them, or does not return one row per image.
        """
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
        """Return the gradient of a number computed from :meth:`differentiable`.

        Parameters
        ----------
        value : torch.Tensor
            The number.
        of : torch.Tensor
            What to differentiate with respect to.
        images : torch.Tensor
            (N, 3, H, W) that went through the model, for error messages.

        Returns
        -------
        torch.Tensor
            Has the shape of `of`.

        Raises
        ------
        UsageError
            If the model cuts off gradients.
        LgsError
            If the backward pass fails, for instance because memory runs out.
        """
        if not value.requires_grad:
            raise UsageError("the model cuts off gradients, so it cannot be attacked")
        with self.guard(len(images), *images.shape[2:]):
            (gradient,) = torch.autograd.grad(value, of)
        return gradient

    def _forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            logits = self.differentiable(to_tensor(images, self.device))
        return np.asarray(logits.float().cpu().numpy(), np.float32)


def to_tensor(images: NDArray[np.uint8], device: Any) -> Tensor:
    """Turn pixels into a tensor.

    Parameters
    ----------
    images : ndarray
        uint8 (N, H, W, 3).
    device : torch.device or str
        Where to put the tensor.

    Returns
    -------
    torch.Tensor
        float32 (N, 3, H, W) in [0, 1].
    """
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)
    return x.float() / 255


def to_pixels(x: Tensor) -> NDArray[np.uint8]:
    """Turn a tensor into pixels.

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


def read_module(spec: str) -> Any:
    """Read a torch module.

    Parameters
    ----------
    spec : str
        ``FILE.pt2`` (torch.export), ``FILE.pt`` (TorchScript), or ``package.module:factory``.

    Returns
    -------
    torch.nn.Module
        In evaluation mode.

    Raises
    ------
    UsageError
        If the factory cannot be imported, or returns something else.
    LgsError
        If the file is damaged, or the factory fails.
    """
    if spec.lower().endswith(".pt2"):
        return _guarded(spec, lambda: _exported(spec))
    if spec.lower().endswith(".pt"):
        with warnings.catch_warnings():
            # torch recommends .pt2 instead, but the user has a .pt
            warnings.simplefilter("ignore", DeprecationWarning)
            read: Any = torch.jit.load
            if not _is_torchscript(spec):
                raise UsageError(
                    f"{printable(spec)} is no TorchScript but a pickle, of weights or of a module, "
                    f"which Python cannot read without the code of its network: {HOW_TO_EXPORT}"
                )
            return _guarded(spec, lambda: read(spec, map_location="cpu").eval())
    return _from_factory(spec)


def _exported(spec: str) -> Any:
    """Load an exported network, in which ReLU6 is what it was before the export.

    torch exports it as a clamp, whose backward pass takes as long as a convolution's.
    """
    module = torch.export.load(spec).module()
    for node in module.graph.nodes:
        if node.target is torch.ops.aten.clamp.default and node.args[1:] == (0, 6):
            value = node.meta.get("val")
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                node.target = torch.ops.aten.hardtanh.default
    module.recompile()
    return module


def _is_torchscript(spec: str) -> bool:
    """Tell TorchScript from what torch.save writes; anything damaged passes for the former."""
    try:
        with zipfile.ZipFile(spec) as archive:
            return any(name.endswith("constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        with open(spec, "rb") as file:
            return file.read(1) != b"\x80"  # a pickle, as torch.save wrote before 1.6


def _guarded(spec: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:
        raise LgsError(f"torch cannot load {printable(spec)}: {first_line(error)}") from error


def _from_factory(spec: str) -> Any:
    module_name, _, name = spec.partition(":")
    # `python -m` does this by itself, a console script does not
    sys.path.insert(0, os.getcwd())
    try:
        factory = getattr(import_module(module_name), name)
    except Exception as error:
        # the module is the user's and may raise anything
        kind = (
            "" if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: "
        )
        raise UsageError(f"model {spec!r}: {kind}{first_line(error)}") from error
    finally:
        sys.path.remove(os.getcwd())
    module = _guarded(spec, factory)
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"model {spec!r} returned a {type(module).__name__}, not an nn.Module")
    return module.eval()
