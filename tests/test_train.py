"""``lgs train``: a tiny detector in seconds, resumable, and used by the other commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as shipped

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'lgs-cli[eval]'")

from lgs_cli.defenses.preprocessing import PRESETS  # noqa: E402
from lgs_cli.evaluation.detector import clutter, network, scenes, training  # noqa: E402
from lgs_cli.evaluation.detector.params import TrainParams  # noqa: E402


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    found = []
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        image = getattr(shipped, name)()[:300, :400]
        found += [np.ascontiguousarray(part) for part in (image, image[::-1], image[:, ::-1])]
    return found


@pytest.fixture
def folder(tmp_path, photographs) -> Path:
    (tmp_path / "photos").mkdir()
    for index, image in enumerate(photographs):
        Image.fromarray(image).save(tmp_path / f"photos/{index:02}.jpg", quality=90)
    tests = str(Path(__file__).parent)
    code = (
        f"import sys\nsys.path.append({tests!r})\nimport shapes\ndef net(): return shapes.build()\n"
    )
    (tmp_path / "toy.py").write_text(code)
    return tmp_path


TINY = ("--warmup", 3, "--rounds", 2, "--attackers", 3)


def test_a_detector_is_trained_and_used(lgs, folder):
    run = lgs("train", "--images", "photos", "-o", "d.onnx", "--model", "toy:net", *TINY)
    assert run.returncode == 0, run.stderr
    out = run.stdout.decode()
    assert (
        "d.onnx: trained on 10 photographs, 2 rounds against 3 attackers on each of 1 model" in out
    )
    assert "on 2 photographs held out:" in out
    assert not list(folder.glob("*.checkpoint*"))
    assert (folder / "d.onnx").stat().st_size <= 500_000
    _, metadata = network.read(folder / "d.onnx")
    assert metadata["rounds"] == "2"
    assert metadata["photographs"] == "10"
    scan = lgs("scan", "photos", "--json", "--detector", "d.onnx")
    assert scan.returncode == 0, scan.stderr
    scores = [json.loads(line)["score"] for line in scan.stdout.splitlines()]
    assert len(scores) == 12
    assert all(0 <= score <= 1 for score in scores)


def test_the_same_seed_gives_the_same_detector(lgs, folder):
    for name in ("a.onnx", "b.onnx"):
        run = lgs("train", "--images", "photos", "-o", name, "--warmup", 3, "--rounds", 1)
        assert run.returncode == 0, run.stderr
    assert (folder / "a.onnx").read_bytes() == (folder / "b.onnx").read_bytes()


def weights(detector) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in detector.state_dict().items()}


def test_an_interrupted_training_goes_on_to_the_same_detector(folder, photographs, monkeypatch):
    monkeypatch.setattr(training, "_SAVED_EVERY", 1)
    monkeypatch.setattr(training, "_STEPS", 2)
    monkeypatch.chdir(folder)
    material = training.Material(
        photographs[:9], photographs[9:], [], ["toy:net"], PRESETS["plain"]
    )
    params = TrainParams(warmup=2, rounds=3, attackers=2)
    whole = training.train(material, params, folder / "whole.pt", lambda progress: None)

    def stop(progress):
        if progress.round == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(material, params, folder / "half.pt", stop)
    rounds = []
    resumed = training.train(
        material, params, folder / "half.pt", lambda progress: rounds.append(progress.round)
    )
    assert rounds == [3]
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(weights(resumed)[name], value)


def test_training_learns(photographs):
    from lgs_cli.evaluation.detector.learner import Learner

    learner = Learner(photographs, [], seed=0)
    losses = [learner.step([]).loss for _ in range(24)]
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:6])


def test_a_checkpoint_of_another_training_is_refused(lgs, folder):
    torch.save({"identity": {"rounds": 9}}, folder / "d.onnx.checkpoint")
    run = lgs("train", "--images", "photos", "-o", "d.onnx", "--warmup", 1, "--rounds", 1)
    assert run.returncode == 2
    assert "d.onnx.checkpoint is of a training with other settings" in run.stderr
    (folder / "d.onnx.checkpoint").write_bytes(b"garbage")
    run = lgs("train", "--images", "photos", "-o", "d.onnx", "--warmup", 1, "--rounds", 1)
    assert run.returncode == 2
    assert "d.onnx.checkpoint is no checkpoint" in run.stderr
    assert not (folder / "d.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--images", "few", "-o", "d.onnx"), 3, "training needs 8 or more"),
        (("--images", "none", "-o", "d.onnx"), 2, "none: no such file or directory"),
        (("--images", "photos", "-o", "nowhere/d.onnx"), 2, "nowhere: no such directory"),
        (("--images", "photos", "-o", "d.onnx", "--model", "net.onnx"), 2, "net.onnx"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_line(lgs, folder, arguments, code, message):
    (folder / "few").mkdir()
    Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(folder / "few/a.png")
    run = lgs("train", *arguments, "--warmup", 1, "--rounds", 1)
    assert run.returncode == code, run.stderr
    assert message in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert not (folder / "d.onnx").exists()


def test_scenes_say_where_something_was_pasted(photographs):
    draw = np.random.default_rng(0)
    for _ in range(20):
        picture = scenes.crop(photographs[0], draw)
        assert picture.shape == (scenes.SIDE, scenes.SIDE, 3)
        made, mask = scenes.patched(picture, [], draw)
        changed = (made != picture).any(2)
        assert not changed[mask == 0].any()
        assert 0.003 < (mask > 0.5).mean() < 0.5
        assert changed[mask > 0.9].mean() > 0.5


def test_clutter_is_of_many_kinds(photographs):
    draw = np.random.default_rng(0)
    made = [clutter.clutter(scenes.crop(photographs[0], draw), draw) for _ in range(40)]
    assert {picture.shape for picture in made} == {(scenes.SIDE, scenes.SIDE, 3)}
    assert len({picture.tobytes() for picture in made}) == 40
