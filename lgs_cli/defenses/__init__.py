"""The defenses by name: the only registry. Light: a defense's own module loads on its first use."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from lgs_cli.defenses.params import (
    BitDepthParams,
    JpegParams,
    LgsParams,
    LocalizeParams,
    MedianParams,
    NlmParams,
    Params,
    TvmParams,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Region(NamedTuple):
    """A box around a patch that was found.

    Attributes
    ----------
    x, y : int
        Left and top in pixels of the image.
    width, height : int
        Size in pixels, at least 1.
    score : float
        How sure the detector is that a patch is there, in [0, 1].
    """

    x: int
    y: int
    width: int
    height: int
    score: float


class _Cleaned(NamedTuple):
    image: NDArray[Any]
    mask: NDArray[Any] | None
    coverage: float


class Cleaned(_Cleaned):
    """What a defense makes of one image: ``image, mask, coverage``, and what was found.

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
    score : float or None
        How suspicious the image is, in [0, 1]; None for defenses that do not look for patches.
    regions : tuple of Region
        The patches found, the surest first.
    """

    score: float | None
    regions: tuple[Region, ...]

    def __new__(
        cls,
        image: NDArray[Any],
        mask: NDArray[Any] | None,
        coverage: float,
        score: float | None = None,
        regions: tuple[Region, ...] = (),
    ) -> Self:
        """Hold the first three as a tuple, which is what a defense has always returned."""
        cleaned = super().__new__(cls, image, mask, coverage)
        cleaned.score = score
        cleaned.regions = regions
        return cleaned


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
            "localize",
            "Find patches and repair the picture",
            (),
            LocalizeParams,
            "lgs_cli.defenses.localize:apply",
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
