"""How a picture becomes the input of a classifier, and which part of it the classifier sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lgs_cli.defenses.pixels import split_alpha, to_uint8
from lgs_cli.lazy import np
from lgs_cli.params import Params, choice, parameter, text

if TYPE_CHECKING:
    from numpy.typing import NDArray

Window = tuple[slice, slice]
"""Rows and columns of a rectangle of pixels: ``picture[window]``."""


def _numbers(value: str) -> tuple[float, ...]:
    return tuple(float(part) for part in value.split(","))


def _is_triple(value: str) -> bool:
    try:
        return len(_numbers(value)) == 3
    except ValueError:
        return False


def _is_positive_triple(value: str) -> bool:
    return _is_triple(value) and min(_numbers(value)) > 0


@dataclass(frozen=True)
class Preprocessing(Params):
    """How an image becomes a model's input: ``(scale · x − mean) / std`` for x in [0, 1].

    The defaults suit a model that takes [0, 1] itself.

    Attributes
    ----------
    resize : int
        Length in pixels the shorter side is resized to, bilinearly; 0 leaves the size alone.
    crop : int
        Side in pixels of the center crop; 0 keeps the whole image.
    mean, std : str
        Three numbers, in the order of `channels` and in units of `scale`.
    channels : str
        ``rgb`` or ``bgr``: the order in which the model takes its channels.
    scale : str
        ``1`` or ``255``: the value of white.
    """

    resize: int = parameter(256, "Resize the shorter side to this; 0: leave as is.", at_least=0)
    crop: int = parameter(224, "Crop the center to this side; 0: keep all.", at_least=0)
    mean: str = text("0,0,0", "Mean of each channel.", "three numbers: R,G,B", _is_triple)
    std: str = text(
        "1,1,1", "Standard deviation of each channel.", "three positive numbers: R,G,B",
        _is_positive_triple,
    )  # fmt: skip
    channels: str = choice("rgb", "Order of the channels.", "rgb", "bgr")
    scale: str = choice("1", "Value of white.", "1", "255")

    @property
    def white(self) -> float:
        """The value of white, 1 or 255."""
        return float(self.scale)

    @property
    def means(self) -> tuple[float, ...]:
        """The mean of each channel as numbers."""
        return _numbers(self.mean)

    @property
    def stds(self) -> tuple[float, ...]:
        """The standard deviation of each channel as numbers."""
        return _numbers(self.std)


PRESETS: dict[str, Preprocessing] = {
    "plain": Preprocessing(),
    "imagenet": Preprocessing(mean="0.485,0.456,0.406", std="0.229,0.224,0.225"),
    "inception": Preprocessing(resize=342, crop=299, mean="0.5,0.5,0.5", std="0.5,0.5,0.5"),
    "caffe": Preprocessing(mean="104,117,123", channels="bgr", scale="255"),
    "as-is": Preprocessing(resize=0, crop=0),
}


def as_rgb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image as a classifier takes it: 8 bits, three channels, no alpha.

    Parameters
    ----------
    pixels : ndarray
        (H, W) or (H, W, C), C of 1 to 4; uint8, uint16, or floating in [0, 1].

    Returns
    -------
    ndarray
        uint8 (H, W, 3) RGB. Of 16 bits the upper 8 count.
    """
    color, _ = split_alpha(pixels)
    color = (color >> 8).astype(np.uint8) if color.dtype == np.uint16 else to_uint8(color)
    return np.asarray(color if color.ndim == 3 else np.stack([color] * 3, axis=-1))


def fit(image: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resize and crop one image to what a model sees.

    Parameters
    ----------
    image : ndarray
        uint8 (H, W, 3).
    preprocessing : Preprocessing
        Its `resize` and `crop` are used.

    Returns
    -------
    ndarray
        uint8 (crop, crop, 3), or as large as the resized image if `crop` is 0.

    Raises
    ------
    ValueError
        If the image is smaller than the crop.
    """
    from PIL import Image

    height, width = image.shape[:2]
    size = _resized(height, width, preprocessing)
    if size != (height, width):
        picture = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
        image = np.asarray(picture)
    return image[_crop(*size, preprocessing)]


def _resized(height: int, width: int, preprocessing: Preprocessing) -> tuple[int, int]:
    shorter = min(height, width)
    if not preprocessing.resize or shorter == preprocessing.resize:
        return height, width
    ratio = preprocessing.resize / shorter
    return max(1, round(height * ratio)), max(1, round(width * ratio))


def _crop(height: int, width: int, preprocessing: Preprocessing) -> Window:
    side = preprocessing.crop
    if not side:
        return slice(0, height), slice(0, width)
    if min(height, width) < side:
        raise ValueError(f"{width}×{height} is smaller than the crop of {side} px")
    top, left = (height - side) // 2, (width - side) // 2
    return slice(top, top + side), slice(left, left + side)


def seen(height: int, width: int, preprocessing: Preprocessing) -> Window:
    """Say which part of a picture a model sees.

    Parameters
    ----------
    height, width : int
        Size of the picture in pixels.
    preprocessing : Preprocessing
        Its `resize` and `crop` are used.

    Returns
    -------
    tuple of slice
        Rows and columns. What lies outside of them has no influence on :func:`fit`.

    Raises
    ------
    ValueError
        As :func:`fit`.
    """
    size = _resized(height, width, preprocessing)
    rows, columns = _crop(*size, preprocessing)
    return _behind(rows, size[0], height), _behind(columns, size[1], width)


def _behind(crop: slice, resized: int, length: int) -> slice:
    """Return which pixels of a side of the picture the crop of the resized side is made from."""
    if resized == length:
        return crop
    scale = length / resized
    reach = max(scale, 1.0)  # of the bilinear filter, which grows where pixels are put together
    first = math.floor((crop.start + 0.5) * scale - reach)
    last = math.ceil((crop.stop - 0.5) * scale + reach)
    return slice(max(first, 0), min(last, length))


def as_input(images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Turn pixels into the numbers that a network takes.

    Parameters
    ----------
    images : ndarray
        uint8 (N, H, W, 3) RGB, resized and cropped.
    preprocessing : Preprocessing
        All but `resize` and `crop`.

    Returns
    -------
    ndarray
        float32 (N, 3, H, W), contiguous.
    """
    pixels = images[..., ::-1] if preprocessing.channels == "bgr" else images
    x: NDArray[np.float32] = pixels.astype(np.float32) * np.float32(preprocessing.white / 255)
    x -= np.array(preprocessing.means, np.float32)
    x /= np.array(preprocessing.stds, np.float32)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))
