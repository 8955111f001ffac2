"""Load a classifier from what a user writes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from lgs_cli.defenses.preprocessing import Preprocessing
from lgs_cli.errors import MissingExtraError, UsageError
from lgs_cli.evaluation.models.model import Model
from lgs_cli.evaluation.models.onnx_model import OnnxModel
from lgs_cli.evaluation.models.reference import REFERENCES
from lgs_cli.evaluation.models.torch_model import HOW_TO_EXPORT, TorchModel, read_module
from lgs_cli.wording import printable

# What torch, Lightning and others save weights as.
_WEIGHTS = {".pth", ".ckpt", ".bin", ".safetensors"}


def load(spec: str, preprocessing: Preprocessing, device: str = "auto") -> Model:
    """Load a model.

    Parameters
    ----------
    spec : str
        ``FILE.onnx`` (scoring only, without torch), ``FILE.pt2`` (torch.export), ``FILE.pt``
        (TorchScript), or ``package.module:factory``, where ``factory()`` returns a
        ``torch.nn.Module``; or one of `REFERENCES`.
    preprocessing : Preprocessing
        How an image becomes its input.
    device : str
        One of `DEVICES`; ``auto`` is CUDA if there is any.

    Returns
    -------
    Model

    Raises
    ------
    UsageError
        If `spec` is none of these, or does not exist.
    MissingExtraError
        If it needs torch and there is none.
    LgsError
        If the file is damaged, or the factory fails.
    """
    if spec in REFERENCES:
        require_torch(spec)
        return TorchModel(spec, preprocessing, REFERENCES[spec].read(), device)
    suffix = Path(spec).suffix.lower()
    if suffix in _WEIGHTS and Path(spec).is_file():
        raise UsageError(
            f"{printable(spec)} holds weights but not the network that they belong to: "
            f"{HOW_TO_EXPORT}"
        )
    if suffix in {".onnx", ".pt2", ".pt"}:
        if not Path(spec).is_file():
            raise UsageError(f"model {printable(spec)} does not exist")
    elif ":" not in spec or not all(spec.split(":")) or spec.count(":") != 1:
        raise UsageError(
            f"model {spec!r} is not FILE.onnx, FILE.pt2, FILE.pt or package.module:factory, nor "
            f"one of {', '.join(REFERENCES)}"
        )
    if suffix == ".onnx":
        return OnnxModel(spec, preprocessing)
    is_file = suffix in {".pt2", ".pt"}
    require_torch(f"a {suffix} model" if is_file else "package.module:factory")
    return TorchModel(spec, preprocessing, read_module(spec), device)


def require_torch(what: str) -> None:
    """Check that torch is installed.

    Parameters
    ----------
    what : str
        What needs it, as the subject of a sentence.

    Raises
    ------
    MissingExtraError
        If it is not.
    """
    if find_spec("torch") is None:
        raise MissingExtraError(what, "torch", "eval")


def require_gradients(model: Model, what: str) -> TorchModel:
    """Return the model if it gives gradients.

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
        If it gives none: an ``.onnx`` file.
    """
    if not isinstance(model, TorchModel):
        raise UsageError(
            f"{what} needs gradients, and {printable(model.spec)} only scores: "
            "give the model as .pt2, .pt or package.module:factory"
        )
    return model
