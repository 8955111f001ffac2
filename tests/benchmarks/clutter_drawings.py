"""Drawings in lines: after photographs, of curves, maps, plans and labyrinths."""

from __future__ import annotations

import cv2
import numpy as np
from clutter_pages import resized, scanned
from lettering import Pixels, Style, line, words


def line_art(draw: np.random.Generator, photo: Pixels) -> Pixels:
    """Make a drawing in lines: after a photograph, of curves, a map, a plan, or a labyrinth."""
    made = _DRAWINGS[int(draw.integers(len(_DRAWINGS)))](draw, photo)
    picture = np.repeat(made[..., None], 3, 2)
    if draw.random() < 0.2:
        ink = draw.integers(0, 130, 3)
        picture = (255 - (255 - picture) / 255 * (255 - ink)).astype(np.uint8)
    if draw.random() < 0.15:
        return 255 - picture
    return scanned(picture, draw) if draw.random() < 0.35 else picture


def _sketch(draw: np.random.Generator, photo: Pixels) -> Pixels:
    gray = cv2.cvtColor(resized(photo, draw.uniform(1, 2.6)), cv2.COLOR_RGB2GRAY)
    fine = draw.uniform(1, 2.5)
    near = cv2.GaussianBlur(gray.astype(np.float32), (0, 0), fine)
    wide = cv2.GaussianBlur(gray.astype(np.float32), (0, 0), 1.6 * fine)
    difference = near - 0.98 * wide
    strokes = np.where(difference >= 1, 1.0, 1 + np.tanh(draw.uniform(0.3, 1.2) * (difference - 1)))
    return np.asarray(255 * strokes.clip(0, 1), np.uint8)


def _contours(draw: np.random.Generator, photo: Pixels) -> Pixels:
    large = resized(photo, draw.uniform(1, 2.4))
    smooth = cv2.bilateralFilter(large, 9, 60, 9)
    low = draw.uniform(30, 80)
    found, _ = cv2.findContours(
        cv2.Canny(smooth, low, 2.5 * low), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
    )
    page = np.full(large.shape[:2], 255, np.uint8)
    kept = [contour for contour in found if len(contour) > 25]
    cv2.drawContours(page, kept, -1, 0, int(draw.integers(1, 3)), cv2.LINE_AA)
    return page


def _engraving(draw: np.random.Generator, photo: Pixels) -> Pixels:
    """Lines that swell with the shade, as on bank notes."""
    large = resized(photo, draw.uniform(1.5, 3))
    shade = 1 - cv2.GaussianBlur(cv2.cvtColor(large, cv2.COLOR_RGB2GRAY), (0, 0), 1.5) / 255.0
    y, x = np.mgrid[: shade.shape[0], : shade.shape[1]]
    turn, period = draw.uniform(0, np.pi), draw.uniform(5, 9)
    wave = (x * np.cos(turn) + y * np.sin(turn) + 3 * np.sin(x / 60)) / period
    distance = np.abs((wave % 1) - 0.5) * 2
    return np.asarray(255 * ((distance - 0.9 * shade) * period / 2 + 0.5).clip(0, 1), np.uint8)


def _curves(draw: np.random.Generator, photo: Pixels) -> Pixels:
    del photo
    side = int(draw.choice([320, 500, 800, 1200]))
    page = np.full((side, round(side * draw.uniform(1, 1.5))), 255, np.uint8)
    t = np.linspace(0, 1, 200)[:, None]
    for _ in range(int(draw.integers(8, 60))):
        start = draw.uniform(0, 1, 2) * page.shape[::-1]
        bends = start + draw.normal(0, side / draw.uniform(3, 12), (3, 2))
        curve = (1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * bends[0]
        curve += 3 * (1 - t) * t**2 * bends[1] + t**3 * bends[2]
        points = [np.rint(curve).astype(np.int32)]
        cv2.polylines(
            page, points, False, 0, int(draw.integers(1, max(3, side // 150))), cv2.LINE_AA
        )
    return page


def _map(draw: np.random.Generator, photo: Pixels) -> Pixels:
    """Lines of equal height, with some heights written on them."""
    del photo
    side = int(draw.choice([400, 700, 1100]))
    page = np.full((side, round(1.3 * side)), 255, np.uint8)
    land = cv2.GaussianBlur(draw.normal(0, 1, page.shape), (0, 0), side / draw.uniform(8, 20))
    land = (land - land.min()) / np.ptp(land)
    for number, level in enumerate(np.linspace(0, 1, int(draw.integers(12, 45)))[1:-1]):
        found, _ = cv2.findContours(
            (land > level).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(page, found, -1, 60, 2 if number % 5 == 0 else 1, cv2.LINE_AA)
    colored = np.repeat(page[..., None], 3, 2)
    for _ in range(12):
        x, y = (int(v) for v in draw.integers(0, [page.shape[1], page.shape[0]]))
        line(colored, str(int(land[y, x] * 900)), x, y, Style(max(9, side // 50)))
    return colored[..., 0]


def _plan(draw: np.random.Generator, photo: Pixels) -> Pixels:
    """Rooms, circles, hatching and dimensions, as on a technical drawing."""
    del photo
    side = int(draw.choice([420, 800, 1400]))
    page = np.full((side, round(1.41 * side), 3), 255, np.uint8)
    style = Style(max(8, side // 60))
    high, wide = page.shape[:2]
    for _ in range(int(draw.integers(5, 16))):
        w, h = (int(v) for v in draw.integers(side // 12, side // 2, 2))
        x, y = int(draw.integers(0, wide - w)), int(draw.integers(0, high - h))
        kind = draw.integers(4)
        if kind < 2:
            cv2.rectangle(page, (x, y), (x + w, y + h), (0, 0, 0), int(draw.integers(1, 4)))
        else:
            for radius in range(w // 2, 3, -max(6, w // int(draw.integers(3, 7)))):
                cv2.circle(page, (x + w // 2, y + h // 2), radius, (0, 0, 0), 1, cv2.LINE_AA)
            cross = x + w // 2, y + h // 2
            cv2.line(page, (cross[0] - w // 2, cross[1]), (cross[0] + w // 2, cross[1]), (0, 0, 0))
            cv2.line(page, (cross[0], cross[1] - w // 2), (cross[0], cross[1] + w // 2), (0, 0, 0))
        if kind == 1:
            step = int(draw.integers(5, 12))
            for start in range(-h, w, step):
                ends = max(start, 0), max(-start, 0)
                length = min(w - ends[0], h - ends[1])
                a = x + ends[0], y + ends[1]
                cv2.line(page, a, (a[0] + length, a[1] + length), (0, 0, 0), 1, cv2.LINE_AA)
        cv2.arrowedLine(page, (x, y - 8), (x + w, y - 8), (0, 0, 0), 1, cv2.LINE_AA, tipLength=0.03)
        line(page, f"{w * 3.5:.0f}", x + w // 2, y - 10 - style.size, style)
    line(page, words(6, draw), style.size, high - 2 * style.size, style)
    return page[..., 0]


def _labyrinth(draw: np.random.Generator, photo: Pixels) -> Pixels:
    del photo
    cells, step = int(draw.integers(10, 40)), int(draw.integers(9, 26))
    size = 2 * cells + 1
    walls = np.zeros((size, size), np.uint8)
    walls[1::2, 1::2] = 1
    stack, seen = [(0, 0)], {(0, 0)}
    while stack:
        row, column = stack[-1]
        ways = [
            (row + a, column + b)
            for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))
            if 0 <= row + a < cells
            and 0 <= column + b < cells
            and (row + a, column + b) not in seen
        ]
        if not ways:
            stack.pop()
            continue
        nxt = ways[int(draw.integers(len(ways)))]
        walls[row + nxt[0] + 1, column + nxt[1] + 1] = 1
        seen.add(nxt)
        stack.append(nxt)
    widths = np.where(np.arange(size) % 2, step, max(2, step // 5))
    made = np.repeat(np.repeat(walls * 255, widths, 0), widths, 1)
    return np.pad(made, step, constant_values=255)[:1600, :1600]


_DRAWINGS = (_sketch, _sketch, _contours, _contours, _engraving, _curves, _map, _plan, _labyrinth)
