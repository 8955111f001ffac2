"""A transform for the pipelines of torchvision (v2) and albumentations; needs neither.

>>> import numpy
>>> from lgs_cli.adapters.transforms import Clean
>>> clean = Clean("lgs", threshold=0.2)
>>> image = numpy.zeros((32, 32, 3), numpy.uint8)
>>> clean(image).shape                              # as torchvision calls it
(32, 32, 3)
>>> sorted(clean(image=image, bboxes=[(0, 0, 8, 8)]))  # as albumentations does
['bboxes', 'image']
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from lgs_cli.adapters.images import Method, chain_of, clean
from lgs_cli.lazy import np

__all__ = ["Clean"]


class Clean:
    """Clean images of adversarial patches, and pass everything else on as it is.

    Goes anywhere into the ``Compose`` of torchvision v2 and of albumentations, before any
    normalization. It can be pickled, for the workers of a DataLoader, and always does the same:
    nothing in it is random.

    Parameters
    ----------
    method : str, Params or tuple of Step
        As `lgs_cli.clean` takes it.
    **parameters
        More parameters of `method`, by name.

    Raises
    ------
    TypeError, ValueError
        If there is no such method or parameter.

    Notes
    -----
    Called by position, as torchvision does, it takes any nesting of tuples, lists and dicts, and
    cleans PIL images and the ``Image`` and ``Video`` of ``tv_tensors``; if there are none, the
    first plain tensor or array. Bounding boxes, masks and labels stay. Called by name, as
    albumentations does, it cleans ``image`` and each of ``images``, and their additional targets.

    Images are what `lgs_cli.clean` takes, RGB in this order: tensors are (C, H, W) or
    (N, C, H, W), arrays are (H, W) or (H, W, C), uint8, uint16, or floating in [0, 1].
    """

    # What albumentations asks of a transform.
    p = 1.0

    def __init__(self, method: Method = "lgs", **parameters: float | bool | str) -> None:
        self.chain = chain_of(method, parameters)
        self.available_keys = {"image", "images"}
        self._targets = {"image": "image", "images": "images"}

    def __repr__(self) -> str:
        steps = ", ".join(f"{step.params}" for step in self.chain)
        return f"{type(self).__name__}({steps})"

    def __call__(self, *inputs: Any, force_apply: bool = False, **named: Any) -> Any:
        """Clean the images among the inputs."""
        del force_apply  # it always is
        if named:
            if inputs:
                raise TypeError("inputs come by position, or by name, and not both")
            return {name: self._by_name(name, value) for name, value in named.items()}
        sample = inputs if len(inputs) > 1 else inputs[0]
        is_image = _is_image if any(map(_is_image, _leaves(sample))) else _first_of_pixels()
        return self._cleaned(sample, is_image)

    def add_targets(self, additional_targets: Mapping[str, str]) -> None:
        """Take further names for images, as albumentations has it: ``{"image2": "image"}``."""
        for name, target in additional_targets.items():
            if target in self._targets:
                self._targets[name] = self._targets[target]
                self.available_keys.add(name)

    def to_dict_private(self) -> dict[str, Any]:
        """Describe the transform, as albumentations shows it."""
        steps = [{"name": step.name, **vars(step.params)} for step in self.chain]
        return {"__class_fullname__": f"{__name__}.{type(self).__name__}", "method": steps}

    def _by_name(self, name: str, value: Any) -> Any:
        target = self._targets.get(name)
        if target is None or value is None:
            return value
        if target == "image" or not isinstance(value, list | tuple | np.ndarray):
            return clean(value, self.chain)
        cleaned = [clean(image, self.chain) for image in value]
        return np.stack(cleaned) if isinstance(value, np.ndarray) else type(value)(cleaned)

    def _cleaned(self, sample: Any, is_image: Callable[[Any], bool]) -> Any:
        if isinstance(sample, Mapping):
            pairs = {key: self._cleaned(value, is_image) for key, value in sample.items()}
            return type(sample)(pairs)  # type: ignore[call-arg]
        if isinstance(sample, list | tuple):
            parts = [self._cleaned(part, is_image) for part in sample]
            return type(sample)(*parts) if hasattr(sample, "_fields") else type(sample)(parts)
        return clean(sample, self.chain) if is_image(sample) else sample


def _leaves(sample: Any) -> list[Any]:
    if isinstance(sample, Mapping):
        sample = list(sample.values())
    if isinstance(sample, list | tuple):
        return [leaf for part in sample for leaf in _leaves(part)]
    return [sample]


def _is_image(leaf: Any) -> bool:
    """Say whether it can be nothing but an image."""
    # What has not been loaded, it cannot be an instance of.
    pillow: Any = sys.modules.get("PIL.Image")
    vision: Any = sys.modules.get("torchvision.tv_tensors")
    return (pillow is not None and isinstance(leaf, pillow.Image)) or (
        vision is not None and isinstance(leaf, vision.Image | vision.Video)
    )


def _first_of_pixels() -> Callable[[Any], bool]:
    """Make a test that the first plain tensor or array passes, as torchvision has it."""
    found = False

    def is_first(leaf: Any) -> bool:
        nonlocal found
        torch: Any = sys.modules.get("torch")
        is_tensor = torch is not None and type(leaf) is torch.Tensor
        if found or not (is_tensor or isinstance(leaf, np.ndarray)):
            return False
        found = True
        return True

    return is_first
