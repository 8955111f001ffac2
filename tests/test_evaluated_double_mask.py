"""Double masking in ``lgs evaluate``: with the evaluated model, and with its certificate."""

from __future__ import annotations

import csv
import json
from itertools import product

import pytest
from double_masking import BLUE, GREEN, RED, answer, double_masking, patched, spots
from PIL import Image

from lgs_cli.defenses.masking import MaskParams
from lgs_cli.defenses.preprocessing import Preprocessing
from lgs_cli.evaluation import models

# The tiny model answers the channel with the highest mean: behind these numbers blue is red.
MIRRORED = Preprocessing(resize=0, crop=0, channels="bgr", scale="255")
OPTIONS = ("--preset", "as-is", "--channels", "bgr", "--scale", "255")


@pytest.fixture
def folder(lgs):
    """Pictures as large as the model takes them, some with a patch, in the folder of class blue."""
    folder = lgs.folder / "in" / str(BLUE)
    folder.mkdir(parents=True)
    pictures = [
        spots(1),
        patched(spots(2), GREEN),
        patched(spots(3), BLUE),
        spots(4),
        spots(5, tint=0),
    ]
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{index}.png")
    return pictures


def is_proved(model, pixels, label, params):
    """Whether the model answers the label under any one and any two masks: the theorem."""
    height, width = pixels.shape[:2]
    masks = params.masks((slice(0, height), slice(0, width)))
    for pair in product(masks, masks):
        masked = pixels.copy()
        for mask in pair:
            masked[mask] = 128
        if answer(model, masked) != label:
            return False
    return True


def test_it_asks_the_evaluated_model_as_certify_does(lgs, folder, tiny_model):
    how = "patch-size=6,masks-per-side=3"
    run = lgs(
        "evaluate", "--model", tiny_model, "--images", "in", "--all-images", *OPTIONS,
        "--defense", "none", "--defense", f"double-mask:{how}", "--certify",
        "--defense", f"double-mask:model={tiny_model},channels=bgr,scale=255,{how}",
        "--defense", f"median,double-mask:{how}", "--format", "json",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    none, own, named, chain = json.loads(run.stdout)["defenses"]
    model = models.load(str(tiny_model), MIRRORED)
    params = MaskParams(patch_size=6, masks_per_side=3)
    right = sum(answer(model, one) == RED for one in folder)
    defended = sum(double_masking(model, one, params) == BLUE for one in folder)
    proved = sum(is_proved(model, one, BLUE, params) for one in folder)
    assert own["clean"]["hits"] == named["clean"]["hits"] == defended
    assert own["certified"]["hits"] == named["certified"]["hits"] == proved
    assert own["certified"]["total"] == len(folder)
    assert none["certified"] is None and chain["certified"] is None
    assert 0 < proved < defended, (right, defended, proved)

    run = lgs(
        "certify", "in", "--model", tiny_model, *OPTIONS, "--patch-size", 6,
        "--masks-per-side", 3, "--format", "json",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["defended"] == own["clean"]
    assert found["certified"] == own["certified"]
    assert found["undefended"] == none["clean"]


def test_the_certificate_is_a_column(lgs, folder, tiny_model):
    command = (
        "evaluate", "--model", tiny_model, "--images", "in", "--all-images", *OPTIONS,
        "--defense", "none", "--defense", "double-mask:patch-size=2,masks-per-side=2", "--certify",
    )  # fmt: skip
    run = lgs(*command)
    assert run.returncode == 0, run.stderr
    _, _, heads, none, row = run.stdout.decode().splitlines()
    assert heads.split() == ["defense", "clean", "certified", "ms/image"]
    at = heads.index("certified")
    assert none[at] == "-" and row[at + 4 :].startswith(" [")
    rows = list(csv.DictReader(lgs(*command, "--format", "csv").stdout.decode().splitlines()))
    (certified,) = [row for row in rows if row["measure"] == "certified"]
    assert row[at : at + 4] == f"{float(certified['share']):.2f}"


@pytest.mark.parametrize("more", [(), ("--defense", "median,double-mask")])
def test_there_must_be_something_to_certify(lgs, folder, tiny_model, more):
    run = lgs("evaluate", "--model", tiny_model, "--images", "in", "--certify", *more)
    assert run.returncode == 2
    assert run.stderr.startswith("lgs: --certify proves what double-mask answers: add --defense")


def test_a_torch_model_is_asked_and_attacked_through_it(lgs, folder):
    pytest.importorskip("torch", reason="attacks need torch: pip install 'lgs-cli[eval]'")
    (lgs.folder / "toy.py").write_text(
        "import torch\n"
        "class Means(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x.mean((2, 3))\n"
    )
    run = lgs(
        "evaluate", "--model", "toy:Means", "--images", "in", *OPTIONS, "--count", 2,
        "--all-images", "--defense", "double-mask:patch-size=2,masks-per-side=2",
        "--attack", "lavan:steps=2,patch-size=6", "--adaptive", "--certify", "--format", "json",
        env={"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    (row,) = json.loads(run.stdout)["defenses"]
    assert row["adaptive"]["total"] == row["certified"]["total"] == 2


def test_without_a_model_of_its_own_lgs_clean_still_refuses_it(lgs, folder):
    run = lgs("clean", "in", "-o", "out", "--method", "double-mask")
    assert run.returncode == 2 and "double-mask needs a model" in run.stderr
    assert not (lgs.folder / "out").exists()


def test_a_named_model_that_crashes_ends_in_a_line(lgs, folder, tiny_model):
    run = lgs(
        "evaluate", "--model", tiny_model, "--images", "in", "--all-images", "--preset", "as-is",
        "--defense", f"double-mask:model={tiny_model}",
        env={"LGS_TEST_NETWORK_FAULT": "12 segfault"},
    )  # fmt: skip
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert f"{tiny_model} crashed on a batch of 1 image of 60×40" in line
