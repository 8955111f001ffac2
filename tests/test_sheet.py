from __future__ import annotations

import numpy as np
import pytest
from pictures import attacked

from lgs_cli.report.sheet import Cell, Label, make_sheet

PARAMS = ("smoothing 2.3", "threshold 0.1", "block size 15", "overlap 5")


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def sheet_of(images: list[np.ndarray], columns: int = 2, **options) -> np.ndarray:
    labels = [Label("original"), *(Label("lgs", PARAMS) for _ in range(columns - 1))]
    rows = [Label(f"image_{number}.png") for number in range(len(images))]
    return make_sheet(rows, labels, [[Cell(image)] * columns for image in images], **options)


def places(sheet: np.ndarray, image: np.ndarray) -> list[tuple[int, int]]:
    """Find every (top, left) where the sheet holds exactly this image."""
    height, width = image.shape[:2]
    starts = np.argwhere((sheet == image[0, 0]).all(2))
    return [
        (int(top), int(left))
        for top, left in starts
        if np.array_equal(sheet[top : top + height, left : left + width], image)
    ]


def ink(region: np.ndarray) -> int:
    """Count the dark pixels, which on an empty white sheet are text."""
    return int((region < 128).all(2).sum())


def test_pictures_stand_pixel_for_pixel_in_a_grid_in_order():
    grid = [[noise(100, 120, seed=10 * row + column) for column in range(3)] for row in range(2)]
    sheet = make_sheet(
        [Label("a.png"), Label("b.png")],
        [Label("original"), Label("lgs", PARAMS), Label("jpeg", ("quality 30",))],
        [[Cell(image) for image in line] for line in grid],
    )
    found = [[places(sheet, image) for image in line] for line in grid]
    assert all(len(where) == 1 for line in found for where in line)
    at = np.array(found)[:, :, 0]
    assert (at[:, :, 0] == at[:, :1, 0]).all()  # one top a row
    assert (at[:, :, 1] == at[:1, :, 1]).all()  # one left a column
    assert (np.diff(at[:, 0, 0]) > 100).all()
    assert (np.diff(at[0, :, 1]) > 120).all()


def test_text_stands_above_and_never_on_a_picture_nor_at_the_edge():
    white = np.full((150, 180, 3), 255, np.uint8)
    sheet = make_sheet(
        [Label("photograph.png", ("180 x 150",))],
        [Label("original"), Label("lgs", PARAMS)],
        [[Cell(white), Cell(white, caption="3.6% changed")]],
    )
    dark = np.argwhere((sheet < 128).all(2))
    assert len(dark) > 500
    assert dark.min() >= 32
    assert (np.array(sheet.shape[:2]) - dark.max(0)).min() >= 32
    # The two white pictures are the only empty regions of this size.
    empty = (sheet == 255).all(2)
    full = [
        (top, left)
        for top in range(sheet.shape[0] - 149)
        for left in (32, 32 + 180 + 16)
        if empty[top : top + 150, left : left + 180].all()
    ]
    assert len(full) == 2
    assert full[0][0] == full[1][0]
    top = full[0][0]
    assert ink(sheet[:top]) > 500
    assert ink(sheet[top + 150 :, : 32 + 180]) == 0
    assert ink(sheet[top + 150 :, 32 + 180 + 16 :]) > 50  # the caption


@pytest.mark.parametrize("max_side", [4096, 1500, 900])
def test_the_cap_shrinks_pictures_but_not_text(max_side):
    image = np.full((375, 500, 3), 255, np.uint8)
    sheet = sheet_of([image] * 4, columns=3, max_side=max_side)
    assert max(sheet.shape) <= max_side
    # White pictures leave only the text dark: the same strokes at every size.
    uncapped = sheet_of([image] * 4, columns=3, max_side=100_000)
    assert abs(ink(sheet) - ink(uncapped)) < 0.02 * ink(uncapped)


def test_the_cap_is_used_rather_than_wasted():
    sheet = sheet_of([noise(480, 480)] * 10, max_side=2000)
    assert 0.9 * 2000 < max(sheet.shape) <= 2000


def test_refuses_a_sheet_that_would_not_be_legible():
    with pytest.raises(ValueError, match=r"40 × 2 pictures needs about \d+ .* limit is 4096"):
        sheet_of([noise(224, 224)] * 40)


@pytest.mark.parametrize(
    ("rows", "columns", "cells"),
    [(0, 1, []), (1, 0, [[]]), (1, 2, [[1]]), (2, 1, [[1]])],
)
def test_refuses_an_empty_or_ragged_grid(rows, columns, cells):
    grid = [[Cell(noise(4, 4))] * len(line) for line in cells]
    with pytest.raises(ValueError, match="sheet"):
        make_sheet([Label("x")] * rows, [Label("y")] * columns, grid)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (16, 16), (100, 5000), (5000, 100)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [(), (2,), (4,)])
def test_images_of_every_kind_fit(size, dtype, channels):
    image = np.zeros((*size, *channels), dtype)
    mask = np.ones(size, np.float32)
    cell = Cell(image, mask, "all changed")
    sheet = make_sheet([Label("x.png")], [Label("a"), Label("b")], [[cell, cell.shrunk()]])
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    assert max(sheet.shape) <= 4096


def test_tiny_images_are_enlarged_by_a_whole_factor():
    image = noise(16, 16)
    sheet = sheet_of([image])
    enlarged = image.repeat(10, 0).repeat(10, 1)
    assert len(places(sheet, enlarged)) == 2


def test_a_large_image_shows_its_mean_colors():
    image = np.zeros((2000, 3000, 3), np.uint8)
    image[::2] = 200  # stripes that skipping rows would show as all or nothing
    sheet = sheet_of([image])
    middle = sheet[sheet.shape[0] * 2 // 3, sheet.shape[1] // 4]
    assert (np.abs(middle.astype(int) - 100) <= 8).all()


def test_a_shrunk_cell_makes_the_same_sheet_up_to_rounding():
    image, mask = noise(1200, 900), np.zeros((1200, 900), np.float32)
    mask[300:500, 200:400] = 1
    cell = Cell(image, mask, "caption")
    small = cell.shrunk()
    assert small.image.size < image.size / 4
    assert small.caption == "caption"
    grid = [Label("x")], [Label("original")]
    one, other = (make_sheet(*grid, [[c]]).astype(int) for c in (cell, small))
    assert np.abs(one - other).mean() < 0.5


@pytest.mark.parametrize("patch", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_inset_shows_the_mask_and_keeps_off_the_patch(patch):
    size = 200
    image = np.full((size, size, 3), 255, np.uint8)
    mask = np.zeros((size, size), np.float32)
    rows, columns = (slice(150 * side + 5, 150 * side + 45) for side in patch)
    image[rows, columns] = (0, 160, 0)
    mask[rows, columns] = 1
    sheet = make_sheet([Label("x")], [Label("y")], [[Cell(image, mask)]])
    assert (sheet == (0, 160, 0)).all(2).sum() == 40 * 40
    pale_yellow = (np.abs(sheet.astype(int) - (252, 255, 164)).max(2) < 4).sum()
    assert abs(pale_yellow - (0.34 * 40) ** 2) < 60


def test_no_inset_where_there_is_no_mask():
    image = noise(200, 200)
    assert len(places(sheet_of([image]), image)) == 2


def test_long_names_are_shortened_and_keep_their_ending():
    image = np.full((100, 180, 3), 255, np.uint8)

    def row(name: str) -> np.ndarray:
        return make_sheet([Label(name)], [Label("a")], [[Cell(image)]])

    long = row("a" * 500 + "_end.png")
    assert long.shape == row("short.png").shape
    assert not np.array_equal(long, row("a" * 500 + "_END.jpg"))
    assert np.array_equal(long, row("a" * 300 + "_end.png"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("日本.png", r"\u65e5\u672c.png"),
        ("bad\udc80.png", r"bad\udc80.png"),
        ("new\nline\t.png", r"new\nline\t.png"),
        ("‮gnp.exe", r"\u202egnp.exe"),
    ],
)
def test_characters_that_the_font_lacks_are_written_as_escapes(name, shown):
    cells = [[Cell(np.zeros((300, 300, 3), np.uint8))]]
    sheets = [make_sheet([Label(text)], [Label("a")], cells) for text in (name, shown)]
    assert np.array_equal(*sheets)


def test_inputs_are_not_changed():
    image, mask = noise(30, 30), np.ones((30, 30), np.float32)
    before = image.copy()
    make_sheet([Label("x")], [Label("y")], [[Cell(image, mask)]])
    assert np.array_equal(image, before)
    assert (mask == 1).all()


def test_an_attacked_photograph_stands_unaltered_beside_the_clean_one():
    pairs = [attacked(index) for index in range(3)]
    sheet = make_sheet(
        [Label(f"{index}.png") for index in range(3)],
        [Label("clean"), Label("attacked")],
        [[Cell(image) for image in pair] for pair in pairs],
    )
    for pair in pairs:
        (top, left), (other_top, other_left) = (places(sheet, image)[0] for image in pair)
        assert (top, left + 224 + 16) == (other_top, other_left)


def test_parameters_that_are_texts_stand_beside_their_method(lgs, photos):
    """Those of localize are a choice and a path, not only numbers."""
    run = lgs("compare", "photos/a.jpg", "-o", "sheet.png", "--method", "localize")
    assert run.returncode == 0, run.stderr
    assert (lgs.folder / "sheet.png").stat().st_size > 1000
