"""The modules of torch: their values are the defenses', their gradients what they say."""

from __future__ import annotations

import doctest
import importlib
import io

import detectors
import numpy as np
import pytest
from reference import blocks, local_gradients_smoothing

from lgs_cli import LgsParams, LocalizeParams
from lgs_cli.defenses import DEFENSES

torch = pytest.importorskip("torch", reason="needs torch: pip install 'lgs-cli[torch]'")

from lgs_cli.adapters.torch import LocalGradientsSmoothing, Localize  # noqa: E402 (needs torch)

GRADIENTS = ["exact", "relaxed", "identity"]


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors are slower on several threads, far slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sample(height: int, width: int, seed: int = 3, channels: int = 3) -> np.ndarray:
    """Float32 (H, W, C): half of it a smooth slope, half of it noise."""
    y, x = np.mgrid[:height, :width]
    planes = [0.3 + 0.002 * y, 0.4 + 0.002 * x, 0.5 + 0.001 * (x + y)][:channels]
    image = np.stack(planes, -1)
    noise = np.random.default_rng(seed).random(image.shape)
    image[height // 2 :, width // 2 :] = noise[height // 2 :, width // 2 :]
    return image.astype(np.float32)


def batch_of(*images: np.ndarray):
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def array_of(x) -> np.ndarray:
    return x.detach().permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    "params",
    [
        LgsParams(),
        LgsParams(threshold=0.02),
        LgsParams(smoothing=0),
        LgsParams(smoothing=0.7, threshold=0.2, block_size=7, overlap=0),
        LgsParams(smoothing=5, threshold=0, block_size=9, overlap=8),
        LgsParams(block_size=1, overlap=0, threshold=0.3),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (14, 16), (15, 25), (40, 53)])
@pytest.mark.parametrize("gradient", [None, "exact", "relaxed"])
def test_it_is_the_formula_of_the_paper(params, shape, gradient):
    image = sample(*shape)
    x = batch_of(image)
    x.requires_grad_(gradient is not None)
    ours = LocalGradientsSmoothing(params, gradient or "exact")(x)
    expected, _ = local_gradients_smoothing(
        image, params.smoothing, params.threshold, params.block_size, params.overlap
    )
    assert np.abs(array_of(ours[0]) - expected).max() < 1e-5


@pytest.mark.parametrize("gradient", [None, *GRADIENTS])
@pytest.mark.parametrize("gray", [False, True])
def test_it_is_the_command_s_on_photographs(photographs, gray, gradient):
    images = [np.asarray(photo, np.float32) / 255 for photo in photographs]
    if gray:
        images = [image[..., :1].copy() for image in images]
    x = batch_of(*images).requires_grad_(gradient is not None)
    cleaned = LocalGradientsSmoothing(LgsParams(threshold=0.05), gradient or "exact")(x)
    for image, ours in zip(images, cleaned, strict=True):
        expected = DEFENSES["lgs"].apply(image, LgsParams(threshold=0.05)).image
        assert np.abs(array_of(ours) - expected).max() < 1e-5
        assert np.abs(expected - image).max() > 0.1


@pytest.mark.parametrize("gradient", [None, *GRADIENTS])
def test_a_batch_never_changes_an_image_s_result(gradient):
    x = batch_of(sample(40, 53, 1), sample(40, 53, 2) * 0.3, np.full((40, 53, 3), 0.5, np.float32))
    module = LocalGradientsSmoothing(gradient=gradient or "exact")
    x.requires_grad_(gradient is not None)
    together = module(x)
    for index in range(3):
        assert torch.equal(together[index], module(x[index : index + 1])[0])
    assert torch.equal(together[2], x[2])


def test_the_layout_of_the_memory_does_not_matter():
    x = batch_of(sample(40, 53))
    module = LocalGradientsSmoothing()
    expected = module(x.contiguous())
    before = x.clone()
    assert torch.equal(module(x.to(memory_format=torch.channels_last)), expected)
    assert torch.equal(module(x.flip(0).flip(0)), expected)
    assert torch.equal(x, before)
    assert module(x[:0]).shape == (0, 3, 40, 53)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_other_floats_come_back_as_they_are(dtype, requires_grad):
    x = batch_of(sample(40, 53)).to(dtype)
    cleaned = LocalGradientsSmoothing()(x.requires_grad_(requires_grad))
    assert cleaned.dtype == dtype
    expected = LocalGradientsSmoothing()(x.detach().double()).to(dtype)
    assert (cleaned - expected).abs().max() <= 2 * torch.finfo(dtype).eps


@pytest.mark.parametrize("requires_grad", [False, True])
def test_autocast_changes_nothing(requires_grad):
    x = batch_of(sample(40, 53)).requires_grad_(requires_grad)
    for gradient in GRADIENTS:
        module = LocalGradientsSmoothing(gradient=gradient)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cleaned = module(x)
        assert torch.equal(cleaned, module(x))


@pytest.mark.parametrize("params", [LgsParams(), LgsParams(smoothing=0.8, block_size=6, overlap=2)])
def test_the_exact_gradient_is_that_of_finite_differences(params):
    """With the gate constant: it is, for steps that carry no block over the threshold."""
    module = LocalGradientsSmoothing(params, "exact")
    x = batch_of(sample(24, 27, 5)).double().requires_grad_()
    rng = np.random.default_rng(7)
    weights = torch.from_numpy(rng.normal(size=x.shape))
    (gradient,) = torch.autograd.grad((module(x) * weights).sum(), x)
    for _ in range(5):
        direction = torch.from_numpy(rng.normal(size=x.shape))
        with torch.no_grad():
            ahead = (module(x + 1e-7 * direction) * weights).sum()
            behind = (module(x - 1e-7 * direction) * weights).sum()
        expected = float((ahead - behind) / 2e-7)
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-4)


def block_by_block(image, params: LgsParams, *, relaxed: bool):
    """LGS of one (C, H, W) in torch as the paper says it; the gate of a block may be a sigmoid."""
    _, height, width = image.shape
    dx = torch.cat([image[:, :, 1:] - image[:, :, :-1], image.new_zeros(3, height, 1)], 2)
    dy = torch.cat([image[:, 1:] - image[:, :-1], image.new_zeros(3, 1, width)], 1)
    squared = (dx**2 + dy**2).sum(0)
    # The root has no slope at 0; the gradient of what is flat is 0.
    magnitude = torch.where(squared > 0, torch.where(squared > 0, squared, 1).sqrt(), 0)
    g = magnitude / magnitude.max()
    stays_out = torch.ones_like(g)  # of all blocks, softly
    inside = torch.zeros_like(g)
    for top, bottom in blocks(height, params.block_size, params.overlap):
        for left, right in blocks(width, params.block_size, params.overlap):
            mean = g[top:bottom, left:right].mean()
            factor = torch.ones_like(g)
            factor[top:bottom, left:right] = 1 - torch.sigmoid((mean - params.threshold) / 0.02)
            stays_out = stays_out * factor
            if mean > params.threshold:
                inside[top:bottom, left:right] = 1
    soft = 1 - stays_out
    gate = inside + (soft - soft.detach()) if relaxed else inside
    return image * (1 - (params.smoothing * gate * g).clamp(0, 1))


@pytest.mark.parametrize("gradient", ["exact", "relaxed"])
def test_the_gradient_is_that_of_the_formula_block_by_block(gradient):
    def through(function):
        x = batch_of(sample(40, 53, 1), sample(40, 53, 2)).double().requires_grad_()
        (function(x).square().sum()).backward()
        return x.grad

    ours = through(LocalGradientsSmoothing(LgsParams(), gradient))
    relaxed = gradient == "relaxed"
    naive = through(
        lambda x: torch.stack([block_by_block(image, LgsParams(), relaxed=relaxed) for image in x])
    )
    assert torch.allclose(ours, naive, rtol=1e-7, atol=1e-9)
    assert relaxed != torch.allclose(ours, through(LocalGradientsSmoothing()), rtol=1e-3)


def test_the_identity_gradient_passes_unchanged():
    x = batch_of(sample(40, 53)).requires_grad_()
    weights = torch.rand_like(x)
    (LocalGradientsSmoothing(gradient="identity")(x) * weights).sum().backward()
    assert torch.equal(x.grad, weights)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_gradient_is_a_number_on_flat_images(gradient):
    x = torch.full((2, 3, 40, 40), 0.5)
    x[1, :, 20:] = 0.7
    x.requires_grad_()
    LocalGradientsSmoothing(LgsParams(threshold=0.01), gradient)(x).sum().backward()
    assert x.grad.isfinite().all()


def compiled(module):
    """Without the compiler for C++, which takes a minute: a break of the graph fails here too."""
    torch._dynamo.reset()
    return torch.compile(module, fullgraph=True, backend="aot_eager")


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_it_compiles_without_a_break_of_the_graph(gradient):
    module = LocalGradientsSmoothing(gradient=gradient)
    x = batch_of(sample(40, 53, 1), sample(40, 53, 2))
    assert (compiled(module)(x) - module(x)).abs().max() < 1e-6
    found = []
    for function in (module, compiled(module)):
        leaf = x.clone().requires_grad_()
        function(leaf).square().sum().backward()
        found.append(leaf.grad)
    assert torch.allclose(*found, rtol=1e-4, atol=1e-4)


def program(module, x, dynamic: bool):
    sides = {2: torch.export.Dim("h", min=25), 3: torch.export.Dim("w", min=25)}
    shapes = {"x": {0: torch.export.Dim("n"), **sides}} if dynamic else None
    return torch.export.export(module.eval(), (x,), dynamic_shapes=shapes)


SIZES = [(2, 40, 53), (1, 25, 25), (3, 45, 120), (1, 44, 100)]


@pytest.mark.filterwarnings("ignore:.*weights_only=False:FutureWarning")  # of torch 2.4 to itself
def test_it_can_be_exported():
    module = LocalGradientsSmoothing()
    x = batch_of(sample(40, 53, 1), sample(40, 53, 2))
    exported = program(module, x, dynamic=False)
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    buffer.seek(0)
    loaded = torch.export.load(buffer).module()
    assert (loaded(x) - module(x)).abs().max() < 1e-6
    dynamic = program(module, x, dynamic=True).module()
    for count, height, width in SIZES:
        x = batch_of(*(sample(height, width, seed) for seed in range(count)))
        assert (dynamic(x) - module(x)).abs().max() < 1e-6


@pytest.mark.filterwarnings("ignore")  # torch's exporter and what it is made of have many
@pytest.mark.parametrize("dynamic", [False, True])
def test_it_ships_inside_an_onnx_model(dynamic, tmp_path):
    release = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if release < (2, 6) or (dynamic and release == (2, 6)):
        pytest.skip(f"torch {torch.__version__} does not export it")
    pytest.importorskip("onnxscript", reason="needs onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    torch.manual_seed(0)
    classifier = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    defended = torch.nn.Sequential(LocalGradientsSmoothing(), classifier).eval()
    x = batch_of(sample(40, 53, 1), sample(40, 53, 2))
    path = tmp_path / "defended.onnx"
    sides = {2: torch.export.Dim("h", min=25), 3: torch.export.Dim("w", min=25)}
    shapes = ({0: torch.export.Dim("n"), **sides},) if dynamic else None
    torch.onnx.export(
        defended, (x,), path, dynamo=True, dynamic_shapes=shapes, input_names=["x"], verbose=False
    )
    session = runtime.InferenceSession(path)
    for count, height, width in SIZES if dynamic else SIZES[:1]:
        x = batch_of(*(sample(height, width, seed) for seed in range(count)))
        (ours,) = session.run(None, {"x": x.numpy()})
        with torch.no_grad():
            assert np.abs(ours - defended(x).numpy()).max() < 1e-5
            assert np.abs(ours - classifier(x).numpy()).max() > 1e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("gradient", [None, *GRADIENTS])
def test_a_gpu_gives_the_same(photographs, gradient):
    x = batch_of(*(np.asarray(photo, np.float32) / 255 for photo in photographs))
    module = LocalGradientsSmoothing(gradient=gradient or "exact")
    expected = module(x)
    x = x.cuda().requires_grad_(gradient is not None)
    cleaned = module(x)
    assert cleaned.is_cuda
    assert (cleaned.cpu() - expected).abs().max() < 1e-5
    with torch.autocast("cuda"):
        assert torch.equal(module(x), cleaned)


@pytest.mark.parametrize("make", [LocalGradientsSmoothing, Localize])
def test_wrong_input_gets_words_for_what_would_be_right(make):
    with pytest.raises(ValueError, match=r"must be \(N, C, H, W\): x\[None\]"):
        make()(torch.rand(3, 20, 20))
    with pytest.raises(TypeError, match=r"uint8; they must be floating in \[0, 1\]: x / 255"):
        make()(torch.zeros(1, 3, 20, 20, dtype=torch.uint8))
    with pytest.raises(ValueError, match="gradient is 'exakt'; valid is"):
        make(gradient="exakt")


def test_a_module_says_what_it_is():
    shown = repr(torch.nn.Sequential(LocalGradientsSmoothing(LgsParams(threshold=0.2))))
    assert "threshold=0.2" in shown
    assert "gradient='exact'" in shown
    assert not list(LocalGradientsSmoothing().parameters())


def magenta(*patches: tuple[int, int]) -> np.ndarray:
    image = np.repeat(np.tile(np.linspace(0.2, 0.7, 128), (96, 1))[..., None], 3, axis=2)
    for x, y in patches:
        image[y : y + 32, x : x + 32] = (1, 0, 1)
    return image.astype(np.float32)


@pytest.fixture(scope="module")
def finds_magenta(tmp_path_factory) -> LocalizeParams:
    folder = tmp_path_factory.mktemp("detector")
    return LocalizeParams(detector=str(detectors.write_magenta(folder / "magenta.onnx")))


@pytest.mark.parametrize("gradient", [None, "identity"])
def test_localize_repairs_as_the_command_does(finds_magenta, gradient):
    images = [magenta((16, 24)), magenta(), magenta((80, 8), (16, 60))]
    x = batch_of(*images).requires_grad_(gradient is not None)
    module = Localize(finds_magenta)
    repaired = module(x)
    for image, ours in zip(images, repaired, strict=True):
        expected = DEFENSES["localize"].apply(image, finds_magenta).image
        assert np.abs(array_of(ours) - expected).max() < 1e-6
    assert torch.equal(repaired[1], x[1])
    assert (repaired[0] - x[0]).abs().max() > 0.3
    assert not list(module.parameters())


def test_localize_has_an_identity_and_a_relaxed_gradient():
    pattern = np.random.default_rng(0).random((32, 32, 3)).astype(np.float32)
    image = magenta()
    image[24:56, 40:72] = pattern
    found = {}
    for gradient in ("identity", "relaxed"):
        x = batch_of(image).requires_grad_()
        repaired = Localize(gradient=gradient)(x)
        assert torch.allclose(repaired, Localize()(x.detach()), atol=1e-6)
        repaired.sum().backward()
        found[gradient] = x.grad
    assert torch.equal(found["identity"], torch.ones_like(x))
    relaxed = found["relaxed"]
    assert relaxed.isfinite().all()
    assert (relaxed - 1).abs().max() > 1e-3
    # What a soft repair replaces has little of a say.
    assert relaxed[..., 32:48, 48:64].abs().mean() < relaxed[..., :20, :20].abs().mean()


@pytest.mark.filterwarnings("ignore:At pre-dispatch tracing:UserWarning")  # of torch 2.4
def test_localize_compiles_and_exports(finds_magenta):
    module = Localize(finds_magenta)
    x = batch_of(magenta((16, 24)), magenta())
    assert torch.equal(compiled(module)(x), module(x))
    exported = torch.export.export(module.eval(), (x,)).module()
    assert torch.equal(exported(x), module(x))
    leaf = x.clone().requires_grad_()
    compiled(Localize(gradient="relaxed"))(leaf).sum().backward()
    assert leaf.grad.isfinite().all()


def test_the_examples_are_true():
    torch.manual_seed(0)
    found = doctest.testmod(importlib.import_module("lgs_cli.adapters.torch"))
    assert found.attempted > 0
    assert found.failed == 0
