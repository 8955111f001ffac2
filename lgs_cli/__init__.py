"""Batch defense of images against localized adversarial noise.

Light to import: NumPy and OpenCV load with the first call of a defense.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lgs_cli.defenses import DEFENSES
    from lgs_cli.defenses.defense import Cleaned, Defense
    from lgs_cli.defenses.lgs import LgsParams

__version__ = "0.1.0"

__all__ = ["DEFENSES", "Cleaned", "Defense", "LgsParams", "__version__", "lgs"]

_HOMES = {
    "DEFENSES": "lgs_cli.defenses",
    "Cleaned": "lgs_cli.defenses.defense",
    "Defense": "lgs_cli.defenses.defense",
    "LgsParams": "lgs_cli.defenses.lgs",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for: ``lgs --help`` asks for none."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def lgs(image: NDArray[Any], params: LgsParams | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Clean one image with Local Gradients Smoothing.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C), C of 1 (gray), 2 (gray and alpha), 3 (RGB) or 4 (RGBA); uint8,
        uint16, or floating in [0, 1]. Not changed.
    params : LgsParams, optional
        The paper's defaults unless given.

    Returns
    -------
    cleaned : ndarray
        Same shape and dtype.
    mask : ndarray
        float32 (H, W) in [0, 1]: how strongly each pixel was suppressed.

    Raises
    ------
    TypeError, ValueError
        Where the array is not such an image.

    References
    ----------
    Naseer, Khan, Porikli, "Local Gradients Smoothing", WACV 2019, arXiv 1807.01216.
    """
    from lgs_cli.defenses import DEFENSES
    from lgs_cli.defenses.lgs import LgsParams

    cleaned = DEFENSES["lgs"].apply(image, params or LgsParams(), with_mask=True)
    assert cleaned.mask is not None
    return cleaned.image, cleaned.mask
