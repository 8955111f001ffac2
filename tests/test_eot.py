"""Patches that survive transformations, against views made by Pillow."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import shapes
from click.testing import CliRunner
from PIL import Image

from lgs_cli.commands import attack as commands
from lgs_cli.commands.evaluate import evaluate
from lgs_cli.defenses.preprocessing import PRESETS
from lgs_cli.errors import UsageError
from lgs_cli.evaluation.attacks import lavan, records
from lgs_cli.evaluation.attacks.eot import EotBatch, EotParams, draw_view
from lgs_cli.evaluation.attacks.lavan import LavanParams
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.models.torch_model import TorchModel

pytest.importorskip("torch", reason="attacks need torch: pip install 'lgs-cli[eval]'")
pytestmark = pytest.mark.usefixtures("one_thread")

SIDE, ROTATION = 22, 40.0
PLACE = f"{(shapes.SIDE - SIDE) // 2},{(shapes.SIDE - SIDE) // 2}"
BASE = EotParams(
    patch_size=SIDE, location=PLACE, rotation=ROTATION, scale_min=0.8, scale_max=1.2, steps=30
)


@pytest.fixture(scope="module")
def model():
    return TorchModel("shapes", PRESETS["as-is"], shapes.trained(), "cpu")


@pytest.fixture(scope="module")
def images():
    pixels, labels = shapes.pictures(12, seed=2)
    return Images(tuple(f"{index}.jpg" for index in range(12)), labels, pixels)


def attack(model, images, params):
    return lavan.attack(model, images, params, kind=EotBatch)


def views(patch):
    """Pictures of a patch from many views, RGBA, by Pillow: turned, scaled, in other light."""
    for angle in (-36, -24, -12, 12, 24, 36):
        for scale, contrast, light in ((0.85, 0.85, 20), (1.0, 1.15, -20), (1.15, 0.9, -10)):
            lit = (patch.astype(float) - 127.5) * contrast + 127.5 + light
            picture = Image.fromarray(lit.round().clip(0, 255).astype(np.uint8)).convert("RGBA")
            side = round(SIDE * scale)
            picture = picture.resize((side, side), Image.Resampling.BILINEAR)
            yield picture.rotate(angle, Image.Resampling.BILINEAR, expand=True)


def survival(model, images, patches):
    """In which share of the views each patch leads the model away from the label."""
    shares = []
    for pixels, label, patch in zip(images.pixels, images.labels, patches, strict=True):
        seen = []
        for view in views(patch):
            picture = Image.fromarray(pixels)
            corner = tuple((shapes.SIDE - length) // 2 for length in view.size)
            picture.paste(view, corner, view)
            seen.append(np.asarray(picture))
        shares.append((model.predict(np.stack(seen)) != label).mean())
    return np.asarray(shares)


def patches_of(crafted):
    return [
        pixels[r.top : r.top + r.height, r.left : r.left + r.width]
        for pixels, r in zip(crafted.pixels, crafted.records, strict=True)
    ]


def test_its_patches_survive_what_plain_ones_do_not(model, images):
    plain = lavan.attack(
        model, images, LavanParams(patch_size=SIDE, location=PLACE, steps=BASE.steps)
    )
    ours = attack(model, images, replace(BASE, upright=True))
    assert {(r.height, r.width) for r in ours.records} == {(SIDE, SIDE)}
    theirs_survive = survival(model, images, patches_of(plain)).mean()
    ours_survive = survival(model, images, patches_of(ours)).mean()
    assert ours_survive > theirs_survive + 0.2
    # what it says of itself is what Pillow's views say
    said = np.mean([record.survives for record in ours.records])
    assert said == pytest.approx(ours_survive, abs=0.15)
    assert all(record.survives is None for record in plain.records)


@pytest.mark.parametrize("corner", [(0, 0), (0, 30), (30, 30), (15, 2)])
def test_every_view_lies_in_the_image_as_a_whole(corner):
    params = replace(BASE, rotation=180, scale_max=1.5, shift=1)
    draw = np.random.default_rng(3)
    found = [draw_view(params, (48, 60), corner, SIDE, draw) for _ in range(500)]
    for spot, *_ in found:
        for x, y in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            turned = complex(x, y) * spot.side / 2 * complex(
                math.cos(spot.angle), math.sin(spot.angle)
            )  # fmt: skip
            assert -1e-6 <= spot.column + turned.real <= 60 + 1e-6
            assert -1e-6 <= spot.row + turned.imag <= 48 + 1e-6
    sides = [spot.side / SIDE for spot, *_ in found]
    assert min(sides) < 0.85 and max(sides) > 1.4 and 0.8 <= min(sides) <= max(sides) <= 1.5
    angles = [math.degrees(spot.angle) for spot, *_ in found]
    assert min(angles) < -150 and max(angles) > 150
    assert all(0.8 <= view.contrast <= 1.2 and abs(view.brightness) <= 0.1 for view in found)


def test_what_cannot_turn_within_the_image_is_refused(model, images):
    # 30 · 1.2 · √2 = 50.9
    wide = replace(BASE, patch_size=30, location="0,0", rotation=60)
    with pytest.raises(UsageError, match=r"enlarged and turned, takes up 51 px, .* 48×48"):
        attack(model, images, wide)
    attack(model, images, replace(wide, scale_max=1.1, steps=1, samples=1))


def test_written_views_are_turned_patches_in_their_boxes(model, images):
    crafted = attack(model, images, replace(BASE, location="corner", steps=2, samples=2))
    areas = []
    for before, after, record in zip(images.pixels, crafted.pixels, crafted.records, strict=True):
        changed = (before != after).any(-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert record.top <= rows[0] and rows[-1] < record.top + record.height
        assert record.left <= columns[0] and columns[-1] < record.left + record.width
        areas.append(changed.sum() / SIDE**2)
    # nothing is cut off by the border: areas are squares of the scales
    assert min(areas) >= 0.62 and max(areas) <= 1.46 and np.ptp(areas) > 0.2
    assert len({record.width for record in crafted.records}) > 4


def test_an_image_s_views_do_not_depend_on_its_neighbors(model, images):
    short = replace(BASE, steps=3, samples=2)
    whole, of_all = attack(model, images, short)
    part, of_part = attack(model, images.at(slice(4, 7)), short)
    assert (whole[4:7] == part).all()
    assert [r.survives for r in of_all[4:7]] == [r.survives for r in of_part]


def test_confidence_and_restarts_work_as_in_lavan(model, images):
    sure = replace(BASE, confidence=0.6, steps=25, restarts=2)
    _, records_ = attack(model, images, sure)
    assert min(record.steps for record in records_) < 50
    _, once = attack(model, images, replace(sure, restarts=1))
    assert all(a.survives >= b.survives for a, b in zip(records_, once, strict=True))


def test_it_goes_through_a_defense_and_into_a_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.py").write_text("import shapes\ndef net():\n    return shapes.trained()\n")
    shapes.write(tmp_path / "photos", 6, seed=2)
    model = ["--model", "toy:net", "--preset", "as-is"]
    how = ["--patch-size", "16", "--steps", "2", "--samples", "2", "--through", "lgs"]
    run = CliRunner().invoke(
        commands.attack, ["eot", "photos", "-o", "out", *model, "--count", "2", *how]
    )
    assert run.exit_code == 0, run.output
    assert run.stderr.startswith("2 attacked, ") and "of the views tried -> out" in run.stderr
    made = records.read_records(tmp_path / "out")
    assert len(made) == 2 and all(0 <= record.survives <= 1 for record in made)
    what = ["--adaptive", "--attack", "eot:patch-size=16,steps=1,samples=2"]
    run = CliRunner().invoke(evaluate, [*model, "--images", "photos", "--count", "2", *what])
    assert run.exit_code == 0, run.output
    assert "adaptive eot:patch-size=16" in run.stdout
