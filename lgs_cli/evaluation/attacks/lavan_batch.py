"""LaVAN on one batch: patches, where they lie, the steps on them, and the best so far."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lgs_cli.evaluation.attacks.pasting import Box
from lgs_cli.evaluation.attacks.placement import choose_target, draws, place, side_of
from lgs_cli.evaluation.bpda import Guarded
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.models.torch_model import TorchModel
from lgs_cli.lazy import F, np, torch

if TYPE_CHECKING:
    from torch import Tensor

    from lgs_cli.evaluation.attacks.lavan import LavanParams
    from lgs_cli.evaluation.bpda import Layer

_MOMENTUM = 0.9
_WEIGHTS = 0.0001, 1000.0  # the least and the most that a weight of hiding adapts to


class Batch:
    """One start of the attack on one batch of images.

    Attributes
    ----------
    best : torch.Tensor
        The best patch so far of each image.
    looks : int
        In how many images a patch is seen at each step.
    """

    looks = 1

    def __init__(
        self,
        x: Tensor,
        images: Images,
        classes: int,
        params: LavanParams,
        restart: int,
    ) -> None:
        count, _, height, width = x.shape
        self.x = x
        self.params = params
        self.labels = torch.as_tensor(images.labels, device=x.device)
        self.side = side_of(params.patch_size, params.patch_fraction, height, width)
        cells = min(params.cells, self.side) or self.side
        self.targets: list[int | None] = []
        self.corners: list[tuple[int, int]] = []
        starts = []
        for label, name in zip(images.labels, images.names, strict=True):
            # restarts differ in their noise alone: the place and the target are the same
            draw = draws(params.seed, name)
            self.corners.append(place(params.location, height, width, self.side, draw))
            self.targets.append(choose_target(params.target, int(label), classes, draw))
            noise = draws(params.seed, name, restart + 1)
            starts.append(noise.random((3, cells, cells), dtype=np.float32))
        aims = [-1 if target is None else target for target in self.targets]
        self.aims = torch.as_tensor(aims, device=x.device)
        rows = torch.arange(self.side, device=x.device)
        corner = torch.as_tensor(
            [top * width + left for top, left in self.corners], device=x.device
        )
        self.index = (corner[:, None, None] + rows[:, None] * width + rows).flatten(1)
        self.patch = torch.from_numpy(np.stack(starts)).to(x.device)
        if params.start == "content":
            # the first start is the image itself, the others are near it
            shift = (self.patch - 0.5) * (0.2 if restart else 0.0)
            self.patch = (self.content(cells) + shift).clamp(0, 1)
        if params.gray:
            self.patch = self.patch.mean(1, keepdim=True)
        self.weight = torch.full((count,), params.evade, device=x.device)
        self.score = torch.full((count,), -torch.inf, device=x.device)
        self.best = self.patch.clone()
        self.steps = torch.zeros(count, dtype=torch.long, device=x.device)
        self.dead = torch.zeros(count, dtype=torch.long, device=x.device)

    def content(self, cells: int) -> Tensor:
        """Return what the images show where the patches lie, (N, 3, cells, cells)."""
        index = self.index[:, None].expand(-1, 3, -1)
        inside = self.x.flatten(2).gather(2, index)
        inside = inside.view(*inside.shape[:2], self.side, self.side)
        return F.adaptive_avg_pool2d(inside, cells)

    def run(self, model: TorchModel, defend: Layer) -> Iterator[None]:
        """Take steps, one for each item; in the end `best` holds the best patch of each image."""
        params = self.params
        momentum = torch.zeros_like(self.patch)
        active = torch.arange(len(self.x), device=self.x.device)
        guard = defend if params.evade and isinstance(defend, Guarded) else None
        for step in range(params.steps + 1):
            patch = self.patch[active].requires_grad_()
            image = self.seen(patch, active)
            owner = active.repeat_interleave(self.looks)
            logits = model.differentiable((guard.passed if guard else defend)(image))
            margin = self.margin(logits, owner)
            score = margin.detach()
            found = torch.zeros_like(score, dtype=torch.bool)
            if guard:
                score, found = self.behind(model, guard, image.detach(), score, owner)
            score = score.view(-1, self.looks).mean(1)
            found = found.view(-1, self.looks).any(1)
            better = self.is_better(score, active)
            self.score[active[better]] = score[better]
            self.best[active[better]] = patch.detach()[better]
            if step == params.steps:
                break
            going = torch.ones_like(better)
            if params.confidence < 1:
                sure = self.confidence(logits.detach(), owner).view(-1, self.looks).mean(1)
                going = found | (sure < params.confidence)
            if not going.any():
                break
            gradient = model.gradient(margin.sum(), patch, image)
            size = gradient.abs().mean((1, 2, 3), keepdim=True)
            dead = (size == 0).flatten()
            gradient = gradient / size.clamp(min=1e-30)
            if guard:
                gradient = gradient - self.pull(guard, active, found)
            if params.variation:
                gradient = gradient - params.variation * _roughness(self.patch[active])
            active, gradient = active[going], gradient[going]
            self.steps[active] += 1
            self.dead[active] += dead[going].long()
            size = gradient.abs().mean((1, 2, 3), keepdim=True)
            momentum[active] = _MOMENTUM * momentum[active] + gradient / size.clamp(min=1e-30)
            # shorter and shorter: steps of one size never settle
            length = params.step_size * (1 - step / params.steps)
            moved = self.patch[active] + length * momentum[active].sign()
            self.patch[active] = moved.clamp(0, 1)
            yield

    def behind(
        self, model: TorchModel, guard: Guarded, image: Tensor, margin: Tensor, active: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the margins behind the defense, and in which images it finds a patch, (N,)."""
        repaired, found = guard.repaired(image)
        if found.any():
            with torch.no_grad():
                logits = model.differentiable(repaired[found])
            margin = margin.clone()
            margin[found] = self.margin(logits, active[found])
        return margin, found

    def pull(self, guard: Guarded, active: Tensor, found: Tensor) -> Tensor:
        """Return the gradient of the detector's response, weighted, and adapt the weights.

        A weight that adapts pulls only while the patch is found. The other steps serve the attack's
        aim alone; if they get the patch found, the next ones hide it again.
        """
        weight, rise = self.weight[active], self.params.evade_rise
        pulled = torch.ones_like(found)
        if rise > 1:
            self.weight[active] = (weight * torch.where(found, rise, 1 / rise)).clamp(*_WEIGHTS)
            pulled = found
        pull = torch.zeros_like(self.patch[active])
        if pulled.any():
            patch = self.patch[active[pulled]].requires_grad_()
            response = guard.response(self.seen(patch, active[pulled]))
            (gradient,) = torch.autograd.grad(response.sum(), patch)
            size = gradient.abs().mean((1, 2, 3), keepdim=True)
            pull[pulled] = weight[pulled, None, None, None] * gradient / size.clamp(min=1e-30)
        return pull

    def seen(self, patch: Tensor, active: Tensor) -> Tensor:
        """Return the images that a step is judged by, `looks` for each of `active`, in turn."""
        return self.pasted(patch, active)

    def is_better(self, score: Tensor, active: Tensor) -> Tensor:
        """Say which patches of `active` are to be kept as the best so far, (N,)."""
        return score > self.score[active]

    def written(self) -> Tensor:
        """Return the images with their best patches, as they are written."""
        return self.pasted(self.best, torch.arange(len(self.x), device=self.x.device))

    def box(self, index: int) -> Box:
        """Return the box around the patch of one of the images that are written."""
        top, left = self.corners[index]
        return Box(top, left, self.side, self.side)

    def survival(self, index: int) -> float | None:
        """Return the share of transformations that a patch survives; None: it is made for one."""
        return None

    def pasted(self, patch: Tensor, active: Tensor) -> Tensor:
        """Return the images of `active` with their patches as they lie, rounded to 8 bits."""
        patch = rounded(self.enlarged(patch))
        x = self.x[active]
        index = self.index[active][:, None].expand(-1, 3, -1)
        return x.flatten(2).scatter(2, index, patch.flatten(2)).view(x.shape)

    def enlarged(self, patch: Tensor) -> Tensor:
        """Return patches at their full size and in color, (N, 3, side, side)."""
        if patch.shape[-1] != self.side:
            size = (self.side, self.side)
            if self.params.flat_cells:
                patch = F.interpolate(patch, size, mode="nearest")
            else:
                patch = F.interpolate(patch, size, mode="bicubic", align_corners=False)
                patch = patch.clamp(0, 1)
        patch = patch.expand(-1, 3, -1, -1)
        if self.params.exploit_normalization:
            patch = _with_maximal_step(patch)
        return patch

    def margin(self, logits: Tensor, active: Tensor) -> Tensor:
        """Return what the attack maximizes, (N,)."""
        label, aim = self.labels[active, None], self.aims[active, None]
        targeted = aim >= 0
        own = torch.where(targeted, aim, label)
        others = logits.scatter(1, own, -torch.inf).amax(1, keepdim=True)
        ahead = logits.gather(1, own) - others
        return torch.where(targeted, ahead, -ahead).squeeze(1)

    def confidence(self, logits: Tensor, active: Tensor) -> Tensor:
        """Return the probability of the target, or of the strongest class but the label, (N,)."""
        chances = logits.softmax(1)
        others = chances.scatter(1, self.labels[active, None], 0).amax(1)
        aims = self.aims[active]
        aimed = chances.gather(1, aims.clamp(min=0)[:, None]).squeeze(1)
        return torch.where(aims < 0, others, aimed)

    def joined(self, other: Batch) -> Batch:
        """Return this start with every image for which the other did better replaced."""
        better = other.score > self.score
        self.score = torch.where(better, other.score, self.score)
        self.best = torch.where(better[:, None, None, None], other.best, self.best)
        self.steps += other.steps
        self.dead += other.dead
        return self


def rounded(x: Tensor) -> Tensor:
    """Round colors to 8 bits, with the gradient of the identity."""
    return x + ((x * 255).round() / 255 - x).detach()


def _with_maximal_step(patch: Tensor) -> Tensor:
    """Put a white pixel between two black ones into a corner: the largest gradient there is."""
    keep = torch.ones_like(patch[:1, :1])
    keep[..., :2, :2] = 0
    step = torch.zeros_like(keep)
    step[..., 0, 0] = 1
    stepped: Tensor = patch * keep + step
    return stepped


def _roughness(patch: Tensor) -> Tensor:
    """Return the gradient of the total variation, of mean size 1."""
    x = patch.detach().requires_grad_()
    across, down = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
    total = across.abs().sum() + down.abs().sum()
    (gradient,) = torch.autograd.grad(total, x)
    return gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-30)
