"""``lgs compare`` as a shell runs it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pictures import SAMPLES, read
from PIL import Image


def places(sheet: np.ndarray, picture: np.ndarray) -> list[tuple[int, int]]:
    """Find every (top, left) at which the sheet holds exactly this picture."""
    height, width = picture.shape[:2]
    return [
        (int(top), int(left))
        for top, left in np.argwhere((sheet == picture[0, 0]).all(2))
        if np.array_equal(sheet[top : top + height, left : left + width], picture)
    ]


def test_a_row_an_image_and_a_column_a_method(lgs, photos):
    jpeg = io.BytesIO()
    original = read(photos / "a.jpg")
    Image.fromarray(original).save(jpeg, "JPEG", quality=10)
    run = lgs(
        *("compare", "photos/a.jpg", "photos/b.jpg", "-o", "sheet.png"),
        *("--method", "jpeg:quality=10", "--method", "bit-depth:bits=8"),
    )
    assert run.returncode == 0
    sheet = read(lgs.folder / "sheet.png")
    assert run.stderr == f"sheet.png: {sheet.shape[1]} x {sheet.shape[0]} pixels\n"
    # Eight bits change nothing: the first and the last column are the original.
    (top, left), (other_top, right) = places(sheet, original)
    assert top == other_top
    ((middle_top, middle),) = places(sheet, np.asarray(Image.open(jpeg)))
    assert middle_top == top
    assert middle - left == right - middle > 180
    assert len(places(sheet, read(photos / "b.jpg"))) == 2


def test_by_default_localize_is_among_the_columns(lgs):
    names = ["lgs", "localize", "jpeg", "tvm", "bit-depth", "median"]
    chosen = [word for name in names for word in ("--method", name)]
    sheets = []
    for options in ([], chosen):
        run = lgs("compare", SAMPLES / "chelsea.jpg", "-o", "sheet.png", *options)
        assert run.returncode == 0
        sheets.append((lgs.folder / "sheet.png").read_bytes())
    assert sheets[0] == sheets[1]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["photos/a.jpg", "-o", "sheet.gif"], "sheet.gif: the sheet is a .png or a .jpg file"),
        (["photos/gone.jpg", "-o", "s.png"], "photos/gone.jpg: no such file or directory"),
        (["photos", "-o", "s.png"], "photos is a directory"),
        (["photos/a.jpg", "-o", "s.png", "--method", "lsg"], "no method 'lsg'"),
        (["photos/a.jpg", "-o", "photos/a.jpg"], "photos/a.jpg is an input"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(lgs, photos, words, reason):
    before = sorted(lgs.folder.rglob("*"))
    run = lgs("compare", *words)
    assert run.returncode == 2
    assert run.stderr.startswith(f"lgs: {reason}")
    assert sorted(lgs.folder.rglob("*")) == before


def test_an_image_that_cannot_be_read_is_named(lgs, photos):
    (photos / "bad.png").write_bytes(b"no image")
    run = lgs("compare", "photos/a.jpg", "photos/bad.png", "-o", "sheet.png", "--method", "median")
    assert (run.returncode, run.stderr) == (1, "lgs: photos/bad.png: not an image\n")
    assert not (lgs.folder / "sheet.png").exists()
