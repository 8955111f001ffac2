"""Every Python example of the README runs, in the order in which they stand."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
# What an example says it needs by importing it, or by what it does.
OPTIONAL = {"torch", "kornia", "transformers", "art", "torchvision", "albumentations"}


def blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def needed(block: str) -> set[str]:
    found = {name for name in OPTIONAL if re.search(rf"\b{name}\b", block)}
    return found | ({"torch", "onnxscript"} if "onnx.export" in block else set())


def run(examples: list[str]) -> list[str]:
    """Run examples as one program, as far as what they need is installed; say what was absent."""
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    names: dict[str, object] = {"image": image}
    if importlib.util.find_spec("torch") is not None:
        import torch

        layers = torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 10)
        names["classifier"] = torch.nn.Sequential(*layers)
    absent = []
    for example in examples:
        missing = sorted(n for n in needed(example) if importlib.util.find_spec(n) is None)
        if missing:
            absent += missing
            continue
        exec(compile(example, str(README), "exec"), names)
    return absent


@pytest.mark.filterwarnings("ignore")  # other packages have many
def test_every_python_example_of_the_readme_runs(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = blocks(README.read_text(encoding="utf-8"))
    assert examples
    absent = run(examples)
    if absent:
        pytest.skip(f"ran all but those that need {', '.join(sorted(set(absent)))}")
