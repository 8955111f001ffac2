"""Train one patch for every image and place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lgs_cli.evaluation.attacks import warping
from lgs_cli.evaluation.attacks.pasting import Patch, draw_spot
from lgs_cli.evaluation.attacks.placement import choose_target, require_classes, side_of
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.models import require_gradients
from lgs_cli.evaluation.models.torch_model import to_pixels, to_tensor
from lgs_cli.evaluation.victim import Victim
from lgs_cli.lazy import np, torch

if TYPE_CHECKING:
    from torch import Tensor

    from lgs_cli.evaluation.attacks.patch import PatchParams


def train(victim: Victim, images: Images, params: PatchParams) -> Patch:
    """Train one patch over many images, places, rotations and scales.

    Parameters
    ----------
    victim : Victim
        The model under attack, the defenses inside the attack's loop, and the batch size of a
        step; its progress hears of every step.
    images : Images
        Labeled images to train on, cropped as the model takes them.
    params : PatchParams
        The attack's parameters.

    Returns
    -------
    Patch
        What maximizes the expected log-probability of the target or, without one, of all classes
        but the label.

    Raises
    ------
    UsageError
        If the patch does not fit into the images, the model lacks the target class or that of an
        image, or it gives no gradients.
    LgsError
        If the model fails on the images.
    """
    model = require_gradients(victim.model, "an attack")
    through = victim.layer()
    size = images.pixels.shape[1:3]
    draw = np.random.default_rng(params.seed)
    side = side_of(params.patch_size, params.patch_fraction, *size)
    classes = model.logits(images.pixels[:1]).shape[1]
    require_classes(images.labels.tolist(), images.names, classes)
    target = choose_target(params.target, int(images.labels[0]), classes, draw)
    alpha = np.ones((side, side), np.float32)
    if params.shape == "circle":
        offset = np.arange(side) - (side - 1) / 2
        alpha = (np.hypot(offset[:, None], offset) <= side / 2).astype(np.float32)
    mask = torch.from_numpy(alpha).to(model.device)
    start = 0.4 + 0.2 * draw.random((3, side, side), dtype=np.float32)
    patch = torch.from_numpy(start).to(model.device).requires_grad_()
    optimizer = torch.optim.Adam([patch], lr=params.step_size)
    victim.progress.start("training", params.steps)
    for _ in range(params.steps):
        chosen = draw.choice(len(images), min(victim.batch_size, len(images)), replace=False)
        x = to_tensor(images.pixels[chosen], model.device)
        spots = [draw_spot(params, size, side, draw) for _ in chosen]
        count = len(chosen)
        pasted = warping.paste(
            x, patch.expand(count, -1, -1, -1), mask.expand(count, -1, -1), spots
        )
        logits = model.differentiable(through(pasted) if through is not None else pasted)
        label = torch.from_numpy(images.labels[chosen]).to(model.device)
        loss = -_reward(logits, label, target).mean()
        patch.grad = model.gradient(loss, patch, pasted)
        optimizer.step()
        with torch.no_grad():
            patch.clamp_(0, 1)
        victim.progress.advance()
    pixels = np.empty((side, side, 4), np.uint8)
    pixels[..., :3] = to_pixels(patch[None])[0]
    pixels[..., 3] = alpha * 255
    return Patch(pixels, target)


def _reward(logits: Tensor, label: Tensor, target: int | None) -> Tensor:
    if target is not None:
        return logits.log_softmax(1)[:, target]
    others = logits.scatter(1, label[:, None], -torch.inf)
    return others.logsumexp(1) - logits.logsumexp(1)
