"""The registry of defenses.

To add one, write its file beside this one, with its ``DEFENSE`` at the end, and add the file's name
here. All of them load for a help text, so they take NumPy and OpenCV from ``lgs_cli.lazy``.
"""

from __future__ import annotations

from importlib import import_module

from lgs_cli.defenses.defense import Defense

_FILES = (
    "lgs",
    "localize",
    "jpeg",
    "tvm",
    "bit_depth",
    "median",
    "nlm",
    "double_mask",
)

DEFENSES: dict[str, Defense] = {
    defense.name: defense
    for defense in (import_module(f"{__name__}.{file}").DEFENSE for file in _FILES)
}
