"""``lgs attack``, ``lgs evaluate`` and ``lgs tune`` as a user types them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
import pytest
import shapes
from click.testing import CliRunner
from PIL import Image

import lgs_cli
from lgs_cli.commands import attack as attack_module
from lgs_cli.commands.attack import attack
from lgs_cli.commands.evaluate import evaluate
from lgs_cli.commands.tune import tune
from lgs_cli.defenses.preprocessing import Preprocessing
from lgs_cli.errors import LgsError
from lgs_cli.evaluation.attacks import ATTACKS, patch_training, records
from lgs_cli.evaluation.attacks.attack import Attack, Prepared
from lgs_cli.evaluation.attacks.pasting import Patch
from lgs_cli.evaluation.attacks.records import Crafted
from lgs_cli.evaluation.evaluate import EvaluateParams
from lgs_cli.evaluation.grid_search import TuneParams
from lgs_cli.params import Params, parameter

pytest.importorskip("torch", reason="attacks need torch: pip install 'lgs-cli[eval]'")

MODEL = ["--model", "toy:net", "--preset", "as-is"]


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch, one_thread):
    """A folder with photographs, and a model to be found by its name."""
    (tmp_path / "toy.py").write_text("import shapes\ndef net():\n    return shapes.trained()\n")
    shapes.write(tmp_path / "photos", 12, seed=2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command, *arguments):
    result = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit | LgsError):
        raise result.exception
    return result


@pytest.mark.parametrize(
    ("command", "kinds"),
    [
        *((attack.commands[name], (one.params, Preprocessing)) for name, one in ATTACKS.items()),
        (evaluate, (EvaluateParams, Preprocessing)),
        (tune, (TuneParams, Preprocessing)),
    ],
)
def test_every_parameter_is_an_option(command, kinds):
    flags = {flag for option in command.params for flag in option.opts}
    for kind in kinds:
        for spec in fields(kind):
            assert f"--{spec.name.replace('_', '-')}" in flags
    text = click.Context(command).command.get_help(click.Context(command))
    assert "(plain, or the" in text


def test_a_new_attack_needs_no_more_than_its_entry(tmp_path, monkeypatch):
    """One that turns a corner black, without gradients or training."""

    @dataclass(frozen=True)
    class BlackoutParams(Params):
        side: int = parameter(4, "Side of the black corner in px.", at_least=1)

    def prepare(victim, params, material):
        def blacken(images):
            pixels = images.pixels.copy()
            pixels[:, : params.side, : params.side] = 0
            after = victim.predict(pixels)
            side = params.side
            return Crafted(pixels, [
                records.Attacked(
                    records.file_name(name), name, label, None, 0, 0, side, side, label, answer,
                    1.0, 0, 0, 0.0,
                )
                for name, label, answer in zip(
                    images.names, images.labels.tolist(), after.tolist(), strict=True
                )
            ])  # fmt: skip

        return Prepared(blacken)

    blackout = Attack(
        "blackout", "Blackout", "a black corner.", (), BlackoutParams, prepare,
        needs_gradients=lambda params: False,
    )  # fmt: skip
    monkeypatch.setitem(ATTACKS, "blackout", blackout)
    command = attack_module._command(blackout)
    result = run(command, "photos", "-o", "out", *MODEL, "--side", 6)
    assert result.exit_code == 0, result.output
    for record in records.read_records(tmp_path / "out"):
        with Image.open(tmp_path / "out" / record.file) as image:
            assert image.crop((0, 0, 6, 6)).getextrema() == ((0, 0),) * 3
    result = run(
        evaluate, *MODEL, "--images", "photos", "--count", 4, "--attack", "blackout:side=48",
        "--format", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    table = json.loads(result.stdout)
    assert [one["attack"] for one in table["defenses"][0]["attacks"]] == ["blackout:side=48"]


def test_a_target_may_be_the_name_of_a_class(tmp_path):
    (tmp_path / "classes.txt").write_text("across\ndown\nfalling\nrising\n")
    named = ["--classes", "classes.txt"]
    lavan = ["--patch-size", 24, "--steps", 1]
    result = run(
        attack, "lavan", "photos", "-o", "out", *MODEL, *named, *lavan, "--target", "Falling"
    )
    assert result.exit_code == 0, result.output
    assert {one.target for one in records.read_records(tmp_path / "out")} == {2}
    result = run(
        evaluate, *MODEL, *named, "--images", "photos", "--count", 4, "--keep", "kept",
        "--attack", "lavan:patch-size=24,steps=1,target=rising",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (folder,) = [path for path in (tmp_path / "kept").iterdir() if path.is_dir()]
    assert {one.target for one in records.read_records(folder)} == {3}
    result = run(
        attack, "lavan", "photos", "-o", "o", *MODEL, *named, *lavan, "--target", "sideways"
    )
    assert "no class 'sideways' in classes.txt" in str(result.exception)
    result = run(attack, "lavan", "photos", "-o", "o", *MODEL, *lavan, "--target", "rising")
    assert "target is 'rising'" in result.stderr


def test_lavan_takes_every_flag(tmp_path):
    result = run(
        attack, "lavan", "photos", "-o", "out", *MODEL,
        "--patch-fraction", 0.2, "--target", "random", "--location", "corner", "--steps", 6,
        "--step-size", 0.2, "--confidence", 0.9, "--restarts", 2, "--cells", 5,
        "--exploit-normalization", "--seed", 3, "--through", "lgs:threshold=0.2",
        "--backward", "relaxed", "--batch-size", 5, "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    attacked = records.read_records(tmp_path / "out")
    assert len(attacked) == 12
    assert all(r.target is not None and 1 <= r.steps <= 12 for r in attacked)
    assert all(r.top in (0, 48 - r.height) and r.left in (0, 48 - r.width) for r in attacked)
    assert all(r.found is None and r.score is None for r in attacked)
    succeeded = sum(record.succeeded for record in attacked)
    assert f"12 attacked, {succeeded} successfully" in result.stderr
    wrong = sum(record.succeeded and record.before != record.label for record in attacked)
    assert f"{wrong} of them classified wrongly before -> out" in result.stderr
    assert result.stdout == ""
    for record in attacked:
        with Image.open(tmp_path / "out" / record.file) as image:
            assert image.format == "PNG" and image.size == (48, 48)


def test_the_output_is_named_printably(tmp_path):
    result = run(attack, "lavan", "photos", "-o", "o\x1b[2J", *MODEL, "--steps", 1)
    assert result.exit_code == 0, result.output
    assert r"-> o\x1b[2J" in result.stderr and "\x1b" not in result.stderr


def test_every_kind_of_patch_that_the_help_names_can_be_made(tmp_path):
    text = run(attack, "--help").output
    named = dict(line.split() for line in text.split("is an option")[1].splitlines()[1:] if line)
    assert {"textured", "smooth", "gray"} <= named.keys()
    for name, spec in named.items():
        crafted = run(
            evaluate, *MODEL, "--images", "photos", "--count", 1, "--keep", name,
            "--attack", f"{spec},patch-size=24,steps=2",
        )  # fmt: skip
        assert crafted.exit_code == 0, crafted.output
        (path,) = (tmp_path / name).glob("*/*/*.png")
        (record,) = records.read_records(path.parents[1])
        with Image.open(path) as image:
            patch = np.asarray(image)[record.top :, record.left :][:24, :24].astype(int)
        colors = np.unique(patch.reshape(-1, 3), axis=0)
        if name == "textured":
            assert len(colors) <= 8 * 8
        assert (np.ptp(colors, axis=1) == 0).all() == (name == "gray")


def test_count_attacks_the_first_and_trains_on_the_next(tmp_path, monkeypatch):
    trained_on = []

    def train(victim, material, params):
        trained_on.extend(material.names)
        return Patch(np.full((8, 8, 4), 255, np.uint8))

    monkeypatch.setattr(patch_training, "train", train)
    result = run(attack, "patch", "photos", "-o", "out", *MODEL, "--count", 3)
    assert result.exit_code == 0, result.output
    names = sorted(path.relative_to("photos").as_posix() for path in Path("photos").glob("*/*"))
    assert [one.source for one in records.read_records(tmp_path / "out")] == names[:3]
    assert trained_on == names[3:6]


def test_a_trained_patch_can_be_applied_again(tmp_path):
    shapes.write(tmp_path / "material", 16, seed=5)
    result = run(
        attack, "patch", "photos", "-o", "trained", *MODEL, "--train", "material",
        "--patch-size", 20, "--target", 1, "--location", "random", "--shape", "circle",
        "--rotation", 5, "--scale-min", 0.9, "--scale-max", 1.1, "--steps", 30,
        "--step-size", 0.1, "--seed", 2,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    result = run(
        attack, "patch", "photos", "-o", "applied", *MODEL, "--target", 1,
        "--apply", "trained/patch.png", "--rotation", 5, "--scale-min", 0.9, "--scale-max", 1.1,
        "--seed", 2,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "applied" / "patch.png").exists()
    first, again = (records.read_records(tmp_path / name) for name in ("trained", "applied"))
    assert [(r.top, r.left, r.after) for r in first] == [(r.top, r.left, r.after) for r in again]
    for record in first:
        assert (tmp_path / "trained" / record.file).read_bytes() == (
            tmp_path / "applied" / record.file
        ).read_bytes()


def test_evaluate_prints_a_table_and_writes_a_page(tmp_path):
    result = run(
        evaluate, *MODEL, "--images", "photos", "--count", 8, "--defense", "none",
        "--defense", "lgs:threshold=0.2", "--attack", "lavan:patch-size=24,steps=8",
        "--attack", "patch:patch-size=16,steps=3", "--adaptive", "--adaptive-count", 4,
        "--keep", "kept", "--page", "table.html",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if line]
    assert "8 photographs" in lines[0]
    assert [line.split()[0] for line in lines[1:4]] == ["defense", "none", "lgs:threshold=0.2"]
    page = (tmp_path / "table.html").read_text()
    assert page.count("<svg") == 1 and "lgs:threshold=0.2" in page and "http" not in page.replace(
        "http://www.w3.org/2000/svg", ""
    )  # fmt: skip
    kept = sorted(path.name for path in (tmp_path / "kept").iterdir() if path.is_dir())
    assert len(kept) == 4
    result = run(
        evaluate, *MODEL, "--images", "photos", "--count", 8, "--defense", "none",
        "--attacked", "kept/lavan-patch-size=24,steps=8", "--format", "json", "-o", "t.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert json.loads((tmp_path / "t.json").read_text())["defenses"][0]["clean"]["hits"] == 8


TABLE = (
    *MODEL, "--images", "photos", "--count", 6, "--defense", "none", "--defense", "lgs",
    "--attack", "lavan:patch-size=24,steps=4,seed=3", "--adaptive", "--format", "json",
)  # fmt: skip


def figures(text):
    table = json.loads(text)
    return [{**row, "milliseconds": 0} for row in table["defenses"]], table["warnings"]


def test_an_interrupted_table_goes_on_attack_by_attack(tmp_path):
    whole = run(evaluate, *TABLE, "--keep", "kept")
    assert whole.exit_code == 0, whole.output
    done = tmp_path / "kept" / "lavan-patch-size=24,steps=4,seed=3"
    # as if it had been killed in the last attack, while its images were written
    last = tmp_path / "kept" / "lavan-patch-size=24,steps=4,seed=3-through-lgs"
    (last / "attacks.jsonl").unlink()
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()}
    refused = run(evaluate, *TABLE, "--keep", "kept")
    assert "--resume continues it" in str(refused.exception)
    resumed = run(evaluate, *TABLE, "--keep", "kept", "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert figures(resumed.stdout) == figures(whole.stdout)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(records.read_records(last)) == 6


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (["--count", 5], "another choice of photographs"),
        (["--backward", "identity"], "another --backward"),
        (["--std", "2,2,2", "--all-images"], "another preprocessing"),
    ],
)
def test_a_table_is_not_continued_with_other_settings(tmp_path, change, reason):
    assert run(evaluate, *TABLE, "--keep", "kept").exit_code == 0
    result = run(evaluate, *TABLE, "--keep", "kept", "--resume", *change)
    assert reason in str(result.exception)


def test_resume_needs_something_to_continue(tmp_path):
    result = run(evaluate, *TABLE, "--resume")
    assert result.exit_code == 2
    assert "--resume needs --keep DIR" in result.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    result = run(evaluate, *TABLE, "--keep", "mine", "--resume")
    assert "does not say how it was made" in str(result.exception)


def test_results_say_where_they_are_from(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/lgs", "evaluate", "--labels", "my labels.csv"])
    result = run(evaluate, *TABLE)
    told = json.loads(result.stdout)["provenance"]
    assert told["lgs"] == lgs_cli.__version__
    assert told["model"]["name"] == "toy:net"
    assert len(told["model"]["sha256"]) == len(told["data"]["sha256"]) == 64
    assert told["data"]["photographs"] == 6
    assert told["preprocessing"]["crop"] == 0
    assert told["engine"].partition("+")[0] == f"torch {version('torch')}".partition("+")[0]
    assert told["libraries"]["numpy"] == version("numpy")
    assert told["seeds"] == {"lavan:patch-size=24,steps=4,seed=3": 3}
    assert told["command"] == "lgs evaluate --labels 'my labels.csv'"
    assert datetime.fromisoformat(told["date"]).utcoffset() == timedelta(0)
    result = run(
        tune, *MODEL, "--images", "photos", "--attack", "lavan:patch-size=24,steps=2",
        "--smoothing", "1,2.3", "--threshold", "0.1", "--block-size", "15", "--overlap", "5",
        "--count", 6, "--format", "json",
    )  # fmt: skip
    tuned = json.loads(result.stdout)["provenance"]
    assert tuned["data"] == told["data"]
    assert tuned["model"] == told["model"]
    run(
        attack, "lavan", "photos", "-o", "out", *MODEL, "--patch-size", 24, "--steps", 2,
        "--through", "lgs:threshold=0.2", "--seed", 7,
    )  # fmt: skip
    made = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert made["model"] == told["model"]
    assert made["data"]["photographs"] == 12
    assert made["params"]["seed"] == 7
    assert (made["through"]["method"], made["through"]["threshold"]) == ("lgs", 0.2)
    # another photograph, another digest
    shapes.write(tmp_path / "others", 12, seed=9)
    other = json.loads(run(evaluate, *TABLE, "--images", "others").stdout)["provenance"]
    assert other["data"]["sha256"] != told["data"]["sha256"]


def test_tune_ends_with_options_to_paste(tmp_path):
    result = run(
        tune, *MODEL, "--images", "photos", "--attack", "lavan:patch-size=24,steps=5",
        "--smoothing", "1,2.3", "--threshold", "0.1,0.2", "--block-size", "15", "--overlap", "5",
        "--count", 6, "--clean-weight", 0.4, "--page", "tune.html",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    last = result.stdout.splitlines()[-1].split()
    assert last[::2] == ["--smoothing", "--threshold", "--block-size", "--overlap"]
    assert last[1] in ("1", "2.3") and last[3] in ("0.1", "0.2")
    assert (tmp_path / "tune.html").read_text().count("<svg") == 1


@pytest.mark.parametrize(
    ("command", "arguments", "reason"),
    [
        (attack, ["lavan", "photos", "-o", "o", *MODEL, "--steps", "0"], "steps is 0"),
        (attack, ["lavan", "none", "-o", "o", *MODEL], "none is not a directory"),
        (attack, ["lavan", "photos", "-o", "photos", *MODEL], "is there already"),
        (attack, ["lavan", "photos", "-o", "o", *MODEL, "--through", "x"], "no method"),
        (
            attack,
            ["lavan", "photos", "-o", "o", *MODEL, "--through", "tvm", "--backward", "exact"],
            "tvm has no exact gradient",
        ),
        (
            attack,
            ["patch", "photos", "-o", "o", *MODEL, "--apply", "p.png"],
            "patch p.png does not exist",
        ),
        (attack, ["lavan", "photos", "-o", "o", "--model", "x"], "model 'x' is not"),
        (evaluate, [*MODEL, "--images", "photos", "--attack", "fgsm"], "no attack 'fgsm'"),
        (evaluate, [*MODEL, "--images", "photos", "--mean", "1,2"], "mean is '1,2'"),
        (
            evaluate,
            [*MODEL, "--images", "photos", "--labels", "none.csv"],
            "cannot read none.csv",
        ),
        (tune, [*MODEL, "--images", "photos", "--overlap", "99"], "nothing to tune"),
    ],
)
def test_wrong_usage_is_told_in_a_line(tmp_path, command, arguments, reason):
    before = sorted(tmp_path.rglob("*.*"))
    result = run(command, *arguments)
    assert result.exit_code != 0
    message = str(result.exception) if isinstance(result.exception, LgsError) else result.stderr
    assert reason in message
    after = sorted(p for p in tmp_path.rglob("*.*") if "__pycache__" not in p.parts)
    assert after == [p for p in before if "__pycache__" not in p.parts]


@pytest.mark.parametrize("command", [evaluate, tune])
@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        (["-o", "labels.csv"], "labels.csv is an input"),
        (["--page", "toy.pt2"], "toy.pt2 is an input"),
        (["-o", "PHOTO"], "is an input"),
        (["-o", "a.txt", "--page", "a.txt"], "a.txt would be written twice"),
        (["-o", "photos"], "photos is a directory"),
    ],
)
def test_inputs_are_not_overwritten(tmp_path, command, outputs, reason):
    photo = sorted((tmp_path / "photos").rglob("*.png"))[0]
    (tmp_path / "toy.pt2").write_bytes(b"a model")
    (tmp_path / "labels.csv").write_text(
        f"file,label\n{photo.relative_to(tmp_path / 'photos')},0\n"
    )
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    outputs = [str(photo) if word == "PHOTO" else word for word in outputs]
    result = run(
        command, "--model", "toy.pt2", "--images", "photos", "--labels", "labels.csv", *outputs
    )
    assert isinstance(result.exception, LgsError)
    assert reason in str(result.exception)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
