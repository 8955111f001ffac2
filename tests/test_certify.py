"""``lgs certify``: counts that can be made by hand, from files that can be continued."""

from __future__ import annotations

import hashlib
import json
from itertools import combinations

import numpy as np
import optional_data
import pytest
from double_masking import BLUE, GREEN, RED, answer, double_masking, patched, spots
from PIL import Image

from lgs_cli.defenses.masking import MaskParams
from lgs_cli.defenses.preprocessing import Preprocessing, seen
from lgs_cli.evaluation import dataset, models

SMALL = Preprocessing(resize=10, crop=8)
PARAMS = MaskParams(masks_per_side=3)
COMMAND = ("certify", "photos", "--resize", 10, "--crop", 8, "--masks-per-side", 3)


@pytest.fixture
def photos(lgs):
    """Photographs of class 0, red: clearly so, by a hair, fooled, green after all."""
    pictures = {
        "clear.png": spots(1, tint=30),
        "clear_too.png": spots(2, tint=30),
        "hair.png": spots(3, tint=2),
        "fooled.png": patched(spots(4), GREEN),
        "wrong.png": patched(spots(5), GREEN, (slice(0, 40), slice(0, 60))),
    }
    folder = lgs.folder / "photos" / "0"
    folder.mkdir(parents=True)
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / name)
    return folder.parent


def by_hand(model: models.Model, pixels: np.ndarray) -> tuple[int, int, bool, bool]:
    """Give the plain answer, the defended one, and whether the two proofs hold for red."""
    masks = PARAMS.masks(seen(*pixels.shape[:2], SMALL))

    def under(*which: int) -> int:
        masked = pixels.copy()
        for mask in which:
            masked[masks[mask]] = 128
        return answer(model, masked)

    plain = under()
    ones = {under(mask) for mask in range(9)}
    twos = {under(*pair) for pair in combinations(range(9), 2)}
    defended = double_masking(model, pixels, PARAMS)
    return plain, defended, ones | twos == {RED}, {plain} | ones == {RED}


def test_counts(lgs, photos, tiny_model):
    run = lgs(*COMMAND, "--model", tiny_model, "--results", "r.jsonl")
    assert run.returncode == 0, run.stderr
    model = models.load(str(tiny_model), SMALL)
    files = sorted((photos / "0").iterdir())
    expected = [by_hand(model, dataset.read(path)) for path in files]
    head, *lines = [json.loads(line) for line in (lgs.folder / "r.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == [f"0/{path.name}" for path in files]
    assert [
        (line["label"], line["plain"], line["answer"], line["certified"]) for line in lines
    ] == [(RED, plain, defended, proof) for plain, defended, proof, _ in expected]
    assert head["masks_per_side"] == 3 and head["patch_fraction"] == 0.02
    assert not head["alert"]

    right = sum(plain == RED for plain, *_ in expected)
    defended = sum(label == RED for _, label, *_ in expected)
    proved = sum(proof for *_, proof, _ in expected)
    # The pictures are chosen so that the three differ.
    assert 0 < proved < right < defended < 5
    title, _, *rows = run.stdout.decode().splitlines()
    assert title.startswith(f"{tiny_model}, patches of up to 2 %, 3 x 3 masks: 5 photographs")
    assert [row.split("  ")[0] for row in rows] == [
        "right, undefended", "right, defended", "provably right whatever the patch",
    ]  # fmt: skip
    assert [int(row[len(rows[2].split("  ")[0]) :].split()[0]) for row in rows] == [
        right, defended, proved,
    ]  # fmt: skip


def test_alert(lgs, photos, tiny_model):
    run = lgs(*COMMAND, "--model", tiny_model, "--alert", "--format", "json", "-o", "s.json")
    assert run.returncode == 0, run.stderr
    assert run.stdout == b""
    found = json.loads((lgs.folder / "s.json").read_text())
    model = models.load(str(tiny_model), SMALL)
    expected = [by_hand(model, dataset.read(path)) for path in sorted((photos / "0").iterdir())]
    assert found["certified"]["hits"] == sum(alerted for *_, alerted in expected)
    assert found["certified"]["total"] == found["photographs"] == 5
    assert found["undefended"]["hits"] == sum(plain == RED for plain, *_ in expected)
    assert found["passes"] == 5 * (1 + 9)
    for one, (plain, *_, alerted) in zip(found["certificates"], expected, strict=True):
        assert one["certified"] == alerted
        assert one["answer"] in (None, plain)
        assert one["certified"] <= (one["answer"] == RED)
    assert found["false_alarms"]["hits"] == sum(
        one["answer"] is None for one in found["certificates"]
    )
    assert found["false_alarms"]["hits"] > 0
    assert found["command"].startswith("lgs certify photos ")
    assert found["libraries"]["numpy"] == np.__version__
    assert found["settings"]["model_sha256"] == hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    # Wilson's interval of 3 in 5, say, from its definition: the p where |p̂ - p| is 1.96 σ(p).
    share = found["certified"]
    for end in share["interval"]:
        distance = abs(share["hits"] / 5 - end)
        assert distance == pytest.approx(1.959964 * (end * (1 - end) / 5) ** 0.5, abs=1e-6)


def test_resume_does_the_rest_and_the_changed(lgs, photos, tiny_model):
    command = (*COMMAND, "--model", tiny_model, "--results", "r.jsonl")
    whole = lgs(*command)
    results = lgs.folder / "r.jsonl"
    head, *lines = results.read_text().splitlines()

    run = lgs(*command)
    assert run.returncode == 2
    assert run.stderr.startswith("lgs: r.jsonl is there already; --resume continues it")
    assert results.read_text().splitlines() == [head, *lines]

    # Of a run that was killed: a line is torn. To see that the others are not done again they
    # are given what no run would find out.
    marked = lines[1].replace('"passes": ', '"passes": 1000')
    results.write_text("\n".join([head, lines[0], marked, lines[2][:40]]))
    run = lgs(*command, "--resume")
    assert run.returncode == 0
    assert run.stdout == whole.stdout
    assert results.read_text().splitlines() == [head, lines[0], marked, *lines[2:]]

    # A photograph that is another one now is looked at again.
    path = photos / json.loads(lines[1])["file"]
    Image.fromarray(spots(20, tint=30)).save(path)
    assert lgs(*command, "--resume").returncode == 0
    again = [json.loads(line) for line in results.read_text().splitlines()[1:]]
    assert [one["file"] for one in again][-1] == json.loads(lines[1])["file"]
    assert again[-1]["passes"] < 1000
    assert len(again) == 6  # of two lines for one photograph the later counts
    assert lgs(*command, "--resume").returncode == 0
    assert len(results.read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--alert",), "alert"),
        (("--patch-fraction", 0.03), "patch fraction"),
        (("--mean", "0.5,0.5,0.5"), "preprocessing"),
        (("--model", "other.onnx"), "model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_results_of_other_settings_are_not_continued(lgs, photos, tiny_model, options, what):
    command = (*COMMAND, "--model", tiny_model, "--results", "r.jsonl", "--count", 1)
    assert lgs(*command).returncode == 0
    before = (lgs.folder / "r.jsonl").read_bytes()
    (lgs.folder / "other.onnx").write_bytes(tiny_model.read_bytes() + b"\x1a\x00")
    run = lgs(*command, "--resume", *options)
    assert run.returncode == 2
    assert run.stderr.startswith(f"lgs: r.jsonl was made with another {what}\n")
    assert (lgs.folder / "r.jsonl").read_bytes() == before


def test_the_same_model_may_have_moved(lgs, photos, tiny_model):
    command = (*COMMAND, "--results", "r.jsonl", "--count", 2, "--model")
    assert lgs(*command, tiny_model).returncode == 0
    (lgs.folder / "moved.onnx").write_bytes(tiny_model.read_bytes())
    assert lgs(*command, "moved.onnx", "--resume").returncode == 0


def test_a_file_that_holds_something_else_is_left_alone(lgs, photos, tiny_model):
    for content in ('{"file": "a.jpg"}\n', "", "notes\n", "é"):
        (lgs.folder / "r.jsonl").write_text(content)
        run = lgs(*COMMAND, "--model", tiny_model, "--results", "r.jsonl", "--resume")
        assert run.returncode == 2
        assert "r.jsonl is not a file of results of lgs certify" in run.stderr
        assert (lgs.folder / "r.jsonl").read_text() == content


def test_a_broken_photograph_loses_nothing_else(lgs, photos, tiny_model):
    (photos / "0" / "clear.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    run = lgs(*COMMAND, "--model", tiny_model, "--results", "r.jsonl")
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.startswith("lgs: photos/0/clear.png: ")
    assert "4 photographs [95 % interval]" in run.stdout.decode()
    assert "not counted: 1 photograph that cannot be used" in run.stdout.decode()
    assert len((lgs.folder / "r.jsonl").read_text().splitlines()) == 1 + 4


def test_count_is_spread_over_the_folder(lgs, photos, tiny_model):
    run = lgs(*COMMAND, "--model", tiny_model, "--count", 2, "--format", "json")
    found = json.loads(run.stdout)
    # clear, clear_too, fooled, hair, wrong
    assert [one["file"] for one in found["certificates"]] == ["0/clear.png", "0/fooled.png"]


def test_a_larger_patch_is_harder(lgs, tiny_model):
    folder = lgs.folder / "photos" / "1"
    folder.mkdir(parents=True)
    # Roll red to green: of a picture that is all mask the tiny model says red.
    Image.fromarray(np.roll(spots(1, tint=30), 1, axis=2)).save(folder / "a.png")
    certified = []
    for size in (2, 36):
        run = lgs(*COMMAND, "--model", tiny_model, "--patch-size", size, "--format", "json")
        certified.append(json.loads(run.stdout)["certified"]["hits"])
        assert f'"patch_size": {size}' in run.stdout.decode()
    assert certified == [1, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--resume",), "--resume needs --results FILE"),
        (("--masks-per-side", 1), "masks_per_side is 1; valid is 2 to 32"),
        (("--results", "photos/0/a.png"), "photos/0/a.png is an input"),
        (("--labels", "none.csv"), "cannot read none.csv"),
        (("--labels", "high.csv"), "photos/0/a.png has label 7, but m.onnx has classes 0 to 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_one_line(lgs, tiny_model, arguments, message):
    (lgs.folder / "m.onnx").write_bytes(tiny_model.read_bytes())
    folder = lgs.folder / "photos" / "0"
    folder.mkdir(parents=True)
    Image.fromarray(spots(1)).save(folder / "a.png")
    (lgs.folder / "high.csv").write_text("file,label\n0/a.png,7\n")
    run = lgs(*COMMAND, "--model", "m.onnx", *arguments)
    assert run.returncode == 2
    assert message in run.stderr.splitlines()[0]
    assert run.stdout == b""


def test_photographs_without_labels_are_refused(lgs, tiny_model):
    (lgs.folder / "photos").mkdir()
    Image.fromarray(spots(1)).save(lgs.folder / "photos" / "a.png")
    run = lgs(*COMMAND, "--model", tiny_model)
    assert run.returncode == 2
    assert "photos/a.png has no label" in run.stderr


def test_a_certified_photograph_survives_what_an_attacker_writes_into_the_file(
    lgs, photos, tiny_model
):
    """From file to file: certify says so, patches go into the file, clean answers rightly."""
    run = lgs(*COMMAND, "--model", tiny_model, "--format", "json")
    certified = [one["file"] for one in json.loads(run.stdout)["certificates"] if one["certified"]]
    assert certified
    attacked = lgs.folder / "attacked"
    attacked.mkdir()
    rows, columns = seen(40, 60, SMALL)
    side = int((0.02 * (rows.stop - rows.start) * (columns.stop - columns.start)) ** 0.5)
    for name in certified:
        pixels = np.asarray(Image.open(photos / name))
        for index, (top, left) in enumerate([(0, 10), (13, 27), (40 - side, 51 - side)]):
            for channel in (GREEN, BLUE):
                box = slice(top, top + side), slice(left, left + side)
                target = attacked / f"{name.replace('/', '-')}-{index}-{channel}.png"
                Image.fromarray(patched(pixels, channel, box)).save(target)
    run = lgs(
        "clean", "attacked", "-o", "out", "--method", "double-mask", "--model", tiny_model,
        "--param", "resize=10", "--param", "crop=8", "--param", "masks-per-side=3",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    model = models.load(str(tiny_model), SMALL)
    for path in sorted(attacked.iterdir()):
        assert answer(model, dataset.read(lgs.folder / "out" / path.name)) == RED


def test_a_torch_model_is_certified_too(lgs, photos, tiny_model):
    pytest.importorskip("torch", reason="needs torch: pip install 'lgs-cli[eval]'")
    (lgs.folder / "toy.py").write_text(
        "import torch\n"
        "class Means(torch.nn.Module):\n"
        "    def forward(self, x):\n        return x.mean(dim=(2, 3))\n"
    )
    found = [
        json.loads(lgs(*COMMAND, "--model", model, "--format", "json").stdout)
        for model in ("toy:Means", tiny_model)
    ]
    assert found[0]["certificates"] == found[1]["certificates"]


def test_a_real_network_on_real_photographs(lgs):
    network = optional_data.needed("models", "squeezenet1_1.onnx")
    folder = optional_data.needed("imagenet")
    run = lgs(
        "certify", folder, "--labels", folder / "labels.csv", "--model", network, "--count", 2,
        "--masks-per-side", 2, "--format", "json",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["photographs"] == 2
    for one in found["certificates"]:
        path = folder / one["file"]
        model = models.load(str(network), Preprocessing())
        pixels = dataset.read(path)
        assert one["answer"] == double_masking(model, pixels, MaskParams(masks_per_side=2))
        assert one["certified"] <= (one["answer"] == one["label"])


def test_progress_for_programs(lgs, photos, tiny_model):
    command = (*COMMAND, "--model", tiny_model, "--progress", "json", "--results", "r.jsonl")
    for known, arguments in ((0, ("--count", 2)), (2, ("--resume",))):
        run = lgs(*command, *arguments)
        told = [json.loads(line) for line in run.stderr.splitlines()]
        assert {one["total"] for one in told} == {2 if known == 0 else 5 - known}
        assert told[-1]["done"] == told[-1]["total"]
        assert told[0]["done"] == 0
        assert told[-1]["seconds_left"] == 0
