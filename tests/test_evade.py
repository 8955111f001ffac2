"""Attackers who know the detector: through `localize`, hiding from it, starting from content."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import detectors
import numpy as np
import pytest
import shapes
from PIL import Image

from lgs_cli.defenses import DEFENSES, localize
from lgs_cli.defenses.chain import parse_chain
from lgs_cli.defenses.localize import LocalizeParams
from lgs_cli.defenses.preprocessing import PRESETS
from lgs_cli.errors import UsageError
from lgs_cli.evaluation import dataset
from lgs_cli.evaluation.attack_folder import attack_folder
from lgs_cli.evaluation.attacks.lavan import LavanParams, attack
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.evaluate import EvaluateParams, evaluate
from lgs_cli.evaluation.models.torch_model import TorchModel, to_pixels, to_tensor
from lgs_cli.evaluation.specs import parse_attack, parse_defense
from lgs_cli.evaluation.victim import Victim

torch = pytest.importorskip("torch", reason="attacks need torch: pip install 'lgs-cli[eval]'")

from lgs_cli.evaluation import bpda  # noqa: E402 (needs torch)
from lgs_cli.evaluation.bpda import Guarded  # noqa: E402
from lgs_cli.evaluation.detector import network  # noqa: E402
from lgs_cli.evaluation.localized import Localized  # noqa: E402

SIDE = 24
BASE = LavanParams(patch_size=SIDE, steps=30, location="12,12")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A detector with random weights that takes about half of all noise for a patch."""
    torch.manual_seed(3)
    detector = network.Detector().eval()
    path = tmp_path_factory.mktemp("detector") / "untrained.onnx"
    noise = torch.rand(4, 3, 48, 48)
    with torch.no_grad():
        detector.cells.weight *= 40
        detector.cells.bias -= network.smoothed(detector(noise)).amax((1, 2, 3)).median()
    network.write(detector, path, {"of": "a test"})
    return path


@pytest.fixture(scope="module")
def sensitive(tmp_path_factory):
    """A detector of fine detail: its logit is 4 times the first feature, less 2.8."""
    detector = network.Detector().eval()
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.zero_()
        for layer in (detector.fine, detector.reduce, detector.near, detector.widen, detector.mix):
            layer.norm.weight.fill_(1)
        detector.fine.weight[0, 0, 1, 1] = 1
        detector.reduce.weight[0, 0] = 0.25
        detector.widen.weight[0, 0] = 1
        detector.cells.weight[:, 0] = 4
        detector.cells.bias.fill_(-2.8)
    path = tmp_path_factory.mktemp("detector") / "sensitive.onnx"
    network.write(detector, path, {})
    return path


@pytest.fixture
def model():
    return TorchModel("shapes", PRESETS["as-is"], shapes.trained(), "cpu")


@pytest.fixture
def images():
    pixels, labels = shapes.pictures(8, seed=2)
    return Images(tuple(f"{index}.jpg" for index in range(8)), labels, pixels)


def through(path, **params):
    given = ",".join(f"{key}={value}" for key, value in {"detector": path, **params}.items())
    return parse_chain(f"localize:{given}")


def test_what_is_written_about_a_detector_is_read(untrained):
    assert network.read(untrained)[1] == {"of": "a test"}


@pytest.mark.parametrize("shipped", [False, True])
def test_the_network_answers_in_opencv_what_it_answers_in_torch(untrained, shipped):
    path = LocalizeParams().detector_path if shipped else str(untrained)
    detector, _ = network.read(Path(path))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    with torch.no_grad():
        expected = detector(to_tensor(pixels[None], "cpu"))[0, 0].numpy()
    found = localize.logits(localize.features(pixels), path)
    assert found.shape == (16, 24)
    # chroma is rounded to 8 bits on the way to OpenCV's features
    assert np.abs(found - expected).mean() < 0.05 * np.abs(expected).mean() + 0.05


def test_folding_changes_no_answer():
    torch.manual_seed(0)
    detector = network.Detector().train()
    for _ in range(3):
        detector(torch.rand(2, 3, 32, 32))
    detector.eval()
    x = torch.rand(1, 3, 48, 32)
    torch.testing.assert_close(detector.fold()(x), detector(x), atol=1e-4, rtol=1e-4)


def test_forward_is_the_real_defense(images, untrained):
    x = to_tensor(images.pixels, "cpu")
    noisy = to_pixels((x + 0.5 * torch.rand(x.shape)).clamp(0, 1))
    params = LocalizeParams(detector=str(untrained), threshold=0.3)
    expected = np.stack([localize.apply(image, params).image for image in noisy])
    assert (expected != noisy).any()
    layer = bpda.layer(through(untrained, threshold=0.3))
    for one in (to_tensor(noisy, "cpu"), to_tensor(noisy, "cpu").requires_grad_()):
        assert (to_pixels(layer(one)) == expected).all()


@pytest.mark.parametrize(
    "size", [(48, 48), (20, 28), (37, 50), (250, 241), (300, 400), (512, 500)], ids=str
)
def test_the_response_is_that_of_the_real_detector(untrained, size):
    """Padded, as it is, scaled down, halved first: the attack sees what the defense sees."""
    rng = np.random.default_rng(4)
    coarse = rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)
    image = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    image[3:17, 5:19] = rng.integers(0, 256, (14, 14, 3))
    params = LocalizeParams(detector=str(untrained), threshold=0.3)
    cells = localize.logits(localize.features(localize.reduced(image)[0]), str(untrained))
    smoothed = cv2.blur(cells, (3, 3), borderType=cv2.BORDER_REPLICATE)
    expected = np.log(np.exp(smoothed.astype(float)).sum()) - math.log(0.3 / 0.7)
    with torch.no_grad():
        found = Localized(params).response(to_tensor(image[None], "cpu"))
    assert found.tolist() == pytest.approx([expected], abs=0.05)


def test_identity_hands_the_gradient_through(images, untrained):
    x = to_tensor(images.pixels, "cpu").requires_grad_()
    weights = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    out = bpda.layer(through(untrained), "identity")(x)
    (gradient,) = torch.autograd.grad((out * weights).sum(), x)
    assert torch.equal(gradient, weights)


def test_the_relaxed_gradient_is_that_of_a_soft_repair(images, untrained):
    """By finite differences on the soft repair, written out here."""
    detector, _ = network.read(untrained)
    detector = detector.double()
    x = to_tensor(images.pixels[:1], "cpu")
    x = (x + 0.3 * torch.rand(x.shape)).clamp(0, 1)
    pixels = to_pixels(x)
    x = to_tensor(pixels, "cpu")
    params = LocalizeParams(detector=str(untrained), threshold=0.4)
    real = to_tensor(localize.apply(pixels[0], params).image[None], "cpu").double()
    level = math.log(0.4 / 0.6)

    def soft(one):
        mask = (network.smoothed(detector(one)) - level).sigmoid()
        mask = torch.nn.functional.interpolate(mask, one.shape[2:], mode="bilinear")
        return (one * (1 - mask) + real * mask).sum()

    given = x.clone().requires_grad_()
    bpda.layer(through(untrained, threshold=0.4), "relaxed")(given).sum().backward()
    direction = torch.rand(x.shape, dtype=torch.float64) - 0.5
    step = 1e-6
    expected = (soft(x.double() + step * direction) - soft(x.double() - step * direction)) / (
        2 * step
    )
    found = (given.grad.double() * direction).sum()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=0.02, abs=0.05)


@pytest.mark.parametrize("backward", ["relaxed", "identity"])
def test_hiding_lowers_the_score(model, images, sensitive, backward):
    layer = bpda.layer(through(sensitive), backward)
    params = LocalizeParams(detector=str(sensitive))
    scores = {}
    for evade in (0.0, 3.0):
        attacked, _ = attack(model, images, replace(BASE, evade=evade), layer)
        scores[evade] = [localize.find(image, params).score for image in attacked]
    assert np.mean(scores[3.0]) < np.mean(scores[0.0])


class Ideal(Guarded):
    """Gives back the picture itself where its detector responds enough."""

    def __init__(self, layer, clean, level):
        super().__init__([layer])
        self.clean, self.level = clean, level

    def repaired(self, x):
        found = self.response(x).detach() > self.level
        return torch.where(found[:, None, None, None], self.clean, x), found


def test_the_weight_of_hiding_adapts(model, images, sensitive):
    """From next to nothing it gets to where it matters, unless it is to stay."""
    clean = to_tensor(images.pixels, "cpu")
    localized = Localized(LocalizeParams(detector=str(sensitive)))
    unhidden, _ = attack(model, images, BASE)
    ends = torch.stack([localized.response(x) for x in (clean, to_tensor(unhidden, "cpu"))])
    guard = Ideal(localized, clean, ends.mean(0))
    assert guard.repaired(to_tensor(unhidden, "cpu"))[1].all()
    succeeded = {}
    for rise in (1.0, 2.0):
        params = replace(BASE, evade=0.0001, evade_rise=rise)
        attacked, _ = attack(model, images, params, guard)
        repaired, _ = guard.repaired(to_tensor(attacked, "cpu"))
        succeeded[rise] = (model.predict(to_pixels(repaired)) != images.labels).sum()
    assert succeeded[1.0] <= 2
    assert succeeded[2.0] >= 6


def test_an_attack_hides_in_a_chain(model, images, untrained):
    chain = parse_chain(f"median,localize,jpeg:detector={untrained}")
    layer = bpda.layer(chain)
    x = to_tensor(images.pixels, "cpu")
    noisy = to_pixels((x + 0.5 * torch.rand(x.shape)).clamp(0, 1))
    filtered = [DEFENSES["median"].apply(image, chain[0].params).image for image in noisy]
    cleaned = [localize.apply(image, chain[1].params) for image in filtered]
    expected = [DEFENSES["jpeg"].apply(one.image, chain[2].params).image for one in cleaned]
    repaired, found = layer.repaired(to_tensor(noisy, "cpu"))
    assert (to_pixels(repaired) == np.stack(expected)).all()
    assert found.tolist() == [bool(one.regions) for one in cleaned]
    assert (to_pixels(layer(to_tensor(noisy, "cpu"))) == np.stack(expected)).all()
    unrepaired = [DEFENSES["jpeg"].apply(one, chain[2].params).image for one in filtered]
    assert (to_pixels(layer.passed(to_tensor(noisy, "cpu"))) == np.stack(unrepaired)).all()
    responses = []
    for evade in (0.0, 3.0):
        attacked, _ = attack(model, images, replace(BASE, evade=evade), layer)
        responses.append(float(layer.response(to_tensor(attacked, "cpu")).mean()))
    assert responses[1] < responses[0]


def test_of_all_steps_the_best_behind_the_defense_is_kept(model, images, untrained):
    labels = images.labels
    layer = bpda.layer(through(untrained))
    attacked, records = attack(model, images, replace(BASE, evade=1.0), layer)
    params = LocalizeParams(detector=str(untrained))
    cleaned = np.stack([localize.apply(image, params).image for image in attacked])
    assert [record.after for record in records] == model.predict(cleaned).tolist()
    # with twice the steps it does at least as well
    longer, _ = attack(model, images, replace(BASE, evade=1.0, restarts=2), layer)
    margins = []
    for some in (attacked, longer):
        logits = model.logits(np.stack([localize.apply(i, params).image for i in some]))
        own = logits[np.arange(8), labels]
        logits[np.arange(8), labels] = -np.inf
        margins.append(logits.max(1) - own)
    assert (margins[1] >= margins[0] - 1e-4).all()


def test_a_start_from_content_begins_as_the_picture(model, images):
    pixels = images.pixels
    attacked, _ = attack(model, images, replace(BASE, start="content", steps=1, step_size=0.0001))
    np.testing.assert_array_equal(attacked, pixels)
    noisy, _ = attack(model, images, replace(BASE, steps=1, step_size=0.0001))
    assert (noisy != pixels).any()


def patch_of(image):
    return image[12 : 12 + SIDE, 12 : 12 + SIDE].astype(int)


def test_gray_patches_have_no_color(model, images):
    attacked, _ = attack(model, images, replace(BASE, gray=True, steps=5))
    for image in attacked:
        assert np.ptp(patch_of(image), axis=2).max() == 0
        assert np.ptp(patch_of(image)) > 0


def test_flat_cells_are_of_one_color(model, images):
    attacked, _ = attack(model, images, replace(BASE, cells=6, flat_cells=True, steps=5))
    for image in attacked:
        cells = patch_of(image).reshape(6, 4, 6, 4, 3)
        assert np.ptp(cells, axis=(1, 3)).max() == 0
        assert np.ptp(cells) > 0


def test_variation_makes_patches_smooth(model, images):
    roughness = []
    for weight in (0, 5):
        attacked, _ = attack(model, images, replace(BASE, variation=weight))
        roughness.append(np.mean([np.abs(np.diff(patch_of(i), axis=0)).mean() for i in attacked]))
    assert roughness[1] < roughness[0] / 2


# ------------------------------------------------------------------ through the command line


@pytest.fixture
def folder(tmp_path):
    pixels, labels = shapes.pictures(6, seed=4)
    (tmp_path / "in").mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"in/{index}.png")
    rows = "".join(f"{index}.png,{label}\n" for index, label in enumerate(labels))
    (tmp_path / "labels.csv").write_text(f"file,label\n{rows}")
    tests = str(Path(__file__).parent)
    code = f"import sys\nsys.path.append({tests!r})\nimport shapes\n"
    (tmp_path / "toy.py").write_text(f"{code}def net(): return shapes.trained()\n")
    return tmp_path


MODEL = ("--model", "toy:net", "--preset", "as-is", "--labels", "labels.csv")


def test_attack_hides_from_localize(lgs, folder, untrained):
    run = lgs(
        "attack", "lavan", "in", "-o", "out", *MODEL, "--patch-size", 20, "--steps", 4,
        "--through", f"localize:detector={untrained}", "--evade", 1, "--start", "content",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    records = [json.loads(line) for line in (folder / "out/attacks.jsonl").read_text().splitlines()]
    assert len(records) == 6
    assert len(list((folder / "out").glob("*.png"))) == 6
    for record in records:
        pixels = np.asarray(Image.open(folder / "out" / record["file"]))
        cleaned = localize.apply(pixels, LocalizeParams(detector=str(untrained)))
        assert record["found"] == bool(cleaned.regions)
        assert record["score"] == pytest.approx(cleaned.score, abs=1e-6)


def test_there_must_be_something_to_hide_from(lgs, folder, model):
    run = lgs(
        "attack", "lavan", "in", "-o", "out", *MODEL, "--patch-size", 20, "--evade", 1,
        "--through", "median,jpeg",
    )  # fmt: skip
    assert run.returncode == 2
    assert "add --through localize" in run.stderr
    assert not (folder / "out").exists()
    photographs = dataset.find(folder / "in")
    for name in ("none", "lgs"):
        victim = Victim(model, parse_defense(name).chain)
        with pytest.raises(UsageError, match="add --through localize"):
            attack_folder(victim, photographs, parse_attack("lavan:evade=1"), folder / "out")


def test_evaluate_attacks_through_localize(lgs, folder, untrained):
    run = lgs(
        "evaluate", *MODEL, "--images", "in", "--defense", "none", "--defense",
        f"localize:detector={untrained}", "--adaptive", "--format", "json",
        "--attack", "lavan:patch-size=24,steps=4,evade=1,start=content,restarts=2",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    table = json.loads(run.stdout)
    assert [row["defense"] for row in table["defenses"]] == [
        "none",
        f"localize:detector={untrained}",
    ]
    assert table["defenses"][1]["adaptive"]["total"] == 6


@pytest.fixture
def photographs(folder):
    return dataset.find(folder / "in", folder / "labels.csv")


def survivors(model, photographs, attack, detector):
    table = evaluate(
        Victim(model), photographs, [parse_defense(f"localize:detector={detector}")],
        [parse_attack(attack)], EvaluateParams(adaptive=True),
    )  # fmt: skip
    return table.rows[0].adaptive.hits, table.warnings


def test_a_plain_attack_hides_in_every_way(model, photographs, untrained):
    plain = "lavan:patch-size=20,steps=3"
    every, _ = survivors(model, photographs, plain, untrained)
    alone = [
        survivors(model, photographs, f"{plain},evade={evade},start={start}", untrained)[0]
        for evade in (1, 0.1, 10)
        for start in ("content", "noise")
    ]
    assert every <= min(alone)
    assert max(alone) > 0  # there is something to gain


def test_zero_gradients_behind_localize_are_told(photographs, untrained):
    """Of a model that is flat nothing is learned; of one that is not, no such warning."""

    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = shapes.trained()

        def forward(self, x):
            return self.net((x * 255).round() / 255)

    for net, told in ((Flat(), 6), (shapes.trained(), 0)):
        model = TorchModel("net", PRESETS["as-is"], net, "cpu")
        attack = "lavan:patch-size=8,location=20,20,steps=3"
        _, warnings = survivors(model, photographs, attack, untrained)
        through = [w for w in warnings if " through localize" in w and "was zero" in w]
        assert len(through) == bool(told)
        if told:
            assert f"on {told} of 6 photographs" in through[0]


def test_a_detector_that_is_not_of_this_kind_is_told(model, photographs, tmp_path):
    """It works as a defense, but has no gradient."""
    detector = detectors.write_magenta(tmp_path / "magenta.onnx")
    with pytest.raises(UsageError, match=r"magenta\.onnx: not a detector of this version"):
        survivors(model, photographs, "lavan:patch-size=24,steps=3", detector)
