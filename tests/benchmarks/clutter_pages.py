"""Pages that were printed or typeset: text, charts, QR codes."""

from __future__ import annotations

import cv2
import numpy as np
from lettering import FAMILIES, Color, Pixels, Style, line, paragraph, width, words

_INKS: tuple[Color, ...] = ((0, 0, 0), (25, 25, 28), (40, 40, 60), (70, 70, 70))
_PALETTES: tuple[tuple[Color, ...], ...] = (
    ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)),
    ((66, 133, 244), (219, 68, 55), (244, 180, 0), (15, 157, 88), (171, 71, 188)),
    ((0, 0, 0), (90, 90, 90), (150, 150, 150), (200, 200, 200), (50, 50, 50)),
    ((102, 194, 165), (252, 141, 98), (141, 160, 203), (231, 138, 195), (166, 216, 84)),
    ((38, 70, 83), (42, 157, 143), (233, 196, 106), (244, 162, 97), (231, 111, 81)),
)


def paper(height: int, wide: int, draw: np.random.Generator) -> Pixels:
    """Return an empty page: white, or somewhat yellow or gray."""
    tones = ((255, 255, 255), (255, 255, 255), (250, 248, 240), (244, 236, 216), (236, 236, 234))
    return np.full((height, wide, 3), tones[int(draw.integers(len(tones)))], np.uint8)


def scanned(page: Pixels, draw: np.random.Generator) -> Pixels:
    """Return a page as a scanner or a camera gives it: a little turned, uneven, noisy, as JPEG."""
    height, wide = page.shape[:2]
    turn = cv2.getRotationMatrix2D((wide / 2, height / 2), draw.uniform(-1.5, 1.5), 1.0)
    page = cv2.warpAffine(
        page, turn, (wide, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    page = cv2.GaussianBlur(page, (0, 0), draw.uniform(0.3, 0.9))
    light = np.linspace(1, draw.uniform(0.8, 1), wide)[None] * np.linspace(
        1, draw.uniform(0.9, 1), height
    ).reshape(-1, 1)
    if draw.random() < 0.5:
        light = light[:, ::-1]
    noise = draw.normal(0, draw.uniform(1, 5), page.shape[:2])[..., None]
    made = np.clip(page * light[..., None] + noise, 0, 255).astype(np.uint8)
    return recompressed(made, int(draw.integers(50, 92)))


def recompressed(picture: Pixels, quality: int) -> Pixels:
    """Return a picture after JPEG compression."""
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1], np.uint8)


def resized(picture: Pixels, scale: float) -> Pixels:
    """Return a picture so many times as large."""
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=how), np.uint8)


def text_page(draw: np.random.Generator, photo: Pixels) -> Pixels:
    """Make a page of an article, a letter, a newspaper, a list or a table."""
    height = int(draw.choice([420, 600, 840, 1120, 1600]))
    wide = round(height / draw.choice([1.414, 1.294, 1.6, 0.75]))
    page = paper(height, wide, draw)
    kind = draw.choice(["article", "letter", "newspaper", "table", "list"])
    families = [f for f in FAMILIES if f != "terminal"]
    family = str(draw.choice(families))
    ink = _INKS[int(draw.integers(len(_INKS)))]
    smallest = {"article": 90, "letter": 45, "newspaper": 110, "table": 60, "list": 50}[str(kind)]
    size = max(6, round(height / draw.uniform(0.6, 1.1) / smallest))
    style = Style(size, family, ink, justified=bool(draw.random() < 0.6))
    margin = round(wide * draw.uniform(0.05, 0.14))
    top = _heading(page, margin, style, draw) if kind != "letter" else margin
    if kind == "table":
        _table(page, (margin, top, wide - margin, height - margin), style, draw)
    elif kind == "list":
        while top < height - margin - 2 * size:
            line(page, str(draw.choice(["-", "*", "1.", "a)"])), margin, top, style)
            box = margin + 2 * size, top, wide - margin, height - margin
            text = words(int(draw.integers(3, 24)), draw)
            top = paragraph(page, text, box, style) + size // 2
    else:
        columns = {"article": int(draw.integers(1, 3)), "newspaper": 4}.get(str(kind), 1)
        gutter = round(2.5 * size)
        step = (wide - 2 * margin + gutter) // columns
        hole = int(draw.integers(columns)) if kind == "newspaper" else -1
        for column in range(columns):
            left = margin + column * step
            right, start = left + step - gutter, top
            if column == hole and right - left > 40:
                start = _printed_photo(page, photo, left, top, right - left, draw)
            _column(page, (left, start, right, height - margin), style, draw)
    if draw.random() < 0.25:
        return 255 - page
    return scanned(page, draw) if draw.random() < 0.5 else page


def _heading(page: Pixels, margin: int, style: Style, draw: np.random.Generator) -> int:
    large = Style(round(style.size * draw.uniform(1.6, 3)), "bold", style.color)
    box = margin, margin, page.shape[1] - margin, page.shape[0]
    top = paragraph(page, words(int(draw.integers(3, 10)), draw), box, large)
    if draw.random() < 0.5:
        small = Style(style.size, "italic", style.color)
        top = paragraph(page, words(6, draw), (margin, top, *box[2:]), small)
    if draw.random() < 0.4:
        cv2.line(page, (margin, top), (page.shape[1] - margin, top), style.color, 1)
    return top + style.size


def _column(
    page: Pixels, box: tuple[int, int, int, int], style: Style, draw: np.random.Generator
) -> None:
    left, top, right, bottom = box
    while top < bottom - 2 * style.size:
        if draw.random() < 0.15:
            bold = Style(round(style.size * 1.15), "bold", style.color)
            top = paragraph(page, words(3, draw), (left, top + style.size, right, bottom), bold)
        text = words(int(draw.integers(25, 110)), draw)
        top = paragraph(page, text, (left, top, right, bottom), style, indent=2 * style.size)
        top += style.size // 3


def _printed_photo(
    page: Pixels, photo: Pixels, left: int, top: int, wide: int, draw: np.random.Generator
) -> int:
    height = round(wide * photo.shape[0] / photo.shape[1])
    small = cv2.resize(photo, (wide, height), interpolation=cv2.INTER_AREA)
    if draw.random() < 0.6:
        small = cv2.cvtColor(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    part = page[top : top + height, left : left + wide]
    part[:] = small[: part.shape[0], : part.shape[1]]
    return top + height + 6


def _table(
    page: Pixels, box: tuple[int, int, int, int], style: Style, draw: np.random.Generator
) -> None:
    left, top, right, bottom = box
    columns = int(draw.integers(3, 8))
    step = (right - left) // columns
    row_height = round(style.size * draw.uniform(1.5, 2.2))
    ruled, banded = draw.random() < 0.5, draw.random() < 0.4
    for number, y in enumerate(range(top, bottom - row_height, row_height)):
        if banded and number % 2:
            page[y : y + row_height, left:right] = page[y, left] // 12 * 11
        for column in range(columns):
            x = left + column * step + 4
            heads = column == 0 or number == 0
            text = words(1, draw) if heads else f"{draw.uniform(0, 1000):.2f}"
            line(page, text, x, y + (row_height - style.size) // 2, style)
        if ruled or number == 0:
            cv2.line(page, (left, y + row_height), (right, y + row_height), style.color, 1)
    if ruled:
        for column in range(columns + 1):
            x = left + column * step
            cv2.line(page, (x, top), (x, bottom - row_height), style.color, 1)


def chart(draw: np.random.Generator, photo: Pixels) -> Pixels:
    """Make a chart of bars, lines, areas, points, slices or cells, with its labels."""
    del photo
    height = int(draw.choice([300, 420, 600, 900, 1200]))
    wide = round(height * draw.choice([1.0, 1.33, 1.6]))
    dark = draw.random() < 0.2
    ground = (30, 32, 38) if dark else (255, 255, 255)
    page = np.full((height, wide, 3), ground, np.uint8)
    ink = (220, 220, 220) if dark else (40, 40, 40)
    style = Style(max(8, round(height / draw.uniform(24, 40))), str(draw.choice(FAMILIES[:6])), ink)
    colors = _PALETTES[int(draw.integers(len(_PALETTES)))]
    title = Style(round(style.size * 1.4), "bold", ink)
    text = words(5, draw)
    line(page, text, (wide - width(text, title)) // 2, style.size // 2, title)
    left, right = round(0.11 * wide), round(0.95 * wide)
    box = left, round(0.14 * height), right, round(0.86 * height)
    kind = draw.choice(
        ["bars", "bars", "stacked", "lines", "lines", "area", "points", "pie", "cells"]
    )
    if kind == "pie":
        _pie(page, box, colors, style, draw)
        return page
    _axes(page, box, style, draw, grid=kind != "cells")
    _PLOTS[str(kind)](page, box, colors, style, draw)
    return page


Box = tuple[int, int, int, int]


def _axes(page: Pixels, box: Box, style: Style, draw: np.random.Generator, *, grid: bool) -> None:
    left, top, right, bottom = box
    pale = tuple((int(a) * 2 + int(b)) // 3 for a, b in zip(page[0, 0], style.color, strict=True))
    unit = float(draw.choice([1, 5, 20, 250]))
    ticks = int(draw.integers(4, 9))
    for tick in range(ticks + 1):
        y = bottom - (bottom - top) * tick // ticks
        if grid:
            cv2.line(page, (left, y), (right, y), pale, 1)
        text = f"{tick * unit:g}"
        line(page, text, left - width(text, style) - 6, y - style.size // 2, style)
    places = int(draw.integers(4, 9))
    for place in range(places):
        x = left + (right - left) * (2 * place + 1) // (2 * places)
        text = words(1, draw) if places < 7 else str(2010 + place)
        line(page, text, x - width(text, style) // 2, bottom + 5, style)
    cv2.line(page, (left, bottom), (right, bottom), style.color, 1)
    cv2.line(page, (left, top), (left, bottom), style.color, 1)


def _legend(page: Pixels, box: Box, colors: tuple[Color, ...], count: int, style: Style) -> None:
    x, y = box[2] - 8 * style.size, box[1] + 4
    for color in colors[:count]:
        cv2.rectangle(page, (x, y + 2), (x + style.size, y + style.size), color, -1)
        line(page, "Group " + "ABCDE"[colors.index(color)], x + round(1.5 * style.size), y, style)
        y += round(1.4 * style.size)


def _bars(
    page: Pixels, box: Box, colors: tuple[Color, ...], style: Style, draw: np.random.Generator
) -> None:
    left, top, right, bottom = box
    groups, series = int(draw.integers(3, 16)), int(draw.integers(1, 5))
    step = (right - left) / groups
    bar = step * draw.uniform(0.55, 0.9) / series
    for group in range(groups):
        for one in range(series):
            x = left + step * (group + 0.08) + one * bar
            high = (bottom - top) * draw.uniform(0.08, 0.95)
            corners = (round(x), round(bottom - high)), (round(x + bar) - 1, bottom - 1)
            cv2.rectangle(page, *corners, colors[one], -1)
    if series > 1:
        _legend(page, box, colors, series, style)


def _stacked(
    page: Pixels, box: Box, colors: tuple[Color, ...], style: Style, draw: np.random.Generator
) -> None:
    left, top, right, bottom = box
    bars, series = int(draw.integers(4, 20)), int(draw.integers(2, 6))
    step = (right - left) / bars
    for bar in range(bars):
        y = float(bottom)
        x0, x1 = round(left + step * (bar + 0.15)), round(left + step * (bar + 0.85))
        for one in range(series):
            high = (bottom - top) * draw.uniform(0.05, 0.95) / series
            cv2.rectangle(page, (x0, round(y - high)), (x1, round(y) - 1), colors[one], -1)
            y -= high
    _legend(page, box, colors, series, style)


def _curve(box: Box, count: int, draw: np.random.Generator) -> np.ndarray:
    left, top, right, bottom = box
    xs = np.linspace(left, right, count)
    steps = np.cumsum(draw.normal(0, 1, count))
    if draw.random() < 0.4:
        steps = np.sin(np.linspace(0, draw.uniform(3, 20), count) + draw.uniform(0, 6))
    low, high = sorted(draw.uniform(0.05, 0.95, 2))
    steps = (steps - steps.min()) / max(np.ptp(steps), 1e-6) * (high - low) + low
    return np.stack([xs, bottom - steps * (bottom - top)], 1)


def _lines(
    page: Pixels, box: Box, colors: tuple[Color, ...], style: Style, draw: np.random.Generator
) -> None:
    series, count = int(draw.integers(1, 6)), int(draw.integers(6, 200))
    for one in range(series):
        points = np.rint(_curve(box, count, draw)).astype(np.int32)
        weight = max(1, page.shape[0] // 300)
        cv2.polylines(page, [points], False, colors[one], weight, cv2.LINE_AA)
        if count < 30:
            for x, y in points:
                cv2.circle(page, (int(x), int(y)), 2 * weight + 1, colors[one], -1, cv2.LINE_AA)
    _legend(page, box, colors, series, style)


def _area(
    page: Pixels, box: Box, colors: tuple[Color, ...], style: Style, draw: np.random.Generator
) -> None:
    for one in range(int(draw.integers(1, 4))):
        points = _curve(box, int(draw.integers(8, 80)), draw)
        corners = [[box[2], box[3]], [box[0], box[3]]]
        shape = np.zeros(page.shape[:2], np.uint8)
        cv2.fillPoly(shape, [np.rint(np.vstack([points, corners])).astype(np.int32)], 140)
        page[shape > 0] = (page[shape > 0] * 0.45 + np.array(colors[one]) * 0.55).astype(np.uint8)
        outline = [np.rint(points).astype(np.int32)]
        cv2.polylines(page, outline, False, colors[one], 2, cv2.LINE_AA)


def _points(
    page: Pixels, box: Box, colors: tuple[Color, ...], style: Style, draw: np.random.Generator
) -> None:
    left, top, right, bottom = box
    series = int(draw.integers(1, 5))
    radius = max(2, page.shape[0] // int(draw.integers(90, 240)))
    for one in range(series):
        center = draw.uniform([left, top], [right, bottom])
        spread = draw.uniform(0.04, 0.22, 2) * (right - left)
        tilt = draw.normal(0, 0.6)
        for u, v in draw.normal(0, 1, (int(draw.integers(15, 220)), 2)):
            x, y = center + np.array([u * spread[0], v * spread[1] + tilt * u * spread[0]])
            if left < x < right and top < y < bottom:
                cv2.circle(page, (int(x), int(y)), radius, colors[one], -1, cv2.LINE_AA)
    _legend(page, box, colors, series, style)


def _cells(
    page: Pixels, box: Box, colors: tuple[Color, ...], style: Style, draw: np.random.Generator
) -> None:
    left, top, right, bottom = box
    rows, columns = (int(n) for n in draw.integers(5, 26, 2))
    values = cv2.GaussianBlur(draw.normal(0, 1, (rows, columns)), (0, 0), draw.uniform(0.6, 2.5))
    values = (255 * (values - values.min()) / np.ptp(values)).astype(np.uint8)
    maps = (cv2.COLORMAP_VIRIDIS, cv2.COLORMAP_HOT, cv2.COLORMAP_OCEAN, cv2.COLORMAP_BONE)
    colored = cv2.applyColorMap(values, maps[int(draw.integers(len(maps)))])[..., ::-1]
    size = right - left, bottom - top
    page[top:bottom, left:right] = cv2.resize(colored, size, interpolation=cv2.INTER_NEAREST)


_PLOTS = {
    "bars": _bars,
    "stacked": _stacked,
    "lines": _lines,
    "area": _area,
    "points": _points,
    "cells": _cells,
}


def _pie(
    page: Pixels, box: Box, colors: tuple[Color, ...], style: Style, draw: np.random.Generator
) -> None:
    left, top, right, bottom = box
    center = (left + right) // 2, (top + bottom) // 2
    radius = min(right - left, bottom - top) // 2 - style.size
    ends = np.cumsum(draw.dirichlet(np.ones(int(draw.integers(3, 6))) * 2)) * 360
    start = 0.0
    for color, end in zip(colors, ends, strict=False):
        cv2.ellipse(page, center, (radius, radius), -90, start, end, color, -1, cv2.LINE_AA)
        middle = np.deg2rad((start + end) / 2 - 90)
        x = center[0] + round(np.cos(middle) * radius * 1.15)
        y = center[1] + round(np.sin(middle) * radius * 1.1) - style.size // 2
        line(page, f"{(end - start) / 3.6:.0f} %", x - style.size, y, style)
        start = end
    if draw.random() < 0.4:
        ground = tuple(int(v) for v in page[0, 0])
        cv2.circle(page, center, radius // 2, ground, -1, cv2.LINE_AA)


def qr_code(draw: np.random.Generator, photo: Pixels) -> Pixels:
    """Make a QR code that fills the picture, or one on a label with a line of text."""
    del photo
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789/-")
    length = int(draw.integers(4, 140))
    text = "https://example.org/" + "".join(draw.choice(letters, length))
    levels = ("L", "M", "Q", "H")
    params = cv2.QRCodeEncoder_Params()
    params.correction_level = getattr(
        cv2, "QRCODE_ENCODER_CORRECT_LEVEL_" + levels[int(draw.integers(4))]
    )
    code = cv2.QRCodeEncoder.create(params).encode(text)
    code = np.pad(code, int(draw.integers(0, 4)), constant_values=255)
    module = int(draw.integers(4, 22))
    code = np.repeat(np.repeat(code, module, 0), module, 1)[:1600, :1600]
    if len(code) < 300:
        code = cv2.resize(code, (300, 300), interpolation=cv2.INTER_NEAREST)
    picture = np.repeat(code[..., None], 3, 2)
    if draw.random() < 0.2:
        ink = np.array(draw.integers(0, 110, 3))
        picture = np.where(picture < 128, ink, 255).astype(np.uint8)
    if draw.random() < 0.3:
        picture = _label(picture, draw)
    return scanned(picture, draw) if draw.random() < 0.3 else picture


def _label(code: Pixels, draw: np.random.Generator) -> Pixels:
    side = len(code)
    page = paper(round(side * draw.uniform(1.3, 1.9)), round(side * draw.uniform(1.1, 1.7)), draw)
    left, top = (page.shape[1] - side) // 2, round(0.06 * side)
    page[top : top + side, left : left + side] = code
    style = Style(max(9, side // 16), "bold")
    box = left, top + side + style.size, left + side, page.shape[0]
    paragraph(page, words(12, draw), box, style)
    return page
