"""Text for drawn pictures, in the fonts that come with Pillow and OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Color = tuple[int, int, int]

_COMMON = """
the of and to in is was that for on are with as his they be at one have this from or had by hot
but some what there we can out other were all your when up use word how said an each she which do
their time if will way about many then them would write like so these her long make thing see him
two has look more day could go come did my sound no most number who over know water than call
first people may down side been now find any new work part take get place made live where after
back little only round man year came show every good me give our under name very through just form
much great think say help low line before turn cause same mean differ move right boy old too does
tell sentence set three want air well also play small end put home read hand port large spell add
even land here must big high such follow act why ask men change went light kind off need house
picture try us again animal point mother world near build self earth father head stand own page
should country found answer school grow study still learn plant cover food sun four thought let
keep eye never last door between city tree cross since hard start might story saw far sea draw
left late run while press close night real life few stop open seem together next white children
begin got walk example ease paper often always music those both mark book letter until mile river
car feet care second group carry took rain eat room friend began idea fish mountain north once
base hear horse cut sure watch color face wood main enough plain girl usual young ready above ever
red list though feel talk bird soon body dog family direct pose leave song measure state product
black short numeral class wind question happen complete ship area half rock order fire south
problem piece told knew pass Smith Vienna January Thursday Monday Brown Lisbon Europe Anna Martin
Chicago Madrid Peter
"""
_WORDS = tuple(_COMMON.split())

FAMILIES = ("sans", "bold", "italic", "narrow", "round", "round-bold", "round-italic", "terminal")

_OPENCV = {
    "round": cv2.FONT_HERSHEY_SIMPLEX,
    "round-bold": cv2.FONT_HERSHEY_TRIPLEX,
    "round-italic": cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
}


def words(count: int, draw: np.random.Generator) -> str:
    """Return some words, with punctuation and now and then a number."""
    chosen = []
    capital = True
    for _ in range(count):
        word = str(draw.choice(_WORDS)) if draw.random() > 0.04 else str(draw.integers(2, 2030))
        chosen.append(word.capitalize() if capital else word)
        capital = draw.random() < 0.09
        if capital:
            chosen[-1] += "."
        elif draw.random() < 0.07:
            chosen[-1] += ","
    return " ".join(chosen)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@cache
def glyphs(text: str, size: int, family: str) -> Pixels:
    """Return how much of each pixel a line of text covers, uint8 (height, width).

    All lines of one size and family have one height, with the baseline at the same row.
    """
    height = round(size * 1.3)
    if family == "terminal":
        font = ImageFont.load_default_imagefont()
        width = max(1, round(font.getlength(text)))
        made = Image.new("L", (width, 11))
        ImageDraw.Draw(made).text((0, 0), text, fill=255, font=font)
        scale = height / 11
        how = cv2.INTER_NEAREST if scale == round(scale) else cv2.INTER_AREA
        return np.asarray(
            cv2.resize(np.asarray(made), (max(1, round(width * scale)), height), interpolation=how)
        )
    if family in _OPENCV:
        scale, weight = size / 30, max(1, size // 24)
        font = _OPENCV[family]
        (width, _), _ = cv2.getTextSize(text, font, scale, weight)
        canvas = np.zeros((height, max(1, width) + 2), np.uint8)
        cv2.putText(canvas, text, (0, size), font, scale, 255, weight, cv2.LINE_AA)
        return canvas
    width = max(1, round(_font(size).getlength(text)) + 2)
    made = Image.new("L", (width, height))
    stroke = max(0.4, size / 36) if family == "bold" else 0
    ImageDraw.Draw(made).text((0, 0), text, fill=255, font=_font(size), stroke_width=stroke)
    canvas = np.asarray(made)
    if family == "italic":
        lean = np.array([[1, -0.2, 0.2 * height], [0, 1, 0]], np.float64)
        canvas = cv2.warpAffine(canvas, lean, (width + round(0.2 * height), height))
    if family == "narrow":
        size_then = max(1, round(0.78 * canvas.shape[1])), height
        canvas = cv2.resize(canvas, size_then, interpolation=cv2.INTER_AREA)
    return np.asarray(canvas, np.uint8)


def stamp(page: Pixels, cover: Pixels, x: int, y: int, color: Color) -> None:
    """Put glyphs, or any other shape, onto a page, in place; what leaves the page is cut off."""
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + cover.shape[0], page.shape[0]), min(x + cover.shape[1], page.shape[1])
    if top >= bottom or left >= right:
        return
    part = page[top:bottom, left:right]
    share = cover[top - y : bottom - y, left - x : right - x, None].astype(np.float32) / 255
    part[:] = np.rint(part * (1 - share) + np.array(color, np.float32) * share)


@dataclass(frozen=True)
class Style:
    """How text is set: size and family of the font, color, and distance of lines in sizes."""

    size: int
    family: str = "sans"
    color: Color = (20, 20, 20)
    leading: float = 1.35
    justified: bool = False


def line(page: Pixels, text: str, x: int, y: int, style: Style) -> int:
    """Write one line with its top at `y`; return where it ends."""
    cover = glyphs(text, style.size, style.family)
    stamp(page, cover, x, y, style.color)
    return x + cover.shape[1]


def width(text: str, style: Style) -> int:
    """Return how wide a line is in pixels."""
    return int(glyphs(text, style.size, style.family).shape[1])


def paragraph(
    page: Pixels, text: str, box: tuple[int, int, int, int], style: Style, indent: int = 0
) -> int:
    """Write text into a box (left, top, right, bottom); return the top of the line after it."""
    left, top, right, bottom = box
    step = round(style.size * style.leading)
    space = max(2, round(style.size * 0.28))
    x, y = left + indent, top
    waiting: list[tuple[str, int]] = []

    def flush(last: bool) -> None:
        nonlocal waiting
        used = sum(width for _, width in waiting)
        start = left + (indent if y == top else 0)
        gap = float(space)
        if style.justified and not last and len(waiting) > 1:
            gap = (right - start - used) / (len(waiting) - 1)
        place = float(start)
        for word, length in waiting:
            line(page, word, round(place), y, style)
            place += length + gap
        waiting = []

    for word in text.split():
        length = width(word, style)
        if x + length > right and waiting:
            flush(last=False)
            y += step
            x = left
            if y + step > bottom:
                return y
        waiting.append((word, length))
        x += length + space
    flush(last=True)
    return y + step
