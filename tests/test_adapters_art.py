"""The preprocessors inside real estimators of ART, and its attacks through them."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from vision import torchvision

import lgs_cli
from lgs_cli import LgsParams

torch = pytest.importorskip("torch", reason="needs torch: pip install 'lgs-cli[torch]'")
if importlib.util.find_spec("art") is None:
    pytest.skip("needs ART: pip install 'lgs-cli[art]'", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("ignore")  # ART and what it is made of have many

from lgs_cli.adapters.art import Clean, CleanPyTorch  # noqa: E402 (needs ART)
from lgs_cli.adapters.torch import LocalGradientsSmoothing, Localize  # noqa: E402

SIDE = 48


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """Four photographs, float32 (N, 3, H, W) in [0, 1]."""
    from skimage import data

    image = data.astronaut()[::4, ::4]
    corners = ((0, 40), (40, 20), (60, 60), (20, 0))
    crops = [image[y : y + SIDE, x : x + SIDE] for y, x in corners]
    return np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / 255


class Seen(torch.nn.Module):
    """A small classifier that keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 5, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4),
            torch.nn.Flatten(), torch.nn.Linear(128, 5),
        )  # fmt: skip
        self.last = None

    def forward(self, x):
        self.last = x.detach()
        return self.net(x)


def classifier(model, *defences, clip_values=(0.0, 1.0)):
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        model, torch.nn.CrossEntropyLoss(), (3, SIDE, SIDE), 5, clip_values=clip_values,
        preprocessing_defences=list(defences), device_type="cpu",
    )  # fmt: skip


def cleaned(photos: np.ndarray, method: str) -> np.ndarray:
    each = [lgs_cli.clean(photo.transpose(1, 2, 0), method) for photo in photos]
    return np.stack(each).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("method", ["lgs:threshold=0.05", "median,lgs", "jpeg:quality=30"])
def test_an_estimator_sees_what_the_command_writes(photos, method):
    model = Seen()
    predicted = classifier(model, Clean(method)).predict(photos)
    np.testing.assert_array_equal(model.last.numpy(), cleaned(photos, method))
    np.testing.assert_allclose(
        predicted, classifier(model).predict(cleaned(photos, method)), atol=1e-5
    )


@pytest.mark.parametrize("module", [LocalGradientsSmoothing(LgsParams(threshold=0.05)), Localize()])
def test_an_estimator_sees_what_a_module_gives(photos, module):
    model = Seen()
    classifier(model, CleanPyTorch(module, device_type="cpu")).predict(photos)
    with torch.no_grad():
        expected = module(torch.from_numpy(photos))
    torch.testing.assert_close(model.last, expected, atol=1e-6, rtol=0)


def test_clip_values_and_the_order_of_axes_are_the_estimator_s(photos):
    model = Seen()
    classifier(model, Clean(clip_values=(0, 255)), clip_values=(0, 255)).predict(photos * 255)
    np.testing.assert_allclose(model.last.numpy(), cleaned(photos, "lgs") * 255, atol=1e-3)
    last = photos.transpose(0, 2, 3, 1)
    expected = cleaned(photos, "lgs").transpose(0, 2, 3, 1)
    ours, labels = Clean(channels_first=False)(last, [1, 2])
    np.testing.assert_array_equal(ours, expected)
    assert labels == [1, 2]
    module = CleanPyTorch(
        LocalGradientsSmoothing(), channels_first=False, clip_values=(-1, 1), device_type="cpu"
    )
    ours, _ = module(last * 2 - 1)
    np.testing.assert_allclose(ours, expected * 2 - 1, atol=1e-5)


def test_images_of_several_sizes_are_cleaned(photos):
    batch = np.empty(2, object)
    batch[:] = [photos[0], photos[1][:, :30, :40]]
    ours, _ = Clean()(batch)
    np.testing.assert_array_equal(ours[0], cleaned(photos[:1], "lgs")[0])
    assert ours[1].shape == (3, 30, 40)


def test_gradients_go_through(photos):
    labels = np.eye(5, dtype=np.float32)[[0, 1, 2, 3]]
    model = Seen()
    blind = classifier(model).loss_gradient(cleaned(photos, "lgs"), labels)
    identity = classifier(model, Clean()).loss_gradient(photos, labels)
    np.testing.assert_allclose(identity, blind, atol=1e-6)
    module = LocalGradientsSmoothing()
    exact = classifier(model, CleanPyTorch(module, device_type="cpu")).loss_gradient(photos, labels)
    x = torch.from_numpy(photos).requires_grad_()
    torch.nn.CrossEntropyLoss(reduction="sum")(model(module(x)), torch.arange(4)).backward()
    scale = np.abs(exact).max() / x.grad.abs().max().item()  # ART's loss is a mean or a sum
    np.testing.assert_allclose(exact, x.grad.numpy() * scale, atol=1e-5)
    assert np.abs(exact - identity * scale).max() > 1e-3


@pytest.mark.parametrize("gradient", ["exact", "relaxed", "identity"])
def test_an_adversarial_patch_is_made_through_it(photos, gradient):
    torchvision("torchvision.transforms.functional")
    from art.attacks.evasion.adversarial_patch.adversarial_patch_pytorch import (
        AdversarialPatchPyTorch,
    )

    model = Seen()
    defense = CleanPyTorch(LocalGradientsSmoothing(gradient=gradient), device_type="cpu")
    defended = classifier(model, defense)
    attack = AdversarialPatchPyTorch(
        defended, rotation_max=0, scale_min=0.9, scale_max=1.0, learning_rate=0.05, max_iter=30,
        batch_size=4, patch_shape=(3, SIDE, SIDE), optimizer="pgd", verbose=False,
    )  # fmt: skip
    patch, _ = attack.generate(photos, np.eye(5, dtype=np.float32)[[2] * 4])

    def log_probability(patch: np.ndarray) -> float:
        """Of the target, on average, with the patch on every photograph."""
        patched = attack.apply_patch(photos, 0.95, patch_external=patch)
        logits = torch.from_numpy(defended.predict(patched))
        return logits.log_softmax(1)[:, 2].mean().item()

    gray = np.full((3, SIDE, SIDE), 0.5, np.float32)
    assert log_probability(patch) > log_probability(gray) + 0.05
