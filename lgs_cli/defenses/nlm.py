"""Non-local means, the third squeezer of feature squeezing (arXiv 1704.01155).

OpenCV's implementation, which the paper's own code calls too: color in CIE Lab, with the same
strength for lightness and color; gray as it is.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lgs_cli.defenses import Cleaned
from lgs_cli.defenses.params import NlmParams
from lgs_cli.defenses.pixels import finish, from_uint8, split_alpha, to_uint8


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
        Where the array is not such an image.
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
