"""Every Python example of the README runs, in the order in which they stand."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lgs_cli

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


# A new defense, a new attack: a copy of the package gets the file and its name, as the text says.


def add(lgs, holds: str, folder: str, name: str) -> None:
    """Put the example that holds a text into a copy of the package, which `lgs` then runs."""
    (example,) = [b for b in blocks(README.read_text(encoding="utf-8")) if f"\n{holds}(" in b]
    package = lgs.folder / "lgs_cli"
    shutil.copytree(
        Path(lgs_cli.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    (package / folder / f"{name}.py").write_text(f'"""An example."""\n\n{example}')
    entries = package / folder / "__init__.py"
    text = entries.read_text()
    assert text.count("_FILES = (\n") == 1
    entries.write_text(text.replace("_FILES = (\n", f'_FILES = (\n    "{name}",\n'))


def test_the_defense_of_the_readme_can_be_added(lgs, photos):
    add(lgs, "DEFENSE = Defense", "defenses", "blur")
    assert "blur: Gaussian blur" in lgs("methods").stdout.decode()
    run = lgs("clean", "photos", "-o", "out", "--method", "blur:sigma=3", "--format", "png")
    assert run.returncode == 0, run.stderr
    source, cleaned = (
        np.asarray(Image.open(lgs.folder / name), float) for name in ("photos/a.jpg", "out/a.png")
    )
    assert cleaned.shape == source.shape
    slopes = [np.abs(np.diff(pixels, axis=1)).mean() for pixels in (source, cleaned)]
    assert slopes[1] < slopes[0] / 2
    run = lgs("clean", "photos", "-o", "o2", "--method", "blur:sigma=0")
    assert (run.returncode, "sigma is 0" in run.stderr) == (2, True)


def test_the_attack_of_the_readme_can_be_added(lgs, photos, tiny_model):
    add(lgs, "ATTACK = Attack", "evaluation/attacks", "noise")
    model = ("--model", tiny_model, "--preset", "as-is")
    run = lgs("attack", "noise", "photos", "-o", "out", *model, "--side", 20)
    assert run.returncode == 0, run.stderr
    records = [
        json.loads(line) for line in (lgs.folder / "out/attacks.jsonl").read_text().splitlines()
    ]
    assert [record["source"] for record in records] == ["a.jpg", "b.jpg", "c.jpg"]
    squares = set()
    for record in records:
        assert (record["height"], record["width"]) == (20, 20)
        top, left = record["top"], record["left"]
        attacked = np.asarray(Image.open(lgs.folder / "out" / record["file"]))
        squares.add(attacked[top : top + 20, left : left + 20].tobytes())
        assert attacked[top : top + 20, left : left + 20].std() > 60  # uniform noise has 73.9
    assert len(squares) == 1  # one noise for all, at places of their own
    assert len({(record["top"], record["left"]) for record in records}) == 3
    (lgs.folder / "labels.csv").write_text("file,label\na.jpg,0\nb.jpg,0\nc.jpg,0\n")
    on = ("--images", "photos", "--labels", "labels.csv", *model)
    run = lgs("evaluate", *on, "--attack", "noise:side=8", "--defense", "median")
    assert run.returncode == 0, run.stderr
    assert "noise:side=8" in run.stdout.decode()
