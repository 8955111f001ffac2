"""Batch defense of images against localized adversarial noise.

>>> import lgs_cli, numpy
>>> image = numpy.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=numpy.uint8)
>>> cleaned = lgs_cli.clean(image, "lgs:threshold=0.2")

`clean`, `mask` and `scan` take one image as a NumPy array, a PIL image or a torch tensor;
`clean_folder` takes whole folders. Arrays and tensors are RGB, in this order. Modules for
torch, and transforms for torchvision, albumentations and ART, are in `lgs_cli.adapters`.

Light to import: NumPy and OpenCV load with the first call.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lgs_cli.adapters.folders import clean_folder as clean_folder
    from lgs_cli.adapters.images import clean as clean
    from lgs_cli.adapters.images import lgs as lgs
    from lgs_cli.adapters.images import mask as mask
    from lgs_cli.adapters.images import scan as scan
    from lgs_cli.batch.job import Result as Result
    from lgs_cli.defenses import DEFENSES as DEFENSES
    from lgs_cli.defenses.bit_depth import BitDepthParams as BitDepthParams
    from lgs_cli.defenses.chain import Step as Step
    from lgs_cli.defenses.chain import parse_chain as parse_chain
    from lgs_cli.defenses.defense import Cleaned as Cleaned
    from lgs_cli.defenses.defense import Defense as Defense
    from lgs_cli.defenses.defense import Region as Region
    from lgs_cli.defenses.double_mask import DoubleMaskParams as DoubleMaskParams
    from lgs_cli.defenses.jpeg import JpegParams as JpegParams
    from lgs_cli.defenses.lgs import LgsParams as LgsParams
    from lgs_cli.defenses.localize import Findings as Findings
    from lgs_cli.defenses.localize import LocalizeParams as LocalizeParams
    from lgs_cli.defenses.median import MedianParams as MedianParams
    from lgs_cli.defenses.nlm import NlmParams as NlmParams
    from lgs_cli.defenses.tvm import TvmParams as TvmParams
    from lgs_cli.errors import LgsError as LgsError

__version__ = "0.2.0"

_HOMES = {
    "clean": "adapters.images",
    "mask": "adapters.images",
    "scan": "adapters.images",
    "lgs": "adapters.images",
    "clean_folder": "adapters.folders",
    "parse_chain": "defenses.chain",
    "DEFENSES": "defenses",
    "LgsParams": "defenses.lgs",
    "LocalizeParams": "defenses.localize",
    "JpegParams": "defenses.jpeg",
    "TvmParams": "defenses.tvm",
    "BitDepthParams": "defenses.bit_depth",
    "MedianParams": "defenses.median",
    "NlmParams": "defenses.nlm",
    "DoubleMaskParams": "defenses.double_mask",
    "Defense": "defenses.defense",
    "Step": "defenses.chain",
    "Cleaned": "defenses.defense",
    "Findings": "defenses.localize",
    "Region": "defenses.defense",
    "Result": "batch.job",
    "LgsError": "errors",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for: ``lgs --help`` asks for none."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
