"""Where the optional data lies: photographs and pretrained networks that are too large to commit.

``LGS_DATA=DIR`` names it; without it, ``../shared/data`` beside the repository. It holds
``imagenet/`` (photographs, and ``labels.csv`` with file, label and name), ``models/`` (classifiers
as ``NAME.onnx`` and ``NAME.pt2``), ``imagenet_patch/`` (patches as PNG) and ``attacked/`` (with
``clean/``, ``lavan_32px/`` of the same file names, and ``labels.csv``). All of it may be absent:
tests then use the photographs of scikit-image, and skip only if they need a pretrained network.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("LGS_DATA") or ROOT.parent / "shared" / "data")


def needed(*parts: str) -> Path:
    """Return a path in the data; if it is absent, skip the test that asks for it."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {'/'.join(parts)} of the optional data (LGS_DATA=DIR); {DATA} lacks it")
    if path.suffix == ".onnx" and int(cv2.__version__.split(".")[0]) < 5:
        pytest.skip(f"OpenCV {cv2.__version__} cannot run {path.name}, and 5 can")
    return path


def photographs() -> list[Path]:
    """List the photographs of ``imagenet/``: none if the data is absent."""
    return sorted((DATA / "imagenet").glob("*.JPEG"))
