"""Pictures that are no photographs, or hardly: what a detector of patches must keep quiet on.

They judge the detector, so they share nothing with what it is trained on: neither code nor
photographs. ``python tests/benchmarks/clutter.py SHEET.png`` shows some of each kind.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from clutter_drawings import line_art
from clutter_pages import chart, qr_code, recompressed, resized, scanned, text_page
from clutter_screens import screenshot
from lettering import Pixels

sys.path.insert(0, str(Path(__file__).parents[1]))

from optional_data import DATA

FOLIAGE = (
    "European_fire_salamander", "thunder_snake", "garter_snake", "little_blue_heron",
    "European_gallinule", "briard", "Mexican_hairless", "dingo", "tiger", "bison", "howler_monkey",
    "spider_monkey", "chain_saw", "Crock_Pot", "greenhouse", "pot", "barn_spider", "croquet_ball",
    "banana", "acorn", "agaric", "giant_schnauzer", "tobacco_shop", "park_bench", "apiary",
)  # fmt: skip
CROWDS = (
    "suspension_bridge", "unicycle", "grey_whale", "jinrikisha", "garbage_truck", "butcher_shop",
    "cleaver", "dishwasher", "fireboat", "freight_car", "gondola", "hamper", "mask", "oboe",
    "steam_locomotive", "streetcar", "guacamole", "bookcase", "quilt", "Indian_elephant",
)  # fmt: skip

Photographs = dict[str, Pixels]


def pictures(kind: str, count: int, photographs: Photographs) -> Iterator[Pixels]:
    """Make pictures of one kind: the first ones are the same however many are wanted.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    count : int
        How many.
    photographs : dict
        Photographs by the names of what they show, uint8 (H, W, 3) RGB.

    Yields
    ------
    ndarray
        uint8 (H, W, 3) RGB, 300 to 1600 pixels a side, mostly.
    """
    for number in range(count):
        draw = np.random.default_rng([zlib.crc32(kind.encode()), number])
        yield np.ascontiguousarray(KINDS[kind](number, draw, photographs))


def _any(draw: np.random.Generator, photographs: Photographs) -> Pixels:
    return photographs[str(draw.choice(sorted(photographs)))]


def _from_photograph(
    make: Callable[[np.random.Generator, Pixels], Pixels],
) -> Callable[[int, np.random.Generator, Photographs], Pixels]:
    return lambda number, draw, photographs: make(draw, _any(draw, photographs))


def low_quality(draw: np.random.Generator, photo: Pixels) -> Pixels:
    """Return a photograph as JPEG of quality 20, in its own size or enlarged before."""
    scale = float(draw.choice([1, 1, 1, 2]))
    return recompressed(resized(photo, scale) if scale != 1 else photo, 20)


def halftone(draw: np.random.Generator, photo: Pixels) -> Pixels:
    """Print a photograph in dots, and scan it."""
    large = resized(photo, draw.uniform(1, 3.2))[:1600, :1600].astype(np.float32) / 255
    kind = draw.integers(4)
    if kind == 0:
        made = _dithered(large.mean(2, keepdims=True), int(draw.choice([2, 3])))
    elif kind == 1:
        made = _dithered(large, 2)
    elif kind == 2:
        period = draw.uniform(3, 9)
        made = 1 - _screened(1 - large.mean(2), period, np.pi / 4, draw)[..., None]
    else:
        made = _four_colors(large, draw.uniform(3, 8), draw)
    made = np.broadcast_to(made, large.shape) * draw.uniform([0.9, 0.88, 0.8], 1)
    made = cv2.GaussianBlur(made, (0, 0), draw.uniform(0.4, 1.3))
    if draw.random() < 0.4:
        made = resized((made * 255).astype(np.uint8), draw.uniform(0.4, 0.9)) / 255.0
    picture = (made * 255).clip(0, 255).astype(np.uint8)
    return scanned(picture, draw) if draw.random() < 0.4 else picture


def _dithered(planes: np.ndarray, order: int) -> np.ndarray:
    """Compare with Bayer's matrix of side 2^order."""
    matrix = np.zeros((1, 1))
    for _ in range(order):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    thresholds = (matrix + 0.5) / matrix.size
    high, wide = planes.shape[:2]
    side = len(matrix)
    tiled = np.tile(thresholds, (-(-high // side), -(-wide // side)))[:high, :wide, None]
    return (planes > tiled).astype(np.float32)


def _screened(
    ink: np.ndarray, period: float, angle: float, draw: np.random.Generator
) -> np.ndarray:
    """Return round dots that cover as much as there is ink, (H, W) in [0, 1]."""
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]].astype(np.float32)
    u = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period)
    v = (y * np.cos(angle) - x * np.sin(angle)) * (2 * np.pi / period)
    field = (np.cos(u) + np.cos(v)) / 4 + 0.5
    # so that dots cover the share of ink: the field's own quantiles
    sample = np.sort(field.ravel()[:: max(1, field.size // 4096)])
    level = np.interp(1 - ink, np.linspace(0, 1, len(sample)), sample)
    return np.asarray(((field - level) * draw.uniform(3, 8) + 0.5).clip(0, 1), np.float32)


def _four_colors(large: np.ndarray, period: float, draw: np.random.Generator) -> np.ndarray:
    inks = 1 - large
    black = inks.min(2) * 0.8
    made = np.ones_like(large)
    tones = np.array([[0.0, 0.65, 0.9], [0.9, 0.05, 0.5], [0.98, 0.92, 0.1], [0.1, 0.1, 0.1]])
    planes = [*np.moveaxis((inks - black[..., None]).clip(0, 1), 2, 0), black]
    for plane, tone, degrees in zip(planes, tones, (15, 75, 0, 45), strict=True):
        dots = _screened(plane, period, np.deg2rad(degrees), draw)[..., None]
        made *= 1 - dots * (1 - tone)
    return made


def _crop(picture: Pixels, draw: np.random.Generator, least: float) -> Pixels:
    high, wide = (round(side * draw.uniform(least, 1)) for side in picture.shape[:2])
    top = int(draw.integers(picture.shape[0] - high + 1))
    left = int(draw.integers(picture.shape[1] - wide + 1))
    part = picture[top : top + high, left : left + wide]
    scale = draw.uniform(1, 2) * max(1, 300 / min(high, wide))
    return resized(part, scale) if draw.random() < 0.7 else part


def foliage(number: int, draw: np.random.Generator, photographs: Photographs) -> Pixels:
    """Cut a piece out of a photograph that is full of leaves, grass or twigs."""
    return _crop(photographs[FOLIAGE[number % len(FOLIAGE)]], draw, 0.6)


def crowd(number: int, draw: np.random.Generator, photographs: Photographs) -> Pixels:
    """Cut a piece out of a photograph full of people or things, or draw the stands of a stadium."""
    if number % 3 < 2:
        return _crop(photographs[CROWDS[number % len(CROWDS)]], draw, 0.6)
    high, wide = int(draw.choice([360, 600, 1000])), int(draw.choice([500, 900, 1400]))
    page = np.full((high, wide, 3), draw.integers(40, 120, 3), np.uint8)
    near, far = draw.uniform(18, 70), draw.uniform(5, 16)
    club = _CLOTHES[int(draw.integers(len(_CLOTHES)))]
    y = draw.uniform(0, 0.4) * high
    if y > 20:
        sky = np.linspace([150, 180, 220], [215, 225, 235], int(y))[:, None]
        page[: int(y)] = sky.astype(np.uint8)
    while y < high + near:
        size = far + (near - far) * y / high
        for x in np.arange(-size, wide + size, size * draw.uniform(0.8, 1.1)):
            if draw.random() < 0.92:
                shirt = club if draw.random() < 0.4 else _CLOTHES[int(draw.integers(len(_CLOTHES)))]
                place = x + draw.normal(0, size / 6), y + draw.normal(0, size / 8)
                _person(page, place, size, np.array(shirt), draw)
        y += size * 0.75
    page = cv2.GaussianBlur(page, (0, 0), draw.uniform(0.5, 1.2))
    grain = draw.normal(0, draw.uniform(3, 10), page.shape)
    return recompressed((page + grain).clip(0, 255).astype(np.uint8), int(draw.integers(60, 95)))


_CLOTHES = (
    (235, 235, 232), (225, 225, 228), (40, 40, 45), (25, 25, 30), (110, 112, 118), (45, 60, 95),
    (70, 95, 140), (150, 170, 200), (160, 40, 45), (120, 60, 50), (190, 175, 145), (90, 105, 75),
    (200, 185, 90), (170, 120, 130),
)  # fmt: skip


def _person(
    page: Pixels,
    place: tuple[float, float],
    size: float,
    shirt: np.ndarray,
    draw: np.random.Generator,
) -> None:
    x, y = place
    skin = np.array([[236, 200, 175], [205, 155, 120], [140, 95, 65]])[int(draw.integers(3))]
    light = draw.uniform(0.5, 1)
    head = (round(x), round(y)), (max(1, round(size * 0.2)), max(1, round(size * 0.26)))
    body = (
        (round(x), round(y + size * 0.62)),
        (max(1, round(size * 0.42)), max(1, round(size * 0.4))),
    )
    hair = (round(x), round(y - size * 0.1)), (head[1][0] + 1, max(1, round(size * 0.2)))
    for (center, axes), color in (
        (body, shirt), (hair, draw.integers(10, 90, 1).repeat(3)), (head, skin)
    ):  # fmt: skip
        tone = tuple(int(v) for v in color * light)
        cv2.ellipse(page, center, axes, 0, 0, 360, tone, -1, cv2.LINE_AA)


@cache
def _materials() -> tuple[Pixels, ...]:
    from skimage import data

    names = ("brick", "grass", "gravel", "brick", "grass", "gravel", "coins", "text", "page",
             "hubble_deep_field", "immunohistochemistry", "cell")  # fmt: skip
    found = []
    for name in names:
        picture = np.asarray(getattr(data, name)())
        found.append(np.repeat(picture[..., None], 3, 2) if picture.ndim == 2 else picture)
    return tuple(found)


def texture(number: int, draw: np.random.Generator, photographs: Photographs) -> Pixels:
    """Cut a piece out of a photograph of bricks, grass, gravel, coins, print, stars or cells."""
    del photographs
    picture = _materials()[number % len(_materials())]
    least = min(1.0, 200 / min(picture.shape[:2]))
    made = _crop(picture, draw, least)
    if draw.random() < 0.4 and np.ptp(made.astype(int), axis=2).max() == 0:
        made = (made * draw.uniform(0.6, 1, 3)).astype(np.uint8)
    return made


KINDS: dict[str, Callable[[int, np.random.Generator, Photographs], Pixels]] = {
    "text pages": _from_photograph(text_page),
    "line art": _from_photograph(line_art),
    "charts": _from_photograph(chart),
    "screenshots": _from_photograph(screenshot),
    "foliage": foliage,
    "crowds": crowd,
    "QR codes": _from_photograph(qr_code),
    "JPEG quality 20": _from_photograph(low_quality),
    "scanned halftones": _from_photograph(halftone),
    "brick, grass, gravel": texture,
}


def load(folder: Path) -> Photographs:
    """Read photographs, named as their files are after the first underscore."""
    found = {}
    for file in sorted(folder.glob("*.JPEG")):
        picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
        found[file.stem.partition("_")[2]] = np.ascontiguousarray(picture[..., ::-1])
    return found


def sheet(kinds: Sequence[str], photographs: Photographs, each: int = 12) -> Pixels:
    """Show some pictures of each kind, a row a kind."""
    rows = []
    for kind in kinds:
        row = []
        for picture in pictures(kind, each, photographs):
            frame = np.full((220, 240, 3), 90, np.uint8)
            scale = min(210 / picture.shape[0], 236 / picture.shape[1])
            small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            frame[2 : 2 + small.shape[0], 2 : 2 + small.shape[1]] = small
            row.append(frame)
        rows.append(np.concatenate(row, 1))
    return np.concatenate(rows)


def main() -> None:
    """Write a contact sheet: the file's name, then the kinds (all by default)."""
    made = sheet(sys.argv[2:] or list(KINDS), load(DATA / "imagenet"))
    cv2.imwrite(sys.argv[1], made[..., ::-1])


if __name__ == "__main__":
    main()
