"""Attackers that learn along with the detector: they fool a classifier and try not to be found.

Each attacker optimizes one patch on one crop for some rounds, then starts again with another patch
on another crop. Some know the detector and attack through it, others do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from numpy.typing import NDArray
from torch import Tensor

from lgs_cli.errors import LgsError
from lgs_cli.evaluation.detector import scenes
from lgs_cli.evaluation.detector.network import Detector, smoothed
from lgs_cli.evaluation.detector.scenes import SEEN, SIDE, Pixels
from lgs_cli.evaluation.models.torch_model import TorchModel

_MOMENTUM = 0.9
_RISE = 1.15  # factor by which the weight of not being found rises after a step that is found


class Advanced(NamedTuple):
    """The outcome of a round of attacks.

    Attributes
    ----------
    pictures : ndarray
        uint8 (N, SIDE, SIDE, 3), with patches.
    masks : ndarray
        bool (N, SIDE, SIDE), where they lie.
    clean : ndarray
        uint8 (N, SIDE, SIDE, 3), without.
    fooled, hidden : ndarray
        bool (N,): whether the classifier is fooled, and whether the detector misses the patch.
    knowing : ndarray
        bool (N,): whether the attacker knows the detector.
    retired : list of ndarray
        uint8 (h, w, 3), the patches whose attackers are done.
    """

    pictures: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    clean: NDArray[np.uint8]
    fooled: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    knowing: NDArray[np.bool_]
    retired: list[Pixels]


@dataclass
class _Opponent:
    top: int
    left: int
    height: int
    width: int
    weight: float
    adapts: bool
    gray: bool
    cell: int
    blur: bool
    target: int
    life: int
    step_size: float
    age: int = 0
    fooled: bool = False
    hidden: bool = False


class Opponents:
    """A pool of attackers on one classifier.

    Parameters
    ----------
    classify : callable
        float (N, 3, SIDE, SIDE) in [0, 1] to logits (N, classes).
    photos : sequence of ndarray
        uint8 (H, W, 3) RGB: the images to attack.
    count : int
        How many there are.
    seed : int
        Seed of every draw.
    """

    def __init__(
        self,
        classify: Callable[[Tensor], Tensor],
        photos: Sequence[Pixels],
        count: int,
        seed: int,
    ) -> None:
        self._classify = classify
        self._photos = photos
        self._draw = np.random.default_rng(seed)
        shape = (count, 3, SIDE, SIDE)
        self._x, self._patch, self._momentum = (torch.zeros(shape) for _ in range(3))
        self._mask = torch.zeros((count, 1, SIDE, SIDE))
        self._label = torch.zeros(count, dtype=torch.long)
        self._members: list[_Opponent] = []
        for index in range(count):
            self._members.append(self._recruit(index))
            # of different ages, so that they do not all end at once
            self._members[index].age = int(self._draw.integers(self._members[index].life))

    def _recruit(self, index: int) -> _Opponent:
        draw = self._draw
        photo = self._photos[int(draw.integers(len(self._photos)))]
        picture = scenes.crop(photo, draw)
        knows = draw.random() < 0.8
        area = SEEN * SEEN * np.exp(draw.uniform(np.log(0.008), np.log(0.05)))
        if draw.random() < 0.4:
            area = SEEN * SEEN * 0.0205
        ratio = 1.0 if draw.random() < 0.8 else np.exp(draw.uniform(-0.7, 0.7))
        height, width = max(12, round((area * ratio) ** 0.5)), max(12, round((area / ratio) ** 0.5))
        top, left = int(draw.integers(SIDE - height + 1)), int(draw.integers(SIDE - width + 1))
        if draw.random() < 0.4:
            # at a border, where most attacks on photographs lie
            edge = int(draw.integers(4))
            gap = int(draw.integers(height // 4 + 1))
            top = (gap, SIDE - height - gap, top, top)[edge]
            left = (left, left, gap, SIDE - width - gap)[edge]
        style = draw.random()
        member = _Opponent(
            top, left, height, width,
            weight=float(np.exp(draw.uniform(np.log(0.1), np.log(10)))) if knows else 0.0,
            adapts=knows and draw.random() < 0.7,
            gray=draw.random() < 0.2,
            cell=int(draw.choice([2, 4, 8, 16])) if style < 0.2 else 1,
            blur=0.2 <= style < 0.35,
            target=int(draw.integers(1000)) if draw.random() < 0.25 else -1,
            life=int(draw.integers(20, 140)) if knows else int(draw.integers(15, 60)),
            step_size=float(draw.choice([0.03, 0.06, 0.1])),
        )  # fmt: skip
        x = torch.from_numpy(picture.transpose(2, 0, 1).copy()).float() / 255
        self._x[index] = x
        start = draw.random()
        if start < 0.45:
            patch = x + 0.02 * torch.from_numpy(draw.normal(size=x.shape)).float()
        elif start < 0.75:
            patch = torch.from_numpy(draw.random(x.shape)).float()
        else:
            texture = scenes.texture(SIDE, SIDE, draw)
            patch = torch.from_numpy(texture.transpose(2, 0, 1).copy()).float() / 255
        self._patch[index] = patch.clamp(0, 1)
        self._momentum[index] = 0
        self._mask[index] = 0
        self._mask[index, :, top : top + height, left : left + width] = 1
        with torch.no_grad():
            self._label[index] = self._classify(x[None])[0].argmax()
        return member

    def advance(self, detector: Detector, bar: float, steps: int) -> Advanced:
        """Let all of them take steps.

        Parameters
        ----------
        detector : Detector
            The detector that they know.
        bar : float
            The logit above which an image counts as attacked.
        steps : int
            How many steps each takes.

        Returns
        -------
        Advanced
        """
        retired = []
        for index, member in enumerate(self._members):
            if member.age >= member.life:
                retired.append(self._pixels(index))
                self._members[index] = self._recruit(index)
        for first in range(0, len(self._members), 8):
            part = slice(first, min(first + 8, len(self._members)))
            for _ in range(steps):
                self._step(part, detector, bar)
        pictures = self._x * (1 - self._mask) + self._patch * self._mask
        return Advanced(
            _to_uint8(pictures),
            self._mask[:, 0].numpy() > 0,
            _to_uint8(self._x),
            np.array([m.fooled for m in self._members]),
            np.array([m.hidden for m in self._members]),
            np.array([m.weight > 0 for m in self._members]),
            retired,
        )

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` needs to continue in the same way."""
        return {
            "draw": self._draw.bit_generator.state,
            "tensors": [self._x, self._patch, self._momentum, self._mask, self._label],
            "members": self._members,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state` returned."""
        self._draw.bit_generator.state = state["draw"]
        self._x, self._patch, self._momentum, self._mask, self._label = state["tensors"]
        self._members = state["members"]

    def _step(self, part: slice, detector: Detector, bar: float) -> None:
        members = self._members[part]
        mask = self._mask[part]
        patch = self._patch[part].clone().requires_grad_()
        rounded = patch + ((patch * 255).round() / 255 - patch).detach()
        image = self._x[part] * (1 - mask) + rounded * mask
        margin = self._margin(self._classify(image), part)
        (toward,) = torch.autograd.grad(margin.sum(), patch, retain_graph=True)
        maps = smoothed(detector(image)).flatten(1)
        (away,) = torch.autograd.grad(maps.logsumexp(1).sum(), patch)
        peaks = maps.detach().amax(1)
        gradient = torch.zeros_like(toward)
        for i, member in enumerate(members):
            member.fooled, found = bool(margin[i] > 0), bool(peaks[i] > bar - 0.3)
            member.hidden = not found
            if member.adapts:
                change = _RISE if found else 1 / _RISE
                member.weight = min(max(member.weight * change, 0.03), 30.0)
            pull, push = toward[i], away[i]
            total = pull / pull.abs().sum().clamp(min=1e-30)
            if member.weight and (found or not member.adapts):
                total = total - member.weight * push / push.abs().sum().clamp(min=1e-30)
            gradient[i] = _shaped(total, member)
        size = gradient.abs().sum((1, 2, 3), keepdim=True).clamp(min=1e-30)
        self._momentum[part] = _MOMENTUM * self._momentum[part] + gradient / size
        for i, member in enumerate(members):
            index = part.start + i
            length = max(member.step_size * (1 - member.age / member.life), 0.008)
            moved = self._patch[index] + length * self._momentum[index].sign()
            if member.blur:
                moved = moved + 0.2 * (F.avg_pool2d(moved[None], 3, 1, 1)[0] - moved)
            self._patch[index] = moved.clamp(0, 1)
            if member.age == 0 and (member.gray or member.cell > 1):
                self._patch[index] = _shaped(self._patch[index], member)
            member.age += 1

    def _margin(self, logits: Tensor, part: slice) -> Tensor:
        label = self._label[part]
        target = torch.tensor([m.target for m in self._members[part]])
        aimed = (target >= 0) & (target < logits.shape[1])
        own = torch.where(aimed, target, label)[:, None]
        others = logits.scatter(1, own, -torch.inf).amax(1)
        ahead = logits.gather(1, own)[:, 0] - others
        return torch.where(aimed, ahead, -ahead)

    def _pixels(self, index: int) -> Pixels:
        m = self._members[index]
        box = self._patch[index, :, m.top : m.top + m.height, m.left : m.left + m.width]
        pixels: Pixels = _to_uint8(box[None])[0]
        return pixels


def _shaped(values: Tensor, member: _Opponent) -> Tensor:
    """Make values equal in all channels, or in each cell, if the attacker is limited to that."""
    if member.gray:
        values = values.mean(0, keepdim=True).expand_as(values)
    if member.cell > 1:
        rows = slice(member.top, member.top + member.height)
        columns = slice(member.left, member.left + member.width)
        box = values[None, :, rows, columns]
        c = member.cell
        means = F.avg_pool2d(box, c, ceil_mode=True)
        flat = means.repeat_interleave(c, 2).repeat_interleave(c, 3)
        values = values.clone()
        values[:, rows, columns] = flat[0, :, : member.height, : member.width]
    return values


def _to_uint8(x: Tensor) -> NDArray[np.uint8]:
    pixels: Any = (x.detach() * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    contiguous: Pixels = np.ascontiguousarray(pixels.numpy())
    return contiguous


def any_size(model: TorchModel, side: int) -> Callable[[Tensor], Tensor]:
    """Let a model take square images of one size, also if it is made for another.

    Parameters
    ----------
    model : TorchModel
        The model.
    side : int
        Height and width of the images in pixels.

    Returns
    -------
    callable
        float (N, 3, side, side) in [0, 1] to logits (N, classes); images that the model does
        not take in that size are resized to what its preprocessing crops.

    Raises
    ------
    LgsError
        If the model takes neither.
    """
    own = model.preprocessing.crop or side

    def resized(x: Tensor) -> Tensor:
        size = (own, own)
        return model.differentiable(F.interpolate(x, size, mode="bilinear", align_corners=False))

    blank = torch.zeros(1, 3, side, side, device=model.device)
    try:
        with torch.no_grad():
            model.differentiable(blank)
    except LgsError:
        with torch.no_grad():
            resized(blank)
        return resized
    return model.differentiable
