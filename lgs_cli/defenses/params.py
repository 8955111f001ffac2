"""The parameters of every defense: names, defaults, ranges. Light: ``--help`` reads it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any, get_type_hints


def parameter(
    default: float | bool, help: str, *, at_least: float | None = None, at_most: float | None = None
) -> Any:
    """Declare one parameter of a defense.

    Parameters
    ----------
    default : float or bool
        The value when the user gives none.
    help : str
        One line for ``--help`` and ``lgs methods``.
    at_least, at_most : float, optional
        The valid range, both ends included.

    Returns
    -------
    dataclasses.Field
        For the body of a :class:`Params` dataclass.
    """
    return field(default=default, metadata={"help": help, "at_least": at_least, "at_most": at_most})


def text(default: str, help: str, form: str, valid: Callable[[str], bool]) -> Any:
    """Declare one parameter that is written as text.

    Parameters
    ----------
    default : str
        The value when the user gives none.
    help : str
        One line for ``--help`` and ``lgs methods``.
    form : str
        Which texts are valid, in words.
    valid : callable
        Whether a text is one of them.

    Returns
    -------
    dataclasses.Field
        For the body of a :class:`Params` dataclass.
    """
    metadata = {"help": help, "at_least": None, "at_most": None, "form": form, "valid": valid}
    return field(default=default, metadata=metadata)


def choice(default: str, help: str, *choices: str) -> Any:
    """Declare one parameter that takes one of a few words.

    Parameters
    ----------
    default : str
        The value when the user gives none.
    help : str
        One line for ``--help`` and ``lgs methods``.
    *choices : str
        The words.

    Returns
    -------
    dataclasses.Field
        For the body of a :class:`Params` dataclass.
    """
    metadata = {
        **text(default, help, "|".join(choices), choices.__contains__).metadata,
        "choices": choices,
    }
    return field(default=default, metadata=metadata)


def valid_range(spec: Field[Any]) -> str:
    """Say in words which values a parameter takes.

    Parameters
    ----------
    spec : dataclasses.Field
        A field made by :func:`parameter`, :func:`text` or :func:`choice`.

    Returns
    -------
    str
        ``"0 to 1"``, ``"at least 0"``, ``"true or false"``, ``"any number"``, or the form of a
        text.
    """
    if "form" in spec.metadata:
        return str(spec.metadata["form"])
    low, high = spec.metadata["at_least"], spec.metadata["at_most"]
    if isinstance(spec.default, bool):
        return "true or false"
    if low is None:
        return "any number" if high is None else f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"{low:g} to {high:g}"


@dataclass(frozen=True)
class Params:
    """Base of all parameter sets: checks every field's type and range.

    Raises
    ------
    ValueError
        Where a value has the wrong type or lies outside its range; the message names the
        parameter, the value and the range.
    """

    def __post_init__(self) -> None:
        types = get_type_hints(type(self))
        for spec in fields(self):
            value, expected = getattr(self, spec.name), types[spec.name]
            if expected is str:
                if not (isinstance(value, str) and spec.metadata["valid"](value)):
                    raise ValueError(f"{spec.name} is {value!r}; valid is {valid_range(spec)}")
                continue
            if expected is float and type(value) is int:
                object.__setattr__(self, spec.name, float(value))
            elif type(value) is not expected:
                raise ValueError(f"{spec.name} is {value!r}; valid is {_NOUNS[expected]}")
            low, high = spec.metadata["at_least"], spec.metadata["at_most"]
            if (
                (expected is float and not math.isfinite(value))
                or (low is not None and value < low)
                or (high is not None and value > high)
            ):
                shown = f"{value:g}" if expected is float else str(value)
                raise ValueError(f"{spec.name} is {shown}; valid is {valid_range(spec)}")

    def fingerprint(self) -> str:
        """Tell apart what the same parameters may mean at different times: the content of a file.

        Returns
        -------
        str
            Empty where the parameters say everything.

        Raises
        ------
        OSError
            Where a file cannot be read.
        """
        return ""


_NOUNS = {int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class LgsParams(Params):
    """Parameters of Local Gradients Smoothing, with the defaults of the paper's experiments.

    Attributes
    ----------
    smoothing : float
        Smoothing factor λ, at least 0.
    threshold : float
        Threshold γ on a block's mean normalized gradient magnitude, in [0, 1].
    block_size : int
        Block size τ in pixels, 1 to 100,000.
    overlap : int
        Overlap o of neighboring blocks in pixels, at least 0 and less than ``block_size``.

    References
    ----------
    Naseer, Khan, Porikli, "Local Gradients Smoothing", WACV 2019, arXiv 1807.01216, section 3.2.
    """

    smoothing: float = parameter(
        2.3, "Smoothing factor λ: how strongly gradients are suppressed.", at_least=0
    )
    threshold: float = parameter(
        0.1, "Threshold γ on a block's mean gradient, above which it is smoothed.",
        at_least=0, at_most=1,
    )  # fmt: skip
    block_size: int = parameter(15, "Block size τ in pixels.", at_least=1, at_most=100_000)
    overlap: int = parameter(5, "Overlap o of neighboring blocks in pixels.", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.overlap >= self.block_size:
            raise ValueError(
                f"overlap is {self.overlap}; valid is less than block_size ({self.block_size})"
            )


@dataclass(frozen=True)
class JpegParams(Params):
    """Parameters of JPEG compression.

    Attributes
    ----------
    quality : int
        The codec's quality, 1 (coarsest) to 100.

    References
    ----------
    Dziugaite, Ghahramani, Roy, "A study of the effect of JPG compression on adversarial images",
    arXiv 1608.00853; Guo et al., arXiv 1711.00117, section 4.2.
    """

    quality: int = parameter(
        30, "JPEG quality; lower removes more.", at_least=1, at_most=100
    )  # fmt: skip


@dataclass(frozen=True)
class TvmParams(Params):
    """Parameters of Total Variance Minimization, with the defaults of the paper's own code.

    Attributes
    ----------
    drop_rate : float
        Probability p with which a pixel's channel is dropped before the reconstruction, 0 to 0.99;
        0 is plain total variation denoising.
    weight : float
        Weight λ of the total variation, 0.000001 to 100, for pixels in [0, 1].
    iterations : int
        Iterations of the solver, 1 to 100000.
    seed : int
        Seed of the dropped pixels, at least 0. The image's content seeds them too, so one seed
        drops other pixels in every image, and the same ones in every run.

    References
    ----------
    Guo, Rana, Cissé, van der Maaten, "Countering Adversarial Images Using Input Transformations",
    ICLR 2018, arXiv 1711.00117, section 4.3.
    """

    drop_rate: float = parameter(
        0.5, "Probability that a pixel is dropped; 0 denoises without dropping.",
        at_least=0, at_most=0.99,
    )  # fmt: skip
    weight: float = parameter(
        0.03, "Weight λ of the total variation; higher is flatter.", at_least=1e-6, at_most=100
    )
    iterations: int = parameter(
        100, "Iterations of the solver; more is closer to the minimum.", at_least=1, at_most=100_000
    )
    seed: int = parameter(
        0, "Seed of the dropped pixels, together with the image's content.", at_least=0
    )  # fmt: skip


@dataclass(frozen=True)
class BitDepthParams(Params):
    """Parameters of bit depth reduction.

    Attributes
    ----------
    bits : int
        Bits that each channel keeps, 1 to 8.

    References
    ----------
    Xu, Evans, Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks",
    NDSS 2018, arXiv 1704.01155, section on color bit depths.
    """

    bits: int = parameter(3, "Bits that each channel keeps.", at_least=1, at_most=8)


@dataclass(frozen=True)
class MedianParams(Params):
    """Parameters of median smoothing.

    Attributes
    ----------
    window : int
        Side of the square window in pixels, 1 to 15. Even ones reach one pixel further up and left.

    References
    ----------
    Xu, Evans, Qi, "Feature Squeezing", NDSS 2018, arXiv 1704.01155, section on spatial smoothing.
    """

    window: int = parameter(
        3, "Side of the square window in pixels; may be even.", at_least=1, at_most=15
    )  # fmt: skip


@dataclass(frozen=True)
class NlmParams(Params):
    """Parameters of non-local means, with the defaults of feature squeezing on ImageNet (11-3-4).

    Attributes
    ----------
    strength : float
        Filter strength h, 0 to 255, in steps of 8-bit pixels; the same for lightness and color.
    patch_size : int
        Side of the compared patches in pixels, odd, 1 to 21.
    search_window : int
        Side of the window in which patches are sought, in pixels, odd, 1 to 41.

    References
    ----------
    Xu, Evans, Qi, "Feature Squeezing", NDSS 2018, arXiv 1704.01155, section on spatial smoothing;
    Buades, Coll, Morel, "A non-local algorithm for image denoising", CVPR 2005.
    """

    strength: float = parameter(
        4, "Filter strength h, in steps of 8-bit pixels.", at_least=0, at_most=255
    )  # fmt: skip
    patch_size: int = parameter(
        3, "Side of the compared patches in pixels, odd.", at_least=1, at_most=21
    )  # fmt: skip
    search_window: int = parameter(
        11, "Side of the searched window in pixels, odd.", at_least=1, at_most=41
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("patch_size", "search_window"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} is {getattr(self, name)}; valid is an odd number")


def _is_detector(path: str) -> bool:
    return not path or os.path.isfile(path)


@dataclass(frozen=True)
class LocalizeParams(Params):
    """Parameters of finding patches and repairing the picture.

    Attributes
    ----------
    threshold : float
        Score from which on a patch counts as found, in [0, 1]. Lower finds more patches and more
        that are none.
    fill : str
        What takes the place of a patch: ``inpaint`` continues the picture into it, ``blur`` and
        ``mean`` use the colors around it.
    detector : str
        Path of a detector that ``lgs train`` has made; empty: the one that comes with lgs.

    References
    ----------
    Telea, "An Image Inpainting Technique Based on the Fast Marching Method", 2004.
    """

    threshold: float = parameter(
        0.5, "Score from which on a patch counts as found.", at_least=0, at_most=1
    )
    fill: str = choice("inpaint", "What takes the place of a patch.", "inpaint", "blur", "mean")
    detector: str = text(
        "", "Another detector, made by lgs train, than the one that comes with lgs.",
        "an .onnx file that is there", _is_detector,
    )  # fmt: skip

    @property
    def detector_path(self) -> str:
        """The file of the detector in use."""
        return self.detector or os.path.join(os.path.dirname(__file__), "detector.onnx")

    def fingerprint(self) -> str:
        """Return the digest of the detector in use."""
        import hashlib

        with open(self.detector_path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
