"""Compose the README's pictures: attacked photographs, their masks, the cleaned photographs.

Run by hand, from the repository's root, on what ``make run`` left::

    python tests/make_readme_picture.py --images sample_images --masks results/found \
        --cleaned results/repaired --labels "with a patch,found,repaired" \
        -o sample_images/.readme/localize.jpg
    python tests/make_readme_picture.py --images sample_images --masks results/masks \
        --cleaned results/cleaned -o sample_images/.readme/lgs.jpg

``lgs`` passes over hidden folders, so the picture is no sample.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROWS = ("coffee.jpg", "chelsea.jpg")
LABELS = "attacked,mask,cleaned"
WIDTH, GAP, LABEL_HEIGHT = 1200, 12, 44
CELL = ((WIDTH - 2 * GAP) // 3, (WIDTH - 2 * GAP) * 2 // 9)  # 3:2


def find(folder: Path, name: str) -> Path:
    """Find the picture of a sample, whatever its format: masks are PNG."""
    matches = sorted((folder / name).parent.glob(f"{Path(name).stem}.*"))
    if len(matches) != 1:
        raise SystemExit(f"{folder}: {len(matches)} files for {name}; one is needed")
    return matches[0]


def cell(path: Path) -> Image.Image:
    """Open a picture and cut the largest centered 3:2 part of it to the size of a cell."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    scale = min(picture.width / CELL[0], picture.height / CELL[1])
    width, height = CELL[0] * scale, CELL[1] * scale
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    box = (left, top, left + width, top + height)
    return picture.resize(CELL, Image.Resampling.LANCZOS, box=box)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, metavar="DIR")
    parser.add_argument("--masks", type=Path, required=True, metavar="DIR")
    parser.add_argument("--cleaned", type=Path, required=True, metavar="DIR")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--labels", default=LABELS, metavar="A,B,C")
    options = parser.parse_args()
    labels = options.labels.split(",")

    height = LABEL_HEIGHT + len(ROWS) * CELL[1] + (len(ROWS) - 1) * GAP
    picture = Image.new("RGB", (WIDTH, height), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(26)
    for column, folder in enumerate((options.images, options.masks, options.cleaned)):
        x = column * (CELL[0] + GAP)
        center = (x + CELL[0] // 2, LABEL_HEIGHT // 2)
        draw.text(center, labels[column], "#222222", font, anchor="mm")
        for row, name in enumerate(ROWS):
            y = LABEL_HEIGHT + row * (CELL[1] + GAP)
            picture.paste(cell(find(folder, name)), (x, y))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    picture.save(options.output, quality=88, optimize=True)
    print(f"{options.output}: {picture.width}x{height}, {options.output.stat().st_size} B")


if __name__ == "__main__":
    main()
