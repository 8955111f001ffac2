"""The registry of defenses.

To add one, write its file beside this one, with its ``DEFENSE`` at the end, and add the file's name
here. A method is named as its file, with ``-`` for ``_``. Help texts load all of them, so they take
NumPy and OpenCV from ``lgs_cli.lazy``; a run loads those it uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import cast

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


class _Defenses(Mapping[str, Defense]):
    """Methods by name; each file is loaded when its method is asked for."""

    def __init__(self) -> None:
        self._files = {file.replace("_", "-"): file for file in _FILES}

    def __getitem__(self, name: str) -> Defense:
        file = self._files[name]
        return cast("Defense", import_module(f"{__name__}.{file}").DEFENSE)

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __repr__(self) -> str:
        return f"Defenses({', '.join(self)})"


DEFENSES: Mapping[str, Defense] = _Defenses()
