"""The defenses by name: the only registry. Light: a defense's own module loads on its first use."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from lgs_cli.defenses.params import (
    BitDepthParams,
    JpegParams,
    LgsParams,
    MedianParams,
    NlmParams,
    Params,
    TvmParams,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Cleaned(NamedTuple):
    """What a defense makes of one image.

    Attributes
    ----------
    image : ndarray
        Same shape and dtype as the input, which is itself never changed. May be the very input
        where nothing changed.
    mask : ndarray or None
        float32 (H, W) in [0, 1]: how strongly each pixel was suppressed or changed. None unless
        asked for.
    coverage : float
        Share of pixels with mask > 0, in [0, 1]. 0 means the image is unchanged.
    """

    image: NDArray[Any]
    mask: NDArray[Any] | None
    coverage: float


@dataclass(frozen=True)
class Defense:
    """One defense: what it is called, what it takes and where it lives.

    Attributes
    ----------
    name : str
        What ``--method`` takes.
    title : str
        Its full name.
    papers : tuple of str
        arXiv identifiers of the papers that define it.
    params : type
        Its :class:`Params` dataclass.
    entry : str
        Where its ``apply(image, params, *, with_mask) -> Cleaned`` lives: ``"module:function"``.
    """

    name: str
    title: str
    papers: tuple[str, ...]
    params: type[Params]
    entry: str

    def apply(self, image: NDArray[Any], params: Params, *, with_mask: bool = False) -> Cleaned:
        """Run the defense over one image.

        Parameters
        ----------
        image : ndarray
            (H, W) or (H, W, C), C of 1 (gray), 2 (gray and alpha), 3 (RGB) or 4 (RGBA); uint8,
            uint16, or floating in [0, 1].
        params : Params
            An instance of ``self.params``.
        with_mask : bool
            Whether the mask is wanted.

        Returns
        -------
        Cleaned
            The cleaned image, the mask where asked for, and the coverage.

        Raises
        ------
        TypeError, ValueError
            Where the array is not such an image.
        """
        module, function = self.entry.split(":")
        cleaned: Cleaned = getattr(import_module(module), function)(
            image, params, with_mask=with_mask
        )
        return cleaned


DEFENSES: dict[str, Defense] = {
    defense.name: defense
    for defense in (
        Defense(
            "lgs",
            "Local Gradients Smoothing",
            ("1807.01216",),
            LgsParams,
            "lgs_cli.defenses.lgs:apply",
        ),
        Defense(
            "jpeg",
            "JPEG compression",
            ("1608.00853", "1711.00117"),
            JpegParams,
            "lgs_cli.defenses.jpeg:apply",
        ),
        Defense(
            "tvm",
            "Total Variance Minimization",
            ("1711.00117",),
            TvmParams,
            "lgs_cli.defenses.tvm:apply",
        ),
        Defense(
            "bit-depth",
            "Bit depth reduction",
            ("1704.01155",),
            BitDepthParams,
            "lgs_cli.defenses.squeeze:apply_bit_depth",
        ),
        Defense(
            "median",
            "Median smoothing",
            ("1704.01155",),
            MedianParams,
            "lgs_cli.defenses.squeeze:apply_median",
        ),
        Defense(
            "nlm",
            "Non-local means",
            ("1704.01155",),
            NlmParams,
            "lgs_cli.defenses.nlm:apply",
        ),
    )
}
