"""Torchvision beside any torch: without its operators, if they are made for another one."""

from __future__ import annotations

import importlib.util
import re
import sys
from types import ModuleType

import pytest


def torchvision(module: str) -> ModuleType:
    """Import a module of torchvision; skip if there is none."""
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'lgs-cli[torch]'")
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("needs torchvision")
    for _ in range(20):
        try:
            return importlib.import_module(module)
        except RuntimeError as error:
            absent = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if absent is None:
                raise
            # What is imported for its transforms needs operators to be there, and not to work.
            _fragments.append(torch.library.Library("torchvision", "FRAGMENT"))
            _fragments[-1].define(f"{absent[1]}(Tensor x) -> Tensor")
            for name in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[name]
    raise RuntimeError("torchvision cannot be imported")


_fragments: list[object] = []  # what is defined ends with them
