"""Non-local means, the third squeezer of feature squeezing (arXiv 1704.01155).

OpenCV's implementation, which the paper's own code calls too: color in CIE Lab, with the same
strength for lightness and color; gray as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lgs_cli.defenses.defense import Cleaned, Defense
from lgs_cli.defenses.pixels import finish, from_uint8, split_alpha, to_uint8
from lgs_cli.lazy import cv2, np
from lgs_cli.params import Params, parameter

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class NlmParams(Params):
    """Parameters of non-local means, with the defaults of feature squeezing on ImageNet (11-3-4).

    Attributes
    ----------
    strength : float
        Filter strength h, 0 to 255, in steps of 8-bit pixels; the same for lightness and color.
    patch_size : int
        Side of the compared patches in pixels, odd, 1 to 21.
    search_window : int
        Side of the window in which patches are sought, in pixels, odd, 1 to 41.

    References
    ----------
    Xu, Evans, Qi, "Feature Squeezing", NDSS 2018, arXiv 1704.01155, section on spatial smoothing;
    Buades, Coll, Morel, "A non-local algorithm for image denoising", CVPR 2005.
    """

    strength: float = parameter(
        4, "Filter strength h, in steps of 8-bit pixels.", at_least=0, at_most=255
    )  # fmt: skip
    patch_size: int = parameter(
        3, "Side of the compared patches in pixels, odd.", at_least=1, at_most=21
    )  # fmt: skip
    search_window: int = parameter(
        11, "Side of the searched window in pixels, odd.", at_least=1, at_most=41
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("patch_size", "search_window"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} is {getattr(self, name)}; valid is an odd number")


def apply(image: NDArray[Any], params: NlmParams, *, with_mask: bool = False) -> Cleaned:
    """Replace every pixel by the mean of those around it, weighted by how alike their patches are.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C), C of 1 to 4; uint8, uint16, or floating in [0, 1]. OpenCV compares
        8-bit pixels: deeper ones are rounded to them, and come back on the 256 levels of their
        dtype. Color also goes through 8-bit Lab and back, which alone moves some pixels by
        several steps.
    params : NlmParams
        Strength, patch size and search window.
    with_mask : bool
        Whether the mask is wanted.

    Returns
    -------
    Cleaned
        The image, and as mask the normalized absolute change, see :func:`~.pixels.finish`.

    Raises
    ------
    TypeError, ValueError
        If the array is not such an image.
    """
    color, _ = split_alpha(image)
    pixels = to_uint8(color)
    strength, patch, search = params.strength, params.patch_size, params.search_window
    if pixels.ndim == 2:
        smoothed = cv2.fastNlMeansDenoising(pixels, None, strength, patch, search)
    else:
        stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        smoothed = cv2.fastNlMeansDenoisingColored(stored, None, strength, strength, patch, search)
        smoothed = cv2.cvtColor(smoothed, cv2.COLOR_BGR2RGB)
    return finish(
        image, from_uint8(np.asarray(smoothed, np.uint8), color.dtype), with_mask=with_mask
    )


DEFENSE = Defense("nlm", "Non-local means", ("1704.01155",), NlmParams, apply)
