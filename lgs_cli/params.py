"""Numbers, texts and choices as parameters: what each may be, and what is said where it is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any, get_type_hints


def parameter(
    default: float | bool, help: str, *, at_least: float | None = None, at_most: float | None = None
) -> Any:
    """Declare a parameter that is a number, or true or false.

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
    """Declare a parameter that is a text.

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
    """Declare a parameter that is one of a few words.

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
    if isinstance(spec.default, bool):
        return "true or false"
    return between(spec.metadata["at_least"], spec.metadata["at_most"])


def between(low: float | None, high: float | None) -> str:
    """Say a range in words, both ends included: ``"0 to 1"``, ``"at least 0"``."""
    if low is None:
        return "any number" if high is None else f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"{low:g} to {high:g}"


@dataclass(frozen=True)
class Params:
    """Base of all parameter sets: checks every field's type and range.

    Raises
    ------
    ValueError
        If a value has the wrong type or lies outside its range; the message names the
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
            If a file cannot be read.
        """
        return ""


_NOUNS = {int: "a whole number", float: "a number", bool: "true or false"}
