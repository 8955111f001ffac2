"""Double masking of PatchCleanser (arXiv 2108.09135), as a picture that a model answers rightly."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from lgs_cli.defenses.classifier import Classifier
from lgs_cli.defenses.defense import Cleaned, Defense
from lgs_cli.defenses.masking import MIDDLE_GRAY, MaskParams, Votes, settle
from lgs_cli.defenses.pixels import finish, from_uint8, split_alpha
from lgs_cli.defenses.preprocessing import Preprocessing, as_rgb, seen
from lgs_cli.lazy import np
from lgs_cli.params import text

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _is_model(path: str) -> bool:
    return not path or os.path.isfile(path)


@dataclass(frozen=True)
class DoubleMaskParams(Preprocessing, MaskParams):
    """Parameters of double masking: a model, the patches guarded against, the masks.

    Attributes
    ----------
    model : str
        Path of the classifier that shall answer rightly, an ``.onnx`` file. It must be given.
    patch_fraction : float
        Area of the patch at most, as a share of the part of the picture that the model sees.
    patch_size : int
        Side of the square that the patch fits in, in pixels of the picture; 0: `patch_fraction`
        decides.
    masks_per_side : int
        Masks along each side.
    resize : int
        Length in pixels the shorter side is resized to for the model; 0 leaves the size alone.
    crop : int
        Side in pixels of the center crop that the model sees; 0: all.
    mean : str
        Three numbers that the model wants subtracted, in units of `scale`.
    std : str
        Three numbers that it wants the difference divided by.
    channels : str
        ``rgb`` or ``bgr``: the order in which the model takes its channels.
    scale : str
        ``1`` or ``255``: the value of white.

    References
    ----------
    Xiang, Mahloujifar, Mittal, "PatchCleanser: Certifiably Robust Defense against Adversarial
    Patches for Any Image Classifier", USENIX Security 2022, arXiv 2108.09135.
    """

    model: str = text(
        "", "The classifier that shall answer rightly.", "an .onnx file that is there", _is_model
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model:
            raise ValueError("double-mask needs a model: the .onnx file of your classifier")

    def fingerprint(self) -> str:
        """Return the digest of the model."""
        import hashlib

        with open(self.model, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def preprocessing(self) -> Preprocessing:
        """How a picture becomes the model's input."""
        values = {spec.name: getattr(self, spec.name) for spec in fields(Preprocessing)}
        return Preprocessing(**values)

    @property
    def classifier(self) -> Classifier:
        """The model with its preprocessing."""
        return Classifier(self.model, self.preprocessing)


def apply(image: NDArray[Any], params: DoubleMaskParams, *, with_mask: bool = False) -> Cleaned:
    """Hide what keeps a model from answering as double masking does.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C), C of 1 (gray), 2 (gray and alpha), 3 (RGB) or 4 (RGBA); uint8,
        uint16, or floating in [0, 1].
    params : DoubleMaskParams
        The model and the masks.
    with_mask : bool
        Whether the mask is wanted.

    Returns
    -------
    Cleaned
        The very input if the model's own answer on it is that of double masking. Otherwise the
        image with one rectangle of middle gray, on which it is. The masks lie in the image as it
        is, over what the model sees of it after its resizing and cropping.

    Raises
    ------
    TypeError, ValueError
        If the array is not such an image, is smaller than the crop, or the model fails on it.
    """
    color, _ = split_alpha(image)
    picture = as_rgb(image)
    height, width = picture.shape[:2]
    masks = params.masks(seen(height, width, params.preprocessing))
    votes = Votes(picture, masks, params.classifier.predict)
    settled = settle(votes)
    if votes.bare() == settled.label:
        return Cleaned(image, np.zeros((height, width), np.float32) if with_mask else None, 0.0)
    masked = color.copy()
    masked[masks[settled.mask]] = from_uint8(np.array(MIDDLE_GRAY, np.uint8), color.dtype)
    return finish(image, masked, with_mask=with_mask)


def check_written(cleaned: NDArray[Any], written: NDArray[Any], params: DoubleMaskParams) -> None:
    """Make sure that the model answers the same on an image and on what its file holds of it.

    Parameters
    ----------
    cleaned : ndarray
        What :func:`apply` returned.
    written : ndarray
        The same as read back from a file that may have lost something.
    params : DoubleMaskParams
        The model.

    Raises
    ------
    ValueError
        If it does not.
    """
    before, after = params.classifier.predict(as_rgb(one) for one in (cleaned, written))
    if before != after:
        raise ValueError(
            f"the model would answer {after} instead of {before} on what lossy coding leaves; "
            "use --format png"
        )


DEFENSE = Defense(
    "double-mask", "Double masking of PatchCleanser, certified", ("2108.09135",),
    DoubleMaskParams, apply, check_written=check_written,
)  # fmt: skip
