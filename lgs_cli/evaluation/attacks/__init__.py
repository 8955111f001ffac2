"""The registry of attacks.

To add one, write its file beside this one, with its ``ATTACK`` at the end, and add the file's name
here. All of them load for a help text, so they take NumPy and torch from ``lgs_cli.lazy``.
"""

from __future__ import annotations

from importlib import import_module

from lgs_cli.evaluation.attacks.attack import Attack

_FILES = (
    "lavan",
    "patch",
    "eot",
)

ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (import_module(f"{__name__}.{file}").ATTACK for file in _FILES)
}
