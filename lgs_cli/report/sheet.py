"""Images by defenses as one labeled picture, for a paper or a ticket: arrays in, array out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lgs_cli.visualize import heatmap, to_rgb8

_MARGIN, _GAP, _ROW_GAP = 32, 16, 20
_TITLE, _DETAIL = 19, 14  # font sizes in pixels, which no cap shrinks
_TITLE_LINE, _DETAIL_LINE = 26, 19
_BLACK, _GRAY, _LINE, _WHITE = (24, 24, 24), (96, 96, 96), (208, 208, 208), (255, 255, 255)
_MIN_COLUMN = 168  # what a column title and one parameter a line need
_MIN_CELL = 96  # the long side below which a photograph tells nothing
_AREA, _LONG_SIDE = 480 * 480, 1440
_TINY = 160
_INSET = 0.34
_STEP = 0.97


@dataclass(frozen=True)
class Label:
    """What stands above a row or a column.

    Attributes
    ----------
    title : str
        A file's or a method's name. Shortened in the middle where it is too long.
    details : tuple of str
        Parameters or sizes, in small type, wrapped between them.
    """

    title: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One picture on the sheet.

    Attributes
    ----------
    image : ndarray
        (H, W) or (H, W, C), C from 1 to 4; uint8, uint16, or floating in [0, 1].
    mask : ndarray or None
        float32 (H, W) in [0, 1], drawn as an inset, in one corner for the whole row: where it hides
        the least of what the masks show.
    caption : str
        One line in small type below the picture.
    """

    image: NDArray[Any]
    mask: NDArray[np.float32] | None = None
    caption: str = ""

    def shrunk(self) -> Cell:
        """Reduce a large picture to the largest size that a sheet shows it in.

        Holding shrunk cells keeps a sheet of large photographs small in memory.

        Returns
        -------
        Cell
            The same cell; its image is uint8 RGB (H, W, 3) where it was too large.
        """
        height, width = self.image.shape[:2]
        size = _natural(width, height)
        if size[0] >= width:
            return self
        mask = self.mask
        if mask is not None:
            box = Image.Resampling.BOX
            mask = np.asarray(Image.fromarray(mask).resize(size, box), np.float32)
        return replace(self, image=np.asarray(_scaled(to_rgb8(self.image), size)), mask=mask)


def make_sheet(
    rows: Sequence[Label],
    columns: Sequence[Label],
    cells: Sequence[Sequence[Cell]],
    *,
    max_side: int = 4096,
) -> NDArray[np.uint8]:
    r"""Lay pictures out in a labeled grid.

    Photographs of up to 480 × 480 pixels (or as many in another shape, up to 1440 on the long
    side) are shown pixel for pixel, larger ones reduced, those of up to 80 enlarged by a whole
    factor without interpolation. Where the sheet would exceed `max_side`, all pictures shrink by
    one factor; text never does. Pillow's built-in font has little more than ASCII: any other
    character, and any control character, is written as its Python escape (``\xe9``).

    Parameters
    ----------
    rows : sequence of Label
        One an image.
    columns : sequence of Label
        One a method, the original first.
    cells : sequence of sequence of Cell
        ``cells[row][column]``.
    max_side : int
        The most pixels that the sheet may have on either side.

    Returns
    -------
    ndarray
        uint8 RGB (H, W, 3), neither H nor W above `max_side`.

    Raises
    ------
    ValueError
        If there is nothing to show, the grid is ragged, or the sheet cannot be legible within
        `max_side`.
    """
    if not rows or not columns:
        raise ValueError("a sheet needs at least one image and one column")
    if len(cells) != len(rows) or any(len(line) != len(columns) for line in cells):
        raise ValueError(f"a sheet of {len(rows)} rows and {len(columns)} columns needs such cells")
    return np.asarray(_Layout(rows, columns, cells, max_side).draw())


class _Layout:
    """Where everything goes, at the largest scale that the cap allows."""

    def __init__(
        self,
        rows: Sequence[Label],
        columns: Sequence[Label],
        cells: Sequence[Sequence[Cell]],
        max_side: int,
    ) -> None:
        self.rows, self.columns, self.cells = rows, columns, cells
        natural = [
            [_natural(cell.image.shape[1], cell.image.shape[0]) for cell in line] for line in cells
        ]
        long_side = max(max(size) for line in natural for size in line)
        scale = 1.0
        while True:
            self._place(natural, scale)
            if max(self.width, self.height) <= max_side:
                return
            scale *= _STEP
            if scale * long_side < _MIN_CELL:
                raise ValueError(
                    f"a legible sheet of {len(rows)} × {len(columns)} pictures needs about"
                    f" {max(self.width, self.height)} pixels a side; the limit is {max_side}"
                )

    def _place(self, natural: list[list[tuple[int, int]]], scale: float) -> None:
        self.sizes = [
            [(max(1, round(w * scale)), max(1, round(h * scale))) for w, h in line]
            for line in natural
        ]
        self.widths = [
            max(_MIN_COLUMN, *(line[column][0] for line in self.sizes))
            for column in range(len(self.columns))
        ]
        self.heights = [max(height for _, height in line) for line in self.sizes]
        self.details = [
            _wrapped(label.details, width)
            for label, width in zip(self.columns, self.widths, strict=True)
        ]
        self.header = _TITLE_LINE + _DETAIL_LINE * max(len(lines) for lines in self.details)
        self.captions = [
            _DETAIL_LINE + 4 if any(cell.caption for cell in line) else 0 for line in self.cells
        ]
        self.width = 2 * _MARGIN + sum(self.widths) + _GAP * (len(self.widths) - 1)
        self.height = (
            2 * _MARGIN
            + self.header
            + sum(_ROW_GAP + _TITLE_LINE + 4 + height for height in self.heights)
            + sum(self.captions)
        )

    def draw(self) -> Image.Image:
        sheet = Image.new("RGB", (self.width, self.height), _WHITE)
        pen = ImageDraw.Draw(sheet)
        lefts = [
            _MARGIN + sum(self.widths[:column]) + _GAP * column
            for column in range(len(self.widths))
        ]
        for label, lines, left, width in zip(
            self.columns, self.details, lefts, self.widths, strict=True
        ):
            _write(pen, left, _MARGIN, _shortened(label.title, _TITLE, width), _TITLE, _BLACK)
            for number, line in enumerate(lines):
                top = _MARGIN + _TITLE_LINE + number * _DETAIL_LINE
                _write(pen, left, top, line, _DETAIL, _GRAY)
        top = _MARGIN + self.header
        for row, label in enumerate(self.rows):
            rule = top + _ROW_GAP // 2
            pen.line((_MARGIN, rule, self.width - _MARGIN - 1, rule), _LINE)
            top += _ROW_GAP
            self._write_row_label(pen, label, top)
            top += _TITLE_LINE + 4
            corner = _quiet_corner([c.mask for c in self.cells[row] if c.mask is not None])
            for column, cell in enumerate(self.cells[row]):
                size, left = self.sizes[row][column], lefts[column]
                sheet.paste(_scaled(to_rgb8(cell.image), size), (left, top))
                pen.rectangle((left - 1, top - 1, left + size[0], top + size[1]), outline=_LINE)
                if cell.mask is not None:
                    _inset(sheet, cell.mask, (left, top), size, corner)
                caption = _shortened(cell.caption, _DETAIL, self.widths[column])
                _write(pen, left, top + self.heights[row] + 5, caption, _DETAIL, _GRAY)
            top += self.heights[row] + self.captions[row]
        return sheet

    def _write_row_label(self, pen: ImageDraw.ImageDraw, label: Label, top: int) -> None:
        room = self.width - 2 * _MARGIN
        details = _shortened("   ".join(label.details), _DETAIL, room // 2)
        beside = math.ceil(_font(_DETAIL).getlength(details)) + _GAP if details else 0
        title = _shortened(label.title, _TITLE, room - beside)
        _write(pen, _MARGIN, top, title, _TITLE, _BLACK)
        left = _MARGIN + math.ceil(_font(_TITLE).getlength(title)) + _GAP
        # The same baseline as the title's.
        _write(pen, left, top + _TITLE - _DETAIL, details, _DETAIL, _GRAY)


def _natural(width: int, height: int) -> tuple[int, int]:
    """Return the size in which a picture is shown where nothing caps it."""
    if max(width, height) * 2 <= _TINY:
        factor: float = _TINY // max(width, height)
    else:
        factor = min(1, math.sqrt(_AREA / (width * height)), _LONG_SIDE / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _scaled(image: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    picture = Image.fromarray(image)
    enlarged = size[0] > picture.width or size[1] > picture.height
    # Averaging shows what is there; interpolating would smooth the noise one wants to see.
    return picture.resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX)


def _quiet_corner(masks: Sequence[NDArray[np.float32]]) -> tuple[int, int]:
    """Return the corner, as (right, lower), where an inset hides the least of what masks show."""
    grids = [
        np.asarray(Image.fromarray(mask).resize((100, 100), Image.Resampling.BOX)) for mask in masks
    ]
    total = np.sum(grids, axis=0) if grids else np.zeros((100, 100))
    near, far = slice(round(100 * _INSET)), slice(-round(100 * _INSET), None)
    hidden = {
        (right, lower): float(total[far if lower else near, far if right else near].sum())
        for right, lower in ((1, 1), (0, 1), (1, 0), (0, 0))
    }
    return min(hidden, key=lambda corner: hidden[corner])


def _inset(
    sheet: Image.Image,
    mask: NDArray[np.float32],
    at: tuple[int, int],
    size: tuple[int, int],
    corner: tuple[int, int],
) -> None:
    small = max(1, round(size[0] * _INSET)), max(1, round(size[1] * _INSET))
    left, top = (at[axis] + corner[axis] * (size[axis] - small[axis]) for axis in (0, 1))
    frame = (
        max(at[0], left - 2),
        max(at[1], top - 2),
        min(at[0] + size[0], left + small[0] + 2),
        min(at[1] + size[1], top + small[1] + 2),
    )
    sheet.paste(_WHITE, frame)
    sheet.paste(_scaled(heatmap(mask), small), (left, top))


def _write(
    pen: ImageDraw.ImageDraw,
    left: int,
    top: int,
    text: str,
    size: int,
    color: tuple[int, int, int],
) -> None:
    pen.text((left, top), text, color, _font(size))


def _wrapped(items: Sequence[str], width: int) -> list[str]:
    """Join items into lines of at most `width` pixels, breaking only between items."""
    lines: list[str] = []
    for item in items:
        short = _shortened(item, _DETAIL, width)
        joined = f"{lines[-1]},  {short}" if lines else short
        if lines and _font(_DETAIL).getlength(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(short)
    return lines


def _shortened(text: str, size: int, width: int) -> str:
    """Escape a text, and take out of its middle what does not fit into `width` pixels."""
    parts = [_escaped(char, size) for char in text]
    length = _font(size).getlength
    if length("".join(parts)) <= width:
        return "".join(parts)
    # A file's ending says more than its middle.
    for kept in range(min(len(parts) - 1, width), 0, -1):
        short = "".join(parts[: (kept + 1) // 2]) + "…" + "".join(parts[len(parts) - kept // 2 :])
        if length(short) <= width:
            return short
    return "…"


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@cache
def _escaped(char: str, size: int) -> str:
    font = _font(size)
    missing = bytes(font.getmask("\U0010ffff"))
    if char.isprintable() and (char == " " or bytes(font.getmask(char)) != missing):
        return char
    return char.encode("unicode_escape").decode("ascii")
