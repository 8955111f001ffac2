"""The detector in training: batches, the loss, the averaged weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from numpy.typing import NDArray
from torch import Tensor

from lgs_cli.evaluation.detector import scenes
from lgs_cli.evaluation.detector.clutter import clutter
from lgs_cli.evaluation.detector.network import CELL, Detector, smoothed
from lgs_cli.evaluation.detector.opponents import Advanced
from lgs_cli.evaluation.detector.scenes import SIDE, Pixels

_ATTACKED, _PASTED, _CLEAN = 18, 8, 24  # images of one batch
_REMEMBERED = 1500  # peaks of clean images, and patches of attackers
_FLAGGED = 0.015  # share of the clean images of a batch that may be above the bar
_ABSENT = -30.0


class Outcome(NamedTuple):
    """The outcome of one step.

    Attributes
    ----------
    loss : float
        The loss.
    found : float
        Share of the patches in the batch that were found, in [0, 1].
    """

    loss: float
    found: float


class Learner:
    """A detector, and everything needed to continue its training.

    Parameters
    ----------
    photos : sequence of ndarray
        uint8 (H, W, 3) RGB photographs.
    patches : sequence of ndarray
        uint8 (h, w, 3) RGB patches of attacks; textures are pasted as well.
    seed : int
        Seed of every draw.
    learning_rate : float
        Of the first step after the warm-up.

    Attributes
    ----------
    kept : Detector
        The detector with averaged weights: attackers attack it, and it is the result.
    bar : float
        The logit above which an image counts as attacked: few clean ones are above it.
    """

    def __init__(
        self,
        photos: Sequence[Pixels],
        patches: Sequence[Pixels],
        seed: int,
        learning_rate: float = 3e-3,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._learning = Detector()
        self._photos = photos
        self._given = list(patches)
        self._retired: list[Pixels] = []
        self._draw = np.random.default_rng([seed, 1])
        self._rate = learning_rate
        # Patches are rare, so the first guess is that there is none.
        torch.nn.init.constant_(self._learning.cells.bias, -2.0)  # type: ignore[arg-type]
        self._optimizer = torch.optim.AdamW(
            self._learning.parameters(), learning_rate, weight_decay=1e-4
        )
        self.kept = copy.deepcopy(self._learning).eval()
        self.bar = 0.0
        self._peaks: list[float] = []
        self._steps = 0

    def step(self, attacked: Sequence[Advanced], progress: float = 0.0) -> Outcome:
        """Learn from one batch.

        Parameters
        ----------
        attacked : sequence of Advanced
            What attackers made last; if there are none, more is pasted.
        progress : float
            How much of the training is done, in [0, 1]: steps get shorter.

        Returns
        -------
        Outcome
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * (1 - 0.95 * progress)
        pictures, masks = self._batch(attacked)
        loss, patch_peaks, clean_peaks = self._loss(pictures, masks)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._learning.parameters(), 1.0)
        self._optimizer.step()
        self._average()
        self._peaks = (self._peaks + clean_peaks.tolist())[-_REMEMBERED:]
        if len(self._peaks) > 300:
            self.bar = float(np.quantile(self._peaks, 1 - _FLAGGED))
        self._steps += 1
        return Outcome(float(loss.detach()), float((patch_peaks > self.bar).float().mean()))

    def remember(self, retired: Sequence[Pixels]) -> None:
        """Keep patches of attackers, to paste them into other images."""
        self._retired = [*self._retired, *retired][-_REMEMBERED:]

    def _average(self) -> None:
        weight = 1 - min(0.995, self._steps / (self._steps + 10))
        with torch.no_grad():
            pairs = zip(self.kept.parameters(), self._learning.parameters(), strict=True)
            for mean, value in pairs:
                mean.lerp_(value, weight)
            buffers = zip(self.kept.buffers(), self._learning.buffers(), strict=True)
            for held, fresh in buffers:
                held.copy_(fresh)

    def _batch(self, attacked: Sequence[Advanced]) -> tuple[Tensor, Tensor]:
        """Return images, float (N, 3, SIDE, SIDE), and the share of patch in each cell."""
        draw = self._draw
        examples = [self._attacked(attacked) for _ in range(_ATTACKED if attacked else 0)]
        patches = self._given + self._retired
        for _ in range(_ATTACKED + _PASTED - len(examples)):
            picture, mask = scenes.patched(self._crop(), patches, draw)
            if draw.random() < 0.33:
                picture = scenes.recompressed(picture, draw)
            examples.append((picture, mask))
        nothing = np.zeros((SIDE, SIDE), np.float32)
        examples += [(self._clean(attacked), nothing) for _ in range(_CLEAN)]
        stacked = np.stack([picture for picture, _ in examples]).transpose(0, 3, 1, 2)
        masks = torch.from_numpy(np.stack([mask for _, mask in examples]))[:, None]
        return torch.from_numpy(stacked.copy()).float() / 255, F.avg_pool2d(masks, CELL)

    def _crop(self) -> Pixels:
        photo = self._photos[int(self._draw.integers(len(self._photos)))]
        return scenes.crop(photo, self._draw)

    def _attacked(self, attacked: Sequence[Advanced]) -> tuple[Pixels, NDArray[np.float32]]:
        draw = self._draw
        made = attacked[int(draw.integers(len(attacked)))]
        index = int(draw.integers(len(made.pictures)))
        picture, mask = made.pictures[index], made.masks[index].astype(np.float32)
        if draw.random() < 0.5:
            picture, mask = picture[:, ::-1], mask[:, ::-1]
        if draw.random() < 0.15:
            picture = scenes.recompressed(picture, draw, lowest=60)
        return np.ascontiguousarray(picture), np.ascontiguousarray(mask)

    def _clean(self, attacked: Sequence[Advanced]) -> Pixels:
        draw = self._draw
        picture, kind = self._crop(), draw.random()
        if kind < 0.28:
            picture = clutter(picture, draw)
        elif kind < 0.33:
            picture = scenes.collage(picture, self._crop(), draw)
        elif attacked and kind < 0.5:
            made = attacked[int(draw.integers(len(attacked)))]
            picture = made.clean[int(draw.integers(len(made.clean)))]
        return scenes.recompressed(picture, draw) if draw.random() < 0.3 else picture

    def _loss(self, pictures: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss, and the peaks of the map inside patches and in clean images."""
        logits = self._learning(pictures)
        decisive = smoothed(logits)
        inside, outside = masks > 0.5, masks == 0
        patched = inside.flatten(1).any(1)
        every = (1, 2, 3)
        missed = (F.softplus(-logits) * masks).sum(every) / masks.sum(every).clamp(min=1)
        alarm = (F.softplus(logits) * outside).sum(every) / outside.sum(every).clamp(min=1)
        # The highest cell decides: it should be high in a patch and low elsewhere.
        near = F.max_pool2d(masks, 9, 1, 4) > 0
        highest = decisive.masked_fill(near, _ABSENT).amax(every)
        patch_peak = decisive.masked_fill(~inside, _ABSENT).amax(every)[patched]
        p = logits.sigmoid()
        overlap = (2 * (p * masks).sum(every) + 1) / ((p + masks).sum(every) + 1)
        loss = (
            missed[patched].mean()
            + 2 * alarm.mean()
            + 0.5 * F.softplus(2.0 - patch_peak).mean()
            + 2 * F.softplus(highest + 1.5).mean()
            + 0.5 * (1 - overlap)[patched].mean()
        )
        return loss, patch_peak.detach(), highest.detach()[~patched]

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` needs to continue in the same way."""
        return {
            "learning": self._learning.state_dict(),
            "kept": self.kept.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "draw": self._draw.bit_generator.state,
            "retired": self._retired,
            "peaks": self._peaks,
            "bar": self.bar,
            "steps": self._steps,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state` returned."""
        self._learning.load_state_dict(state["learning"])
        self.kept.load_state_dict(state["kept"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._draw.bit_generator.state = state["draw"]
        self._retired, self._peaks = state["retired"], state["peaks"]
        self.bar, self._steps = state["bar"], state["steps"]
