"""``lgs attack``, ``lgs evaluate`` and ``lgs tune`` as a user types them."""

from __future__ import annotations

import json
from dataclasses import fields

import click
import pytest
import shapes
from click.testing import CliRunner
from PIL import Image

from lgs_cli.commands.attack import attack, lavan, patch
from lgs_cli.commands.evaluate import evaluate
from lgs_cli.commands.tune import tune
from lgs_cli.errors import LgsError
from lgs_cli.evaluation import attacks
from lgs_cli.evaluation.settings import (
    EvaluateParams,
    LavanParams,
    PatchParams,
    Preprocessing,
    TuneParams,
)

torch = pytest.importorskip("torch", reason="attacks need torch: pip install 'lgs-cli[eval]'")

MODEL = ["--model", "toy:net", "--preset", "as-is"]


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """A folder with photographs, and a model to be found by its name."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    (tmp_path / "toy.py").write_text("import shapes\ndef net():\n    return shapes.trained()\n")
    shapes.write(tmp_path / "photos", 12, seed=2)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    torch.set_num_threads(before)


def run(command, *arguments):
    result = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit | LgsError):
        raise result.exception
    return result


@pytest.mark.parametrize(
    ("command", "kinds"),
    [
        (lavan, (LavanParams, Preprocessing)),
        (patch, (PatchParams, Preprocessing)),
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
    assert "default: plain" in text


def test_lavan_takes_every_flag(tmp_path):
    result = run(
        attack, "lavan", "photos", "-o", "out", *MODEL,
        "--patch-fraction", 0.2, "--target", "random", "--location", "corner", "--steps", 6,
        "--step-size", 0.2, "--confidence", 0.9, "--restarts", 2, "--cells", 5,
        "--exploit-normalization", "--seed", 3, "--through", "lgs:threshold=0.2",
        "--backward", "relaxed", "--batch-size", 5, "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    records = attacks.read_records(tmp_path / "out")
    assert len(records) == 12
    assert all(r.target is not None and 1 <= r.steps <= 12 for r in records)
    assert all(r.top in (0, 48 - r.height) and r.left in (0, 48 - r.width) for r in records)
    succeeded = sum(record.succeeded for record in records)
    assert f"12 attacked, {succeeded} successfully" in result.stderr
    wrong = sum(record.succeeded and record.before != record.label for record in records)
    assert f"{wrong} of them classified wrongly before -> out" in result.stderr
    assert result.stdout == ""
    for record in records:
        with Image.open(tmp_path / "out" / record.file) as image:
            assert image.format == "PNG" and image.size == (48, 48)


def test_the_output_is_named_printably(tmp_path):
    result = run(attack, "lavan", "photos", "-o", "o\x1b[2J", *MODEL, "--steps", 1)
    assert result.exit_code == 0, result.output
    assert r"-> o\x1b[2J" in result.stderr and "\x1b" not in result.stderr


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
    first, again = (attacks.read_records(tmp_path / name) for name in ("trained", "applied"))
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
    kept = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert len(kept) == 4
    result = run(
        evaluate, *MODEL, "--images", "photos", "--count", 8, "--defense", "none",
        "--attacked", "kept/lavan-patch-size=24,steps=8", "--format", "json", "-o", "t.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert json.loads((tmp_path / "t.json").read_text())["defenses"][0]["clean"]["hits"] == 8


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
