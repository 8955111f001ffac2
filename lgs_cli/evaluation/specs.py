"""Defenses and attacks as a user writes them: ``NAME`` or ``NAME:param=value,param=value``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from lgs_cli.defenses.chain import Chain, parse_assignments, parse_chain, parse_value
from lgs_cli.errors import UsageError
from lgs_cli.evaluation.attacks import ATTACKS
from lgs_cli.evaluation.attacks.attack import Attack
from lgs_cli.evaluation.classes import Classes
from lgs_cli.evaluation.double_masking import EvaluatedMaskParams
from lgs_cli.params import Params
from lgs_cli.wording import nearest, printable


@dataclass(frozen=True)
class DefenseSpec:
    """A defense as the user wrote it.

    Attributes
    ----------
    text : str
        The user's own words, printable, which the table shows.
    chain : tuple of Step
        What is applied, in order; empty for ``none``.
    """

    text: str
    chain: Chain


@dataclass(frozen=True)
class AttackSpec:
    """An attack as the user wrote it.

    Attributes
    ----------
    text : str
        The user's own words, printable, which the table shows.
    attack : Attack
        The attack.
    params : Params
        Its parameters.
    """

    text: str
    attack: Attack
    params: Params


_SPECIAL = {"double-mask": EvaluatedMaskParams}


def parse_defense(text: str) -> DefenseSpec:
    """Read a defense.

    Parameters
    ----------
    text : str
        ``none``, ``NAME``, ``NAME:param=value,param=value``, or a chain of names:
        ``median,lgs:threshold=0.2``. Double masking asks the evaluated model if none is named.

    Raises
    ------
    UsageError
        If a name, a parameter or a value is not valid; the message lists what is.
    """
    if text == "none":
        return DefenseSpec(text, ())
    try:
        return DefenseSpec(printable(text), parse_chain(text, special=_SPECIAL))
    except ValueError as error:
        raise UsageError(f"defense {text!r}: {error}") from None


def target_number(target: str, classes: Classes | None) -> str:
    """Return the number of a target class that is given by name; all else as it is.

    Raises
    ------
    UsageError
        If the names of the classes are known, and this is none of them.
    """
    if classes is None or target in {"none", "random"} or target.isdecimal():
        return target
    return str(classes.number(target))


def parse_attack(text: str, classes: Classes | None = None) -> AttackSpec:
    """Read an attack.

    Parameters
    ----------
    text : str
        ``NAME`` or ``NAME:param=value,param=value``.
    classes : Classes, optional
        The names of the model's classes, so that a target may be a name.

    Raises
    ------
    UsageError
        If the name, a parameter or a value is not valid; the message lists what is.
    """
    name, _, assignments = text.partition(":")
    if name not in ATTACKS:
        meant = nearest(name.lower(), ATTACKS)
        guess = f"did you mean {meant!r}? " if meant else ""
        raise UsageError(f"no attack {name!r}; {guess}there are {', '.join(ATTACKS)}")
    attack = ATTACKS[name]
    types = get_type_hints(attack.params)
    known = ", ".join(spec.name.replace("_", "-") for spec in fields(attack.params))
    try:
        values: dict[str, Any] = {}
        for key, value in parse_assignments(assignments):
            parameter = key.replace("-", "_")
            if parameter not in types:
                raise ValueError(f"no parameter {key!r}; {name} takes {known}")
            if parameter == "target":
                value = target_number(value, classes)
            values[parameter] = parse_value(value, types[parameter])
        return AttackSpec(printable(text), attack, attack.params(**values))
    except ValueError as error:
        raise UsageError(f"attack {text!r}: {error}") from None
