"""``localize``: what it finds, what it puts there, and what it leaves alone."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import detectors
import numpy as np
import pytest
from onnx_by_hand import channel_means
from PIL import Image
from skimage import data as shipped

from lgs_cli.defenses import DEFENSES, localize, regions
from lgs_cli.defenses.localize import LocalizeParams

SAMPLES = Path(__file__).resolve().parents[1] / "sample_images"
MAGENTA = (255, 0, 255)


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Path:
    return detectors.write_magenta(tmp_path_factory.mktemp("detector") / "magenta.onnx")


@pytest.fixture(scope="module")
def params(detector) -> LocalizeParams:
    return LocalizeParams(detector=str(detector))


def photograph(height: int = 240, width: int = 320) -> np.ndarray:
    return cv2.resize(shipped.astronaut()[:384, :512], (width, height))


def with_square(image: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    patched = image.copy()
    patched[top : top + side, left : left + side, :3] = MAGENTA
    return patched


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def box_of(region, shape) -> np.ndarray:
    mask = np.zeros(shape[:2], bool)
    mask[region.y : region.y + region.height, region.x : region.x + region.width] = True
    return mask


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("alpha", [False, True], ids=["rgb", "rgba"])
def test_a_patch_is_found_and_replaced_in_every_kind_of_image(params, dtype, alpha):
    plain = photograph()
    image = with_square(plain, 60, 100, 40)
    if alpha:
        ramp = np.tile(np.arange(320) % 256, (240, 1)).astype(np.uint8)
        image = np.dstack([image, ramp])
    if dtype == "uint16":
        image = image.astype(np.uint16) * 257
    elif dtype != "uint8":
        image = (image / 255).astype(dtype)
    before = image.copy()
    cleaned = DEFENSES["localize"].apply(image, params, with_mask=True)
    np.testing.assert_array_equal(image, before)
    assert cleaned.image.dtype == image.dtype
    assert cleaned.image.shape == image.shape
    (region,) = cleaned.regions
    truth = np.zeros((240, 320), bool)
    truth[60:100, 100:140] = True
    assert overlap(box_of(region, image.shape), truth) >= 0.9
    replaced = cleaned.mask == 1
    assert set(np.unique(cleaned.mask)) == {0, 1}
    assert replaced[truth].all()
    assert cleaned.coverage == replaced.mean()
    np.testing.assert_array_equal(cleaned.image[~replaced], image[~replaced])
    if alpha:
        np.testing.assert_array_equal(cleaned.image[..., 3], image[..., 3])
    white = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    green = cleaned.image[truth][:, 1].astype(float) / white
    assert green.mean() > 0.1  # magenta has none


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [0, 1, 2])
def test_gray_is_repaired_too(tmp_path, dtype, channels):
    params = LocalizeParams(detector=str(detectors.write_white(tmp_path / "white.onnx")))
    white = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    gray = photograph()[..., 1] / 255 / 2  # nothing in it is white
    image = gray.copy()
    image[60:100, 100:140] = 1
    image = (image * white).astype(dtype)
    if channels:
        alpha = np.arange(240 * 320).reshape(240, 320) % 7 * (white / 7)
        image = np.dstack([image, alpha.astype(dtype)])[..., :channels]
    plain = image.copy()
    cleaned = localize.apply(image, params, with_mask=True)
    np.testing.assert_array_equal(image, plain)
    assert (cleaned.image.dtype, cleaned.image.shape) == (image.dtype, image.shape)
    ((x, y, width, height, _),) = cleaned.regions
    assert (x, y, width, height) == pytest.approx((100, 60, 40, 40), abs=1)
    colors = cleaned.image if image.ndim == 2 else cleaned.image[..., 0]
    assert (colors / white).max() <= 0.51
    if channels == 2:
        np.testing.assert_array_equal(cleaned.image[..., 1], image[..., 1])


@pytest.mark.parametrize("shape", [(240, 320), (240, 320, 1), (240, 320, 2)])
def test_an_image_without_a_patch_is_given_back_as_it_is(params, shape):
    image = np.full(shape, 90, np.uint8)
    cleaned = localize.apply(image, params, with_mask=True)
    assert cleaned.image is image
    assert cleaned.coverage == 0
    assert not cleaned.mask.any()
    assert cleaned.regions == ()


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 7, 3), (31, 33, 3), (10, 20_000, 3), (20_000, 10), (3000, 17, 4)]
)
def test_no_size_is_too_odd(params, shape):
    image = np.full(shape, 200, np.uint8)
    cleaned = localize.apply(image, params)
    assert cleaned.image is image
    assert 0 <= cleaned.score < 0.5


@pytest.mark.parametrize(
    ("shape", "spot"),
    [
        ((40, 50), (3, 20, 16)),
        ((101, 90), (60, 40, 24)),
        ((230, 150), (100, 126, 24)),  # padded beside the patch
        ((2000, 40), (1700, 8, 24)),
        ((30, 6000), (4, 4001, 20)),
    ],
    ids=str,
)
def test_a_patch_in_a_small_or_thin_picture_is_found_where_it_is(params, shape, spot):
    top, left, side = spot
    image = with_square(np.full((*shape, 3), 90, np.uint8), top, left, side)
    (region,) = localize.find(image, params).regions
    truth = np.zeros(shape, bool)
    truth[top : top + side, left : left + side] = True
    assert overlap(box_of(region, shape), truth) >= 0.8


def test_a_patch_in_a_large_picture_is_found_where_it_is(params):
    image = with_square(cv2.resize(photograph(), (4000, 3000)), 1501, 803, 400)
    cleaned = localize.apply(image, params, with_mask=True)
    (region,) = cleaned.regions
    truth = np.zeros(image.shape[:2], bool)
    truth[1501:1901, 803:1203] = True
    assert overlap(box_of(region, image.shape), truth) >= 0.85
    changed = (cleaned.image != image).any(2)
    assert not changed[cleaned.mask == 0].any()
    assert cleaned.image[truth][:, 1].mean() > 10


def test_two_patches_are_two_regions_the_surest_first(params):
    image = with_square(with_square(photograph(), 20, 30, 40), 150, 220, 48)
    image[20:60, 30:70] = (235, 0, 235)  # less sure: not as magenta
    found = localize.find(image, params)
    assert len(found.regions) == 2
    assert found.regions[0].score >= found.regions[1].score
    assert found.score == pytest.approx(found.regions[0].score)
    for top, left, side in ((20, 30, 40), (150, 220, 48)):
        truth = np.zeros((240, 320), bool)
        truth[top : top + side, left : left + side] = True
        assert max(overlap(box_of(r, image.shape), truth) for r in found.regions) >= 0.9


def test_the_threshold_decides(detector):
    image = with_square(photograph(), 60, 100, 40)
    score = localize.find(image, LocalizeParams(detector=str(detector))).score
    assert 0.99 < score < 1
    # the logit of magenta is 6 (see detectors.write_magenta)
    assert score == pytest.approx(1 / (1 + np.exp(-6)), abs=1e-3)
    above = LocalizeParams(detector=str(detector), threshold=min(score + 1e-4, 1))
    assert localize.find(image, above).regions == ()
    every = LocalizeParams(detector=str(detector), threshold=0)
    assert localize.find(photograph(), every).regions


def shapes(size: int) -> dict[str, np.ndarray]:
    """Masks on 240 × 320, each of about size × size pixels."""
    masks = {
        name: np.zeros((240, 320), np.uint8)
        for name in ("square", "rectangle", "disk", "rotated", "corner", "border")
    }
    masks["square"][97 : 97 + size, 143 : 143 + size] = 1
    long, short = round(size * 1.5), round(size / 1.5)
    masks["rectangle"][97 : 97 + short, 143 : 143 + long] = 1
    cv2.circle(masks["disk"], (161, 118), round(size / np.sqrt(np.pi)), 1, -1)
    corners = cv2.boxPoints(((161, 118), (size, size), 30)).astype(np.int32)
    cv2.fillPoly(masks["rotated"], [corners], 1)
    masks["corner"][:size, 320 - size :] = 1
    masks["border"][97 : 97 + size, :size] = 1
    return masks


def shown(*truths: np.ndarray) -> tuple[np.ndarray, list[regions.Found]]:
    """Outline patches of noise on a photograph from the map that a perfect detector would make."""
    truth = np.maximum.reduce(truths)
    noise = np.random.default_rng(1).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    picture = np.where(truth[..., None] == 1, noise, cv2.GaussianBlur(photograph(), (0, 0), 2))
    share = cv2.resize(truth.astype(np.float32), (80, 60), interpolation=cv2.INTER_AREA)
    logits = (16 * share - 8).astype(np.float32)
    found = regions.find_regions(
        logits, cv2.blur(logits, (3, 3)), 0.0, picture, (1.0, 1.0), (240, 320)
    )
    return truth, found


@pytest.mark.parametrize("size", [24, 36, 70])
@pytest.mark.parametrize(
    ("shape", "least"),
    [("square", 0.95), ("rectangle", 0.95), ("corner", 0.95), ("border", 0.95), ("disk", 0.75),
     ("rotated", 0.8)],
)  # fmt: skip
def test_outlines_fit_what_the_map_shows(shape, least, size):
    truth, found = shown(shapes(size)[shape])
    assert len(found) == 1
    rows, columns = np.nonzero(truth)
    box = np.zeros_like(truth, bool)
    box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    assert overlap(box_of(found[0].region, truth.shape), box) >= least
    mask = np.zeros_like(truth)
    mask[found[0].window] = found[0].mask
    assert mask[truth == 1].mean() > 0.99  # nothing of the patch is left
    # what is replaced is wider by 3 pixels on each side, and so is what it should be
    wider = cv2.dilate(truth, np.ones((7, 7), np.uint8))
    assert overlap(mask == 1, wider == 1) >= 0.8


def test_patches_side_by_side_are_outlined_each():
    one, other = np.zeros((2, 240, 320), np.uint8)
    one[40:70, 40:70] = 1
    other[45:85, 100:140] = 1
    _, found = shown(one, other)
    boxes = sorted(one.region[:4] for one in found)
    assert boxes == [(40, 40, 30, 30), (100, 45, 40, 40)]


def test_a_box_does_not_hold_what_is_replaced_around_it():
    one = np.zeros((240, 320), np.uint8)
    one[40:70, 40:70] = 1
    ((region, window, mask),) = shown(one)[1]
    assert region[:4] == (40, 40, 30, 30)
    assert window == (slice(37, 73), slice(37, 73))
    assert mask.all()


@pytest.mark.parametrize("fill", ["inpaint", "blur", "mean"])
def test_a_fill_takes_its_colors_from_around(detector, fill):
    plain = np.full((240, 320, 3), (40, 120, 60), np.uint8)
    image = with_square(plain, 100, 140, 40)
    params = LocalizeParams(fill=fill, detector=str(detector))
    cleaned = localize.apply(image, params).image
    np.testing.assert_allclose(cleaned.astype(int), plain.astype(int), atol=5)


def test_inpainting_goes_on_with_a_gradient_where_the_mean_does_not(detector):
    ramp = np.tile(np.linspace(0, 200, 320), (240, 1)).astype(np.uint8)
    plain = np.dstack([ramp // 2, ramp, ramp // 2])
    image = with_square(plain, 100, 140, 40)
    error = {}
    for fill in ("inpaint", "mean"):
        cleaned = localize.apply(image, LocalizeParams(fill=fill, detector=str(detector))).image
        error[fill] = np.abs(cleaned.astype(int) - plain.astype(int)).mean()
    assert error["inpaint"] < 0.5
    assert error["mean"] > 2 * error["inpaint"]


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("fill", ["inpaint", "blur"])
def test_a_deep_picture_is_not_filled_in_steps_of_eight_bits(detector, fill, dtype):
    ramp = np.tile(np.linspace(0.3, 0.32, 320), (240, 1))
    plain = np.dstack([ramp] * 3)
    image = plain.copy()
    image[100:140, 140:180] = 1, 0, 1
    image = (image * 65535).astype(dtype) if dtype == "uint16" else image.astype(dtype)
    cleaned = localize.apply(image, LocalizeParams(fill=fill, detector=str(detector))).image
    filled = cleaned[100:140, 140:180, 1] / (65535 if dtype == "uint16" else 1)
    np.testing.assert_allclose(filled, plain[100:140, 140:180, 1], atol=1 / 255)
    assert len(np.unique(filled)) > 50  # of eight bits there are six levels in the whole picture


@pytest.mark.parametrize("fill", ["inpaint", "blur", "mean"])
def test_a_large_patch_is_filled_from_around_and_nothing_else_changes(detector, fill):
    ramp = np.tile(np.linspace(40, 200, 2400), (1800, 1)).astype(np.uint8)
    plain = np.dstack([ramp // 2, ramp, ramp // 2])
    image = with_square(plain, 500, 900, 700)
    params = LocalizeParams(fill=fill, detector=str(detector))
    cleaned = localize.apply(image, params, with_mask=True)
    np.testing.assert_array_equal(cleaned.image[cleaned.mask == 0], image[cleaned.mask == 0])
    assert cleaned.mask[500:1200, 900:1600].all()
    change = cleaned.image.astype(int) - plain
    assert np.abs(change).mean() < 4
    assert cleaned.image[..., 1].min() >= 40  # no magenta anywhere
    assert cleaned.image[..., 0].max() <= 100


def test_a_picture_that_is_all_patch_is_still_a_picture(params):
    image = np.full((64, 64, 3), MAGENTA, np.uint8)
    cleaned = localize.apply(image, params, with_mask=True)
    assert cleaned.coverage == 1
    assert cleaned.image.shape == image.shape


# -- through the command line ---------------------------------------------------------------


def test_clean_samples_stay_the_same_bytes_and_patched_ones_are_repaired(lgs, tmp_path):
    run = lgs("clean", SAMPLES, "-o", "out", "--method", "localize", "--report", "run.jsonl")
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    records = [line for line in lines if line["status"] == "done"]
    # The gray patch of the gray camera.png gets by the detector, as the README says of such.
    patched = {"chelsea.jpg", "coffee.jpg", "rocket.jpg"}
    clean = {"retina.jpg", "astronaut.jpg", "hubble.jpg"}
    assert patched | clean < {Path(record["source"]).name for record in records}
    for record in records:
        source, output = Path(record["source"]), tmp_path / record["output"]
        if source.name in patched:
            assert record["score"] >= 0.5, source
            assert record["regions"], source
            assert not record["unchanged"], source
        elif source.name in clean:
            assert record["regions"] == [], source
            assert output.read_bytes() == source.read_bytes(), source


def folder_with_a_patch(folder: Path) -> Path:
    folder.mkdir()
    Image.fromarray(photograph()).save(folder / "plain.jpg", quality=92)
    for number in range(4):
        image = with_square(photograph(), 20 + 30 * number, 40 * number, 36)
        Image.fromarray(image).save(folder / f"patched{number}.png")
    return folder


def test_any_number_of_workers_makes_the_same_files(lgs, tmp_path, detector):
    folder_with_a_patch(tmp_path / "in")
    made = []
    for jobs in (1, 2):
        run = lgs(
            "clean", "in", "-o", f"out{jobs}", "-j", jobs, "--method", "localize",
            "--detector", detector, "--masks", f"masks{jobs}",
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        files = [*(tmp_path / f"out{jobs}").glob("*.*g"), *(tmp_path / f"masks{jobs}").glob("*")]
        made.append({file.name: hashlib.sha256(file.read_bytes()).digest() for file in files})
    assert made[0] == made[1]
    assert len(made[0]) >= 5
    assert (tmp_path / "out1/plain.jpg").read_bytes() == (tmp_path / "in/plain.jpg").read_bytes()


def test_another_detector_under_the_same_name_does_it_again(lgs, tmp_path, detector):
    folder_with_a_patch(tmp_path / "in")
    shutil.copy(detector, tmp_path / "d.onnx")
    command = ("clean", "in", "-o", "out", "--method", "localize", "--detector", "d.onnx")
    assert "5 done" in lgs(*command).stderr
    assert "5 skipped" in lgs(*command).stderr
    data = (tmp_path / "d.onnx").read_bytes()
    # protobuf readers pass over a field they do not know
    (tmp_path / "d.onnx").write_bytes(data + b"\x98\x06\x00")
    assert "5 done" in lgs(*command).stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--detector", "missing.onnx"), "missing.onnx"),
        (("--fill", "zebra"), "zebra"),
        (("--threshold", "1.5"), "threshold is 1.5; valid is 0 to 1"),
        (("--param", "detector=in"), "detector is 'in'"),
    ],
)
def test_wrong_use_is_one_line_before_anything_is_done(lgs, tmp_path, options, message):
    folder_with_a_patch(tmp_path / "in")
    run = lgs("clean", "in", "-o", "out", "--method", "localize", *options)
    assert run.returncode == 2
    assert message in run.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [("--fill", "mean"), ("--detector", "d.onnx")])
def test_options_of_localize_need_it(lgs, tmp_path, option):
    folder_with_a_patch(tmp_path / "in")
    (tmp_path / "d.onnx").write_bytes(b"")
    run = lgs("clean", "in", "-o", "out", *option)
    assert run.returncode == 2
    assert f"{option[0]} needs --method localize" in run.stderr


@pytest.mark.parametrize(
    "content",
    [
        lambda detector: b"",
        lambda detector: b"this is no model",
        lambda detector: detector.read_bytes()[:300],
        lambda detector: channel_means(),
    ],
    ids=["empty", "text", "cut off", "another network"],
)
def test_a_file_that_is_no_detector_is_named(lgs, tmp_path, detector, content):
    folder_with_a_patch(tmp_path / "in")
    (tmp_path / "bad.onnx").write_bytes(content(detector))
    run = lgs("clean", "in", "-o", "out", "--method", "localize", "--detector", "bad.onnx")
    assert run.returncode == 2
    assert run.stderr.splitlines()[0].startswith("lgs: bad.onnx is no detector")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["localize,median", "median,localize", "localize,lgs"])
def test_it_stands_in_a_chain(lgs, tmp_path, detector, method):
    folder_with_a_patch(tmp_path / "in")
    shutil.copy(detector, tmp_path / "a, b=c.onnx")
    run = lgs(
        "clean", "in", "-o", "out", "--method", method, "--param",
        "localize.detector=a, b=c.onnx", "--report", "run.jsonl",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    records = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert sum(bool(record["regions"]) for record in records) == 4


def test_the_threshold_option_is_that_of_localize_where_it_alone_has_one(lgs, tmp_path, detector):
    folder = folder_with_a_patch(tmp_path / "in")
    chosen = ("--method", "localize", "--detector", detector, "--report", "-")
    for threshold, found in (("0.9", 4), ("1", 0)):
        run = lgs("clean", "in", "-o", "out", *chosen, "--threshold", threshold)
        records = [json.loads(line) for line in run.stdout.splitlines()]
        assert sum(bool(record["regions"]) for record in records) == found
    for file in folder.iterdir():
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()
    run = lgs("clean", "in", "-o", "out", "--method", "localize,lgs", "--threshold", "0.9")
    assert run.returncode == 2
    assert "say localize.threshold or lgs.threshold" in run.stderr


def test_methods_says_what_it_takes(lgs):
    (record,) = (
        record
        for record in json.loads(lgs("methods", "--json").stdout)
        if record["name"] == "localize"
    )
    valid = {param["name"]: (param["default"], param["valid"]) for param in record["params"]}
    assert valid["threshold"] == (0.5, "0 to 1")
    assert valid["fill"] == ("inpaint", "inpaint|blur|mean")
    assert valid["detector"] == ("", "an .onnx file that is there")
    assert "  fill=inpaint  [inpaint|blur|mean]\n" in lgs("methods").stdout.decode()


def test_the_wheel_holds_the_detector(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    root = SAMPLES.parent
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        shipped_detector = content.read("lgs_cli/defenses/detector.onnx")
    assert shipped_detector == (root / "lgs_cli/defenses/detector.onnx").read_bytes()
    assert len(shipped_detector) <= 500_000
