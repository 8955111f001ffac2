"""What ``import lgs_cli`` offers: images of every kind, folders, and words for what is wrong."""

from __future__ import annotations

import doctest
import importlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import detectors
import numpy as np
import pytest
from folders import files_below, images
from PIL import Image

import lgs_cli
from lgs_cli.defenses import DEFENSES

ROOT = Path(__file__).resolve().parents[1]


def run(script: str, *arguments: object, **options) -> subprocess.CompletedProcess:
    """Run a script as a file, in a Python of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
        **options,
    )  # fmt: skip


def test_the_import_is_light_and_shows_what_there_is():
    done = run("""
        import sys, lgs_cli
        assert {"clean", "mask", "scan", "clean_folder", "DEFENSES"} <= set(dir(lgs_cli))
        assert set(lgs_cli.__all__) <= set(dir(lgs_cli))
        assert not {"numpy", "cv2", "PIL", "joblib", "torch"} & set(sys.modules)
        lgs_cli.parse_chain("median,lgs:threshold=0.2")
        assert not {"numpy", "cv2"} & set(sys.modules)
    """)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there():
    for name in lgs_cli.__all__:
        assert getattr(lgs_cli, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'claen'"):
        lgs_cli.claen  # noqa: B018


def test_every_defense_s_parameters_are_public():
    assert {defense.params.__name__ for defense in DEFENSES.values()} <= set(lgs_cli.__all__)


@pytest.mark.parametrize("module", ["", ".adapters.images", ".adapters.folders"])
def test_the_examples_are_true(module):
    found = doctest.testmod(importlib.import_module(f"lgs_cli{module}"))
    assert found.attempted > 0
    assert found.failed == 0


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage import data

    return data.astronaut()[60:180, 100:251].copy()


ARRAYS = {
    "uint8 RGB": lambda photo: photo,
    "uint8 gray": lambda photo: photo[..., 0].copy(),
    "uint8 gray 1": lambda photo: photo[..., :1].copy(),
    "uint8 RGBA": lambda photo: np.dstack([photo, photo[..., 1] // 2]),
    "uint16 RGB": lambda photo: photo.astype(np.uint16) * 257,
    "float32 RGB": lambda photo: photo.astype(np.float32) / 255,
    "float64 gray": lambda photo: photo[..., 0] / 255,
}


@pytest.mark.parametrize("make", ARRAYS.values(), ids=list(ARRAYS))
def test_an_array_becomes_an_array_of_the_same_kind(photo, make):
    image = make(photo)
    before = image.copy()
    cleaned = lgs_cli.clean(image, "median,lgs:threshold=0.05")
    expected = DEFENSES["median"].apply(image, lgs_cli.MedianParams()).image
    expected = DEFENSES["lgs"].apply(expected, lgs_cli.LgsParams(threshold=0.05)).image
    assert cleaned.dtype == image.dtype
    np.testing.assert_array_equal(cleaned, expected)
    np.testing.assert_array_equal(image, before)
    assert not np.array_equal(cleaned, image)


def test_a_view_or_an_array_that_must_not_be_written_to_will_do(photo):
    photo = photo.copy()
    photo.flags.writeable = False
    flipped = lgs_cli.clean(photo[:, ::-1, ::-1])  # as OpenCV's BGR comes in
    np.testing.assert_array_equal(flipped, lgs_cli.clean(photo[:, ::-1, ::-1].copy()))


@pytest.mark.parametrize("method", ["lgs:smoothing=0", "localize:threshold=1", "lgs:smoothing=9"])
def test_the_result_is_never_the_input_itself(photo, method):
    cleaned = lgs_cli.clean(photo, method)
    assert not np.may_share_memory(cleaned, photo)


def test_the_ways_to_name_a_method_are_one(photo):
    ways = [
        lgs_cli.clean(photo, "lgs:threshold=0.05,smoothing=1"),
        lgs_cli.clean(photo, "lgs", threshold=0.05, smoothing=1),
        lgs_cli.clean(photo, smoothing=np.int64(1), threshold=np.float32(0.05).astype(float)),
        lgs_cli.clean(photo, lgs_cli.LgsParams(threshold=0.05, smoothing=1)),
        lgs_cli.clean(photo, lgs_cli.parse_chain("lgs", [("threshold", 0.05), ("smoothing", 1)])),
    ]
    for other in ways[1:]:
        np.testing.assert_array_equal(other[..., 1], ways[0][..., 1])
    assert not np.array_equal(ways[0], lgs_cli.clean(photo))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_a_picture_becomes_a_picture_of_its_mode(photo, mode):
    picture = Image.fromarray(photo)
    if mode == "I;16":
        picture = Image.fromarray(photo[..., 0].astype(np.uint16) * 257)
    else:
        picture = picture.convert(mode)
    picture.info["dpi"] = (72, 72)
    cleaned = lgs_cli.clean(picture, threshold=0.05)
    assert (cleaned.mode, cleaned.size, cleaned.info) == (mode, picture.size, picture.info)
    expected = DEFENSES["lgs"].apply(np.asarray(picture), lgs_cli.LgsParams(threshold=0.05)).image
    np.testing.assert_array_equal(np.asarray(cleaned), expected)
    assert cleaned.info is not picture.info


def magenta(*patches: tuple[int, int]) -> np.ndarray:
    """A gray ramp with a magenta square of 32 pixels at each (x, y)."""
    image = np.repeat(np.tile(np.linspace(60, 180, 128), (96, 1))[..., None], 3, axis=2)
    for x, y in patches:
        image[y : y + 32, x : x + 32] = (255, 0, 255)
    return image.astype(np.uint8)


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("detector")
    return str(detectors.write_magenta(folder / "magenta.onnx"))


def test_scan_says_where_patches_are(detector):
    found = lgs_cli.scan(magenta((16, 24)), detector=detector)
    assert found.score > 0.5
    (region,) = found.regions
    assert abs(region.x - 16) <= 4
    assert abs(region.y - 24) <= 4
    assert abs(region.width - 32) <= 8
    assert lgs_cli.scan(Image.fromarray(magenta((16, 24))), detector=detector) == found
    assert lgs_cli.scan(magenta(), detector=detector).regions == ()
    high = lgs_cli.scan(magenta((16, 24)), detector=detector, threshold=1)
    assert high == (found.score, ())


def test_mask_says_where_an_image_changes(photo, detector):
    mask = lgs_cli.mask(magenta((16, 24)), "localize", detector=detector)
    assert mask.dtype == np.float32
    inside = np.zeros((96, 128), bool)
    inside[24:56, 16:48] = True
    assert mask[inside].min() == 1
    assert mask[:, 64:].max() == 0
    _, expected = lgs_cli.lgs(photo)
    np.testing.assert_array_equal(lgs_cli.mask(photo), expected)
    np.testing.assert_array_equal(lgs_cli.mask(Image.fromarray(photo)), expected)
    assert lgs_cli.mask(photo, ()).max() == 0


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("batch", [False, True])
def test_a_tensor_becomes_a_tensor_of_the_same_kind(photo, dtype, batch):
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'lgs-cli[torch]'")
    pixels = torch.from_numpy(photo).permute(2, 0, 1)
    tensor = pixels if dtype == "uint8" else (pixels / 255).to(getattr(torch, dtype))
    if batch:
        tensor = torch.stack([tensor, tensor.flip(2), tensor * 0])
    before = tensor.clone()
    cleaned = lgs_cli.clean(tensor, threshold=0.05)
    mask = lgs_cli.mask(tensor, threshold=0.05)
    assert (cleaned.dtype, cleaned.shape) == (tensor.dtype, tensor.shape)
    assert cleaned.device == tensor.device
    assert torch.equal(tensor, before)
    assert (mask.dtype, mask.shape) == (torch.float32, (*tensor.shape[:-3], *tensor.shape[-2:]))
    first = (tensor[0] if batch else tensor).permute(1, 2, 0)
    array = first.float().numpy() if dtype == "bfloat16" else first.numpy()
    expected, expected_mask = lgs_cli.lgs(array, lgs_cli.LgsParams(threshold=0.05))
    ours = cleaned[0] if batch else cleaned
    assert torch.equal(ours, torch.from_numpy(expected).to(tensor.dtype).permute(2, 0, 1))
    np.testing.assert_array_equal(mask[0] if batch else mask, expected_mask)
    if batch:
        assert cleaned[2].max() == 0


def test_an_empty_batch_is_an_empty_batch():
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'lgs-cli[torch]'")
    assert lgs_cli.clean(torch.rand(0, 3, 20, 30)).shape == (0, 3, 20, 30)
    assert lgs_cli.mask(torch.rand(0, 3, 20, 30)).shape == (0, 20, 30)
    assert lgs_cli.scan(torch.rand(0, 3, 20, 30)) == []


def test_a_batch_is_scanned_image_by_image(detector):
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'lgs-cli[torch]'")
    pair = torch.from_numpy(np.stack([magenta(), magenta((80, 8))])).permute(0, 3, 1, 2)
    clear, found = lgs_cli.scan(pair, detector=detector)
    assert clear.regions == ()
    assert abs(found.regions[0].x - 80) <= 4
    assert lgs_cli.scan(pair[1], detector=detector) == found


RIGHT = np.zeros((8, 8, 3), np.uint8)

MISTAKES = {
    "a path": (("photo.jpg",), TypeError, "is a str.*PIL.Image.open.*clean_folder"),
    "a Path": ((Path("photo.jpg"),), TypeError, "PosixPath.*PIL.Image.open"),
    "a list": (([RIGHT, RIGHT],), TypeError, "is a list.*one image after the other"),
    "None": ((None,), TypeError, "is a NoneType; it must be a NumPy array, a PIL image or a torch"),
    "whole numbers": ((RIGHT.astype(int),), TypeError, r"int64.*astype\(numpy.uint8\)"),
    "truth": ((RIGHT > 0,), TypeError, "bool.*must be uint8, uint16"),
    "floats to 255": ((RIGHT + 200.0,), ValueError, "200 to 200; divide by 255"),
    "normalized floats": ((RIGHT - 2.0,), ValueError, "clean before you normalize"),
    "not a number": ((RIGHT * np.nan,), ValueError, "NaN"),
    "channels first": ((RIGHT.transpose(2, 0, 1),), ValueError, r"image.transpose\(1, 2, 0\)"),
    "a batch": ((RIGHT[None],), ValueError, "one after the other"),
    "five channels": ((np.zeros((8, 8, 5), np.uint8),), ValueError, "C from 1 to 4"),
    "nothing": ((RIGHT[:0],), ValueError, "not empty"),
    "no such method": ((RIGHT, "lsg"), ValueError, "no method 'lsg'.*lgs"),
    "a number as method": ((RIGHT, 3), TypeError, "method is a int.*'lgs:threshold=0.2'"),
    "a list of steps": ((RIGHT, ["lgs"]), TypeError, "method is a list"),
    "out of range": ((RIGHT, "lgs:threshold=2"), ValueError, "threshold is 2; valid is 0 to 1"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "error", "words"), MISTAKES.values(), ids=list(MISTAKES))
def test_what_is_wrong_gets_words_for_what_would_be_right(arguments, error, words):
    with pytest.raises(error, match=words):
        lgs_cli.clean(*arguments)


@pytest.mark.parametrize(
    ("mode", "words"),
    [("1", "convert..L"), ("P", "convert..RGB'"), ("CMYK", "convert..RGB'"), ("F", "numpy"),
     ("RGBa", "convert..RGBA")],
)  # fmt: skip
def test_a_picture_of_another_mode_is_told_how_to_convert(mode, words):
    with pytest.raises(ValueError, match=rf"mode is {mode}; .*{words}"):
        lgs_cli.clean(Image.new(mode, (8, 8)))


def test_parameters_are_told_apart():
    with pytest.raises(ValueError, match="lgs has no parameter 'thresold'; it has smoothing"):
        lgs_cli.clean(RIGHT, thresold=0.2)
    with pytest.raises(TypeError, match="threshold go with the name of a method"):
        lgs_cli.clean(RIGHT, lgs_cli.LgsParams(), threshold=0.2)
    with pytest.raises(ValueError, match="localize has no parameter 'smoothing'"):
        lgs_cli.scan(RIGHT, smoothing=1)


TENSORS = {
    "channels last": (lambda t: t.zeros(20, 30, 3), ValueError, r"image.permute\(2, 0, 1\)"),
    "a batch with them last": (lambda t: t.zeros(2, 20, 30, 3), ValueError, r"\(0, 3, 1, 2\)"),
    "no channels": (lambda t: t.zeros(20, 30), ValueError, r"image\[None\] adds"),
    "a row": (lambda t: t.zeros(20), ValueError, r"must be \(C, H, W\)"),
    "whole numbers": (lambda t: t.zeros(3, 8, 8, dtype=t.int64), TypeError, r"image.to\(torch.u"),
    "normalized": (lambda t: t.zeros(3, 8, 8) - 1, ValueError, "before you normalize"),
    "a gradient": (lambda t: t.zeros(3, 8, 8, requires_grad=True), ValueError, "adapters.torch"),
}


@pytest.mark.parametrize(("make", "error", "words"), TENSORS.values(), ids=list(TENSORS))
def test_a_wrong_tensor_gets_words_too(make, error, words):
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'lgs-cli[torch]'")
    with pytest.raises(error, match=words):
        lgs_cli.clean(make(torch))


def test_a_folder_is_cleaned_as_the_command_cleans_it(lgs, photos, tmp_path):
    done = lgs("clean", photos, "-o", "command", "--threshold", "0.05", "--masks", "masks", "-q")
    assert done.returncode == 0
    found = list(
        lgs_cli.clean_folder(
            photos, tmp_path / "ours", "lgs:threshold=0.05", masks=tmp_path / "m", jobs=2
        )
    )
    assert sorted(result.place for result in found) == [0, 1, 2]
    assert {result.status for result in found} == {"done"}
    for ours, theirs in (("ours", "command"), ("m", "masks")):
        assert len(files_below(tmp_path / ours)) == 3
        for name in files_below(tmp_path / theirs):
            assert (tmp_path / ours / name).read_bytes() == (tmp_path / theirs / name).read_bytes()
    again = lgs_cli.clean_folder([photos], tmp_path / "ours", "lgs:threshold=0.05")
    assert [result.status for result in again] == ["skipped"] * 3


def test_a_folder_s_options_are_the_command_s(photos, tmp_path):
    found = lgs_cli.clean_folder(
        photos, tmp_path / "out", "bit-depth", format="png", exclude=["b*"], max_pixels=10**6
    )
    assert {result.output for result in found} == {
        str(tmp_path / "out" / name) for name in ("a.png", "c.png")
    }
    too_large = lgs_cli.clean_folder(photos, tmp_path / "small", max_pixels=100, jobs=1)
    assert {result.status for result in too_large} == {"failed"}


def test_what_is_wrong_with_a_folder_is_said_at_the_call(photos, tmp_path):
    def clean(*inputs, **options):
        return lgs_cli.clean_folder(*inputs, tmp_path / "out", **options)

    with pytest.raises(lgs_cli.LgsError, match="no such file or directory"):
        clean(tmp_path / "absent")
    with pytest.raises(lgs_cli.LgsError, match="both an input and where outputs go"):
        lgs_cli.clean_folder(photos, photos)
    (tmp_path / "empty").mkdir()
    with pytest.raises(lgs_cli.LgsError, match="no image found in"):
        clean(tmp_path / "empty")
    with pytest.raises(TypeError, match=r"no option 'threshold'.*behind its name"):
        clean(photos, threshold=0.2)
    with pytest.raises(ValueError, match="format is 'jpg'; valid is jpeg"):
        clean(photos, format="jpg")
    with pytest.raises(ValueError, match="mask_style is 'gray'"):
        clean(photos, mask_style="gray")
    with pytest.raises(ValueError, match="quality is 0; valid is 1 to 100"):
        clean(photos, quality=0)
    with pytest.raises(ValueError, match="no method"):
        clean(photos, method="lsg")
    assert not (tmp_path / "out").exists()


def test_a_broken_image_costs_that_image(photos, tmp_path):
    (photos / "b.jpg").write_bytes(b"no image")
    found = {result.source: result for result in lgs_cli.clean_folder(photos, tmp_path / "out")}
    assert [found[str(photos / f"{name}.jpg")].status for name in "abc"] == [
        "done",
        "failed",
        "done",
    ]
    assert found[str(photos / "b.jpg")].error


def test_a_run_can_be_left_early(tmp_path):
    images(tmp_path / "in", 12, side=200)
    results = lgs_cli.clean_folder(tmp_path / "in", tmp_path / "out", jobs=2)
    next(results)
    results.close()
    kept = files_below(tmp_path / "out")
    assert not [name for name in kept if not name.endswith(".png")]
    assert not [path for path in (tmp_path / "out").iterdir() if "tmp" in path.name]
    statuses = [r.status for r in lgs_cli.clean_folder(tmp_path / "in", tmp_path / "out", jobs=2)]
    assert len(statuses) == 12
    assert "failed" not in statuses


def test_a_run_that_is_never_started_leaves_nothing(photos, tmp_path):
    lgs_cli.clean_folder(photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_threads_can_clean_at_a_time(tmp_path):
    images(tmp_path / "in", 4)
    found = {}

    def clean(name: str) -> None:
        results = lgs_cli.clean_folder(tmp_path / "in", tmp_path / name, jobs=2)
        found[name] = [result.status for result in results]

    threads = [threading.Thread(target=clean, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a": ["done"] * 4, "b": ["done"] * 4}


# What a notebook is like: OpenCV has threads of its own, another thread uses them all the while,
# and nothing is under ``if __name__``.
BUSY = """
    import sys, threading, cv2, numpy, lgs_cli
    cv2.setNumThreads(4)
    image = numpy.zeros((1000, 1000), numpy.float32)
    cv2.GaussianBlur(image, (9, 9), 5)
    ended = threading.Event()

    def work():
        while not ended.is_set():
            cv2.GaussianBlur(image, (9, 9), 5)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for result in lgs_cli.clean_folder(sys.argv[1], sys.argv[2], jobs=2):
            print(result.status)
    finally:
        ended.set()
        thread.join()
"""


def test_a_busy_process_can_clean(tmp_path):
    images(tmp_path / "in", 4)
    done = run(BUSY, tmp_path / "in", tmp_path / "out")
    assert (done.stdout.split(), done.stderr) == (["done"] * 4, "")


LEFT = """
    import sys, lgs_cli
    results = lgs_cli.clean_folder(sys.argv[1], sys.argv[2], jobs=2)
    print(next(results).status)
"""


def test_a_script_may_end_in_the_middle_of_a_run(tmp_path):
    images(tmp_path / "in", 12, side=200)
    done = run(LEFT, tmp_path / "in", tmp_path / "out")
    assert (done.stdout.split(), done.stderr, done.returncode) == (["done"], "", 0)
    assert not [path for path in (tmp_path / "out").iterdir() if "tmp" in path.name]


INTERRUPTED = """
    import os, signal, sys, lgs_cli
    try:
        for result in lgs_cli.clean_folder(sys.argv[1], sys.argv[2], jobs=2):
            os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        print("interrupted")
    print(*[result.status for result in lgs_cli.clean_folder(sys.argv[1], sys.argv[3], jobs=2)])
"""


def test_an_interrupt_ends_a_run_and_not_the_session(tmp_path):
    images(tmp_path / "in", 4)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    done = run(INTERRUPTED, tmp_path / "in", tmp_path / "out", tmp_path / "again")
    assert (done.stdout.split(), done.stderr) == (["interrupted"] + ["done"] * 4, "")
    assert not [path for path in (tmp_path / "out").iterdir() if "tmp" in path.name]


@pytest.mark.filterwarnings("ignore:Error parsing type annotation")  # of named tuples
def test_the_reference_shows_every_public_name(tmp_path):
    pdoc = pytest.importorskip("pdoc", reason="needs pdoc")
    pdoc.render.configure(docformat="numpy", show_source=False)
    pdoc.pdoc("lgs_cli", output_directory=tmp_path)
    page = (tmp_path / "lgs_cli.html").read_text(encoding="utf-8")
    for name in lgs_cli.__all__:
        assert f'id="{name}"' in page
    assert '<h6 id="parameters">Parameters</h6>' in page
    assert "Parameters\n" not in page  # a section that was not understood
