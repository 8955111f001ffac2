"""Bit depth reduction, the first squeezer of feature squeezing (arXiv 1704.01155)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lgs_cli.defenses.defense import Cleaned, Defense
from lgs_cli.defenses.pixels import finish, full_scale, split_alpha
from lgs_cli.lazy import cv2, np
from lgs_cli.params import Params, parameter

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class BitDepthParams(Params):
    """Parameters of bit depth reduction.

    Attributes
    ----------
    bits : int
        Bits that each channel keeps, 1 to 8.

    References
    ----------
    Xu, Evans, Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks",
    NDSS 2018, arXiv 1704.01155, section on color bit depths.
    """

    bits: int = parameter(3, "Bits that each channel keeps.", at_least=1, at_most=8)


def apply(image: NDArray[Any], params: BitDepthParams, *, with_mask: bool = False) -> Cleaned:
    """Round every channel to 2ᵇ evenly spaced levels: round(x · (2ᵇ − 1)) / (2ᵇ − 1).

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C), C of 1 to 4; uint8, uint16, or floating in [0, 1].
    params : BitDepthParams
        The bits b to keep.
    with_mask : bool
        Whether the mask is wanted.

    Returns
    -------
    Cleaned
        The image, whose levels are rounded once more if it holds integers; a floating value
        halfway between two levels goes to the even one. As mask the normalized absolute change,
        see :func:`~.pixels.finish`.

    Raises
    ------
    TypeError, ValueError
        If the array is not such an image.
    """
    color, _ = split_alpha(image)
    top = 2**params.bits - 1
    if color.dtype.kind == "u":
        white = int(full_scale(color.dtype))
        levels = np.rint(np.arange(white + 1) * (top / white))
        table = np.rint(levels * (white / top)).astype(color.dtype)
        squeezed = cv2.LUT(color, table) if color.dtype == np.uint8 else table[color]
    else:
        squeezed = color * color.dtype.type(top)
        np.rint(squeezed, out=squeezed)
        squeezed /= top
    return finish(image, np.asarray(squeezed), with_mask=with_mask)


DEFENSE = Defense("bit-depth", "Bit depth reduction", ("1704.01155",), BitDepthParams, apply)
