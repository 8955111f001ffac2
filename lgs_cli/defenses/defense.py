"""What a defense is, and what it makes of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lgs_cli.params import Params


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
        if nothing changed.
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


class CheckWritten(Protocol):
    """What a defense has to say on the file that an image became."""

    def __call__(self, cleaned: NDArray[Any], written: NDArray[Any], params: Any) -> None:
        """Make sure that the file is worth what the image was.

        Parameters
        ----------
        cleaned : ndarray
            What the defense returned.
        written : ndarray
            The same as read back from the file, whose coding may have lost something.
        params : Params
            The parameters of the defense.

        Raises
        ------
        ValueError
            If it is not.
        """
        ...


class Apply(Protocol):
    """The function of a defense."""

    def __call__(self, image: NDArray[Any], params: Any, *, with_mask: bool = False) -> Cleaned:
        """Run the defense over one image.

        Parameters
        ----------
        image : ndarray
            (H, W) or (H, W, C), C of 1 (gray), 2 (gray and alpha), 3 (RGB) or 4 (RGBA); uint8,
            uint16, or floating in [0, 1]. Not changed.
        params : Params
            An instance of the defense's parameters.
        with_mask : bool
            Whether the mask is wanted.

        Returns
        -------
        Cleaned
            The cleaned image, the mask if asked for, and the coverage.

        Raises
        ------
        TypeError, ValueError
            If the array is not such an image.
        """
        ...


@dataclass(frozen=True)
class Defense:
    """One defense: what it is called, what it takes and what it does.

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
    apply : callable
        What it does to an image.
    torch_entry : str
        ``"module:function"``: from the parameters it makes layers of torch by the name of their
        gradient, see :mod:`lgs_cli.evaluation.bpda`; empty if there is none but the identity.
    check_written : callable or None
        Looks at each image that it made once more when it is coded; None if coding cannot undo it.
    """

    name: str
    title: str
    papers: tuple[str, ...]
    params: type[Params]
    apply: Apply
    torch_entry: str = ""
    check_written: CheckWritten | None = None
