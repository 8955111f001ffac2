"""JPEG compression as a defense (arXiv 1608.00853; arXiv 1711.00117, section 4.2).

Pixels go through libjpeg-turbo in memory and come back. The codec keeps its defaults: color is
stored as YCbCr with its chroma halved both ways (4:2:0), gray as a gray JPEG. The codec is
OpenCV's: the same library as Pillow's, with fewer copies on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lgs_cli.defenses.defense import Cleaned, Defense
from lgs_cli.defenses.pixels import finish, from_uint8, split_alpha, to_uint8
from lgs_cli.formats import JPEG_LONGEST_SIDE
from lgs_cli.lazy import cv2, np
from lgs_cli.params import Params, parameter

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class JpegParams(Params):
    """Parameters of JPEG compression.

    Attributes
    ----------
    quality : int
        The codec's quality, 1 (coarsest) to 100.

    References
    ----------
    Dziugaite, Ghahramani, Roy, "A study of the effect of JPG compression on adversarial images",
    arXiv 1608.00853; Guo et al., arXiv 1711.00117, section 4.2.
    """

    quality: int = parameter(
        30, "JPEG quality; lower removes more.", at_least=1, at_most=100
    )  # fmt: skip


def apply(image: NDArray[Any], params: JpegParams, *, with_mask: bool = False) -> Cleaned:
    """Compress an image as JPEG and decompress it.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C), C of 1 to 4; uint8, uint16, or floating in [0, 1]. JPEG has 8 bits a
        channel: deeper pixels are rounded to them, and come back on the 256 levels of their dtype.
    params : JpegParams
        The quality.
    with_mask : bool
        Whether the mask is wanted.

    Returns
    -------
    Cleaned
        The image, and as mask the normalized absolute change, see :func:`~.pixels.finish`.

    Raises
    ------
    TypeError, ValueError
        If the array is not such an image, or is longer than a JPEG can be.
    """
    color, _ = split_alpha(image)
    if max(color.shape[:2]) > JPEG_LONGEST_SIDE:
        raise ValueError(
            f"shape is {image.shape}; a JPEG has at most {JPEG_LONGEST_SIDE} pixels a side"
        )
    pixels = to_uint8(color)
    gray = pixels.ndim == 2
    stored = pixels if gray else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, params.quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR_RGB)
    return finish(
        image, from_uint8(np.asarray(decoded, np.uint8), color.dtype), with_mask=with_mask
    )


DEFENSE = Defense(
    "jpeg", "JPEG compression", ("1608.00853", "1711.00117"), JpegParams, apply,
    torch_entry="lgs_cli.evaluation.twins:jpeg_layers",
)  # fmt: skip
