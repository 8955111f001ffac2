"""An engine that crashes ends in a line, and loses nothing that was measured before."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

from lgs_cli.defenses.onnx_network import OnnxNetwork
from lgs_cli.defenses.preprocessing import PRESETS, as_input
from lgs_cli.errors import LgsError
from lgs_cli.evaluation.models.network_process import NetworkCrashError, NetworkProcess
from lgs_cli.evaluation.models.onnx_model import OnnxModel

COMMAND = ("photos", "--resize", 24, "--crop", 20, "--masks-per-side", 2, "--patch-size", 2)


@pytest.fixture
def photos(lgs):
    """Five pictures of classes 0 and 1, in subfolders."""
    draw = np.random.default_rng(5)
    for index in range(5):
        picture = draw.integers(60, 180, (30, 40, 3))
        picture[..., index % 2] += 20
        path = lgs.folder / "photos" / str(index % 2) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.astype(np.uint8)).save(path)
    return lgs.folder / "photos"


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ("segfault", "Segmentation fault"),
        ("abort", "Aborted"),
        ("exit 7", "exit code 7"),
        ("signal 9", "killed, perhaps because memory ran out"),
    ],
)
def test_a_crash_is_a_line_that_says_on_what(lgs, photos, tiny_model, order, reason):
    run = lgs(
        "evaluate", "--model", tiny_model, "--images", "photos", "--resize", 24, "--crop", 20,
        env={"LGS_TEST_NETWORK_FAULT": f"0 {order}"},
    )  # fmt: skip
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"lgs: {tiny_model} crashed on a batch of 5 images of 20×20 (")
    assert f": {reason}); " in line
    assert run.stdout == b""
    assert not run.processes()


@pytest.mark.parametrize(
    ("engine", "advice"),
    [
        ("OpenCV 5.0.0", "to run it in onnxruntime: pip install 'lgs-cli[onnx]'"),
        ("onnxruntime 1.20.0", "try a smaller --batch-size"),
    ],
)
def test_it_says_what_helps(tiny_model, engine, advice):
    def crash(images, preprocessing):
        raise NetworkCrashError("Segmentation fault")

    model = OnnxModel(str(tiny_model), PRESETS["as-is"])
    model._network, model.engine = crash, engine
    with pytest.raises(LgsError) as caught:
        model.predict(np.zeros((3, 8, 10, 3), np.uint8))
    assert str(caught.value) == (
        f"{tiny_model} crashed on a batch of 3 images of 10×8 ({engine}: Segmentation fault); "
        f"{advice}"
    )


def test_what_has_crashed_stays_so(tiny_model):
    network = NetworkProcess(str(tiny_model))
    with pytest.raises(NetworkCrashError, match="Aborted"):
        network._ask(os.abort)
    with pytest.raises(NetworkCrashError, match="it has been stopped before"):
        network(np.zeros((1, 8, 8, 3), np.uint8), PRESETS["as-is"])


def test_results_before_the_crash_are_continued(lgs, photos, tiny_model):
    certify = ("certify", *COMMAND, "--model", tiny_model, "--results")
    whole = lgs(*certify, "whole.jsonl")
    assert whole.returncode == 0, whole.stderr
    # four masks: the third photograph is in work
    run = lgs(*certify, "cut.jsonl", env={"LGS_TEST_NETWORK_FAULT": "27 segfault"})
    assert run.returncode == 1 and "crashed on a batch of 1 image of 20×20" in run.stderr
    lines = (lgs.folder / "cut.jsonl").read_text().splitlines()
    assert 1 < len(lines) < 6
    assert lines == (lgs.folder / "whole.jsonl").read_text().splitlines()[: len(lines)]
    run = lgs(*certify, "cut.jsonl", "--resume")
    assert run.returncode == 0 and run.stdout == whole.stdout
    assert sorted((lgs.folder / "cut.jsonl").read_text().splitlines()) == sorted(
        (lgs.folder / "whole.jsonl").read_text().splitlines()
    )


def test_attacks_before_the_crash_are_kept(lgs, photos, tiny_model):
    Image.new("RGB", (6, 6), (0, 255, 0)).save(lgs.folder / "green.png")
    table = (
        "evaluate", "--model", tiny_model, "--images", "photos", "--resize", 24, "--crop", 20,
        "--attack", "patch:apply=green.png", "--attack", "patch:apply=green.png,seed=1",
        "--keep", "kept",
    )  # fmt: skip
    # one batch chooses the photographs, two are of the first attack
    run = lgs(*table, env={"LGS_TEST_NETWORK_FAULT": "4 segfault"})
    assert run.returncode == 1 and "crashed on a batch of 5 images" in run.stderr
    (records,) = (lgs.folder / "kept").glob("*/attacks.jsonl")
    made = records.read_bytes()
    run = lgs(*table, "--resume", "--format", "json")
    assert run.returncode == 0, run.stderr
    assert records.read_bytes() == made
    assert len(json.loads(run.stdout)["defenses"][0]["attacks"]) == 2


def test_it_answers_as_in_one_process_and_ends_with_it(tiny_model):
    images = np.random.default_rng(1).integers(0, 256, (4, 9, 7, 3), np.uint8)
    network = NetworkProcess(str(tiny_model), "opencv")
    expected = OnnxNetwork(str(tiny_model), "opencv")(as_input(images, PRESETS["imagenet"]))
    assert (network(images, PRESETS["imagenet"]) == expected).all()
    assert network.version.startswith("OpenCV ")


def test_an_engine_that_crashes_on_the_file_is_told(lgs, photos, tiny_model):
    run = lgs(
        "evaluate", "--model", tiny_model, "--images", "photos",
        env={"LGS_TEST_NETWORK_FAULT": "load segfault"},
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr == f"lgs: {tiny_model} crashes what loads it: Segmentation fault\n"
