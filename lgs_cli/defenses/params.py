"""The parameters of every defense: names, defaults, ranges. Light: ``--help`` reads it."""

from __future__ import annotations

import math
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


def valid_range(spec: Field[Any]) -> str:
    """Say in words which values a parameter takes.

    Parameters
    ----------
    spec : dataclasses.Field
        A field made by :func:`parameter`.

    Returns
    -------
    str
        ``"0 to 1"``, ``"at least 0"``, ``"true or false"`` or ``"any number"``.
    """
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
                raise ValueError(f"{spec.name} is {value:g}; valid is {valid_range(spec)}")


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
        Block size τ in pixels, at least 1.
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
    block_size: int = parameter(15, "Block size τ in pixels.", at_least=1)
    overlap: int = parameter(5, "Overlap o of neighboring blocks in pixels.", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.overlap >= self.block_size:
            raise ValueError(
                f"overlap is {self.overlap}; valid is less than block_size ({self.block_size})"
            )
