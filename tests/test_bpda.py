"""Defenses as layers: their values are the defenses', their gradients what they say."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from pictures import attacked
from reference import local_gradients_smoothing

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.lgs import LgsParams
from lgs_cli.errors import UsageError
from lgs_cli.evaluation.specs import parse_defense

torch = pytest.importorskip("torch", reason="attacks need torch: pip install 'lgs-cli[eval]'")

from lgs_cli.adapters.smoothing import smooth  # noqa: E402 (needs torch)
from lgs_cli.evaluation import bpda, twins  # noqa: E402
from lgs_cli.evaluation.models.torch_model import to_pixels, to_tensor  # noqa: E402

GRADIENTS = ("exact", "relaxed")

pytestmark = pytest.mark.usefixtures("one_thread")


def sample(height, width, seed):
    """Something between smooth and noisy: half of it flat gradients, half of it noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.stack([0.3 + 0.002 * y, 0.4 + 0.002 * x, 0.5 + 0.001 * (x + y)], -1)
    image[height // 2 :, width // 2 :] = rng.random((height - height // 2, width - width // 2, 3))
    return image


@pytest.mark.parametrize(
    "params",
    [
        LgsParams(),
        LgsParams(threshold=0.02),
        LgsParams(smoothing=0.7, threshold=0.2, block_size=7, overlap=0),
        LgsParams(smoothing=5, threshold=0, block_size=9, overlap=8),
    ],
)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (14, 16), (40, 53)])
@pytest.mark.parametrize("relaxed", [False, True])
def test_torch_lgs_is_lgs(params, shape, relaxed):
    image = sample(*shape, seed=3)
    x = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))
    ours = smooth(x, params, GRADIENTS[relaxed])[0].numpy().transpose(1, 2, 0)
    expected, _ = local_gradients_smoothing(image, **asdict(params))
    assert np.abs(ours - expected).max() < 1e-5


def test_torch_lgs_is_the_command_s_on_a_photograph():
    for index in range(4):
        _, image = attacked(index)
        expected = DEFENSES["lgs"].apply(image.astype(np.float32) / 255, LgsParams()).image
        ours = smooth(to_tensor(image[None], "cpu"), LgsParams())[0].numpy().transpose(1, 2, 0)
        assert np.abs(ours - expected).max() < 1e-5, index


def test_images_of_a_batch_do_not_touch_each_other():
    images = [sample(20, 20, seed) for seed in (1, 2)]
    images[1] *= 0.5
    x = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).astype(np.float32))
    both = smooth(x, LgsParams())
    for index in (0, 1):
        assert torch.equal(both[index], smooth(x[index : index + 1], LgsParams())[0])


@pytest.mark.parametrize("params", [LgsParams(), LgsParams(smoothing=0.8, block_size=6, overlap=2)])
def test_the_exact_gradient_is_that_of_finite_differences(params):
    """With the gate constant: it is, for steps that carry no block over the threshold."""
    x = torch.from_numpy(sample(24, 27, seed=5).transpose(2, 0, 1)[None]).requires_grad_()
    rng = np.random.default_rng(7)
    weights = torch.from_numpy(rng.normal(size=x.shape))
    (gradient,) = torch.autograd.grad((smooth(x, params) * weights).sum(), x)
    assert 0 < (smooth(x, params) != x).double().mean() < 1  # some blocks kept, some not
    for _ in range(5):
        direction = torch.from_numpy(rng.normal(size=x.shape))
        with torch.no_grad():
            step = 1e-7
            ahead = (smooth(x + step * direction, params) * weights).sum()
            behind = (smooth(x - step * direction, params) * weights).sum()
        expected = float((ahead - behind) / (2 * step))
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-4)


def test_the_gradient_is_a_number_where_the_image_is_flat():
    x = torch.full((1, 3, 20, 20), 0.5)
    x[..., 10:, 10:] = 0.7
    x.requires_grad_()
    for relaxed in (False, True):
        out = smooth(x, LgsParams(threshold=0.01), GRADIENTS[relaxed])
        (gradient,) = torch.autograd.grad(out.sum(), x)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0


def test_the_relaxed_gradient_sees_the_gate():
    """Just above the threshold, it says that a smoother block would come through."""
    image = np.full((15, 15, 3), 0.5)
    image[7, 3:12] += 0.1
    image[0, 14] = 1.0
    params = LgsParams(smoothing=0.2)
    _, g = local_gradients_smoothing(image, smoothing=1, threshold=0)
    params = LgsParams(smoothing=0.2, threshold=float(g.mean()) - 0.005)
    x = torch.from_numpy(image.transpose(2, 0, 1)[None]).requires_grad_()
    exact, relaxed = (
        torch.autograd.grad(smooth(x, params, GRADIENTS[flag]).sum(), x)[0] for flag in (0, 1)
    )
    line = (slice(None), slice(None), 7, slice(3, 12))
    # lowering the line smooths the block: the gate's part of the gradient points down there
    assert (relaxed - exact)[line].mean() < 0
    assert not torch.allclose(relaxed, exact)


def real_pictures(count=2, side=96):
    skimage = pytest.importorskip("skimage.data", reason="its photographs are needed")
    crops = [skimage.astronaut()[:side, 150 : 150 + side], skimage.chelsea()[90 : 90 + side, :side]]
    return np.stack(crops[:count])


@pytest.mark.parametrize(
    "text", ["jpeg:quality=30", "median", "median:window=2", "bit-depth", "tvm:iterations=5", "nlm"]
)
def test_a_layer_s_value_is_the_defense_s(text):
    chain = parse_defense(text).chain
    images = real_pictures()
    expected = np.stack([DEFENSES[chain[0].name].apply(i, chain[0].params).image for i in images])
    assert (to_pixels(bpda.layer(chain)(to_tensor(images, "cpu"))) == expected).all()
    assert (expected != images).any()


def test_a_chain_s_layer_is_applied_in_order():
    chain = parse_defense("median,jpeg").chain
    images = real_pictures(1)
    expected = images[0]
    for step in chain:
        expected = DEFENSES[step.name].apply(expected, step.params).image
    assert (to_pixels(bpda.layer(chain)(to_tensor(images, "cpu")))[0] == expected).all()


def test_identity_hands_the_gradient_through():
    x = to_tensor(real_pictures(1), "cpu").requires_grad_()
    weights = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    for name in ("lgs", "jpeg", "bit-depth", "median"):
        out = bpda.layer(parse_defense(name).chain, "identity")(x)
        (gradient,) = torch.autograd.grad((out * weights).sum(), x)
        assert torch.equal(gradient, weights), name


def test_torch_median_and_jpeg_are_near_the_defenses():
    """The gradients are those of these; so they must be of nearly the same function."""
    images = real_pictures()
    x = to_tensor(images, "cpu")
    median = np.stack(
        [DEFENSES["median"].apply(i, parse_defense("median").chain[0].params).image for i in images]
    )
    inner = (slice(None), slice(2, -2), slice(2, -2))
    assert (to_pixels(twins.median(x, 3))[inner] == median[inner]).all()
    for quality in (10, 30, 75):
        step = parse_defense(f"jpeg:quality={quality}").chain[0]
        real = np.stack([DEFENSES["jpeg"].apply(i, step.params).image for i in images]).astype(int)
        ours = to_pixels(twins.jpeg(x, quality)).astype(int)
        assert np.abs(ours - real).mean() < 0.5 * np.abs(images - real).mean(), quality


def test_jpeg_takes_sizes_that_are_no_multiple_of_a_block():
    x = torch.rand((1, 3, 37, 50), generator=torch.Generator().manual_seed(1)).requires_grad_()
    out = twins.jpeg(x, 50)
    assert out.shape == x.shape
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("name", "backward", "reason"),
    [
        ("tvm", "exact", "tvm has no exact gradient"),
        ("jpeg", "relaxed", "jpeg has no relaxed gradient"),
        ("bit-depth", "relaxed", "attack through it with identity"),
        ("localize", "exact", "localize has no exact gradient"),
    ],
)
def test_a_gradient_that_does_not_exist_is_refused(name, backward, reason):
    with pytest.raises(UsageError, match=reason):
        bpda.layer(parse_defense(name).chain, backward)
