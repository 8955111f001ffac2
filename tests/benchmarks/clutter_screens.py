"""Screenshots: desktops with windows, web pages, code editors, spreadsheets, terminals, phones."""

from __future__ import annotations

import cv2
import numpy as np
from lettering import Color, Pixels, Style, line, paragraph, width, words

_ACCENTS: tuple[Color, ...] = (
    (0, 103, 192), (26, 115, 232), (220, 60, 50), (16, 137, 62), (120, 60, 180), (240, 140, 20),
)  # fmt: skip
_SIZES = ((1366, 768), (1280, 800), (1600, 900), (1024, 768), (640, 400), (390, 844), (480, 320))

Box = tuple[int, int, int, int]


def screenshot(draw: np.random.Generator, photo: Pixels) -> Pixels:
    """Make a screenshot; `photo` is its wallpaper, or a picture on it."""
    wide, height = _SIZES[int(draw.integers(len(_SIZES)))]
    screen = np.full((height, wide, 3), 255, np.uint8)
    whole = 0, 0, wide, height
    look = _Look(draw, max(9, min(wide, height) // int(draw.integers(42, 66))))
    if height > wide:
        _phone(screen, whole, look, photo, draw)
    elif draw.random() < 0.35:
        _desktop(screen, whole, look, photo, draw)
    else:
        _INSIDES[int(draw.integers(len(_INSIDES)))](screen, whole, look, photo, draw)
    return screen


class _Look:
    """Colors and the size of text of one screen."""

    def __init__(self, draw: np.random.Generator, size: int) -> None:
        dark = draw.random() < 0.35
        self.ground: Color = (32, 33, 36) if dark else (255, 255, 255)
        self.panel: Color = (48, 50, 54) if dark else (240, 242, 245)
        self.rule: Color = (80, 82, 86) if dark else (210, 214, 220)
        self.accent = _ACCENTS[int(draw.integers(len(_ACCENTS)))]
        ink: Color = (225, 225, 225) if dark else (32, 33, 36)
        gray: Color = (150, 152, 156) if dark else (110, 114, 120)
        family = str(draw.choice(["sans", "round", "narrow"]))
        self.text = Style(size, family, ink)
        self.pale = Style(size, family, gray)
        self.bold = Style(size, "bold" if family == "sans" else "round-bold", ink)
        self.title = Style(round(1.8 * size), self.bold.family, ink)
        self.white = Style(size, family, (255, 255, 255))


def _fill(screen: Pixels, box: Box, color: Color) -> None:
    left, top, right, bottom = box
    cv2.rectangle(screen, (left, top), (right - 1, bottom - 1), color, -1)


def _rounded(screen: Pixels, box: Box, color: Color, radius: int) -> None:
    left, top, right, bottom = box
    radius = max(0, min(radius, (right - left) // 2 - 1, (bottom - top) // 2 - 1))
    _fill(screen, (left + radius, top, right - radius, bottom), color)
    _fill(screen, (left, top + radius, right, bottom - radius), color)
    for x in (left + radius, right - radius - 1):
        for y in (top + radius, bottom - radius - 1):
            cv2.circle(screen, (x, y), radius, color, -1, cv2.LINE_AA)


def _picture(screen: Pixels, box: Box, photo: Pixels) -> None:
    """Show a photograph in a box, cut to its proportions."""
    left, top, right, bottom = box
    wide, height = right - left, bottom - top
    if wide < 2 or height < 2:
        return
    scale = max(wide / photo.shape[1], height / photo.shape[0])
    size = max(wide, round(photo.shape[1] * scale)), max(height, round(photo.shape[0] * scale))
    shown = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    part = screen[top:bottom, left:right]
    part[:] = shown[: part.shape[0], : part.shape[1]]


def _icon(screen: Pixels, box: Box, draw: np.random.Generator) -> None:
    left, top, right, bottom = box
    side = right - left
    color: Color = tuple(int(v) for v in draw.integers(30, 240, 3))  # type: ignore[assignment]
    _rounded(screen, box, color, side // 5)
    middle = (left + right) // 2, (top + bottom) // 2
    shape = draw.integers(5)
    white = (250, 250, 250)
    weight = max(1, side // 14)
    if shape == 0:
        cv2.circle(screen, middle, side // 4, white, weight, cv2.LINE_AA)
    elif shape == 1:
        points = [[left + side // 4, bottom - side // 4], [middle[0], top + side // 4],
                  [right - side // 4, bottom - side // 4]]  # fmt: skip
        cv2.fillPoly(screen, [np.array(points, np.int32)], white, cv2.LINE_AA)
    elif shape == 2:
        for step in range(1, 4):
            y = top + step * side // 4
            cv2.line(screen, (left + side // 4, y), (right - side // 4, y), white, weight)
    elif shape == 3:
        style = Style(max(7, side // 2), "bold", white)
        letter = str(draw.choice(list("ABEFGMPSWX")))
        line(screen, letter, middle[0] - width(letter, style) // 2, top + side // 5, style)
    else:
        inner = left + side // 4, top + side // 4, right - side // 4, bottom - side // 4
        _rounded(screen, inner, white, side // 12)


def _desktop(
    screen: Pixels, box: Box, look: _Look, photo: Pixels, draw: np.random.Generator
) -> None:
    wide, height = box[2:]
    size = look.text.size
    if draw.random() < 0.6:
        _picture(screen, box, photo)
    else:
        ends = draw.integers(0, 256, (2, 3)).astype(np.float32)
        share = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
        screen[:] = (ends[0] * (1 - share) + ends[1] * share).astype(np.uint8)
    icon = 3 * size
    for column in range(int(draw.integers(1, 4))):
        for row in range(int(draw.integers(2, 6))):
            x, y = size + column * 2 * icon, size + row * round(2.1 * icon)
            _icon(screen, (x, y, x + icon, y + icon), draw)
            line(screen, words(1, draw), x, y + icon + 3, look.white)
    for _ in range(int(draw.integers(1, 4))):
        w, h = round(wide * draw.uniform(0.35, 0.7)), round(height * draw.uniform(0.35, 0.7))
        x, y = int(draw.integers(0, wide - w)), int(draw.integers(0, height - h - 2 * size))
        _window(screen, (x, y, x + w, y + h), look, photo, draw)
    bar = height - round(2.6 * size)
    _fill(screen, (0, bar, wide, height), look.panel)
    for place in range(int(draw.integers(4, 12))):
        x = size + place * round(2.6 * size)
        _icon(screen, (x, bar + size // 3, x + 2 * size, bar + size // 3 + 2 * size), draw)
    clock = f"{draw.integers(24):02}:{draw.integers(60):02}"
    line(screen, clock, wide - 5 * size, bar + size // 2, look.text)


def _window(
    screen: Pixels, box: Box, look: _Look, photo: Pixels, draw: np.random.Generator
) -> None:
    left, top, right, bottom = box
    size = look.text.size
    _fill(screen, (left - 1, top - 1, right + 1, bottom + 1), look.rule)
    _fill(screen, box, look.ground)
    bar = top + 2 * size
    _fill(screen, (left, top, right, bar), look.panel)
    line(screen, words(3, draw), left + size, top + size // 2, look.text)
    for place, color in enumerate(((237, 106, 94), (244, 191, 79), (97, 197, 84))):
        center = right - size - place * round(1.5 * size), top + size
        cv2.circle(screen, center, size // 2, color, -1, cv2.LINE_AA)
    inside = screen[bar:bottom, left:right]
    around = 0, 0, right - left, bottom - bar
    _INSIDES[int(draw.integers(len(_INSIDES)))](inside, around, look, photo, draw)


def _web(screen: Pixels, box: Box, look: _Look, photo: Pixels, draw: np.random.Generator) -> None:
    _fill(screen, box, look.ground)
    _, _, wide, height = box
    size = look.text.size
    _fill(screen, (0, 0, wide, 3 * size), look.accent)
    x = line(screen, words(2, draw), size, size, Style(round(1.3 * size), "bold", (255, 255, 255)))
    for _ in range(int(draw.integers(3, 7))):
        x = line(screen, words(1, draw), x + 2 * size, size, look.white)
    top = 4 * size
    if draw.random() < 0.6:
        high = round(height * draw.uniform(0.25, 0.45))
        _picture(screen, (0, 3 * size, wide, 3 * size + high), photo)
        top = 4 * size + high
    columns = int(draw.integers(1, 5))
    step = wide // columns
    for column in range(columns):
        left, right, y = column * step + size, (column + 1) * step - size, top
        while y < height - 5 * size:
            if columns > 1 and draw.random() < 0.6:
                high = round((right - left) * 0.6)
                rows, across = (int(v) for v in draw.integers(0, [photo.shape[0] // 2,
                                                                 photo.shape[1] // 2]))  # fmt: skip
                _picture(screen, (left, y, right, min(y + high, height)), photo[rows:, across:])
                y += high + size // 2
            y = paragraph(screen, words(5, draw), (left, y, right, height), look.bold)
            text = words(int(draw.integers(10, 50)), draw)
            y = paragraph(screen, text, (left, y, right, height - size), look.text)
            if draw.random() < 0.4 and y < height - 4 * size:
                _rounded(screen, (left, y, left + 8 * size, y + 2 * size), look.accent, size // 2)
                line(screen, words(1, draw), left + size, y + size // 2, look.white)
                y += 2 * size
            y += 2 * size


_CODE: tuple[Color, ...] = (
    (86, 156, 214), (206, 145, 120), (106, 153, 85), (220, 220, 170), (156, 220, 254),
    (197, 134, 192),
)  # fmt: skip


def _editor(
    screen: Pixels, box: Box, look: _Look, photo: Pixels, draw: np.random.Generator
) -> None:
    _, _, wide, height = box
    size = look.text.size
    _fill(screen, box, (30, 30, 30))
    side = round(wide * draw.uniform(0.12, 0.25))
    _fill(screen, (0, 0, side, height), (37, 37, 38))
    for y in range(size, height - size, round(1.6 * size)):
        if draw.random() < 0.7:
            x = size * int(draw.integers(1, 4))
            line(screen[:, :side], words(1, draw), x, y, Style(size, "narrow", (190, 190, 190)))
    indent = 0
    for number, y in enumerate(range(size, height - size, round(1.45 * size)), start=1):
        line(screen, f"{number:3}", side + 4, y, Style(size, "narrow", (110, 110, 110)))
        if draw.random() < 0.15:
            continue
        indent = int(np.clip(indent + draw.integers(-1, 2), 0, 4))
        x = side + 4 * size + 2 * indent * size
        for _ in range(int(draw.integers(2, 9))):
            color = _CODE[int(draw.integers(len(_CODE)))]
            token = words(1, draw).lower() + str(
                draw.choice(["", "()", " =", ":", ".", ",", "[0]"])
            )
            x = line(screen, token, x, y, Style(size, "narrow", color)) + size // 2


def _sheet(screen: Pixels, box: Box, look: _Look, photo: Pixels, draw: np.random.Generator) -> None:
    _, _, wide, height = box
    size = look.text.size
    _fill(screen, box, look.ground)
    _fill(screen, (0, 0, wide, 4 * size), look.panel)
    for place in range(int(draw.integers(6, 16))):
        x = size + place * round(2.4 * size)
        _icon(screen, (x, size, x + round(1.6 * size), size + round(1.6 * size)), draw)
    row, column = round(1.7 * size), int(draw.integers(5, 10)) * size
    filled = int(draw.integers(3, 12)), int(draw.integers(10, 50))
    for j, y in enumerate(range(4 * size, height, row)):
        cv2.line(screen, (0, y), (wide, y), look.rule, 1)
        for i, x in enumerate(range(3 * size, wide, column)):
            if i < filled[0] and 0 < j < filled[1]:
                text = words(1, draw) if i == 0 else f"{draw.normal(100, 80):.1f}"
                line(screen, text, x + 4, y + size // 3, look.text)
            elif j == 0:
                line(screen, chr(65 + i % 26), x + column // 2, y + size // 3, look.pale)
        line(screen, str(j) if j else "", size // 2, y + size // 3, look.pale)
    for x in range(3 * size, wide, column):
        cv2.line(screen, (x, 4 * size), (x, height), look.rule, 1)


def _terminal(
    screen: Pixels, box: Box, look: _Look, photo: Pixels, draw: np.random.Generator
) -> None:
    height = box[3]
    ground: Color = (12, 12, 12) if draw.random() < 0.7 else (48, 10, 36)
    _fill(screen, box, ground)
    size = 11 * max(1, round(look.text.size / 11))
    for y in range(4, height - size, round(1.4 * size)):
        if draw.random() < 0.15:
            prompt = Style(round(size / 1.3), "terminal", (110, 220, 110))
            x = line(screen, "user@host:~$ ", 6, y, prompt)
        else:
            x = 6
        gray = Style(round(size / 1.3), "terminal", (210, 210, 210))
        text = words(int(draw.integers(1, 12)), draw).encode("ascii", "ignore").decode()
        line(screen, text, x, y, gray)


def _dialog(
    screen: Pixels, box: Box, look: _Look, photo: Pixels, draw: np.random.Generator
) -> None:
    _, _, wide, height = box
    size = look.text.size
    _fill(screen, box, look.ground)
    side = round(0.25 * wide)
    _fill(screen, (0, 0, side, height), look.panel)
    for y in range(2 * size, height - 2 * size, round(2.6 * size)):
        _icon(screen, (size, y, size + round(1.4 * size), y + round(1.4 * size)), draw)
        line(screen[:, :side], words(2, draw), 3 * size, y, look.text)
    y = 2 * size
    line(screen, words(2, draw), side + 2 * size, y, look.title)
    y += 4 * size
    while y < height - 4 * size:
        left = side + 2 * size
        line(screen, words(4, draw), left, y, look.text)
        right = wide - 2 * size
        if draw.random() < 0.5:
            knob = right - 3 * size, y, right, y + round(1.5 * size)
            on = draw.random() < 0.5
            _rounded(screen, knob, look.accent if on else look.rule, size)
            x = knob[2] - size if on else knob[0] + size
            cv2.circle(screen, (x, y + size * 3 // 4), size // 2, (250, 250, 250), -1, cv2.LINE_AA)
        else:
            field = left + 14 * size, y - size // 3, right, y + round(1.6 * size)
            if field[2] > field[0] + 2 * size:
                _rounded(screen, field, look.rule, size // 3)
                line(screen, words(2, draw), field[0] + size // 2, y, look.pale)
        y += 3 * size


def _gallery(
    screen: Pixels, box: Box, look: _Look, photo: Pixels, draw: np.random.Generator
) -> None:
    _, _, wide, height = box
    size = look.text.size
    _fill(screen, box, look.ground)
    columns = int(draw.integers(2, 6))
    step = wide // columns
    for row in range(height // step + 1):
        for column in range(columns):
            top, left = (
                int(draw.integers(0, photo.shape[0] // 2)),
                int(draw.integers(0, photo.shape[1] // 2)),
            )
            part = photo[top : top + photo.shape[0] // 2, left : left + photo.shape[1] // 2]
            x, y = column * step + size // 2, row * step + size // 2
            end = min(y + step - 2 * size, height)
            _picture(screen, (x, y, x + step - size, end), np.ascontiguousarray(part))
            line(screen, words(2, draw), x, y + step - 2 * size, look.pale)


_INSIDES = (_web, _web, _editor, _sheet, _terminal, _dialog, _gallery)


def _phone(screen: Pixels, box: Box, look: _Look, photo: Pixels, draw: np.random.Generator) -> None:
    _, _, wide, height = box
    size = look.text.size
    if draw.random() < 0.4:
        _picture(screen, box, photo)
        icon = wide // 7
        for row in range(6):
            for column in range(4):
                x, y = round((column * 1.6 + 0.6) * icon), round((row * 2 + 1) * icon)
                _icon(screen, (x, y, x + icon, y + icon), draw)
                line(screen, words(1, draw), x, y + icon + 4, look.white)
        return
    _fill(screen, box, look.panel)
    y = 5 * size
    while y < height - 4 * size:
        mine = draw.random() < 0.5
        left, right = (round(0.25 * wide), wide - size) if mine else (size, round(0.75 * wide))
        if draw.random() < 0.2:
            high = round((right - left) * 0.7)
            _picture(screen, (left, y, right, min(y + high, height)), photo)
            y += high + size
            continue
        text = words(int(draw.integers(2, 24)), draw)
        style = look.white if mine else look.text
        inner = left + size, y + size // 2, right - size, height
        end = paragraph(screen.copy(), text, inner, style)
        ground = look.accent if mine else look.ground
        _rounded(screen, (left, y, right, min(end + size // 2, height)), ground, size)
        paragraph(screen, text, inner, style)
        y = end + round(1.5 * size)
    _fill(screen, (0, 0, wide, 4 * size), look.ground)
    line(screen, words(2, draw), wide // 3, round(1.8 * size), look.bold)
    line(screen, "9:41", size, size // 2, look.text)
