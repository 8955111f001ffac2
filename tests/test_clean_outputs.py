"""``lgs clean``: masks, formats, quality."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from folders import files_below, plain_image, report
from pictures import read
from PIL import Image
from reference import local_gradients_smoothing

from lgs_cli.formats import MASK_STYLES


@pytest.mark.parametrize("style", MASK_STYLES)
def test_masks(lgs, photos, style):
    plain_image(photos / "plain.png")
    run = lgs("clean", "photos", "-o", "out", "--masks", "masks", "--mask-style", style, "-qj1")
    assert (run.returncode, run.stderr) == (0, "")
    masks = lgs.folder / "masks"
    assert files_below(masks) == {f"{name}.png" for name in files_below(photos)}
    picture, empty = read(masks / "a.jpg.png"), read(masks / "plain.png.png")
    image = read(photos / "a.jpg")
    _, mask = local_gradients_smoothing(image)
    assert 0 < np.mean(mask > 0) < 1
    if style == "binary":
        np.testing.assert_array_equal(picture, np.where(mask > 0, 255, 0))
        assert not empty.any()
    elif style == "heatmap":
        assert picture.shape == image.shape
        # The brighter, the stronger: inferno's luminance rises with its value.
        order = np.corrcoef(picture.sum(axis=2).ravel(), mask.ravel())[0, 1]
        assert order > 0.9
        assert (empty == empty[0, 0]).all()
    elif style == "overlay":
        assert picture.shape == image.shape
        warm = picture[..., 0].astype(int) - picture[..., 2]
        assert warm[mask > 0.5].mean() > warm[mask == 0].mean() + 50
    else:
        assert picture.shape[0] == image.shape[0]
        assert picture.shape[1] > 3 * image.shape[1]
        np.testing.assert_array_equal(picture[:, : image.shape[1]], image)


def test_images_that_differ_in_the_suffix_alone_have_masks_of_their_own(lgs, photos):
    Image.fromarray(read(photos / "b.jpg")).save(photos / "a.png")
    assert lgs("clean", "photos", "-o", "out", "--masks", "masks").returncode == 0
    masks = lgs.folder / "masks"
    assert files_below(masks) == {f"{name}.png" for name in ("a.jpg", "a.png", "b.jpg", "c.jpg")}
    assert (masks / "a.png.png").read_bytes() != (masks / "a.jpg.png").read_bytes()


FORMATS = {
    "jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "tiff": "TIFF", "bmp": "BMP", "avif": "AVIF",
    "jp2": "JPEG2000", "pnm": "PPM",
}  # fmt: skip
SUFFIXES = {"jpeg": ".jpg", "tiff": ".tif", "pnm": ".ppm"}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_goes_in_and_out(lgs, photos, photographs, name):
    run = lgs("clean", "photos/a.jpg", "-o", "out", "--format", name)
    assert run.returncode == 0
    output = lgs.folder / "out" / ("a" + SUFFIXES.get(name, f".{name}"))
    with Image.open(output) as picture:
        assert picture.format == FORMATS[name]
        assert picture.size == (180, 120)
    source = lgs.folder / output.name
    photographs[0].save(source)
    assert lgs("clean", source, "-o", "kept").returncode == 0
    with Image.open(lgs.folder / "kept" / source.name) as picture:
        assert picture.format == FORMATS[name]


def test_quality(lgs, photos):
    def cleaned(*options):
        assert lgs("clean", "photos/a.jpg", "-o", "out", *options).returncode == 0
        return lgs.folder / "out/a.jpg"

    with Image.open(photos / "a.jpg") as source, Image.open(cleaned()) as kept:
        assert kept.quantization == source.quantization
    sizes = [cleaned("--quality", quality).stat().st_size for quality in (5, 50, 100)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_optimize_makes_smaller_jpegs_of_the_same_pixels(lgs, photos):
    for options in ([], ["--format", "jpeg"]):
        cleaned = []
        for optimize in ([], ["--optimize"]):
            run = lgs(
                "clean", "photos/a.jpg", "-o", "out", "--method", "median", *options, *optimize
            )
            assert run.returncode == 0
            cleaned.append((lgs.folder / "out/a.jpg").read_bytes())
        usual, small = cleaned
        assert 0.85 * len(usual) < len(small) < 0.99 * len(usual)
        usual, small = (np.asarray(Image.open(io.BytesIO(data))) for data in cleaned)
        assert np.array_equal(usual, small)


def test_unchanged_images_are_copied_to_the_byte(lgs, photos):
    for name in ("plain.png", "plain.jpg", "plain.webp", "plain.tif", "plain.bmp"):
        plain_image(photos / name)
    # What no encoder would write: a comment behind the end of the image.
    with (photos / "plain.jpg").open("ab") as file:
        file.write(b"trailing bytes")
    lgs("clean", "photos", "-o", "out", "--report", "r.jsonl", "-j1")
    records = {Path(record["source"]).name: record for record in report(lgs.folder / "r.jsonl")}
    assert len(records) == 8
    for name, record in records.items():
        same = (photos / name).read_bytes() == (lgs.folder / "out" / name).read_bytes()
        assert record["unchanged"] is same is name.startswith("plain")
        assert (record["coverage"] == 0) is same


def test_several_methods_in_a_row(lgs, photos):
    run = lgs("clean", "photos/a.jpg", "-o", "out", "--method", "median,lgs", "--report", "-")
    record = json.loads(run.stdout)
    assert record["method"] == "median,lgs"
    assert record["params"]["median.window"] == 3
    assert record["params"]["lgs.smoothing"] == 2.3
