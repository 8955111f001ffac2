from __future__ import annotations

import shutil

import pytest

from lgs_cli.batch import outputs
from lgs_cli.batch.outputs import Outputs
from lgs_cli.errors import UsageError
from lgs_cli.storage.inputs import Source


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    return tmp_path


def sources(*names, root="in/"):
    return [Source(root, name) for name in names]


def check(*names, out="out", masks=None, form=None, **options):
    Outputs(out, masks, form).check(["in"], sources(*names), **options)


@pytest.mark.parametrize(
    ("name", "form", "output", "mask"),
    [
        ("a.JPG", None, "o/a.JPG", "m/a.JPG.png"),
        ("sub/a.jpeg", "jpeg", "o/sub/a.jpeg", "m/sub/a.jpeg.png"),
        ("a.jpg", "png", "o/a.png", "m/a.jpg.png"),
        ("a.b.png", "tiff", "o/a.b.tif", "m/a.b.png.png"),
        ("a.b/c", "webp", "o/a.b/c.webp", "m/a.b/c.png"),
        ("noext", None, "o/noext", "m/noext.png"),
    ],
)
def test_names(name, form, output, mask):
    (source,) = sources(name)
    assert Outputs("o", "m", form).of(source) == (output, mask)
    assert Outputs("o", None, form).of(source) == (output, None)
    job = Outputs("o", "m", form).job(7, source)
    assert (job.place, job.source, job.output, job.mask) == (7, f"in/{name}", output, mask)


def test_two_outputs_of_one_name_are_refused():
    check("a.jpg", "a.png", "sub/a.jpg")
    with pytest.raises(UsageError, match=r"^in/a\.jpg and in/a\.png would both be written to"):
        check("a.jpg", "a.png", form="webp")
    with pytest.raises(UsageError, match=r"^in/a\.png is given twice$"):
        check("a.png", "b.png", "a.png", masks="m")


def test_masks_of_one_stem_have_names_of_their_own():
    check("a.jpg", "a.png", "a.jpg.png", masks="m")
    names = ["a.jpg", "a.png", "n" * 251 + ".png", "n" * 251 + ".jpg", "\N{SNOWMAN}" * 84 + ".jp2"]
    masks = [Outputs("o", "m", None).of(source)[1] for source in sources(*names)]
    assert masks[:2] == ["m/a.jpg.png", "m/a.png.png"]
    assert len(set(masks)) == 5
    assert all(len(mask.encode()) <= len("m/") + 255 for mask in masks)
    assert all(mask.endswith(".png") for mask in masks)


@pytest.mark.parametrize("folds", [True, False])
def test_names_that_differ_in_case_clash_where_the_file_system_folds_it(monkeypatch, folds):
    asked = []
    monkeypatch.setattr(outputs, "folds_case", lambda path: asked.append(path) or folds)
    check("a.jpg", "b.jpg")
    assert not asked
    if folds:
        with pytest.raises(UsageError, match=r"^in/A\.jpg and in/a\.JPG would both be written to"):
            check("A.jpg", "b.jpg", "a.JPG")
    else:
        check("A.jpg", "b.jpg", "a.JPG", "B.jpg")
    assert asked == ["out"]
    check("A.jpg", "a.jpg", write=False)
    assert asked == ["out"]


def test_the_probe_for_case_leaves_nothing_behind(here):
    # What this file system does is seen by asking it directly.
    (here / "probe").touch()
    folds = (here / "PROBE").exists()
    assert outputs.folds_case("out/not/there/yet") is folds
    assert sorted(path.name for path in here.iterdir()) == ["in", "probe"]


def test_an_output_that_is_an_input_is_refused(here):
    for name in ("in/a.jpg", "in/a.png", "in/a.png.png"):
        (here / name).touch()
    with pytest.raises(UsageError, match=r"^\./in/a\.jpg is an input; it would be overwritten$"):
        Outputs("./in", None, None).check([], sources("a.jpg"))
    # The second output, a.png in the folder of the first input.
    both = [*sources("a.jpg"), *sources("a.png")]
    with pytest.raises(UsageError, match=r"in/a\.png is an input"):
        Outputs("in", None, "png").check([], both)
    with pytest.raises(UsageError, match=r"in/a\.png\.png is an input"):
        Outputs("out", "in", None).check([], [*both, *sources("a.png.png")])
    (here / "linked").symlink_to("in")
    with pytest.raises(UsageError, match=r"linked/a\.jpg is an input"):
        Outputs("linked", None, None).check([], sources("a.jpg"))
    # An input that is a link: what it leads to is an input too.
    (here / "b.jpg").symlink_to("in/a.jpg")
    with pytest.raises(UsageError, match=r"in/a\.jpg is an input"):
        Outputs("in", None, None).check([], [Source("", "b.jpg"), Source("sub/", "a.jpg")])


def test_nothing_is_written_through_a_link_out_of_the_directory(here):
    (here / "elsewhere").mkdir()
    (here / "out").mkdir()
    (here / "out/sub").symlink_to(here / "elsewhere")
    check("a.jpg")
    with pytest.raises(UsageError, match="would be written through a link below"):
        check("sub/a.jpg")


def test_other_files_of_the_run_are_checked_too(here):
    (here / "in/a.jpg").touch()
    with pytest.raises(UsageError, match=r"in/a\.jpg is an input; it would be overwritten"):
        check("a.jpg", others=["in/a.jpg"])
    with pytest.raises(UsageError, match=r"out/a\.jpg would be written twice"):
        check("a.jpg", others=["./out/a.jpg"])
    check("a.jpg", others=["out/report.jsonl"])


def test_directories_must_be_directories(here):
    (here / "file").touch()
    (here / "broken").symlink_to("nowhere")
    for path, named in (("file", "file"), ("file/x/y", "file"), ("broken", "broken")):
        with pytest.raises(UsageError, match=f"^{named} is not a directory$"):
            check("a.jpg", out=path)
        with pytest.raises(UsageError, match=f"^{named} is not a directory$"):
            check("a.jpg", masks=path)
    for path in ("in", "in/", "./in", here / "in"):
        with pytest.raises(UsageError, match=r"^in is both an input and where outputs go$"):
            check("a.jpg", out=str(path))
    check("a.jpg", out="in/cleaned", masks="in/masks/")


def test_what_cannot_be_read_clashes_with_nothing(monkeypatch):
    monkeypatch.setattr(outputs, "folds_case", lambda path: True)
    bad = [Source("in/", "a.jpg", "a directory, not an image file")]
    Outputs("out", None, "png").check(["in"], [*bad, *sources("a.png")])


def test_a_check_writes_nothing(here):
    before = (here / "in").stat().st_mtime_ns
    shutil.copytree(here / "in", here / "out")
    check("A.jpg", "a.jpg", "sub/b.jpg", masks="m", write=False)
    assert (here / "in").stat().st_mtime_ns == before
    assert not list((here / "out").iterdir())
    assert not (here / "m").exists()
