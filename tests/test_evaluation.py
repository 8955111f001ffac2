"""What needs no torch: specs, labels, scoring, the table, the choice of parameters."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import asdict, fields, replace

import numpy as np
import optional_data
import pytest
from onnx_by_hand import channel_means
from optional_data import DATA
from PIL import Image

from lgs_cli.defenses.chain import Step
from lgs_cli.defenses.lgs import LgsParams
from lgs_cli.defenses.preprocessing import PRESETS, Preprocessing, fit
from lgs_cli.errors import ImageError, LgsError, NoImagesError, UsageError
from lgs_cli.evaluation import adaptive, charts, classes, dataset, grid_search, models, table
from lgs_cli.evaluation.attacks import ATTACKS, records
from lgs_cli.evaluation.attacks.lavan import LavanParams
from lgs_cli.evaluation.attacks.patch import PatchParams
from lgs_cli.evaluation.attacks.placement import choose_target, draws
from lgs_cli.evaluation.attacks.records import Attacked
from lgs_cli.evaluation.columns import column
from lgs_cli.evaluation.evaluate import EvaluateParams, evaluate
from lgs_cli.evaluation.grid_search import TuneParams, search_grid
from lgs_cli.evaluation.models.model import Model
from lgs_cli.evaluation.selection import choose
from lgs_cli.evaluation.specs import parse_attack, parse_defense
from lgs_cli.evaluation.table import Row, Share, Table
from lgs_cli.evaluation.victim import Victim

needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"needs the optional data (LGS_DATA=DIR); {DATA} is absent"
)


# ------------------------------------------------------------------------------------- specs


def test_defense_specs_are_read():
    assert parse_defense("none").chain == ()
    assert parse_defense("lgs").chain == (Step("lgs", LgsParams()),)
    spec = parse_defense("lgs:threshold=0.2,block-size=20")
    assert spec.chain == (Step("lgs", LgsParams(threshold=0.2, block_size=20)),)
    assert spec.text == "lgs:threshold=0.2,block-size=20"
    assert [step.name for step in parse_defense("median,lgs:smoothing=3").chain] == [
        "median",
        "lgs",
    ]


def test_attack_specs_are_read():
    assert parse_attack("lavan").params == LavanParams()
    assert parse_attack("lavan:patch-fraction=0.04,target=random,steps=7").params == LavanParams(
        patch_fraction=0.04, target="random", steps=7
    )
    # the comma of a location is not the next parameter's
    assert parse_attack("lavan:location=10,20,cells=4").params == LavanParams(
        location="10,20", cells=4
    )
    assert parse_attack("lavan:exploit-normalization=true").params == LavanParams(
        exploit_normalization=True
    )
    assert parse_attack("patch:shape=circle,apply=a/b.png").params == PatchParams(
        shape="circle", apply="a/b.png"
    )


@pytest.mark.parametrize(
    ("parse", "text", "names"),
    [
        (parse_defense, "nosuch", ["nosuch", "lgs", "jpeg"]),
        (parse_defense, "lgs:nosuch=1", ["nosuch", "smoothing", "threshold", "block_size"]),
        (parse_defense, "lgs:threshold=2", ["threshold is 2", "0 to 1"]),
        (parse_defense, "lgs:threshold=high", ["threshold", "high"]),
        (parse_defense, "lgs:threshold", ["threshold", "NAME=VALUE"]),
        (parse_attack, "nosuch", ["nosuch", "lavan", "patch"]),
        (parse_attack, "lavan:nosuch=1", ["nosuch", "patch-fraction", "location", "seed"]),
        (parse_attack, "lavan:steps=0", ["steps is 0", "at least 1"]),
        (parse_attack, "lavan:steps=many", ["steps", "many"]),
        (parse_attack, "lavan:location=middle", ["middle", "random|border|corner|X,Y"]),
        (parse_attack, "lavan:target=-3", ["target", "none|random|LABEL"]),
        (parse_attack, "lavan:exploit-normalization=maybe", ["maybe", "true or false"]),
        (parse_attack, "patch:shape=star", ["star", "square|circle"]),
        (parse_attack, "patch:scale-min=2,scale-max=1", ["scale_min is 2", "scale_max"]),
    ],
)
def test_a_wrong_spec_says_what_is_valid(parse, text, names):
    with pytest.raises(UsageError) as error:
        parse(text)
    message = str(error.value)
    assert "\n" not in message
    for name in names:
        assert name in message


def test_every_setting_has_help_and_a_valid_default():
    for kind in (
        *(one.params for one in ATTACKS.values()),
        Preprocessing,
        EvaluateParams,
        TuneParams,
    ):
        kind()
        assert all(spec.metadata["help"] for spec in fields(kind))


# ------------------------------------------------------------------------------------ images


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def flat(*color, side=8):
    return np.full((side, side, 3), color, np.uint8)


def test_subfolders_are_classes(tmp_path):
    for name in ("cat/b.png", "cat/a.png", "ant/deep/x.png", ".hidden/y.png"):
        save(tmp_path / name, flat(1, 2, 3))
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    found = dataset.find(tmp_path)
    assert [(p.name, p.label) for p in found] == [
        ("ant/deep/x.png", 0),
        ("cat/a.png", 1),
        ("cat/b.png", 1),
    ]


def test_numbered_subfolders_are_those_classes(tmp_path):
    save(tmp_path / "10" / "a.png", flat(1, 2, 3))
    save(tmp_path / "9" / "a.png", flat(1, 2, 3))
    assert [(p.name, p.label) for p in dataset.find(tmp_path)] == [("10/a.png", 10), ("9/a.png", 9)]


CLASS_FILES = {
    "classes.txt": "red panda, lesser panda\nGreen-Mamba\nblue jay\n",
    "index.json": '{"1": ["n2", "green_mamba"], "0": ["n1", "red_panda"], "2": ["n3", "blue_jay"]}',
    "list.json": '["Red panda", "green mamba", "blue jay"]',
    "class_to_idx.json": '{"blue jay": 2, "red panda": 0, "green mamba": 1}',
}


@pytest.mark.parametrize("file", CLASS_FILES)
def test_subfolders_and_labels_may_be_names_of_classes(tmp_path, file):
    path = tmp_path / file
    path.write_text(CLASS_FILES[file])
    names = classes.read(path)
    for name in ("Blue Jay/a.png", "green_mamba/b.png"):
        save(tmp_path / "photos" / name, flat(1, 2, 3))
    found = dataset.find(tmp_path / "photos", classes=names)
    assert [(p.name, p.label, p.folders) for p in found] == [
        ("Blue Jay/a.png", 2, 0),
        ("green_mamba/b.png", 1, 0),
    ]
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\ngreen_mamba/b.png,red panda\nBlue Jay/a.png,1\n")
    found = dataset.find(tmp_path / "photos", labels, classes=names)
    assert [p.label for p in found] == [1, 0]
    labels.write_text("file,label\ngreen_mamba/b.png,panda bear\n")
    with pytest.raises(UsageError, match=rf"line 2: no class 'panda bear' in .*{file}"):
        dataset.find(tmp_path / "photos", labels, classes=names)


def test_a_name_of_two_classes_is_refused(tmp_path):
    (tmp_path / "classes.txt").write_text("crane, bird\nswan\ncrane\n")
    names = classes.read(tmp_path / "classes.txt")
    with pytest.raises(UsageError, match=r"'Crane' of .*classes\.txt may be 0 or 2"):
        names.number("Crane")
    assert names.number("bird") == 0
    for wrong in ('{"0": "a", "2": "b"}', "{", "[1, 2]", '{"0": null}'):
        (tmp_path / "wrong.json").write_text(wrong)
        with pytest.raises(UsageError, match=r"wrong\.json gives no class a name"):
            classes.read(tmp_path / "wrong.json")


def test_named_subfolders_are_not_numbered_for_a_model_of_other_classes(colors, tmp_path):
    """Three folders are three classes, two are not: their numbers would be a guess."""
    for index, name in enumerate(("ant", "bee", "cat")):
        color = [20, 20, 20]
        color[index] = 150
        save(tmp_path / "photos" / name / "a.png", flat(*color))
    none = [parse_defense("none")]
    (row,) = evaluate(Victim(colors), dataset.find(tmp_path / "photos"), none).rows
    assert row.clean == Share(3, 3)
    (tmp_path / "photos/ant/a.png").unlink()
    with pytest.raises(UsageError, match=r"in 2 subfolders that have names, but .* has 3 classes"):
        evaluate(Victim(colors), dataset.find(tmp_path / "photos"), none)


def test_a_csv_gives_labels_and_leaves_out_the_rest(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / name, flat(1, 2, 3))
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label,name\nb.png,7,seven\na.png,3,three\n")
    assert [(p.name, p.label) for p in dataset.find(tmp_path, labels)] == [
        ("a.png", 3),
        ("b.png", 7),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file,label\nb.png,1\n", "line 2: .*b.png does not exist"),
        ("file,label\na.png,cat\n", "line 2: label 'cat' is no"),
        ("name,class\na.png,1\n", "no columns 'file' and 'label'"),
        ("file,label\n../a.png,1\n", r"line 2: \.\./a\.png does not lie in"),
        ("file,label\n/etc/a.png,1\n", "line 2: /etc/a.png does not lie in"),
        ("file,label\n\x1b[2J.png,1\n", r"line 2: .*/\\x1b\[2J\.png does not exist"),
    ],
)
def test_a_wrong_csv_says_where(tmp_path, text, reason):
    save(tmp_path / "a.png", flat(1, 2, 3))
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=reason):
        dataset.find(tmp_path, tmp_path / "labels.csv")


def test_files_of_a_csv_that_are_not_there_are_left_out_and_told(colors, tmp_path):
    save(tmp_path / "photos" / "b.png", flat(255, 2, 3))
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\na.png,1\nb.png,0\nc.png,2\n")
    told = []
    (found,) = dataset.find(tmp_path / "photos", labels, tell=told.append)
    assert (found.name, found.label) == ("b.png", 0)
    assert told == [
        f"{labels} lists 3 files, and {tmp_path}/photos holds 1 of them: the others are left out "
        f"(line 2: {tmp_path}/photos/a.png does not exist)"
    ]
    with pytest.raises(UsageError, match=r"line 2: .*a.png does not exist; paths in the CSV start"):
        dataset.find(tmp_path / "photos", labels)
    labels.write_text("file,label\na.png,1\n")
    with pytest.raises(UsageError, match=r"line 2: .*a.png does not exist"):
        dataset.find(tmp_path / "photos", labels, tell=told.append)


def test_an_absolute_path_in_the_folder_is_one_below_it(tmp_path):
    save(tmp_path / "photos" / "0" / "a.png", flat(1, 2, 3))
    labels = tmp_path / "labels.csv"
    labels.write_text(f"file,label\n{tmp_path}/photos/0/a.png,7\n")
    (found,) = dataset.find(tmp_path / "photos", labels)
    assert (found.name, found.label) == ("0/a.png", 7)


@pytest.mark.parametrize("file", ["../photos/a.png", "/absolute.png", "b/../../a.png"])
def test_no_result_leaves_its_folder(tmp_path, file):
    record = Attacked(file, "a.png", 0, None, 0, 0, 8, 8, 0, 1, 0.9, 5, 0, 0.1)
    with pytest.raises(UsageError, match=r"leaves .*out"):
        records.save(tmp_path / "out", flat(1, 2, 3)[None], [record])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["patch.png", "patch.png/a.png", "attacks.jsonl/a.png"])
def test_a_photograph_does_not_take_the_place_of_a_result(name):
    records.require_free_names(["0/patch.png", "patch.bmp", "attacks.jsonl.png"])
    with pytest.raises(UsageError, match="has the name of a result"):
        records.require_free_names(["0/a.png", name])


def test_a_name_that_is_no_utf_8_has_its_draws():
    first = draws(0, "\udcff.png").random()
    assert first == draws(0, "\udcff.png").random()
    assert first != draws(0, "\udcfe.png").random()


def test_a_model_of_one_class_has_no_target():
    for target in ("none", "random", "0"):
        with pytest.raises(UsageError, match="the model has one class"):
            choose_target(target, 0, 1, draws(0, "a"))


def test_no_folder_and_no_image_are_told(tmp_path):
    with pytest.raises(UsageError, match="is not a directory"):
        dataset.find(tmp_path / "none")
    with pytest.raises(NoImagesError):
        dataset.find(tmp_path)


def test_gray_alpha_and_deep_images_become_rgb(tmp_path):
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    save(tmp_path / "gray.png", gray)
    save(tmp_path / "alpha.png", np.dstack([flat(9, 8, 7), gray]))
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert (dataset.read(tmp_path / "gray.png") == gray[..., None]).all()
    assert (dataset.read(tmp_path / "alpha.png") == flat(9, 8, 7)).all()
    deep = dataset.read(tmp_path / "deep.png")
    assert deep.dtype == np.uint8
    assert (deep == gray[..., None]).all()


def test_a_broken_image_is_named(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "a.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"0/a\.png"):
        dataset.load(dataset.find(tmp_path), PRESETS["as-is"])


def test_images_of_two_sizes_are_refused_without_a_crop(tmp_path):
    save(tmp_path / "0" / "a.png", flat(1, 2, 3, side=8))
    save(tmp_path / "0" / "b.png", flat(1, 2, 3, side=9))
    with pytest.raises(ImageError, match=r"b\.png is 9×9, the images before it 8×8"):
        dataset.load(dataset.find(tmp_path), PRESETS["as-is"])
    images = dataset.load(dataset.find(tmp_path), Preprocessing(resize=0, crop=6))
    assert images.pixels.shape == (2, 6, 6, 3)
    with pytest.raises(ImageError, match="smaller than the crop of 20 px"):
        dataset.load(dataset.find(tmp_path), Preprocessing(resize=0, crop=20))


def test_sizes_are_compared_across_batches(colors, tmp_path):
    for name, side in (("a", 8), ("b", 9)):
        save(tmp_path / "photos" / "0" / f"{name}.png", flat(200, 2, 3, side=side))
    with pytest.raises(ImageError, match=r"b\.png is 9×9, the images before it 8×8"):
        evaluate(
            Victim(colors, batch_size=1), dataset.find(tmp_path / "photos"), [parse_defense("none")]
        )


def test_resizing_goes_by_the_shorter_side_and_crops_the_center():
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 20:] = 255
    fitted = fit(image, Preprocessing(resize=10, crop=10))
    assert fitted.shape == (10, 10, 3)
    assert (fitted[:, :4] == 0).all()
    assert (fitted[:, 6:] == 255).all()


@needs_data
def test_crops_are_those_of_the_published_preprocessing():
    """The crops in attacked/clean were made elsewhere, by the data's own description."""
    for path in sorted((DATA / "attacked" / "clean").glob("*.png"))[:12]:
        photograph = DATA / "imagenet" / f"{path.stem}.JPEG"
        crop = fit(dataset.read(photograph), Preprocessing())
        assert (crop == dataset.read(path)).all(), path.stem


# ------------------------------------------------------------------------------------ models


@pytest.fixture
def colors(tmp_path):
    """A model that names the brightest channel, and images of which it knows the answer."""
    path = tmp_path / "colors.onnx"
    path.write_bytes(channel_means())
    return models.load(str(path), PRESETS["as-is"])


def test_an_onnx_model_scores(colors):
    images = np.stack([flat(200, 10, 30), flat(10, 200, 30), flat(10, 30, 200)])
    expected = np.array([[200, 10, 30], [10, 200, 30], [10, 30, 200]]) / 255
    assert np.allclose(colors.logits(images), expected, atol=1e-6)
    assert np.allclose(colors.logits(images, batch_size=2), expected, atol=1e-6)
    assert colors.predict(images).tolist() == [0, 1, 2]
    assert colors.classes == 3


def test_preprocessing_reaches_the_model(tmp_path):
    path = tmp_path / "colors.onnx"
    path.write_bytes(channel_means())
    pre = Preprocessing(resize=0, crop=0, mean="10,20,30", std="2,4,5", channels="bgr", scale="255")
    logits = models.load(str(path), pre).logits(flat(200, 100, 50)[None])
    assert np.allclose(logits, [[(50 - 10) / 2, (100 - 20) / 4, (200 - 30) / 5]], atol=1e-4)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("nothing.onnx", "does not exist"),
        ("nothing.pt2", "does not exist"),
        ("resnet", "is not FILE.onnx, FILE.pt2, FILE.pt or package.module:factory"),
        (":factory", "is not FILE.onnx"),
    ],
)
def test_a_wrong_model_is_told(spec, reason):
    with pytest.raises(UsageError, match=reason):
        models.load(spec, Preprocessing())


def test_a_damaged_onnx_model_is_told(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(LgsError, match=r"cannot load .*bad\.onnx"):
        models.load(str(tmp_path / "bad.onnx"), Preprocessing())


def test_an_onnx_model_cannot_be_attacked(colors, tmp_path):
    save(tmp_path / "photos" / "0" / "a.png", flat(200, 10, 30))
    with pytest.raises(UsageError, match="needs gradients"):
        evaluate(
            Victim(colors),
            dataset.find(tmp_path / "photos"),
            [parse_defense("none")],
            [parse_attack("lavan:patch-size=3")],
        )


@needs_data
def test_squeezenet_classifies_as_its_readme_says():
    """61.3 % top-1 on the 1000 photographs that these 240 are from."""
    found = dataset.find(DATA / "imagenet", DATA / "imagenet" / "labels.csv")[::2]
    network = optional_data.needed("models", "squeezenet1_1.onnx")
    model = models.load(str(network), Preprocessing())
    images = dataset.load(found, model.preprocessing)
    right = Share(int((model.predict(images.pixels) == images.labels).sum()), len(found))
    low, high = right.interval
    assert low < 0.613 < high


def test_a_wrong_preset_is_noticed(colors, tmp_path):
    """A model of BGR that is given RGB takes red for blue, and blue for red."""
    for index in range(20):
        color = [20, 20, 20]
        color[2 - index % 3] = 150
        save(tmp_path / "photos" / str(index % 3) / f"{index}.png", flat(*color))
    found = dataset.find(tmp_path / "photos")
    made = evaluate(Victim(colors), found, [parse_defense("none")])
    assert made.warnings == (
        f"{colors.spec} classifies 7 of 20 photographs rightly, but 20 with --preset caffe: "
        "is the preprocessing right?",
    )
    bgr = models.load(colors.spec, Preprocessing(resize=0, crop=0, channels="bgr"))
    assert evaluate(Victim(bgr), found, [parse_defense("none")]).warnings == ()
    wrong = [photograph for photograph in found if photograph.label != 1]
    with pytest.raises(UsageError, match=r"none of 13 .* but 13 with --preset caffe"):
        evaluate(Victim(colors), wrong, [parse_defense("none")])


# ------------------------------------------------------------------------------------- table


@pytest.mark.parametrize(("hits", "total"), [(0, 10), (5, 10), (1, 3), (98, 100), (7, 7)])
def test_intervals_are_wilsons(hits, total):
    """The ends solve (p̂ − p)² = z² p (1 − p) / n, Wilson's own equation."""
    z2, p = 1.959963984540054**2, hits / total
    roots = np.roots([1 + z2 / total, -(2 * p + z2 / total), p * p])
    assert Share(hits, total).interval == pytest.approx(sorted(roots.real), abs=1e-7)


def test_intervals_at_the_ends_are_those_worked_out_by_hand():
    # at p̂ = 0 the other end is z² / (n + z²): 3.8415 / 13.8415
    assert Share(0, 10).interval == pytest.approx((0, 0.27754), abs=1e-5)
    assert Share(10, 10).interval == pytest.approx((0.72246, 1), abs=1e-5)
    # at p̂ = ½ the half width is z / 2 / √(n + z²): 0.97998 / √13.8415
    assert Share(5, 10).interval == pytest.approx((0.23659, 0.76341), abs=1e-5)


def test_a_share_of_nothing_is_unknown():
    assert math.isnan(Share(0, 0).value)
    assert Share(0, 0).interval == (0, 1)
    assert str(Share(0, 0)) == "-"


SAMPLE = Table(
    model="net.onnx",
    population="10 photographs",
    attacks=("lavan:target=1", "a|b <script>"),
    adaptive="lavan:target=1",
    rows=(
        Row("none", 0.001, Share(10, 10), (Share(0, 10), Share(1, 10)),
            (Share(10, 10), Share(9, 10)), Share(0, 10)),
        Row("lgs", 1.25, Share(8, 10), (Share(6, 10), Share(0, 0)),
            (Share(2, 8), Share(0, 0)), Share(3, 5), adaptive_is_blind=True),
    ),
    warnings=("something is off",),
)  # fmt: skip


def test_text_lines_up_and_holds_the_warnings():
    text = table.write(SAMPLE, "text")
    lines = text.splitlines()
    assert "10 photographs" in lines[0]
    assert lines[2].split("  ")[0] == "defense"
    assert lines[3].startswith("none") and "1.00 [0.72, 1.00]" in lines[3]
    assert lines[4].startswith("lgs") and "0.80 [0.49, 0.94]" in lines[4] and "(blind)" in lines[4]
    assert lines[2].index("clean") == lines[3].index("1.00") == lines[4].index("0.80")
    assert text.endswith("warning: something is off\n")


def test_markdown_is_a_table():
    lines = table.write(SAMPLE, "markdown").splitlines()
    body = [line for line in lines if line.startswith("|")]
    assert len(body) == 4
    bars = {line.replace("\\|", "").count("|") for line in body}
    assert len(bars) == 1
    assert "- Warning: something is off" in lines


def test_csv_holds_every_share():
    rows = list(csv.DictReader(io.StringIO(table.write(SAMPLE, "csv"))))
    assert len(rows) == 2 * (1 + 2 * 2 + 1)
    row = next(r for r in rows if r["defense"] == "lgs" and r["measure"] == "success")
    assert (row["attack"], row["hits"], row["total"]) == ("lavan:target=1", "2", "8")
    assert float(row["share"]) == 0.25
    assert [r["measure"] for r in rows if r["defense"] == "lgs"][-1] == "blind accuracy"
    assert float(row["ms_per_image"]) == 1.25


def test_json_holds_every_share():
    plain = json.loads(table.write(SAMPLE, "json"))
    lgs = plain["defenses"][1]
    assert lgs["clean"]["share"] == 0.8
    assert lgs["attacks"][1]["accuracy"]["share"] is None
    assert lgs["adaptive_is_blind"] is True
    assert plain["warnings"] == ["something is off"]


def test_the_chart_is_wellformed_and_draws_to_scale():
    root = ET.fromstring(charts.bars(SAMPLE))
    space = "{http://www.w3.org/2000/svg}"
    bars = list(root.iter(f"{space}g"))
    # 4 shares a row, one of them of nothing
    assert len(bars) == 7
    widths = {
        group.find(f"{space}title").text: float(group.find(f"{space}rect").get("width"))
        for group in bars
    }
    clean = {title: width for title, width in widths.items() if title.startswith("clean")}
    full, most = (next(w for t, w in clean.items() if end in t) for end in ("10 of 10", "8 of 10"))
    assert most / full == pytest.approx(0.8, abs=0.01)
    assert "<script>" not in charts.bars(SAMPLE)


# --------------------------------------------------------------------------- scoring folders


def photographs(folder):
    """Six images that the color model classifies rightly, and one that it does not."""
    for index in range(6):
        color = [20, 20, 20]
        color[index % 3] = 150
        save(folder / str(index % 3) / f"{index}.png", flat(*color))
    save(folder / "0" / "wrong.png", flat(0, 0, 99))
    return dataset.find(folder)


def attacked_folder(folder, found, hit):
    """Paint those of `hit` so that the color model calls them 2, or 0 where they are 2."""
    pixels, made = [], []
    for photograph in found:
        image = dataset.read(photograph.path)
        target = 0 if photograph.label == 2 else 2
        if photograph.name in hit:
            image = image.copy()
            image[:, :, target] = 255
        pixels.append(image)
        after = target if photograph.name in hit else photograph.label
        made.append(
            Attacked(
                records.file_name(photograph.name), photograph.name, photograph.label, None,
                0, 0, 8, 8, photograph.label, after, 0.9, 5, 0, 0.1,
            )
        )  # fmt: skip
    records.save(folder, np.stack(pixels), made)
    return folder


def test_a_folder_made_earlier_is_scored(colors, tmp_path):
    found = photographs(tmp_path / "photos")
    right = [p for p in found if p.path.stem != "wrong"]
    hit = {p.name for p in right[:4]}
    folder = attacked_folder(tmp_path / "lavan", right, hit)
    result = evaluate(Victim(colors), found, [parse_defense("none")], [folder])
    (row,) = result.rows
    assert result.attacks == ("lavan",)
    assert row.clean == Share(6, 6)
    assert row.accuracy == (Share(2, 6),)
    assert row.success == (Share(4, 6),)
    assert "6 photographs" in result.population and "6 of 7" in result.population
    assert any("succeeds on 4 of 6 undefended" in warning for warning in result.warnings)


def test_no_name_reaches_a_terminal_as_it_is(colors, tmp_path):
    found = photographs(tmp_path / "photos")
    folder = attacked_folder(tmp_path / "a\x1b[2J\udcff", found, {found[0].name})
    colors.spec = "net\n\x1b[2J.onnx"
    result = evaluate(Victim(colors), found, [parse_defense("none")], [folder])
    assert result.attacks == (r"a\x1b[2J\xff",)
    assert any(r"a\x1b[2J\xff succeeds on" in warning for warning in result.warnings)
    for form in table.FORMATS:
        text = table.write(result, form)
        assert "\x1b" not in text and text.encode()
    params = TuneParams(smoothing="1", threshold="0.1", block_size="15", overlap="5")
    tuned = search_grid(Victim(colors), found, folder, params)
    for text in (grid_search.write(tuned), grid_search.to_json(tuned), charts.scatter(tuned)):
        assert "\x1b" not in text and text.encode()
    assert parse_attack("patch:apply=\x1b[2J").text == r"patch:apply=\x1b[2J"
    for wrong in (
        lambda: dataset.find(tmp_path / "\x1b[2J"),
        lambda: models.load("\x1b[2J.onnx", Preprocessing()),
        lambda: models.load("\x1b[2J", Preprocessing()),
        lambda: evaluate(Victim(colors), [replace(found[0], label=9)], []),
        lambda: records.read_records(tmp_path / "\x1b[2J"),
    ):
        with pytest.raises(LgsError) as error:
            wrong()
        assert r"\x1b[2J" in str(error.value) and str(error.value).isprintable()


def test_a_folder_may_hold_only_some_of_the_images(colors, tmp_path):
    found = photographs(tmp_path / "photos")
    some = [p for p in found if p.label == 1]
    folder = attacked_folder(tmp_path / "lavan", some, {p.name for p in some})
    result = evaluate(Victim(colors), found, [parse_defense("none")], [folder])
    assert result.rows[0].accuracy == (Share(0, 2),)
    assert result.rows[0].clean == Share(6, 6)
    assert result.warnings == ()


def test_a_folder_without_records_is_matched_by_name(colors, tmp_path):
    found = photographs(tmp_path / "photos")
    some = [p for p in found if p.label == 1]
    folder = attacked_folder(tmp_path / "lavan", some, {some[0].name})
    (folder / "attacks.jsonl").unlink()
    result = evaluate(Victim(colors), found, [parse_defense("none")], [folder])
    assert result.rows[0].accuracy == (Share(1, 2),)


def twins(folder):
    """Two photographs that differ in their suffix alone: of class 0 and of class 1."""
    save(folder / "0.bmp", flat(200, 10, 30))
    save(folder / "0.png", flat(10, 200, 30))
    (folder.parent / "labels.csv").write_text("file,label\n0.bmp,0\n0.png,1\n")
    return dataset.find(folder, folder.parent / "labels.csv")


@pytest.mark.parametrize("with_records", [True, False])
def test_photographs_of_one_stem_are_told_apart(colors, tmp_path, with_records):
    found = twins(tmp_path / "photos")
    # only the first is hit; its attacked image is called 0.bmp.png
    folder = attacked_folder(tmp_path / "lavan", found, {"0.bmp"})
    if not with_records:
        (folder / "attacks.jsonl").unlink()
    selection = choose(Victim(colors), found, 0)
    blind = column(Victim(colors), selection, folder)
    assert selection.chosen.names == ("0.bmp", "0.png")
    assert blind.index.tolist() == [0, 1] and blind.pixels[0, 0, 0, 2] == 255
    assert colors.predict(blind.pixels).tolist() == [2, 1]


def test_an_attacked_image_of_two_possible_photographs_is_refused(colors, tmp_path):
    found = twins(tmp_path / "photos")
    save(tmp_path / "made" / "0.webp", flat(9, 9, 200))
    with pytest.raises(UsageError, match=r"0\.webp may be made from 0\.bmp or 0\.png"):
        evaluate(Victim(colors), found, [parse_defense("none")], [tmp_path / "made"])
    save(tmp_path / "both" / "0.png", flat(9, 9, 200))
    save(tmp_path / "both" / "0.jpg", flat(9, 9, 200))
    with pytest.raises(UsageError, match=r"several images were made from 0\.png"):
        evaluate(Victim(colors), found[1:], [parse_defense("none")], [tmp_path / "both"])


def test_records_that_are_none_are_told(tmp_path):
    path = tmp_path / "attacks.jsonl"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"attacks\.jsonl is not UTF-8"):
        records.read_records(tmp_path)
    record = Attacked("a.png", "a.png", 0, None, 0, 0, 8, 8, 0, 1, 0.9, 5, 0, 0.1)
    for wrong in ({"file": 5}, {"label": "cat"}, {"confidence": None}):
        path.write_text(json.dumps(asdict(record) | wrong) + "\n")
        with pytest.raises(UsageError, match="line 1 is not the record"):
            records.read_records(tmp_path)
    path.write_text(json.dumps(asdict(record)) + "\n")
    assert records.read_records(tmp_path) == [record]


@needs_data
def test_lgs_saves_the_published_attacked_photographs():
    """All 48 are lost undefended, and at least 0.80 of them are right again behind LGS."""
    network = optional_data.needed("models", "squeezenet1_1.onnx")
    made = evaluate(
        Victim(models.load(str(network), PRESETS["as-is"])),
        dataset.find(DATA / "attacked" / "clean", DATA / "attacked" / "labels.csv"),
        [parse_defense("none"), parse_defense("lgs")],
        [DATA / "attacked" / "lavan_32px"],
    )
    none, lgs = made.rows
    assert (none.clean, none.accuracy) == (Share(48, 48), (Share(0, 48),))
    assert lgs.accuracy[0].value >= 0.8
    assert made.warnings == ()


def test_all_images_count_what_the_model_gets_wrong(colors, tmp_path):
    found = photographs(tmp_path / "photos")
    params = EvaluateParams(all_images=True)
    (row,) = evaluate(Victim(colors), found, [parse_defense("none")], params=params).rows
    assert row.clean == Share(6, 7)
    params = EvaluateParams(count=4)
    (row,) = evaluate(Victim(colors), found, [parse_defense("none")], params=params).rows
    assert row.clean == Share(4, 4)


def test_what_cannot_be_scored_is_told(colors, tmp_path):
    found = photographs(tmp_path / "photos")
    none = [parse_defense("none")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoImagesError):
        evaluate(Victim(colors), found, none, [tmp_path / "empty"])
    (tmp_path / "empty" / "attacks.jsonl").write_text('{"file": 1}\n')
    with pytest.raises(UsageError, match="line 1 is not the record"):
        evaluate(Victim(colors), found, none, [tmp_path / "empty"])
    other = [replace(p, name=f"x/{p.name}") for p in found]
    with pytest.raises(UsageError, match="none of its 7 images"):
        folder = attacked_folder(tmp_path / "other", other, set())
        evaluate(Victim(colors), found, none, [folder])
    with pytest.raises(UsageError, match=r"has label 8, but .* has classes 0 to 2"):
        evaluate(Victim(colors), [replace(found[0], label=8)], none)
    with pytest.raises(UsageError, match="has no label"):
        evaluate(Victim(colors), [replace(found[0], label=None)], none)
    wrong = [p for p in found if p.path.stem == "wrong"]
    with pytest.raises(UsageError, match="classifies none of 1 photographs rightly"):
        evaluate(Victim(colors), wrong, none)
    large = attacked_folder(tmp_path / "large", found, set())
    save(large / found[0].name, flat(1, 2, 3, side=9))
    with pytest.raises(UsageError, match="is 9×9, the model sees 8×8"):
        evaluate(Victim(colors), found, none, [large])


def test_the_blind_figure_counts_where_it_is_lower():
    row = Row("lgs", 1.0, Share(9, 10), (Share(2, 10),), (Share(7, 9),))
    blind = np.array([False] * 4 + [True] * 2 + [False] * 4)
    weighed, warnings = adaptive.weigh(row, Share(5, 8), blind, "lavan")
    assert weighed.adaptive == Share(2, 8)
    assert weighed.adaptive_is_blind
    assert warnings == ["lavan through lgs leaves 5 of 8, the blind attack 2: the blind figure "
                        "counts"]  # fmt: skip
    weighed, warnings = adaptive.weigh(row, Share(1, 8), blind, "lavan")
    assert (weighed.adaptive, weighed.adaptive_is_blind, warnings) == (Share(1, 8), False, [])


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from lgs_cli.__main__ import main
main()
"""


def without_torch(*arguments):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_scoring_needs_no_torch(colors, tmp_path):
    found = photographs(tmp_path / "photos")
    right = [p for p in found if p.path.stem != "wrong"]
    folder = attacked_folder(tmp_path / "lavan", right, {p.name for p in right})
    arguments = [
        "--model", colors.spec, "--preset", "as-is", "--images", tmp_path / "photos",
        "--defense", "none", "--defense", "median", "--attacked", folder, "--format", "csv",
    ]  # fmt: skip
    done = without_torch("evaluate", *arguments)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(r["hits"], r["total"]) for r in rows if r["defense"] == "none"] == [
        ("6", "6"),
        ("0", "6"),
        ("6", "6"),
    ]


def test_pasting_a_ready_patch_needs_no_torch(colors, tmp_path):
    photographs(tmp_path / "photos")
    save(tmp_path / "blue.png", flat(0, 0, 255, side=7))
    model = ["--model", colors.spec, "--preset", "as-is"]
    still = ["--rotation", 0, "--location", "1,0"]
    done = without_torch(
        "attack", "patch", tmp_path / "photos", "-o", tmp_path / "out", *model,
        "--apply", tmp_path / "blue.png", *still, "--through", "median:window=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for record in records.read_records(tmp_path / "out"):
        pixels = dataset.read(tmp_path / "out" / record.file)
        assert (pixels[:7, 1:] == (0, 0, 255)).all() and (pixels[7, :, 2] < 255).all()
        assert (record.top, record.left, record.height, record.width) == (0, 1, 7, 7)
        assert (record.after, record.before) == (2, 2 if "wrong" in record.source else record.label)
        assert (record.steps, record.target) == (0, None)
    spec = f"patch:apply={tmp_path / 'blue.png'},rotation=0"
    done = without_torch(
        "evaluate", *model, "--images", tmp_path / "photos", "--defense", "none", "--attack", spec,
        "--format", "csv",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    # the two blue photographs of six stay blue
    assert [(r["hits"], r["total"]) for r in rows] == [("6", "6"), ("2", "6"), ("4", "6")]
    done = without_torch("attack", "lavan", tmp_path / "photos", "-o", tmp_path / "o", *model)
    assert "an attack needs gradients" in done.stderr and not (tmp_path / "o").exists()


def test_without_torch_its_models_are_refused_by_name(tmp_path):
    photographs(tmp_path / "photos")
    (tmp_path / "net.pt2").write_bytes(b"")
    done = without_torch(
        "evaluate", "--model", tmp_path / "net.pt2", "--images", tmp_path / "photos"
    )
    assert done.returncode == 2
    assert "a .pt2 model needs torch: pip install 'lgs-cli[eval]'" in done.stderr


def test_the_commands_load_nothing_heavy():
    code = (
        "import sys\n"
        "from lgs_cli.commands import attack, evaluate, tune\n"
        "print([m for m in ('torch', 'numpy', 'cv2', 'PIL', 'tqdm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -------------------------------------------------------------------------------------- tune


def test_the_grid_passes_over_what_lgs_does_not_take():
    grid = TuneParams(smoothing="1,2", threshold="0.1", block_size="5,10", overlap="0,5").grid()
    # overlap 5 does not go with block size 5
    assert grid == [
        LgsParams(smoothing, 0.1, block, overlap)
        for smoothing in (1.0, 2.0)
        for block, overlap in ((5, 0), (10, 0), (10, 5))
    ]
    with pytest.raises(ValueError, match="overlap is 9"):
        TuneParams(block_size="5", overlap="9").grid()
    with pytest.raises(ValueError, match=r"1\.5 is no whole number"):
        TuneParams(block_size="1.5", overlap="0").grid()
    with pytest.raises(ValueError, match="smoothing is 'much'"):
        TuneParams(smoothing="much")


def rows_of(text):
    return [line for line in text.splitlines() if "[" in line and line[0].isdigit()]


class Scripted(Model):
    """Answers so that each combination has the accuracies of a script, told by its λ alone."""

    def __init__(self, script):
        super().__init__("scripted", PRESETS["as-is"])
        self.script = script
        self.calls = 0

    def _forward(self, images):
        hits = self.script[self.calls] if self.calls < len(self.script) else len(images)
        self.calls += 1
        logits = np.zeros((len(images), 2), np.float32)
        logits[:, 1] = 0.5
        logits[:hits, 0] = 1
        return logits


def test_the_front_and_the_choice_follow_from_the_counts(tmp_path):
    for index in range(10):
        save(tmp_path / "photos" / "0" / f"{index}.png", flat(1, 2, 3))
    found = dataset.find(tmp_path / "photos")
    folder = attacked_folder(tmp_path / "attacked", found, set())
    # choosing the images, then (clean, attacked) of λ = 1, 2, 3, 4
    counts = [10, 10, 2, 8, 6, 7, 6, 4, 9]
    params = TuneParams(smoothing="1,2,3,4", threshold="0.1", block_size="15", overlap="5", count=0)
    tuned = search_grid(Victim(Scripted(counts)), found, folder, params)
    assert [(p.clean.hits, p.attacked.hits) for p in tuned.points] == [
        (10, 2), (8, 6), (7, 6), (4, 9),
    ]  # fmt: skip
    assert [p.front for p in tuned.points] == [True, True, False, True]
    assert tuned.chosen.params.smoothing == 2
    assert tuned.options == "--smoothing 2 --threshold 0.1 --block-size 15 --overlap 5"
    for weight, smoothing in ((1.0, 1), (0.0, 4), (0.9, 1), (0.3, 4)):
        weighted = replace(params, clean_weight=weight)
        chosen = search_grid(Victim(Scripted(counts)), found, folder, weighted).chosen
        assert chosen.params.smoothing == smoothing, weight
    assert tuned.options in grid_search.write(tuned)
    assert "3 of 4 combinations" in grid_search.write(tuned)
    assert len(rows_of(grid_search.write(tuned))) == 3
    plain = json.loads(grid_search.to_json(tuned))
    assert [p["chosen"] for p in plain["points"]] == [False, True, False, False]
    root = ET.fromstring(charts.scatter(tuned))
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 4 + 1


def test_a_sample_that_separates_nothing_is_told(tmp_path):
    """By hand: 5 images more are 2/2⁵ = 6 % by chance, 6 are 2/2⁶ = 3 %."""
    for index in range(10):
        save(tmp_path / "photos" / "0" / f"{index}.png", flat(1, 2, 3))
    found = dataset.find(tmp_path / "photos")
    folder = attacked_folder(tmp_path / "attacked", found, set())
    params = TuneParams(smoothing="1,2,3", threshold="0.1", block_size="15", overlap="5", count=0)
    # choosing the images, then (clean, attacked) of λ = 1, 2, 3: 10 images, 5 fewer, 6 fewer
    tuned = search_grid(Victim(Scripted([10, 10, 8, 9, 4, 8, 4])), found, folder, params)
    assert tuned.chosen.params.smoothing == 1
    assert tuned.unseparated == 1
    text = grid_search.write(tuned)
    assert "1 of the 2 other combinations differ from the chosen one by no more than chance" in text
    tuned = search_grid(Victim(Scripted([10, 10, 8, 4, 4, 4, 4])), found, folder, params)
    assert tuned.unseparated == 0
    assert "chance" not in grid_search.write(tuned)


def test_combinations_of_the_same_figures_have_one_line(tmp_path):
    for index in range(10):
        save(tmp_path / "photos" / "0" / f"{index}.png", flat(1, 2, 3))
    found = dataset.find(tmp_path / "photos")
    folder = attacked_folder(tmp_path / "attacked", found, set())
    params = TuneParams(smoothing="1,2.3,5", threshold="0.1", block_size="15", overlap="5", count=0)
    tuned = search_grid(Victim(Scripted([10] + [9, 7] * 3)), found, folder, params)
    (row,) = rows_of(grid_search.write(tuned))
    assert row.startswith("2.3 ")
    assert row.endswith("chosen, 2 more alike")
