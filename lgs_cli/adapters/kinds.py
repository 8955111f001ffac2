"""The kinds of images that callers have: NumPy arrays, PIL images, torch tensors."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lgs_cli.defenses.pixels import split_alpha
from lgs_cli.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Image = TypeVar("Image")


class Kind(ABC, Generic[Image]):
    """One image, or a batch of them, of one kind.

    Parameters
    ----------
    image : object
        What the caller has.
    """

    def __init__(self, image: Image) -> None:
        self.image = image

    @abstractmethod
    def arrays(self) -> list[NDArray[Any]]:
        """Give each image as defenses take it, see :class:`~lgs_cli.defenses.defense.Apply`.

        Raises
        ------
        TypeError, ValueError
            If it is no such image; the message says what would be right.
        """

    @abstractmethod
    def like(self, arrays: list[NDArray[Any]]) -> Image:
        """Make of new pixels what the caller has."""

    def masks(self, arrays: list[NDArray[Any]]) -> Any:
        """Give masks, float32 (H, W), the form that goes with the image."""
        return arrays[0]

    def each(self, values: list[Any]) -> Any:
        """Give one value for one image, a list for a batch."""
        return values[0]


def kind_of(image: Image) -> Kind[Image]:
    """Find out which kind of image something is.

    Parameters
    ----------
    image : ndarray, PIL.Image.Image or torch.Tensor
        The image, or a batch if it is a tensor.

    Raises
    ------
    TypeError
        If it is something else; the message says what would be right.
    """
    # What has not been loaded, it cannot be an instance of.
    torch, pillow = sys.modules.get("torch"), sys.modules.get("PIL.Image")
    kind: Any
    if isinstance(image, np.ndarray):
        kind = _Array
    elif pillow is not None and isinstance(image, pillow.Image):
        kind = _Picture
    elif torch is not None and isinstance(image, torch.Tensor):
        kind = _Tensor
    else:
        raise TypeError(
            f"image is a {type(image).__name__}; it must be a NumPy array, a PIL image or a torch "
            f"tensor: {_conversion(image)}"
        )
    found: Kind[Image] = kind(image)
    return found


def _conversion(image: object) -> str:
    if isinstance(image, str | bytes) or hasattr(image, "__fspath__"):
        return "open a file with PIL.Image.open, or clean files with lgs_cli.clean_folder"
    if isinstance(image, list | tuple):
        return "call it for one image after the other"
    return "numpy.asarray(image) may give one"


class _Array(Kind["NDArray[Any]"]):
    def arrays(self) -> list[NDArray[Any]]:
        shape = self.image.shape
        if len(shape) == 4:
            raise ValueError(
                f"shape is {shape}; of a batch of arrays, call it for one after the other"
            )
        if len(shape) == 3 and shape[2] > 4 and shape[0] <= 4:
            raise ValueError(
                f"shape is {shape}; channels come last, (H, W, C): image.transpose(1, 2, 0)"
            )
        return [_checked(self.image)]

    def like(self, arrays: list[NDArray[Any]]) -> NDArray[Any]:
        (array,) = arrays
        return array.copy() if np.may_share_memory(array, self.image) else array


def _checked(array: NDArray[Any]) -> NDArray[Any]:
    """Refuse pixels that no defense takes, and say how to get such as it takes."""
    try:
        split_alpha(array)
    except TypeError as error:
        raise TypeError(f"{error}: image.astype(numpy.uint8) if they are 0 to 255") from None
    except ValueError as error:
        if array.dtype.kind != "f" or array.size == 0:
            raise
        low, high = array.min(), array.max()
        advice = "it has NaN" if np.isnan(low) else f"they are {low:g} to {high:g}"
        if low >= 0 and 1 < high <= 255:
            advice += "; divide by 255"
        elif low < 0:
            advice += "; clean before you normalize"
        raise ValueError(f"{error}; {advice}") from None
    return array


_CONVERSIONS = {
    "1": "image.convert('L')",
    "I": "numpy.asarray(image).astype(numpy.uint16)",
    "F": "numpy.asarray(image), in [0, 1]",
    "PA": "image.convert('RGBA')",
    "La": "image.convert('LA')",
    "RGBa": "image.convert('RGBA')",
}


class _Picture(Kind[Any]):
    def arrays(self) -> list[NDArray[Any]]:
        mode = self.image.mode
        if mode not in ("L", "LA", "RGB", "RGBA", "I;16"):
            clear = "transparency" in self.image.info
            plain = "image.convert('RGBA')" if clear else "image.convert('RGB')"
            raise ValueError(
                f"mode is {mode}; it must be L, LA, RGB, RGBA or I;16: "
                f"{_CONVERSIONS.get(mode, plain)}"
            )
        return [_checked(np.asarray(self.image))]

    def like(self, arrays: list[NDArray[Any]]) -> Any:
        from PIL import Image

        (array,) = arrays
        picture = Image.fromarray(array)
        picture.info = self.image.info.copy()
        return picture


class _Tensor(Kind[Any]):
    def arrays(self) -> list[NDArray[Any]]:
        self._check()
        tensor = self.image.detach()
        if str(tensor.dtype) == "torch.bfloat16":  # which NumPy does not have
            tensor = tensor.float()
        pixels = tensor.cpu().numpy()
        batch = pixels if pixels.ndim == 4 else pixels[None]
        return [_checked(image.transpose(1, 2, 0)) for image in batch]

    def _check(self) -> None:
        shape = tuple(self.image.shape)
        if len(shape) not in (3, 4) or 0 in shape[1:]:
            raise ValueError(
                f"shape is {shape}; it must be (C, H, W) or (N, C, H, W)"
                + (": image[None] adds a channel" if len(shape) == 2 else "")
            )
        if not 1 <= shape[-3] <= 4:
            order = "(2, 0, 1)" if len(shape) == 3 else "(0, 3, 1, 2)"
            advice = f": image.permute{order}" if 1 <= shape[-1] <= 4 else ""
            raise ValueError(
                f"shape is {shape}; channels come before height and width, 1 to 4 of them{advice}"
            )
        if self.image.requires_grad:
            raise ValueError(
                "image requires a gradient, which this has none of: take "
                "lgs_cli.adapters.torch.LocalGradientsSmoothing, or image.detach()"
            )
        known = ("uint8", "uint16", "float16", "bfloat16", "float32", "float64")
        dtype = str(self.image.dtype).removeprefix("torch.")
        if dtype not in known:
            raise TypeError(
                f"pixels are {dtype}; they must be uint8, uint16, or floating in [0, 1]: "
                "image.to(torch.uint8) if they are 0 to 255"
            )

    def like(self, arrays: list[NDArray[Any]]) -> Any:
        if not arrays:
            return self.image.clone()
        pixels = np.stack([array.transpose(2, 0, 1) for array in arrays])
        tensor = self._tensor(pixels).to(self.image.dtype)
        return self._of_its_class(tensor if self.image.ndim == 4 else tensor[0])

    def _tensor(self, values: NDArray[Any]) -> Any:
        return sys.modules["torch"].from_numpy(values).to(self.image.device)

    def _of_its_class(self, tensor: Any) -> Any:
        """Make an Image of torchvision of a tensor, if that is what came in."""
        vision: Any = sys.modules.get("torchvision.tv_tensors")
        if vision is not None and isinstance(self.image, vision.TVTensor):
            return vision.wrap(tensor, like=self.image)
        return tensor

    def masks(self, arrays: list[NDArray[Any]]) -> Any:
        if not arrays:
            return self.image.new_zeros((0, *self.image.shape[-2:]), dtype=self._float32)
        masks = self._tensor(np.stack(arrays))
        return masks if self.image.ndim == 4 else masks[0]

    @property
    def _float32(self) -> Any:
        return sys.modules["torch"].float32

    def each(self, values: list[Any]) -> Any:
        return values if self.image.ndim == 4 else values[0]
