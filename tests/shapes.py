"""A toy problem: four classes of small pictures, and a network trained on them in seconds."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 48
CLASSES = 4


def draw(label, rng):
    """One picture of a class: stripes in one of four directions, in random colors, with noise."""
    y, x = np.mgrid[:SIDE, :SIDE]
    period = rng.uniform(6, 9)
    phase = rng.uniform(0, period)
    across = [y, x, (x + y) / 2**0.5, (x - y) / 2**0.5][label]
    form = (across + phase) % period < period / 2
    dark, light = rng.uniform(0.3, 0.4, 3), rng.uniform(0.5, 0.6, 3)
    picture = np.where(form[..., None], light, dark) + rng.normal(0, 0.02, (SIDE, SIDE, 3))
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def pictures(count, seed):
    """`count` pictures (N, SIDE, SIDE, 3), one class after the other, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    return np.stack([draw(int(label), rng) for label in labels]), labels


def write(folder, count, seed):
    """Write pictures as PNG in one subfolder for each class (0, 1, ...); return the folder."""
    for index, (picture, label) in enumerate(zip(*pictures(count, seed), strict=True)):
        path = Path(folder) / str(label) / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return Path(folder)


@cache
def trained():
    """The network of :func:`build`, trained once for all tests."""
    return build().eval()


def build():
    """A trained network for RGB in [0, 1]: the factory of ``shapes:build``."""
    import torch
    from torch import nn

    images, labels = pictures(400, seed=1)
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    y = torch.from_numpy(labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 12, 5, stride=2), nn.ReLU(),
            nn.Conv2d(12, 24, 5, stride=2), nn.ReLU(),
            nn.Conv2d(24, 24, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, CLASSES),
        )  # fmt: skip
        optimizer = torch.optim.Adam(net.parameters(), lr=6e-3)
        for _ in range(25):
            for batch in torch.randperm(len(x)).split(40):
                loss = nn.functional.cross_entropy(net(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return net
