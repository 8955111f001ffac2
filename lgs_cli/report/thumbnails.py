"""Small pictures of the images of a run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from lgs_cli.report.records import Record
from lgs_cli.report.run import Run
from lgs_cli.visualize import heatmap, to_rgb8, upright

_SIDE, _QUALITY = 192, 75
_DARK, _BRIGHT = 1, 2
_FRAME = (255, 220, 0)


def thumbnails(
    run: Run, limit: int = 500, done: Callable[[], None] = lambda: None
) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Make small pictures of the images with the highest score, or else the highest coverage.

    Parameters
    ----------
    run : Run
        Its paths, if relative, start from the current directory.
    limit : int
        The most images to make pictures of.
    done : callable
        Is called after each of them.

    Yields
    ------
    place : int
        The image's place in ``run.records``; highest score or coverage first. Those with no file
        that can be read are left out.
    pictures : dict
        JPEG bytes by name, of ``"original"`` with a frame around each region, ``"mask"`` (or, if
        the run wrote none, ``"difference"`` of original and cleaned) and ``"cleaned"``, each at
        most 192 pixels a side. Of several pages they show the one with the regions.
    """
    made = 0
    for place in run.by_interest():
        if made == limit:
            return
        pictures = _pictures(run.records[place])
        if pictures:
            made += 1
            yield place, {name: _jpeg(picture) for name, picture in pictures.items()}
            done()


def _pictures(record: Record) -> dict[str, NDArray[np.uint8]]:
    page = record.page or 1
    original, turn = _small(Path(record.moved_to or record.source), None, page)
    cleaned, _ = _small(Path(record.output), turn, page) if record.output else (None, None)
    # Masks are drawn over pixels as stored, and carry no orientation of their own.
    mask, _ = _small(Path(record.mask), turn) if record.mask else (None, None)
    pictures = {"original": original, "mask": mask}
    if mask is None and original is not None and cleaned is not None:
        pictures["difference"] = _difference(original, cleaned)
    pictures["cleaned"] = cleaned
    if original is not None:
        pictures["original"] = _framed(original, record, turn or 1)
    return {name: picture for name, picture in pictures.items() if picture is not None}


def _small(
    path: Path, turn: int | None, page: int = 1
) -> tuple[NDArray[np.uint8] | None, int | None]:
    """Read a picture at thumbnail size, turned as its EXIF orientation says, or else as `turn`."""
    try:
        if not path.is_file():
            return None, turn
        with warnings.catch_warnings():
            # Odd metadata and great size are the run's business, not that of its report.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                image.seek(page - 1)
                turn = image.getexif().get(ExifTags.Base.Orientation, turn)
                image.draft("RGB", (_SIDE, _SIDE))
                picture = _eight_bits(image)
                picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
        # Of all formats, Pillow turns a TIFF as it reads it.
        turned = 1 if image.format == "TIFF" else turn or 1
        return upright(to_rgb8(np.asarray(picture)), turned), turn
    except Exception:
        # Pillow's decoders raise many kinds on broken files; a page without a picture is right.
        return None, turn


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray(to_rgb8(np.asarray(image).clip(0, 65535).astype(np.uint16)))
    if image.mode == "F":
        return Image.fromarray(to_rgb8(np.asarray(image).clip(0, 1)))
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _framed(picture: NDArray[np.uint8], record: Record, orientation: int) -> NDArray[np.uint8]:
    """Draw a frame around each region; they are in pixels as stored, the picture is upright."""
    if not record.regions or not record.width or not record.height:
        return picture
    height, width = picture.shape[:2]
    if orientation in (5, 6, 7, 8):
        height, width = width, height
    across, down = width / record.width, height / record.height
    frames = np.zeros((height, width), np.uint8)
    # All dark lines first: where regions touch, none hides the bright one of another.
    for level, distance, thickness in ((_DARK, 4, 4), (_BRIGHT, 3, 2)):
        for region in record.regions:
            left, top = round(region.x * across), round(region.y * down)
            right = round((region.x + region.width) * across) - 1
            bottom = round((region.y + region.height) * down) - 1
            # Around the patch, so that it stays in sight, but never out of the picture.
            box = (
                max(left - distance, 0),
                max(top - distance, 0),
                min(right + distance, width - 1),
                min(bottom + distance, height - 1),
            )
            _draw_box(frames, box, level, thickness)
    turned = upright(frames, orientation)
    framed = picture.copy()
    framed[turned == _DARK] = (0, 0, 0)
    framed[turned == _BRIGHT] = _FRAME
    return framed


def _draw_box(
    canvas: NDArray[np.uint8], box: tuple[int, int, int, int], level: int, thickness: int
) -> None:
    """Draw the inside edge of a box given by its first and last column and row."""
    left, top, right, bottom = box
    rows, columns = slice(top, bottom + 1), slice(left, right + 1)
    canvas[top : top + thickness, columns] = level
    canvas[max(bottom + 1 - thickness, top) : bottom + 1, columns] = level
    canvas[rows, left : left + thickness] = level
    canvas[rows, max(right + 1 - thickness, left) : right + 1] = level


def _difference(
    original: NDArray[np.uint8], cleaned: NDArray[np.uint8]
) -> NDArray[np.uint8] | None:
    if original.shape != cleaned.shape:
        return None
    change = np.abs(original.astype(np.float32) - cleaned).max(axis=2)
    # Scaled to the strongest change, but not so far that compression's traces would glow.
    return heatmap(change / np.maximum(change.max(), np.float32(64)))


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
