"""NumPy, OpenCV and torch under their usual names, each loaded when it is first used.

A defense or an attack keeps its parameters in the file of its code. Help texts show parameters,
and the process that hands out the images checks them; neither waits for a library of arrays.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["F", "cv2", "np", "torch"]


class _Lazy(ModuleType):
    def __getattr__(self, name: str) -> Any:
        value = getattr(import_module(self.__name__), name)
        setattr(self, name, value)
        return value


if TYPE_CHECKING:
    import cv2
    import numpy as np
    import torch
    import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
else:
    F = _Lazy("torch.nn.functional")
    cv2 = _Lazy("cv2")
    np = _Lazy("numpy")
    torch = _Lazy("torch")
