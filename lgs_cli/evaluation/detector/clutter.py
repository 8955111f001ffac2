"""Images that are not photographs and not attacked, on which the detector must stay silent.

Pages of text, screens, charts, drawings, codes, halftones. NumPy and OpenCV only.
"""

from __future__ import annotations

import string
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lgs_cli.evaluation.detector.scenes import SIDE, Pixels

_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)


def clutter(photo: Pixels, draw: np.random.Generator) -> Pixels:
    """Make one such image.

    Parameters
    ----------
    photo : ndarray
        uint8 (SIDE, SIDE, 3): what some kinds are made from.
    draw : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray
        uint8 (SIDE, SIDE, 3).
    """
    kinds = (
        _page,
        _page,
        _screen,
        _screen,
        _chart,
        _drawing,
        _code,
        _halftone,
        _halftone,
        _grain,
        _blocky,
    )
    # drawn large and then reduced, like a page or a screen that reaches the detector
    factor = float(draw.choice([1, 1, 1.5, 2, 3]))
    side = round(SIDE * factor)
    made = kinds[int(draw.integers(len(kinds)))](photo, side, draw)
    if made.shape[0] != SIDE:
        how = cv2.INTER_AREA if draw.random() < 0.7 else cv2.INTER_LINEAR
        made = cv2.resize(made, (SIDE, SIDE), interpolation=how)
    if draw.random() < 0.3:
        made = 255 - made
    return np.ascontiguousarray(made)


def _color(draw: np.random.Generator) -> tuple[int, int, int]:
    if draw.random() < 0.4:
        gray = int(draw.choice([0, 30, 80, 128]))
        return gray, gray, gray
    red, green, blue = (int(v) for v in draw.integers(0, 256, 3))
    return red, green, blue


def _paper(side: int, draw: np.random.Generator) -> Pixels:
    tone = draw.integers(225, 256, 3) if draw.random() < 0.7 else draw.integers(0, 256, 3)
    page = np.full((side, side, 3), tone, np.uint8)
    if draw.random() < 0.3:
        noise = draw.normal(0, draw.uniform(1, 8), (side, side, 1))
        page = np.asarray(np.clip(page + noise, 0, 255), np.uint8)
    return page


def _word(draw: np.random.Generator) -> str:
    letters = string.ascii_letters + string.digits * 2 + ".,;:-()"
    return "".join(draw.choice(list(letters), int(draw.integers(1, 11))))


def _text(page: Pixels, box: tuple[int, int, int, int], draw: np.random.Generator) -> None:
    top, left, bottom, right = box
    font = int(draw.choice(_FONTS))
    size = draw.uniform(0.3, 1.1) if draw.random() < 0.8 else draw.uniform(1, 3)
    color, weight = _color(draw), 1 if size < 0.8 else int(draw.integers(1, 3))
    height = round(25 * size * draw.uniform(1, 1.6)) + 3
    y = top + height
    while y < bottom:
        x = left + (0 if draw.random() < 0.85 else int(draw.integers(0, 40)))
        while x < right - 20 * size:
            word = _word(draw)
            cv2.putText(page, word, (x, y), font, size, color, weight, cv2.LINE_AA)
            x += round(cv2.getTextSize(word, font, size, weight)[0][0] + 12 * size)
            if draw.random() < 0.03:
                break
        y += height
        if draw.random() < 0.08:
            y += height


def _page(photo: Pixels, side: int, draw: np.random.Generator) -> Pixels:
    page = _paper(side, draw)
    margin = int(draw.integers(0, side // 6))
    columns = int(draw.integers(1, 4))
    step = (side - 2 * margin) // columns
    for column in range(columns):
        left = margin + column * step
        _text(page, (margin, left, side - margin, left + step - 8), draw)
    if draw.random() < 0.2:
        turn = cv2.getRotationMatrix2D((side / 2, side / 2), draw.uniform(-8, 8), 1)
        page = cv2.warpAffine(page, turn, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return page


def _screen(photo: Pixels, side: int, draw: np.random.Generator) -> Pixels:
    page = np.full((side, side, 3), draw.integers(0, 256, 3), np.uint8)
    for _ in range(int(draw.integers(3, 16))):
        width, height = (int(v) for v in draw.integers(10, side, 2))
        left, top = (int(v) for v in draw.integers(-20, side - 10, 2))
        corner = left + width, top + height
        cv2.rectangle(page, (left, top), corner, _color(draw), -1 if draw.random() < 0.7 else 1)
        kind = draw.random()
        inside = max(top, 0), max(left, 0), min(corner[1], side), min(corner[0], side)
        if kind < 0.4:
            _text(page, inside, draw)
        elif kind < 0.6 and inside[2] - inside[0] > 12 and inside[3] - inside[1] > 12:
            size = inside[3] - inside[1], inside[2] - inside[0]
            page[inside[0] : inside[2], inside[1] : inside[3]] = cv2.resize(photo, size)
        elif kind < 0.75:
            step = int(draw.integers(12, 40))
            for x in range(inside[1], inside[3], step):
                half = int(draw.integers(3, step // 2))
                cv2.circle(page, (x, inside[0] + half), half, _color(draw), -1, cv2.LINE_AA)
    return page


def _chart(photo: Pixels, side: int, draw: np.random.Generator) -> Pixels:
    page = _paper(side, draw)
    left, bottom = side // 8, side - side // 8
    ink = _color(draw)
    for tick in range(0, side, max(side // int(draw.integers(4, 14)), 8)):
        cv2.line(page, (left, tick), (side, tick), (200, 200, 200), 1)
        cv2.putText(page, f"{draw.integers(0, 900)}", (2, tick + 8), 1, 0.8, ink, 1, cv2.LINE_AA)
        cv2.putText(page, _word(draw)[:4], (tick, bottom + 14), 1, 0.8, ink, 1, cv2.LINE_AA)
    cv2.line(page, (left, bottom), (side, bottom), ink, 1)
    cv2.line(page, (left, 0), (left, bottom), ink, 1)
    kind = int(draw.integers(4))
    for _ in range(int(draw.integers(1, 5))):
        color = _color(draw)
        if kind == 0:
            step = int(draw.integers(6, 40))
            for x in range(left + 4, side - step, step):
                y = int(draw.integers(10, bottom))
                cv2.rectangle(page, (x, y), (x + max(step - 4, 2), bottom), color, -1)
        elif kind == 1:
            xs = np.linspace(left, side, int(draw.integers(5, 120)))
            ys = bottom / 2 + np.cumsum(draw.normal(0, side / 40, xs.size))
            points = np.stack([xs, ys], 1).astype(np.int32)
            cv2.polylines(page, [points], False, color, int(draw.integers(1, 4)), cv2.LINE_AA)
        elif kind == 2:
            for x, y in draw.normal(side / 2, side / 6, (int(draw.integers(20, 300)), 2)):
                cv2.circle(page, (int(x), int(y)), int(draw.integers(1, 5)), color, -1, cv2.LINE_AA)
        else:
            start = 0.0
            while start < 360:
                end = start + draw.uniform(8, 90)
                center, radius = (side // 2, side // 2), side // 3
                cv2.ellipse(
                    page, center, (radius, radius), 0, start, min(end, 360), _color(draw), -1
                )
                start = end
    return page


def _drawing(photo: Pixels, side: int, draw: np.random.Generator) -> Pixels:
    large = cv2.resize(photo, (side, side), interpolation=cv2.INTER_CUBIC)
    gray = cv2.GaussianBlur(cv2.cvtColor(large, cv2.COLOR_RGB2GRAY), (0, 0), draw.uniform(0.8, 3))
    if draw.random() < 0.5:
        lines = 255 - cv2.Canny(gray, *sorted(draw.uniform(20, 160, 2)))
        if draw.random() < 0.5:
            lines = cv2.erode(lines, np.ones((2, 2), np.uint8))
    else:
        lines = cv2.adaptiveThreshold(
            gray, 255, cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY,
            2 * int(draw.integers(3, 16)) + 1, draw.uniform(2, 12),
        )  # fmt: skip
    return np.repeat(lines[..., None], 3, 2)


def _code(photo: Pixels, side: int, draw: np.random.Generator) -> Pixels:
    cells = int(draw.integers(21, 70))
    grid = np.asarray(draw.random((cells, cells)) < 0.5, np.uint8) * 255
    if draw.random() < 0.3:
        grid = np.repeat(grid[:1], cells, 0)
    else:
        for y, x in ((0, 0), (0, cells - 7), (cells - 7, 0)):
            grid[y : y + 7, x : x + 7] = 0
            grid[y + 1 : y + 6, x + 1 : x + 6] = 255
            grid[y + 2 : y + 5, x + 2 : x + 5] = 0
    border = int(draw.integers(1, 5))
    grid = np.pad(grid, border, constant_values=255)
    made = cv2.resize(grid, (side, side), interpolation=cv2.INTER_NEAREST)
    return np.repeat(made[..., None], 3, 2)


def _halftone(photo: Pixels, side: int, draw: np.random.Generator) -> Pixels:
    large = cv2.resize(photo, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255
    period, turn = draw.uniform(2.5, 8), draw.uniform(0, np.pi)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    planes = []
    gray = draw.random() < 0.5
    for index in range(1 if gray else 3):
        angle = turn + index * np.pi / 6
        u = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period
        v = (y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / period
        screen = (np.cos(u) * np.cos(v) + 1) / 2
        plane = large.mean(2) if gray else large[..., index]
        planes.append(np.clip((plane - screen) * draw.uniform(3, 30) + 0.5, 0, 1))
    made: Any = np.stack(planes * (3 if gray else 1), 2).astype(np.float32)
    if draw.random() < 0.6:
        made = cv2.GaussianBlur(made, (0, 0), draw.uniform(0.4, 1.5))
    return np.asarray(made * 255, np.uint8)


def _grain(photo: Pixels, side: int, draw: np.random.Generator) -> Pixels:
    noise: Any = draw.normal(0, draw.uniform(4, 45), (SIDE, SIDE, int(draw.choice([1, 3]))))
    if draw.random() < 0.5:
        smooth = cv2.GaussianBlur(noise, (0, 0), draw.uniform(0.5, 1.5))
        noise = smooth.reshape(noise.shape) * 2
    return np.asarray(np.clip(photo + noise, 0, 255), np.uint8)


def _blocky(photo: Pixels, side: int, draw: np.random.Generator) -> Pixels:
    quality = int(draw.integers(5, 30))
    _, data = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, quality])
    made: NDArray[Any] = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return made
