"""Make ``sample_images/``: photographs that ship with scikit-image, some attacked.

Run by hand, from the repository's root, where ``lgs`` is installed with the extra ``dev`` and
torch::

    python tests/make_samples.py MODEL.pt2 CLASSES.txt

MODEL is an ImageNet classifier for ``torch.export.load`` that takes float32 (N, 3, H, W) images,
RGB in [0, 1], and gives logits; CLASSES its class names, one a line. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from lgs_cli.defenses.preprocessing import PRESETS, fit
from lgs_cli.evaluation import dataset
from lgs_cli.evaluation.attacks import lavan
from lgs_cli.evaluation.attacks.lavan import LavanParams

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 300
RESTARTS = 4
PATCH_FRACTION = 0.02
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


# The model sees the central square alone, so the patches lie in the corners of that.
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


class Attacker:
    """The model behind the usual preprocessing (shorter side 256, center crop 224), and LaVAN."""

    def __init__(self, model: Path, classes: Path) -> None:
        import torch

        from lgs_cli.evaluation import models

        torch.set_num_threads(1)  # the order of sums, and so every pixel, depends on it
        self.preprocessing = PRESETS["plain"]
        self.model = models.require_gradients(
            models.load(str(model), self.preprocessing, "cpu"), "LaVAN"
        )
        self.names = classes.read_text(encoding="utf-8").splitlines()

    def top(self, image: NDArray[np.uint8]) -> tuple[int, float]:
        """Return the top class of what the model sees of an image, and its probability."""
        logits = self.model.logits(fit(image, self.preprocessing)[None])[0]
        chances = np.exp(logits - logits.max())
        return int(logits.argmax()), float(chances.max() / chances.sum())

    def named(self, top: tuple[int, float]) -> str:
        """Name a class, with its probability."""
        return f"{self.names[top[0]]} ({top[1]:.2f})"

    def attack(self, image: Image.Image, name: str, attack: Attack) -> Image.Image:
        """Put a patch on an image, of its own resolution, that draws the model to a target."""
        gray = image.mode == "L"

        def seen(x: Tensor) -> Tensor:
            return self._seen(x, gray)

        pixels = np.asarray(image.convert("RGB"))
        params = LavanParams(
            patch_fraction=PATCH_FRACTION,
            target=str(self.names.index(attack.target)),
            location=f"{attack.corner[0]},{attack.corner[1]}",
            steps=STEPS,
            restarts=RESTARTS,
        )
        label, _ = self.top(pixels)
        images = dataset.Images((name,), np.asarray([label]), pixels[None])
        attacked, _ = lavan.attack(self.model, images, params, seen)
        return Image.fromarray(attacked[0]).convert(image.mode)

    def _seen(self, x: Tensor, gray: bool) -> Tensor:
        """Preprocess as `dataset.fit` does, with a gradient; gray as Pillow makes it of RGB."""
        from torch.nn import functional

        if gray:
            luma = x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
            x = (x * luma).sum(1, keepdim=True).expand(-1, 3, -1, -1)
        height, width = x.shape[2:]
        scale = self.preprocessing.resize / min(height, width)
        size = (round(height * scale), round(width * scale))
        x = functional.interpolate(x, size, mode="bilinear", antialias=True)
        side = self.preprocessing.crop
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        return x[:, :, top : top + side, left : left + side]


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

    attacker = Attacker(options.model, options.classes)
    for name, sample in SAMPLES.items():
        path = options.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = photograph(sample)
        before = attacker.top(np.asarray(image.convert("RGB")))
        if sample.attack:
            image = attacker.attack(image, name, sample.attack)
        image.save(path, **(JPEG if path.suffix == ".jpg" else {"optimize": True}))
        after = attacker.top(dataset.read(path))
        size = f"{image.width}x{image.height} {path.stat().st_size} B"
        print(f"{name} {size}: {attacker.named(before)} -> {attacker.named(after)}")
        if sample.attack and attacker.names[after[0]] != sample.attack.target:
            raise SystemExit(f"{name}: the attack on it did not outlive {path.suffix}")


if __name__ == "__main__":
    main()
