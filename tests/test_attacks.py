"""The attacks, on a toy net that is trained here, and the table made with them."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import shapes
from PIL import Image

from lgs_cli.defenses.preprocessing import PRESETS
from lgs_cli.errors import LgsError, UsageError
from lgs_cli.evaluation import dataset, models, table
from lgs_cli.evaluation.attack_folder import attack_folder
from lgs_cli.evaluation.attacks import records as attack_records
from lgs_cli.evaluation.attacks import warping
from lgs_cli.evaluation.attacks.lavan import LavanParams, attack
from lgs_cli.evaluation.attacks.pasting import Patch, Spot, blend, paste, read
from lgs_cli.evaluation.attacks.patch import PatchParams
from lgs_cli.evaluation.attacks.patch_training import train
from lgs_cli.evaluation.attacks.placement import draws, place
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.evaluate import EvaluateParams, evaluate
from lgs_cli.evaluation.grid_search import TuneParams, search_grid
from lgs_cli.evaluation.kept import Kept
from lgs_cli.evaluation.models.torch_model import TorchModel, to_pixels, to_tensor
from lgs_cli.evaluation.specs import parse_attack, parse_defense
from lgs_cli.evaluation.table import Share
from lgs_cli.evaluation.victim import Victim

torch = pytest.importorskip("torch", reason="attacks need torch: pip install 'lgs-cli[eval]'")

from lgs_cli.evaluation import bpda  # noqa: E402 (needs torch)

# On pictures of 48 px a patch must be large to be sure of its effect.
SIDE = 24
STRONG = LavanParams(patch_size=SIDE, steps=40)
STRONG_SPEC = parse_attack(f"lavan:patch-size={SIDE},steps=40")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model():
    return TorchModel("shapes", PRESETS["as-is"], shapes.trained(), "cpu")


@pytest.fixture
def images():
    return labeled(16, seed=2)


def labeled(count, seed):
    pixels, labels = shapes.pictures(count, seed)
    return Images(tuple(f"{index}.jpg" for index in range(count)), labels, pixels)


def accuracy(model, pixels, labels, chain=()):
    return (Victim(model, chain).predict(pixels) == labels).mean()


class Told:
    """Writes down what it hears."""

    def __init__(self):
        self.begun = []
        self.done = 0

    def start(self, what, total):
        self.begun.append((what, total))

    def advance(self, count=1):
        self.done += count


# ------------------------------------------------------------------------------------- LaVAN


def test_the_net_is_right_before(model, images):
    assert accuracy(model, images.pixels, images.labels) == 1


def test_lavan_succeeds_inside_its_box_alone(model, images):
    pixels, labels, names = images.pixels, images.labels, images.names
    before = pixels.copy()
    attacked, records = attack(model, images, STRONG)
    assert (pixels == before).all()
    assert accuracy(model, attacked, labels) <= 0.1
    for index, record in enumerate(records):
        changed = (attacked[index] != pixels[index]).any(-1)
        box = (
            slice(record.top, record.top + record.height),
            slice(record.left, record.left + record.width),
        )
        assert (record.height, record.width) == (SIDE, SIDE)
        assert changed[box].mean() > 0.9
        changed[box] = False
        assert not changed.any()
        assert record.source == names[index]
        assert record.file == f"{names[index]}.png"
        assert record.label == record.before == labels[index]
        assert record.target is None
        assert record.steps == 40
        assert record.seconds > 0


def test_records_say_what_the_written_pixels_do(model, images):
    attacked, records = attack(model, images, replace(STRONG, steps=5))
    logits = model.logits(attacked).astype(float)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert [record.after for record in records] == chances.argmax(1).tolist()
    assert [record.confidence for record in records] == pytest.approx(chances.max(1), abs=1e-5)
    assert [r.succeeded for r in records] == [r.after != r.label for r in records]


def test_lavan_reaches_a_target(model, images):
    attacked, records = attack(model, images, replace(STRONG, target="random"))
    assert all(record.target not in (None, record.label) for record in records)
    assert len({record.target for record in records}) > 1
    hits = model.predict(attacked) == [record.target for record in records]
    assert hits.mean() >= 0.8
    assert [record.succeeded for record in records] == hits.tolist()
    _, records = attack(model, images, replace(STRONG, target="2", steps=1))
    assert {record.target for record in records} == {2}
    with pytest.raises(UsageError, match="target 4 is no class; the model has 0 to 3"):
        attack(model, images, replace(STRONG, target="4"))


def test_lavan_is_deterministic_under_its_seed(model, images):
    short = replace(STRONG, steps=4)
    first, records = attack(model, images, short)
    again, records_again = attack(model, images, short)
    assert (first == again).all()
    assert [replace(r, seconds=0) for r in records] == [
        replace(r, seconds=0) for r in records_again
    ]
    other, _ = attack(model, images, replace(short, seed=1))
    assert (other != first).any()


def test_an_image_s_draws_do_not_depend_on_its_neighbors(model, images):
    params = replace(STRONG, steps=1, target="random")
    _, together = attack(model, images, params)
    _, alone = attack(model, images.at(slice(5, 6)), params)
    for name in ("top", "left", "target"):
        assert getattr(alone[0], name) == getattr(together[5], name)


@pytest.mark.parametrize("side", [8, 13])
def test_patches_lie_where_they_should(side):
    places = {
        location: [place(location, 40, 60, side, draws(0, str(name))) for name in range(300)]
        for location in ("random", "border", "corner", "7,5")
    }
    rows, columns = 40 - side, 60 - side
    for found in places.values():
        assert all(0 <= top <= rows and 0 <= left <= columns for top, left in found)
    assert len(set(places["random"])) > 200
    assert set(places["corner"]) == {(0, 0), (0, columns), (rows, 0), (rows, columns)}
    assert set(places["7,5"]) == {(5, 7)}
    gaps = [min(top, left, rows - top, columns - left) for top, left in places["border"]]
    assert set(gaps) == set(range(side // 4 + 1))
    sides = [
        [top, left, rows - top, columns - left].index(gap)
        for (top, left), gap in zip(places["border"], gaps, strict=True)
    ]
    assert min(np.bincount(sides, minlength=4)) > 40


def test_a_patch_that_does_not_fit_is_refused(model, images):
    with pytest.raises(UsageError, match="60 px does not fit into images of 48×48"):
        attack(model, images, LavanParams(patch_size=60))
    with pytest.raises(UsageError, match="at 40,0 leaves the image"):
        attack(model, images, LavanParams(patch_size=10, location="40,0"))


def test_the_fraction_is_of_the_area(model, images):
    _, records = attack(model, images, LavanParams(patch_fraction=0.04, steps=1))
    assert {record.width for record in records} == {round(math.sqrt(0.04) * 48)}


def test_confidence_ends_the_work_on_an_image(model, images):
    _, full = attack(model, images, STRONG)
    _, early = attack(model, images, replace(STRONG, confidence=0.5))
    assert sum(record.steps for record in early) < 0.8 * sum(record.steps for record in full)
    for record in early:
        # either it got there, or it used every step
        assert record.steps == 40 or (record.succeeded and record.confidence >= 0.5)
    assert any(record.steps < 40 for record in early)


def test_a_label_that_is_no_class_is_told(model, images):
    wrong = replace(images, labels=np.asarray([0] * 15 + [4]))
    with pytest.raises(UsageError, match=r"15\.jpg has label 4; the model has classes 0 to 3"):
        attack(model, wrong, STRONG)


def test_restarts_keep_the_better(model, images):
    few = replace(STRONG, patch_size=14, steps=3)

    def margins(params):
        attacked, records = attack(model, images, params)
        logits = model.logits(attacked)
        own = logits[np.arange(16), images.labels].copy()
        logits[np.arange(16), images.labels] = -np.inf
        return logits.max(1) - own, records

    one, _ = margins(few)
    four, records = margins(replace(few, restarts=4))
    assert (four >= one - 1e-4).all()
    assert (four > one + 1e-4).any()
    assert {record.steps for record in records} == {12}


def test_cells_are_smooth(model, images):
    def roughness(attacked, records):
        inside = [
            image[r.top : r.top + SIDE, r.left : r.left + SIDE].astype(int)
            for image, r in zip(attacked, records, strict=True)
        ]
        return np.abs(np.diff(inside, axis=1)).mean()

    free = roughness(*attack(model, images, STRONG))
    cells = roughness(*attack(model, images, replace(STRONG, cells=4)))
    assert cells < 0.5 * free


def test_the_normalization_is_exploited(model, images):
    attacked, records = attack(model, images, replace(STRONG, exploit_normalization=True))
    for image, record in zip(attacked.astype(float) / 255, records, strict=True):
        dx, dy = np.zeros_like(image), np.zeros_like(image)
        dx[:, :-1], dy[:-1] = np.diff(image, axis=1), np.diff(image, axis=0)
        magnitude = np.sqrt((dx**2 + dy**2).sum(-1))
        # √6 is the largest gradient that three channels can have
        assert magnitude[record.top, record.left] == pytest.approx(math.sqrt(6))
        assert magnitude.max() == pytest.approx(math.sqrt(6))
    assert accuracy(model, attacked, images.labels) <= 0.2


def test_an_attack_through_lgs_beats_the_blind_one(model, images):
    chain = parse_defense("lgs").chain
    params = replace(STRONG, patch_size=20)
    blind, _ = attack(model, images, params)
    through, records = attack(model, images, params, bpda.layer(chain))
    before, after = (accuracy(model, p, images.labels, chain) for p in (blind, through))
    assert after < before - 0.1
    # records speak of the defended model
    agree = Victim(model, chain).predict(through) == [record.after for record in records]
    assert agree.mean() >= 0.9


@pytest.mark.parametrize("backward", ["identity", "exact", "relaxed"])
def test_every_gradient_attacks(model, images, backward):
    chain = parse_defense("lgs:smoothing=0.5").chain
    through = bpda.layer(chain, backward)
    attacked, records = attack(model, images, STRONG, through)
    assert accuracy(model, attacked, images.labels, chain) < 0.6
    assert sum(record.dead_steps for record in records) == 0


# --------------------------------------------------------------------------- patch


QUICK = PatchParams(patch_size=20, steps=60, step_size=0.1, rotation=10)


def test_a_patch_works_on_images_it_was_not_trained_on(model, images):
    trained = train(Victim(model), labeled(48, seed=3), replace(QUICK, target="1"))
    assert trained.target == 1
    assert trained.pixels.shape == (20, 20, 4)
    attacked, records = paste(Victim(model), [trained], images, QUICK)
    hits = model.predict(attacked) == 1
    noise = np.random.default_rng(1).integers(0, 256, (20, 20, 4), np.uint8)
    noise[..., 3] = 255
    random, _ = paste(Victim(model), [Patch(noise)], images, QUICK)
    assert hits.mean() >= 0.7
    assert hits.mean() > (model.predict(random) == 1).mean() + 0.3
    assert [record.succeeded for record in records] == hits.tolist()
    assert {record.target for record in records} == {1}


def test_an_untargeted_patch_leads_away_from_the_labels(model, images):
    trained = train(Victim(model), labeled(48, seed=3), QUICK)
    attacked, records = paste(Victim(model), [trained], images, QUICK)
    assert accuracy(model, attacked, images.labels) <= 0.6
    assert {record.target for record in records} == {None}


def test_training_is_deterministic_and_tells_its_steps(model, images):
    told = Told()
    short = replace(QUICK, steps=3, target="random")
    first = train(Victim(model, progress=told), images, short)
    again = train(Victim(model), images, short)
    assert (first.pixels == again.pixels).all()
    assert first.target == again.target
    assert told.begun == [("training", 3)]
    assert told.done == 3


def test_a_patch_can_be_trained_through_a_defense(model, images):
    plain = train(Victim(model), images, replace(QUICK, steps=3))
    through = train(Victim(model, parse_defense("lgs").chain), images, replace(QUICK, steps=3))
    assert (plain.pixels != through.pixels).any()


def test_an_upright_patch_is_pasted_pixel_by_pixel(model, images):
    pixels = images.pixels
    rng = np.random.default_rng(4)
    content = rng.integers(0, 256, (9, 9, 4), np.uint8)
    content[..., 3] = 255
    still = PatchParams(rotation=0, location="11,30")
    attacked, records = paste(Victim(model), [Patch(content)], images, still)
    assert (attacked[:, 30:39, 11:20] == content[..., :3]).all()
    untouched = attacked.copy()
    untouched[:, 30:39, 11:20] = pixels[:, 30:39, 11:20]
    assert (untouched == pixels).all()
    assert {(r.top, r.left, r.height, r.width) for r in records} == {(30, 11, 9, 9)}


def test_a_quarter_turn_turns_the_patch(model, images):
    pixels = images.pixels
    content = np.zeros((10, 10, 4), np.uint8)
    content[..., 3] = 255
    content[:5, :, 0] = 255  # the upper half is red

    def at(angle):
        spot = Spot(24.0, 24.0, 10, math.radians(angle))
        pasted = pixels[0].copy()
        assert blend(pasted, content, spot).sum() == 100
        return pasted[19:29, 19:29, 0] > 127

    expected = content[..., 0] > 127
    assert (at(0) == expected).all()
    assert (at(180) == expected[::-1, ::-1]).all()
    assert (at(90) == np.rot90(expected, -1)).all()


@pytest.mark.parametrize("side", [7, 16, 30])
def test_what_is_trained_is_what_is_pasted(images, side):
    """Training pastes in torch, to have a gradient; the result is the one of NumPy."""
    pixels = images.pixels[:1]
    content = np.random.default_rng(side).integers(0, 256, (16, 16, 4), np.uint8)
    x, layer = to_tensor(pixels, "cpu"), to_tensor(content[None, ..., :3], "cpu")[0]
    mask = torch.from_numpy((content[..., 3] >= 128).astype(np.float32))
    for angle in (0.0, 0.3, -1.1, 2.5):
        spot = Spot(20.5, 25.5, side, angle)
        ours = pixels[0].copy()
        covered = blend(ours, content, spot)
        theirs = to_pixels(warping.paste(x, layer[None], mask[None], [spot]))[0]
        assert 0.3 * side**2 < covered.sum() < 0.7 * side**2
        off = np.abs(ours.astype(int) - theirs)[covered | (theirs != pixels[0]).any(-1)].max(-1)
        # the two round a tie of an alpha's nearest pixel either way
        assert np.quantile(off, 0.98) <= 1


def test_scale_and_rotation_stay_in_their_range(model, images):
    content = np.full((10, 10, 4), 255, np.uint8)
    params = PatchParams(scale_min=0.5, scale_max=2, rotation=0)
    _, records = paste(Victim(model), [Patch(content)], images, params)
    widths = {record.width for record in records}
    assert min(widths) >= 5 and max(widths) <= 20 and len(widths) > 5
    params = replace(params, patch_size=20, scale_min=1, scale_max=1)
    _, records = paste(Victim(model), [Patch(content)], images, params)
    assert {record.width for record in records} == {20}


def test_a_circle_is_a_circle(model, images, tmp_path):
    trained = train(Victim(model), images, replace(QUICK, steps=1, shape="circle"))
    alpha = trained.pixels[..., 3] > 0
    assert alpha.mean() == pytest.approx(math.pi / 4, abs=0.05)
    path = tmp_path / "patch.png"
    Image.fromarray(trained.pixels).save(path)
    (again,) = read(path)
    assert (again.pixels == trained.pixels).all()
    pasted, _ = paste(Victim(model), [again], images, replace(QUICK, rotation=0, location="0,0"))
    assert ((pasted[0] != images.pixels[0]).any(-1)[:20, :20] <= alpha).all()


def test_a_folder_of_patches_is_taken_in_turn(model, images, tmp_path):
    for index, level in enumerate((10, 200)):
        Image.fromarray(np.full((6, 6, 3), level, np.uint8)).save(tmp_path / f"{index}.png")
    patches = read(tmp_path)
    still = PatchParams(rotation=0, location="0,0")
    pasted, _ = paste(Victim(model), patches, images, still)
    assert pasted[:, 0, 0, 0].tolist() == [10, 200] * 8
    pasted, _ = paste(Victim(model), patches, images, still, turn=1)
    assert pasted[:, 0, 0, 0].tolist() == [200, 10] * 8


def test_what_is_no_patch_is_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read(tmp_path / "none.png")
    with pytest.raises(LgsError, match="no patch in"):
        read(tmp_path)
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "oblong.png")
    with pytest.raises(UsageError, match="is 5×4; it must be square"):
        read(tmp_path / "oblong.png")
    Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(tmp_path / "nothing.png")
    with pytest.raises(UsageError, match=r"nothing\.png is transparent all over"):
        read(tmp_path / "nothing.png")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "gray.png")
    with pytest.raises(UsageError, match="is not an 8-bit color image"):
        read(tmp_path / "gray.png")


# ----------------------------------------------------------------------------- from disk to disk


def test_a_folder_is_attacked_and_scored_again(model, tmp_path):
    photographs = dataset.find(shapes.write(tmp_path / "photos", 12, seed=2))
    output = tmp_path / "attacked"
    told = Told()
    victim = Victim(model, batch_size=5, progress=told)
    records = attack_folder(victim, photographs, STRONG_SPEC, output)
    assert told.begun == [("attacking", 12)]
    assert told.done == 12
    assert attack_records.read_records(output) == records
    assert [r.source for r in records] == [p.name for p in photographs]
    assert sorted(p.relative_to(output).as_posix() for p in output.rglob("*.png")) == sorted(
        p.name for p in photographs
    )
    keys = set(json.loads((output / "attacks.jsonl").read_text().splitlines()[0]))
    assert {"top", "left", "label", "target", "before", "after", "confidence", "steps",
            "seconds"} <= keys  # fmt: skip
    found = evaluate(Victim(model), photographs, [parse_defense("none")], [output])
    survivors = sum(not record.succeeded for record in records)
    assert found.rows[0].accuracy == (Share(survivors, 12),)
    with pytest.raises(UsageError, match="is there already"):
        attack_folder(victim, photographs, STRONG_SPEC, output)


def test_two_photographs_of_one_output_are_refused(model, tmp_path):
    pixels, _ = shapes.pictures(1, seed=1)
    for name in ("a.bmp", "a.bmp.png"):
        Image.fromarray(pixels[0]).save(tmp_path / name)
    with pytest.raises(UsageError, match=r"both become a\.bmp\.png"):
        attack_folder(Victim(model), dataset.find(tmp_path), STRONG_SPEC, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_patch_is_not_lost_to_a_photograph_of_its_name(model, tmp_path):
    pixels, _ = shapes.pictures(1, seed=1)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels[0]).save(tmp_path / "in" / "patch.png")
    with pytest.raises(UsageError, match=r"patch\.png has the name of a result"):
        attack_folder(
            Victim(model), dataset.find(tmp_path / "in"), parse_attack("patch"), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_images_without_labels_are_what_the_model_says(model, tmp_path):
    pixels, labels = shapes.pictures(4, seed=2)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    records = attack_folder(
        Victim(model), dataset.find(tmp_path), parse_attack("lavan:patch-size=24,steps=1"),
        tmp_path / "out",
    )  # fmt: skip
    assert [record.label for record in records] == labels.tolist()


# --------------------------------------------------------------------------------- models


def test_every_kind_of_torch_model_gives_the_same_logits(model, images, tmp_path, monkeypatch):
    net = shapes.trained()
    example = torch.rand(2, 3, 48, 48)
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    torch.export.save(torch.export.export(net, (example,), dynamic_shapes=(batch,)),
                      tmp_path / "net.pt2")  # fmt: skip
    with warnings.catch_warnings(action="ignore"):  # it is deprecated, if torch is new
        torch.jit.trace(net, example).save(str(tmp_path / "net.pt"))
    (tmp_path / "my_models.py").write_text(
        "import shapes\ndef net():\n    return shapes.trained()\nvalue = 3\n"
        "def number():\n    return 3\ndef broken():\n    raise RuntimeError('no weights')\n"
    )
    (tmp_path / "raising.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    expected = model.logits(images.pixels)
    for spec in ("net.pt2", "net.pt", "my_models:net"):
        loaded = models.load(spec, PRESETS["as-is"], "cpu")
        assert np.allclose(loaded.logits(images.pixels, batch_size=7), expected, atol=1e-4), spec
        _, records = attack(loaded, images, replace(STRONG, steps=2))
        assert len(records) == 16
    for spec, reason in {
        "my_models:none": "has no attribute 'none'",
        "no_such_module:net": "No module named 'no_such_module'",
        "raising:net": "ZeroDivisionError: division by zero",
        "my_models:number": "returned a int, not an nn.Module",
        "my_models:broken": "no weights",
    }.items():
        with pytest.raises(LgsError, match=reason):
            models.load(spec, PRESETS["as-is"], "cpu")
    (tmp_path / "bad.pt2").write_bytes(b"none")
    with pytest.raises(LgsError, match=r"torch cannot load bad\.pt2"):
        models.load("bad.pt2", PRESETS["as-is"], "cpu")


def test_torch_and_numpy_preprocess_alike(tmp_path):
    from onnx_by_hand import channel_means

    class Means(torch.nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    (tmp_path / "means.onnx").write_bytes(channel_means())
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    for preset in PRESETS.values():
        onnx = models.load(str(tmp_path / "means.onnx"), preset)
        ours = TorchModel("means", preset, Means(), "cpu")
        assert np.allclose(onnx.logits(pixels), ours.logits(pixels), atol=1e-4)


def test_a_model_that_does_not_take_the_images_is_told(model):
    with pytest.raises(LgsError, match="shapes fails on a batch of 2 images of 8×8"):
        model.logits(np.zeros((2, 8, 8, 3), np.uint8))


class Failing(torch.nn.Module):
    """Fails on the way in or on the way back, as a full GPU does."""

    def __init__(self, *, back):
        super().__init__()
        self.back = back

    def forward(self, x):
        if not self.back:
            raise RuntimeError("CUDA out of memory\nand much more")
        x.requires_grad and x.register_hook(self.fail)
        return x.mean((2, 3))

    def fail(self, gradient):
        raise RuntimeError("CUDA out of memory\nand much more")


@pytest.mark.parametrize("back", [False, True])
def test_a_model_that_fails_under_attack_is_told(images, back):
    model = TorchModel("net", PRESETS["as-is"], Failing(back=back), "cpu")
    few = images.at(slice(0, 3))
    expected = r"net fails on a batch of \d images of 48×48: CUDA out of memory$"
    with pytest.raises(LgsError, match=expected):
        attack(model, few, STRONG)
    with pytest.raises(LgsError, match=expected):
        train(Victim(model), few, QUICK)
    if not back:
        content = Patch(np.full((8, 8, 4), 255, np.uint8))
        with pytest.raises(LgsError, match=expected):
            paste(Victim(model), [content], few, PatchParams())


def test_a_training_label_that_is_no_class_is_told(model, images):
    wrong = replace(images, labels=np.asarray([9, *images.labels[1:]]))
    with pytest.raises(UsageError, match=r"0\.jpg has label 9; the model has classes 0 to 3"):
        train(Victim(model), wrong, QUICK)


def test_holes_of_a_patch_may_swallow_it(model, images):
    """Of a tiny patch the one pixel that remains may be a transparent one."""
    ring = np.full((9, 9, 4), 255, np.uint8)
    ring[1:8, 1:8, 3] = 0
    tiny = PatchParams(patch_size=1, rotation=0)
    pasted, records = paste(Victim(model), [Patch(ring)], images, tiny)
    assert (pasted == images.pixels).all()
    assert {(r.height, r.width) for r in records} == {(0, 0)}


def test_a_model_without_gradients_is_told(images):
    class Cut(torch.nn.Module):
        def forward(self, x):
            return x.detach().flatten(1)[:, :4]

    model = TorchModel("cut", PRESETS["as-is"], Cut(), "cpu")
    with pytest.raises(UsageError, match="cuts off gradients"):
        attack(model, images, STRONG)
    with pytest.raises(UsageError, match="cuts off gradients"):
        train(Victim(model), images, QUICK)


# --------------------------------------------------------------------------------- the table


@pytest.fixture
def photographs(tmp_path):
    return dataset.find(shapes.write(tmp_path / "photos", 24, seed=2))


def test_the_table_counts_what_it_says(model, photographs):
    spec = parse_attack(f"lavan:patch-size={SIDE},steps=30")
    defenses = [parse_defense(text) for text in ("none", "lgs", "median:window=2")]
    told = Told()
    made = evaluate(
        Victim(model, progress=told), photographs, defenses, [spec],
        EvaluateParams(count=12, adaptive=True, adaptive_count=8),
    )  # fmt: skip
    chosen = dataset.load(photographs[:12], model.preprocessing)
    attacked, _ = attack(model, chosen, spec.params)
    assert made.attacks == (spec.text,)
    assert made.population.startswith("12 photographs")
    for row, defense in zip(made.rows, defenses, strict=True):
        defended = Victim(model, defense.chain)
        right = defended.predict(chosen.pixels) == chosen.labels
        kept = defended.predict(attacked) == chosen.labels
        assert row.clean == Share(int(right.sum()), 12)
        assert row.accuracy == (Share(int(kept.sum()), 12),)
        assert row.success == (Share(int((right & ~kept).sum()), int(right.sum())),)
        assert row.adaptive.total == 8
        assert row.adaptive.hits <= kept[:8].sum()
        assert row.milliseconds >= 0
    none, lgs, _ = made.rows
    assert none.clean == Share(12, 12)
    assert none.accuracy[0].value <= 0.1
    assert lgs.adaptive.value < lgs.accuracy[0].value
    assert (spec.text, 12) in told.begun
    assert told.done == sum(total for _, total in told.begun)
    for form in table.FORMATS:
        assert "median:window=2" in table.write(made, form)


def test_a_targeted_attack_s_success_is_reaching_the_target(model, photographs):
    spec = parse_attack(f"lavan:patch-size={SIDE},steps=30,target=1")
    made = evaluate(Victim(model), photographs, [parse_defense("none")], [spec])
    images = dataset.load(photographs, model.preprocessing)
    attacked, _ = attack(model, images.at(slice(0, 16)), spec.params)
    rest, _ = attack(model, images.at(slice(16, None)), spec.params)
    hits = model.predict(np.concatenate([attacked, rest])) == 1
    assert made.rows[0].success == (Share(int(hits.sum()), 24),)


def test_a_weak_attack_is_called_weak(model, photographs):
    spec = parse_attack("lavan:patch-size=3,steps=1")
    made = evaluate(Victim(model), photographs, [parse_defense("none")], [spec])
    (warning,) = [w for w in made.warnings if "succeeds on" in w]
    assert warning.startswith("lavan:patch-size=3,steps=1 succeeds on ")
    assert "of 24 undefended photographs" in warning


def test_a_gradient_that_does_not_exist_is_refused_before_the_work(model, photographs):
    told = Told()
    with pytest.raises(UsageError, match="jpeg has no relaxed gradient"):
        evaluate(
            Victim(model, backward="relaxed", progress=told), photographs,
            [parse_defense("lgs"), parse_defense("jpeg")], [parse_attack("lavan")],
            EvaluateParams(adaptive=True),
        )  # fmt: skip
    assert told.begun == []


def test_zero_gradients_are_told(photographs):
    class Dead(torch.nn.Module):
        """Right on every image, and flat: it sees pixels rounded to 8 bits of its own."""

        def __init__(self):
            super().__init__()
            self.net = shapes.trained()

        def forward(self, x):
            return self.net((x * 255).round() / 255)

    model = TorchModel("dead", PRESETS["as-is"], Dead(), "cpu")
    made = evaluate(
        Victim(model), photographs, [parse_defense("none")],
        [parse_attack("lavan:patch-size=8,steps=4")], EvaluateParams(adaptive=True),
    )  # fmt: skip
    assert sum("the gradient was zero in most steps on 24 of 24" in w for w in made.warnings) == 2


def test_the_patch_of_the_table_is_trained_on_what_is_left(model, photographs, tmp_path):
    spec = parse_attack("patch:patch-size=20,steps=30,step-size=0.1,target=1,rotation=5")
    made = evaluate(
        Victim(model), photographs, [parse_defense("none")], [spec], EvaluateParams(count=12),
        Kept(tmp_path / "kept"),
    )  # fmt: skip
    rest = dataset.load(photographs[12:], model.preprocessing)
    trained = train(Victim(model), rest, spec.params)
    chosen = dataset.load(photographs[:12], model.preprocessing)
    attacked, _ = paste(Victim(model), [trained], chosen, spec.params)
    hits = int((model.predict(attacked) == 1).sum())
    assert made.rows[0].success == (Share(hits, 12),)
    (folder,) = [path for path in (tmp_path / "kept").iterdir() if path.is_dir()]
    again = evaluate(
        Victim(model), photographs, [parse_defense("none")], [folder], EvaluateParams(count=12)
    )
    assert again.rows[0].success == made.rows[0].success


def test_tuning_goes_over_the_grid(model, photographs):
    told = Told()
    tuned = search_grid(
        Victim(model, progress=told), photographs,
        parse_attack(f"lavan:patch-size={SIDE},steps=20"),
        TuneParams(smoothing="0,2.3", threshold="0.1", block_size="15", overlap="5", count=12),
    )  # fmt: skip
    nothing, lgs = tuned.points
    # λ = 0 changes no pixel
    assert nothing.clean == Share(12, 12)
    assert nothing.attacked.value <= 0.1
    assert lgs.attacked.hits > nothing.attacked.hits
    assert ("grid", 2) in told.begun
    assert tuned.options.startswith(f"--smoothing {tuned.chosen.params.smoothing:g} ")
