"""Make ``sample_images/``: photographs that ship with scikit-image, some attacked.

Run by hand, from the repository's root; needs scikit-image and torch::

    python tests/make_samples.py MODEL.pt2 CLASSES.txt

MODEL is an ImageNet classifier for ``torch.export.load`` that takes float32 (N, 3, H, W) images,
RGB in [0, 1], and gives logits; CLASSES its class names, one a line. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

SEED = 1
STEPS = 300
STRIDE = 0.03
MOMENTUM = 0.9
PATCH_SHARE = 0.02  # of the photograph's pixels, as in LaVAN, arXiv 1801.02608
JPEG = {"quality": 90, "subsampling": "4:4:4", "optimize": True}


@dataclass(frozen=True)
class Attack:
    """Where the square patch lies, as (left, top) in pixels, and the class that it must yield."""

    corner: tuple[int, int]
    target: str


@dataclass(frozen=True)
class Sample:
    """One photograph: what of it is shown, and the attack on it."""

    load: Callable[[], np.ndarray]
    box: tuple[int, int, int, int] | None = None
    width: int | None = None
    attack: Attack | None = None


# A classifier sees the central square alone, so the patches lie in the corners of that.
SAMPLES = {
    "camera.png": Sample(data.camera, (62, 62, 512, 512), attack=Attack((358, 310), "zebra")),
    "chelsea.jpg": Sample(data.chelsea, attack=Attack((98, 226), "guacamole")),
    "coffee.jpg": Sample(data.coffee, attack=Attack((400, 300), "banana")),
    "retina.jpg": Sample(data.retina, width=512),
    "space/astronaut.jpg": Sample(data.astronaut),
    "space/hubble.jpg": Sample(data.hubble_deep_field, (100, 100, 740, 580)),
    "space/rocket.jpg": Sample(
        data.rocket, (71, 0, 640, 427), attack=Attack((390, 40), "jellyfish")
    ),
}


class Classifier:
    """The exported model, behind the usual preprocessing: shorter side 256, center crop 224."""

    def __init__(self, model: Path, classes: Path) -> None:
        import torch

        torch.set_num_threads(1)  # the order of sums, and so every pixel, depends on it
        self.torch = torch
        self.logits = torch.export.load(model).module()
        self.names = classes.read_text(encoding="utf-8").splitlines()

    def name(self, image: Image.Image) -> str:
        """Name the top class of an image, with its probability, by Pillow's own resizing."""
        scale = 256 / min(image.size)
        width, height = (round(side * scale) for side in image.size)
        small = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - 224) // 2, (height - 224) // 2
        pixels = np.asarray(small.crop((left, top, left + 224, top + 224)), dtype=np.float32)
        batch = self.torch.from_numpy(pixels / 255).permute(2, 0, 1)[None]
        probability, index = self.logits(batch).softmax(1)[0].max(0)
        return f"{self.names[index]} ({float(probability):.2f})"

    def attack(self, image: Image.Image, attack: Attack) -> Image.Image:
        """Put a patch on an image that draws the classifier to a target (momentum iterations,
        arXiv 1710.06081)."""
        torch, functional = self.torch, self.torch.nn.functional
        whole = np.atleast_3d(np.asarray(image, dtype=np.float32) / 255)
        photograph = torch.from_numpy(whole).permute(2, 0, 1)[None]
        channels, height, width = photograph.shape[1:]
        side = round((PATCH_SHARE * height * width) ** 0.5)
        left, top = attack.corner
        target = torch.tensor([self.names.index(attack.target)])
        scale = 256 / min(height, width)
        size = (round(height * scale), round(width * scale))
        y, x = (size[0] - 224) // 2, (size[1] - 224) // 2

        def paste(patch: Any) -> Any:
            pasted = photograph.clone()
            pasted[:, :, top : top + side, left : left + side] = patch
            return pasted

        noise = np.random.default_rng(SEED).random((1, channels, side, side), dtype=np.float32)
        patch = torch.from_numpy(noise)
        momentum = torch.zeros_like(patch)
        for step in range(STEPS):
            patch.requires_grad_()
            small = functional.interpolate(paste(patch), size, mode="bilinear", antialias=True)
            seen = small[:, :, y : y + 224, x : x + 224].expand(-1, 3, -1, -1)
            loss = functional.cross_entropy(self.logits(seen), target)
            (gradient,) = torch.autograd.grad(loss, patch)
            momentum = MOMENTUM * momentum + gradient / gradient.abs().mean()
            stride = STRIDE * (1 - step / STEPS)
            patch = (patch.detach() - stride * momentum.sign()).clamp(0, 1)
        pixels = (paste(patch)[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        return Image.fromarray(pixels.squeeze())


def photograph(sample: Sample) -> Image.Image:
    """Load a photograph, cropped and scaled as its sample says."""
    image = Image.fromarray(sample.load()).crop(sample.box)
    if sample.width:
        height = round(image.height * sample.width / image.width)
        image = image.resize((sample.width, height), Image.Resampling.LANCZOS)
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("classes", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("sample_images"))
    options = parser.parse_args()

    classifier = Classifier(options.model, options.classes)
    for name, sample in SAMPLES.items():
        path = options.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = photograph(sample)
        before = classifier.name(image)
        if sample.attack:
            image = classifier.attack(image, sample.attack)
        image.save(path, **(JPEG if path.suffix == ".jpg" else {"optimize": True}))
        with Image.open(path) as saved:
            after = classifier.name(saved)
        print(f"{name} {image.width}x{image.height} {path.stat().st_size} B: {before} -> {after}")
        if sample.attack and not after.startswith(sample.attack.target):
            raise SystemExit(f"{name}: the attack on it did not outlive {path.suffix}")


if __name__ == "__main__":
    main()
