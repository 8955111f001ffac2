"""Double masking for folders: a file is answered as the certified defense answers."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import optional_data
import pytest
from double_masking import BLUE, GREEN, RED, answer, double_masking, patched, spots
from folders import files_below
from PIL import Image

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.double_mask import DoubleMaskParams, apply, check_written
from lgs_cli.defenses.masking import MaskParams, Votes, settle
from lgs_cli.defenses.preprocessing import PRESETS, Preprocessing, fit, seen
from lgs_cli.evaluation import dataset, models

# The tiny model sees 8 × 8 pixels, of pictures that are larger.
SMALL = Preprocessing(resize=10, crop=8)
METHOD = ("--method", "double-mask", "--param", "resize=10", "--param", "crop=8")


def test_a_file_is_answered_as_the_certified_defense_answers(lgs, tiny_model):
    folder = lgs.folder / "in"
    folder.mkdir()
    pictures = {
        "calm.png": spots(1),
        "fooled.png": patched(spots(2), GREEN),
        "fooled_too.png": patched(spots(3, tint=5), BLUE),
        "unsure.png": spots(4, tint=0),
        "high.png": np.swapaxes(patched(spots(5), GREEN), 0, 1),
        "split.png": np.concatenate([patched(spots(6), BLUE), spots(7)[:, ::-1]], axis=1),
    }
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / name)
    deep = patched(spots(8), GREEN).astype(np.uint16) << 8
    (folder / "deep.png").write_bytes(_png_16(deep))
    Image.fromarray(spots(9)).save(folder / "calm.jpg", quality=95)
    Image.fromarray(patched(spots(10), GREEN)).convert("RGBA").save(folder / "alpha.png")
    Image.fromarray(spots(11)[..., 0]).save(folder / "gray.png")

    run = lgs("clean", "in", "-o", "out", *METHOD, "--model", tiny_model, "-j", 2)
    assert run.returncode == 0, run.stderr
    model = models.load(str(tiny_model), SMALL)
    kept = set()
    for path in sorted(folder.iterdir()):
        output = lgs.folder / "out" / path.name
        before, after = dataset.read(path), dataset.read(output)
        expected = double_masking(model, before, MaskParams())
        assert answer(model, after) == expected, path.name
        if answer(model, before) == expected:
            assert output.read_bytes() == path.read_bytes()
            kept.add(path.name)
        else:
            changed = (before != after).any(axis=2)
            masks = MaskParams().masks(seen(*before.shape[:2], SMALL))
            assert any(changed.sum() == changed[mask].sum() for mask in masks)
            assert (after[changed] == 128).all()
    assert {"calm.png", "calm.jpg", "gray.png"} <= kept
    assert kept.isdisjoint({"fooled.png", "fooled_too.png", "deep.png", "alpha.png", "high.png"})


def _png_16(pixels: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


def test_pictures_of_all_kinds_of_answers(tiny_model):
    """Many small pictures of blocks, so that double masking ends in each of its three ways."""
    params = DoubleMaskParams(
        resize=0, crop=0, patch_size=3, masks_per_side=2, model=str(tiny_model)
    )
    model = models.load(str(tiny_model), PRESETS["as-is"])
    draw = np.random.default_rng(7)
    ends = set()
    for _ in range(150):
        blocks = draw.integers(0, 256, (4, 4, 3), np.uint8)
        picture = np.kron(blocks, np.ones((2, 2, 1), np.uint8))
        expected = double_masking(model, picture, params)
        cleaned = apply(picture, params)
        assert answer(model, cleaned.image) == expected
        plain = answer(model, picture)
        assert (cleaned.image is picture) == (plain == expected)
        votes = Votes(picture, params.masks((slice(0, 8), slice(0, 8))), params.classifier.predict)
        ones = votes.one_masked()
        ends.add((len(set(ones)) == 1, ones.count(settle(votes).label) > 1, plain == expected))
    assert {unanimous for unanimous, _, _ in ends} == {True, False}
    assert {(False, True, True), (False, False, False)} <= ends


def test_what_lossy_coding_would_undo_is_not_written(lgs, tiny_model):
    """The answer hangs by a hair that JPEG rounds away: the file would be answered wrongly."""
    folder = lgs.folder / "in"
    folder.mkdir()
    gray = np.full((40, 60, 3), 100, np.uint8)
    gray[..., GREEN] = 101
    Image.fromarray(patched(gray, BLUE)).save(folder / "a.png")
    Image.fromarray(spots(1)).save(folder / "b.png")
    options = ("in", "-o", "out", *METHOD, "--model", tiny_model, "--format", "jpeg")
    run = lgs("clean", *options, "--quality", 5)
    assert run.returncode == 1
    (line, _) = run.stderr.splitlines()
    assert line == (
        "lgs: in/a.png: double-mask: the model would answer 0 instead of 1 on what lossy coding "
        "leaves; use --format png"
    )
    assert files_below(lgs.folder / "out") == {"b.jpg"}
    run = lgs("clean", "in", "-o", "out", *METHOD, "--model", tiny_model, "--format", "png")
    assert run.returncode == 0
    model = models.load(str(tiny_model), SMALL)
    assert answer(model, dataset.read(lgs.folder / "out" / "a.png")) == GREEN


def test_check_written_asks_the_model(tiny_model):
    params = DoubleMaskParams(resize=10, crop=8, model=str(tiny_model))
    red, green = spots(1), patched(spots(1), GREEN, (slice(0, 40), slice(0, 60)))
    check_written(red, spots(2), params)
    with pytest.raises(ValueError, match="would answer 1 instead of 0"):
        check_written(red, green, params)


def test_another_model_is_another_result(lgs, tiny_model, tmp_path):
    folder = lgs.folder / "in"
    folder.mkdir()
    Image.fromarray(patched(spots(2), GREEN)).save(folder / "a.png")
    model = tmp_path / "m.onnx"
    model.write_bytes(tiny_model.read_bytes())
    command = ("clean", "in", "-o", "out", *METHOD, "--model", model)
    assert ": 1 done, 0 skipped" in lgs(*command).stderr
    assert ": 0 done, 1 skipped" in lgs(*command).stderr
    model.write_bytes(tiny_model.read_bytes() + b"\x1a\x00")  # an empty producer name
    assert ": 1 done, 0 skipped" in lgs(*command).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("clean", "in", "-o", "out", "--method", "double-mask"), "double-mask needs a model"),
        (("clean", "in", "-o", "out", "--model", "m.onnx"), "--model needs --method double-mask"),
        (("clean", "in", "-o", "out", "--preset", "plain"), "--preset needs --method double-mask"),
        (
            ("clean", "in", "-o", "out", "--method", "double-mask", "--model", "absent.onnx"),
            "valid is an .onnx file that is there",
        ),
        (
            ("clean", "in", "-o", "out", "--method", "double-mask", "--model", "in/a.png"),
            "in/a.png: not an .onnx file",
        ),
        (("compare", "in/a.png", "-o", "s.png", "--method", "double-mask"), "needs a model"),
        (
            (
                "evaluate",
                "--model",
                "m.onnx",
                "--images",
                "in",
                "--defense",
                "double-mask:model=absent.onnx",
            ),
            "valid is an .onnx file that is there",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_what_is_wrong_is_one_line(lgs, tiny_model, arguments, message):
    folder = lgs.folder / "in"
    folder.mkdir()
    Image.fromarray(spots(1)).save(folder / "a.png")
    (lgs.folder / "m.onnx").write_bytes(tiny_model.read_bytes())
    run = lgs(*arguments)
    assert run.returncode == 2
    (line, *hint) = run.stderr.splitlines()
    assert message in line
    assert not hint or (len(hint) == 1 and hint[0].startswith("Try"))
    assert not (lgs.folder / "out").exists()


def test_a_row_of_the_evaluation(lgs, tiny_model):
    """There the pictures are cropped already, so the defense must not do so again."""
    folder = lgs.folder / "in" / "0"
    folder.mkdir(parents=True)
    pictures = [spots(1), patched(spots(2), GREEN), patched(spots(3), BLUE), spots(4)]
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{index}.png")
    defense = f"double-mask:model={tiny_model},resize=0,crop=0,patch_size=2"
    run = lgs(
        "evaluate", "--model", tiny_model, "--images", "in", "--all-images", "--format", "csv",
        "--resize", 10, "--crop", 8, "--defense", "none", "--defense", defense,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    rows = list(csv.DictReader(run.stdout.decode().splitlines()))
    model = models.load(str(tiny_model), PRESETS["as-is"])
    crops = [fit(picture, SMALL) for picture in pictures]
    params = MaskParams(patch_size=2)
    expected = [
        sum(answer(model, crop) == RED for crop in crops),
        sum(double_masking(model, crop, params) == RED for crop in crops),
    ]
    assert [int(row["hits"]) for row in rows] == expected
    assert expected[0] == 2


def test_a_picture_smaller_than_the_crop_fails_alone(lgs, tiny_model):
    folder = lgs.folder / "in"
    folder.mkdir()
    Image.fromarray(spots(1)).save(folder / "a.png")
    Image.fromarray(spots(2, (30, 30))).save(folder / "b.png")
    run = lgs(
        "clean", "in", "-o", "out", "--method", "double-mask", "--model", tiny_model,
        "--param", "resize=0", "--param", "crop=40",
    )  # fmt: skip
    assert run.returncode == 1
    assert "in/b.png: double-mask: 30×30 is smaller than the crop of 40 px" in run.stderr
    assert files_below(lgs.folder / "out") == {"a.png"}


def test_presets_set_what_parameters_change(lgs, tiny_model):
    folder = lgs.folder / "in"
    folder.mkdir()
    picture = patched(spots(2), GREEN)
    Image.fromarray(picture).save(folder / "a.png")
    run = lgs(
        "clean", "in", "-o", "out", "--method", "double-mask", "--model", tiny_model,
        "--preset", "caffe", *METHOD[2:], "--report", "r.jsonl",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    report = (lgs.folder / "r.jsonl").read_text()
    for part in ('"mean": "104,117,123"', '"channels": "bgr"', '"scale": "255"', '"crop": 8'):
        assert part in report
    # caffe: 255 x, blue first, minus 104 of blue, 117 of green, 123 of red
    model = models.load(str(tiny_model), Preprocessing(10, 8, "104,117,123", "1,1,1", "bgr", "255"))
    cleaned = dataset.read(lgs.folder / "out" / "a.png")
    assert answer(model, cleaned) == double_masking(model, picture, MaskParams())


def test_a_real_model_answers_on_the_file_what_double_masking_answers(lgs):
    network = optional_data.needed("models", "squeezenet1_1.onnx")
    folder = optional_data.needed("attacked", "lavan_32px")
    with optional_data.needed("attacked", "labels.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))[:3]
    source = lgs.folder / "in"
    source.mkdir()
    for row in rows:
        (source / Path(row["file"]).name).write_bytes((folder / row["file"]).read_bytes())
    run = lgs(
        "clean", "in", "-o", "out", "--method", "double-mask", "--model", network,
        "--preset", "as-is", "--param", "masks-per-side=3",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    model = models.load(str(network), PRESETS["as-is"])
    for path in sorted(source.iterdir()):
        expected = double_masking(model, dataset.read(path), MaskParams(masks_per_side=3))
        assert answer(model, dataset.read(lgs.folder / "out" / path.name)) == expected


def test_the_registry_has_it_with_its_paper():
    defense = DEFENSES["double-mask"]
    assert defense.papers == ("2108.09135",)
