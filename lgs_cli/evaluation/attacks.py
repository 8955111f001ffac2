"""What every attack shares: where a patch lies, what became of an image, a folder of results."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import get_type_hints

import numpy as np
from numpy.typing import NDArray

from lgs_cli import storage
from lgs_cli.errors import UsageError
from lgs_cli.evaluation import dataset
from lgs_cli.image_io.formats.png import encode_png
from lgs_cli.wording import printable

RECORDS = "attacks.jsonl"
TRAINED = "patch.png"


@dataclass(frozen=True)
class Attacked:
    """What an attack did to one image.

    Attributes
    ----------
    file : str
        Path of the attacked PNG below its folder, with ``/``.
    source : str
        Name of the photograph it was made from.
    label : int
        The class it shows.
    target : int or None
        The class the attack aimed at; None: any but the label.
    top, left, height, width : int
        The box around the patch, in pixels of the attacked image.
    before, after : int
        The class the model gives before and after; through a defense, where the attack went
        through one.
    confidence : float
        Probability of `after`.
    steps : int
        Gradient steps taken on this image; 0 for a pasted patch.
    dead_steps : int
        How many of them found a gradient of exactly zero.
    seconds : float
        Wall time spent on it, its share of the batch.
    """

    file: str
    source: str
    label: int
    target: int | None
    top: int
    left: int
    height: int
    width: int
    before: int
    after: int
    confidence: float
    steps: int
    dead_steps: int
    seconds: float

    @property
    def succeeded(self) -> bool:
        """Whether the model gives the target, or without one any class but the label."""
        return self.after != self.label if self.target is None else self.after == self.target


def draws(seed: int, name: str, *more: int) -> np.random.Generator:
    """Return the random generator of one image: the same whatever else is attacked with it.

    Parameters
    ----------
    seed : int
        The user's.
    name : str
        The name of the photograph.
    *more : int
        What tells several generators of one image apart.

    Returns
    -------
    numpy.random.Generator
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode("utf-8", "surrogateescape")), *more])


def side_of(patch_size: int, patch_fraction: float, height: int, width: int) -> int:
    """Return the side of a patch in pixels, given in pixels or as a share of the area.

    Parameters
    ----------
    patch_size : int
        Side in pixels; 0: `patch_fraction` decides.
    patch_fraction : float
        Area as a share of the image's.
    height, width : int
        Size of the image in pixels.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    UsageError
        Where the image cannot hold it.
    """
    side = patch_size or max(1, round((patch_fraction * height * width) ** 0.5))
    if side > min(height, width):
        raise UsageError(f"a patch of {side} px does not fit into images of {width}×{height}")
    return side


def place(
    location: str, height: int, width: int, side: int, draw: np.random.Generator
) -> tuple[int, int]:
    """Choose where a square patch lies.

    Parameters
    ----------
    location : str
        ``random``: anywhere; ``border``: at most a quarter of its side away from a border drawn
        at random; ``corner``: one drawn at random; ``X,Y``: its left and top.
    height, width : int
        Size of the image in pixels.
    side : int
        Side of the patch in pixels.
    draw : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    top, left : int

    Raises
    ------
    UsageError
        Where a patch at ``X,Y`` would leave the image.
    """
    rows, columns = height - side, width - side
    if location == "random":
        return int(draw.integers(rows + 1)), int(draw.integers(columns + 1))
    if location == "corner":
        return rows * int(draw.integers(2)), columns * int(draw.integers(2))
    if location == "border":
        edge, gap = int(draw.integers(4)), int(draw.integers(side // 4 + 1))
        top, left = int(draw.integers(rows + 1)), int(draw.integers(columns + 1))
        if edge < 2:
            top = min(gap, rows) if edge == 0 else max(rows - gap, 0)
        else:
            left = min(gap, columns) if edge == 2 else max(columns - gap, 0)
        return top, left
    left, top = (int(part) for part in location.split(","))
    if top > rows or left > columns:
        raise UsageError(f"a patch of {side} px at {location} leaves the image of {width}×{height}")
    return top, left


def choose_target(target: str, label: int, classes: int, draw: np.random.Generator) -> int | None:
    """Choose the class to reach.

    Parameters
    ----------
    target : str
        ``none``, ``random`` (any class but the label) or a class number.
    label : int
        The class the image shows.
    classes : int
        How many classes the model has.
    draw : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    int or None
        None for ``none``.

    Raises
    ------
    UsageError
        Where the model has no such class, or only one.
    """
    if classes < 2:
        raise UsageError("the model has one class, so there is none to lead away to")
    if target == "none":
        return None
    if target == "random":
        return (label + 1 + int(draw.integers(classes - 1))) % classes
    if int(target) >= classes:
        raise UsageError(f"target {target} is no class; the model has 0 to {classes - 1}")
    return int(target)


def require_classes(labels: Sequence[int], names: Sequence[str], classes: int) -> None:
    """Check that labels are classes of the model.

    Parameters
    ----------
    labels : sequence of int
        The class each image shows.
    names : sequence of str
        The name of each.
    classes : int
        How many classes the model has.

    Raises
    ------
    UsageError
        Where one is not; the message names the image.
    """
    for label, name in zip(labels, names, strict=True):
        if label >= classes:
            raise UsageError(
                f"{printable(name)} has label {label}; the model has classes 0 to {classes - 1}"
            )


def file_name(name: str) -> str:
    """Return the path of the attacked PNG for a photograph: its own, with the suffix added."""
    return name if name.lower().endswith(".png") else f"{name}.png"


def require_free_names(names: Sequence[str]) -> None:
    """Check that every photograph gets a file of its own.

    Parameters
    ----------
    names : sequence of str
        The names of the photographs.

    Raises
    ------
    UsageError
        Where two would become one file, or one would take the place of the records or the patch.
    """
    taken: set[str] = set()
    for name in names:
        file = file_name(name)
        if file in taken:
            raise UsageError(f"two photographs would both become {printable(file)}")
        if file.split("/")[0] in {RECORDS, TRAINED}:
            raise UsageError(f"{printable(name)} has the name of a result; rename it")
        taken.add(file)


def save(folder: Path, images: NDArray[np.uint8], records: Sequence[Attacked]) -> None:
    """Write attacked images as PNG and append their records to ``attacks.jsonl``.

    Parameters
    ----------
    folder : Path
        Where to; made where missing.
    images : ndarray
        uint8 (N, H, W, 3) RGB.
    records : sequence of Attacked
        One for each image.

    Raises
    ------
    UsageError
        Where the file of a record would lie outside of `folder`.
    """
    for record in records:
        path = PurePosixPath(record.file)
        if path.is_absolute() or ".." in path.parts:
            raise UsageError(f"{printable(record.file)} leaves {printable(str(folder))}")
    folder.mkdir(parents=True, exist_ok=True)
    for image, record in zip(images, records, strict=True):
        storage.write(str(folder / record.file), encode_png(image))
    with (folder / RECORDS).open("a", encoding="utf-8") as stream:
        stream.writelines(f"{json.dumps(asdict(record))}\n" for record in records)


def read_records(folder: Path) -> list[Attacked]:
    """Read ``attacks.jsonl`` of a folder.

    Parameters
    ----------
    folder : Path
        Where it lies.

    Returns
    -------
    list of Attacked
        In the order of the lines.

    Raises
    ------
    UsageError
        Where there is none, or a line of it is not such a record.
    """
    path = folder / RECORDS
    shown = printable(str(path))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"cannot read {shown}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{shown} is not UTF-8, so it holds no records of attacks") from None
    types = get_type_hints(Attacked)
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
            values = {name: values[name] for name in types}
        except (ValueError, KeyError, TypeError):
            values = None
        if values is None or not all(
            isinstance(values[name], int | float if kind is float else kind)
            for name, kind in types.items()
        ):
            raise UsageError(f"{shown}, line {number} is not the record of an attack")
        records.append(Attacked(**values))
    return records


def read_images(folder: Path, files: Iterable[str], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read attacked images, which are never resized.

    Parameters
    ----------
    folder : Path
        Where they lie.
    files : iterable of str
        Their paths below it.
    size : tuple of int
        The height and width the model takes.

    Returns
    -------
    ndarray
        uint8 (N, H, W, 3) RGB.

    Raises
    ------
    ImageError
        Where one cannot be read.
    UsageError
        Where one has another size.
    """
    images = []
    for file in files:
        image = dataset.read(folder / file)
        if image.shape[:2] != size:
            raise UsageError(
                f"{printable(str(folder / file))} is {image.shape[1]}×{image.shape[0]}, "
                f"the model sees {size[1]}×{size[0]}: attacked images are scored as they are"
            )
        images.append(image)
    return np.stack(images)
