from __future__ import annotations

import os

import fuzz_lists
import pytest

from lgs_cli.errors import UsageError
from lgs_cli.formats import FORMATS, HEIC_INSTALLED
from lgs_cli.storage.inputs import PassedOver, Selection, find


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(*inputs, listed=(), never=(), **selection):
    sources = find(map(str, inputs), map(str, listed), Selection(**selection), map(str, never))
    return [(source.root, source.relative) for source in sources]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_directory_is_sorted_by_name(here):
    make(here, "in/b.png", "in/a/z.png", "in/B.png", "in/a/1/q.png", "in/a.png", "in/c/.png.png")
    assert [relative for _, relative in found("in")] == [
        "B.png", "a/1/q.png", "a/z.png", "a.png", "b.png",
    ]  # fmt: skip


def test_only_names_of_image_formats_are_taken(here):
    forms = [form for form in FORMATS.values() if form.name != "heic" or HEIC_INSTALLED]
    suffixes = [suffix for form in forms for suffix in form.suffixes]
    assert {".jpg", ".JPEG".lower(), ".png", ".webp", ".tif", ".avif", ".jp2", ".ppm"} <= {
        *suffixes
    }
    make(here, *(f"in/x{suffix}" for suffix in suffixes), "in/upper.JPG")
    make(here, "in/x.txt", "in/x", "in/png", "in/x.jpg.bak", "in/.png")
    assert {relative for _, relative in found("in")} == {
        "upper.JPG", *(f"x{suffix}" for suffix in suffixes),
    }  # fmt: skip


def test_a_root_joins_with_its_files_to_paths_that_open(here):
    make(here, "in/sub/a.png")
    for spelled in ("in", "in/", "./in", "in/../in", here / "in"):
        ((root, relative),) = found(spelled)
        assert relative == "sub/a.png"
        assert os.path.exists(root + relative)
    assert found("in/sub/a.png") == [("in/sub/", "a.png")]
    os.chdir(here / "in/sub")
    assert found("a.png") == [("", "a.png")]
    assert found(".") == [("./", "a.png")]


def test_listed_paths_keep_their_folders_where_they_are_relative(here):
    make(here, "in/sub/a.png", "in/b.png")
    assert found(listed=["in/sub/a.png", "./in//b.png"]) == [("", "in/sub/a.png"), ("", "in/b.png")]
    assert found(listed=[here / "in/b.png"]) == [(f"{here}/in/", "b.png")]
    assert found(listed=["in/sub"]) == [("", "in/sub/a.png")]
    assert found(listed=[here / "in/sub"]) == [(f"{here}/in/", "sub/a.png")]
    os.chdir(here / "in")
    assert found(listed=["../in/b.png"]) == [("../in/", "b.png")]
    assert found(listed=["."]) == [("", "b.png"), ("", "sub/a.png")]


def test_directories_that_are_written_to_are_not_walked(here):
    make(here, "in/a.png", "in/out/b.png", "in/sub/out/c.png", "in/deep/masks/d.png")
    never = ["in/out", here / "in/deep/../deep/masks"]
    assert found("in", never=never) == [("in/", "a.png"), ("in/", "sub/out/c.png")]
    (here / "link").symlink_to("in")
    assert found("link", never=never) == [("link/", "a.png"), ("link/", "sub/out/c.png")]
    assert found("in", never=["link/out", "link/deep"])[1:] == [("in/", "sub/out/c.png")]


def test_links_to_directories_below_are_not_followed(here):
    make(here, "in/a.png", "other/b.png")
    (here / "in/again").symlink_to(here / "in")
    (here / "in/other").symlink_to(here / "other")
    (here / "in/c.png").symlink_to(here / "other/b.png")
    assert found("in") == [("in/", "a.png"), ("in/", "c.png")]
    assert found("in/other") == [("in/other/", "b.png")]


def test_an_excluded_directory_is_not_walked(here):
    make(here, "in/a/x.png", "in/b/x.png", "in/c/a/x.png")
    assert [r for _, r in found("in", exclude=("a",))] == ["b/x.png"]
    assert [r for _, r in found("in", exclude=("c/a/",))] == ["a/x.png", "b/x.png"]
    assert [r for _, r in found("in", exclude=("**/a",), include=("**/x.*",))] == ["b/x.png"]


def test_directories_of_outputs_are_passed_over(here):
    make(here, "in/a.png", "in/out/.lgs-manifest.jsonl", "in/out/b.png", "in/sub/masks/c.png")
    make(here, "in/sub/masks/.lgs-manifest.jsonl", "in/sub/d.png")
    passed_over = PassedOver()
    sources = list(find(["in"], [], Selection(), [], passed_over))
    assert [source.relative for source in sources] == ["a.png", "sub/d.png"]
    assert passed_over.folders == ["in/out", "in/sub/masks"]
    assert [relative for _, relative in found("in", include_outputs=True)] == [
        "a.png", "out/b.png", "sub/d.png", "sub/masks/c.png",
    ]  # fmt: skip
    # To name one is to mean it.
    assert found("in/out") == [("in/out/", "b.png")]
    assert found(listed=["in/out"]) == [("", "in/out/b.png")]


def test_files_of_other_kinds_are_noted_unless_they_are_not_wanted(here):
    make(here, "in/a.png", "in/b.psd", "in/sub/c.tga", "in/no", "in/.hidden", "in/d.txt")

    def noted(**selection):
        passed_over = PassedOver()
        assert len(list(find(["in"], [], Selection(**selection), [], passed_over))) == 1
        return passed_over.files

    assert noted() == ["in/b.psd", "in/d.txt", "in/no", "in/sub/c.tga"]
    assert noted(exclude=("*.txt", "sub")) == ["in/b.psd", "in/no"]
    assert noted(include=("*.png", "*.tga")) == ["in/sub/c.tga"]
    assert noted(recursive=False) == ["in/b.psd", "in/d.txt", "in/no"]


def test_an_input_that_is_not_there_is_refused(here):
    make(here, "a.png")
    with pytest.raises(UsageError, match=r"^gone: no such file or directory\b"):
        found("a.png", "gone")
    (here / "broken").symlink_to("nowhere")
    assert found("broken") == [("", "broken")]


def test_a_directory_named_like_an_image_is_a_problem_of_its_own(here):
    make(here, "in/x.jpg/inside.jpg", "in/y.jpg")
    first, second = find(["in"], [], Selection(), [])
    assert (first.path, first.problem) == ("in/x.jpg", "a directory, not an image file")
    assert (second.path, second.problem) == ("in/y.jpg", None)


def test_a_tree_deeper_than_pythons_stack(tmp_path):
    deep = tmp_path
    for _ in range(1100):
        deep = deep / "d"
        os.mkdir(deep)
    (deep / "a.png").touch()
    (tmp_path / "d" / "z.png").touch()
    found = [source.relative for source in find([str(tmp_path)], [], Selection(), [])]
    assert found == ["d/" * 1100 + "a.png", "d/z.png"]
    # Nor can the test's own cleaning-up go so deep.
    (deep / "a.png").unlink()
    (tmp_path / "d" / "z.png").unlink()
    while deep != tmp_path:
        deep.rmdir()
        deep = deep.parent


def test_listed_names_that_begin_with_dots(tmp_path, monkeypatch):
    (tmp_path / "here" / "..x").mkdir(parents=True)
    (tmp_path / "up.png").touch()
    monkeypatch.chdir(tmp_path / "here")
    assert [source.relative for source in find([], ["..x/a.png"], Selection(), [])] == ["..x/a.png"]
    assert [source.relative for source in find([], ["../up.png"], Selection(), [])] == ["up.png"]
    assert [source.relative for source in find([], [".."], Selection(), [])] == ["up.png"]


def test_damaged_lists(tmp_path):
    """A small part of ``make fuzz``."""
    counts = fuzz_lists.check(tmp_path, 500, 7)
    assert counts["planned"] > 5
    assert counts["refused"] > 3
    assert counts["run"] == 1
