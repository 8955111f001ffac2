"""Photographs and their labels: which there are, and what a model sees of them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lgs_cli import image_io
from lgs_cli import inputs as files
from lgs_cli.defenses.pixels import split_alpha
from lgs_cli.errors import ImageError, NoImagesError, UsageError
from lgs_cli.evaluation.settings import Preprocessing
from lgs_cli.wording import printable


@dataclass(frozen=True)
class Photograph:
    """One image and the class it shows.

    Attributes
    ----------
    name : str
        Path below the folder it was found in, with ``/``.
    path : Path
        Where the file lies.
    label : int or None
        Its class, from 0, where it is known.
    """

    name: str
    path: Path
    label: int | None


@dataclass(frozen=True, eq=False)
class Images:
    """Photographs as the model sees them, with their labels.

    Attributes
    ----------
    names : tuple of str
        Their names.
    labels : ndarray
        int64 (N,); -1 where the label is not known.
    pixels : ndarray
        uint8 (N, H, W, 3) RGB.
    """

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.names)

    def at(self, index: NDArray[np.intp] | slice) -> Images:
        """Return some of them.

        Parameters
        ----------
        index : ndarray or slice
            Which.

        Returns
        -------
        Images
        """
        names = tuple(np.asarray(self.names, dtype=object)[index])
        return Images(names, self.labels[index], self.pixels[index])


def find(folder: Path, labels: Path | None = None, never: Sequence[Path] = ()) -> list[Photograph]:
    """List the images of a folder, sorted by name.

    Parameters
    ----------
    folder : Path
        Where they lie. Without `labels`, subfolders are classes (ImageFolder layout): by their
        number where all are numbers, otherwise 0, 1, and so on in sorted order. Images outside
        of subfolders then have no label.
    labels : Path, optional
        CSV with the columns ``file`` (path below `folder`, or an absolute one that lies in it)
        and ``label`` (class from 0). Images it does not list are left out.
    never : sequence of Path
        Folders that are not walked: those that results go to.

    Returns
    -------
    list of Photograph

    Raises
    ------
    UsageError
        Where the folder or the CSV does not exist, or the CSV is not such a table or lists a
        file that does not exist or lies outside of `folder`.
    NoImagesError
        Where there is no image.
    """
    if not folder.is_dir():
        raise UsageError(f"{printable(str(folder))} is not a directory")
    found = _from_csv(folder, labels) if labels else _from_subfolders(folder, never)
    if not found:
        raise NoImagesError(f"no image in {printable(str(folder))}")
    return sorted(found, key=lambda photograph: photograph.name)


def _from_csv(folder: Path, labels: Path) -> list[Photograph]:
    table, shown = printable(str(labels)), printable(str(folder))
    try:
        with labels.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read {table}: {reason}") from None
    if rows and not {"file", "label"} <= set(rows[0]):
        raise UsageError(f"{table} has no columns 'file' and 'label'")
    found = []
    for line, row in enumerate(rows, start=2):
        file, label = row["file"] or "", (row["label"] or "").strip()
        where = f"{table}, line {line}"
        if not label.isdecimal():
            raise UsageError(f"{where}: label {label!r} is not a class number")
        name = _below(folder, file)
        if name is None:
            raise UsageError(f"{where}: {printable(file)} does not lie in {shown}")
        if not (folder / name).is_file():
            raise UsageError(f"{where}: {printable(str(folder / name))} does not exist")
        found.append(Photograph(name.as_posix(), folder / name, int(label)))
    return found


def _below(folder: Path, file: str) -> Path | None:
    """Return the path of a file below a folder; None where it leaves it.

    Results are written under that path: one that leaves its folder would hit the user's files.
    """
    path = Path(file)
    if path.is_absolute():
        if not path.is_relative_to(folder.absolute()):
            return None
        path = path.relative_to(folder.absolute())
    return None if ".." in path.parts else path


def _from_subfolders(folder: Path, never: Sequence[Path]) -> list[Photograph]:
    names = [
        Path(source.relative).as_posix()
        for source in files.find(
            [str(folder)], [], files.Selection(), [str(path) for path in never]
        )
        if source.problem is None
    ]
    classes = sorted({name.split("/")[0] for name in names if "/" in name})
    if all(name.isdecimal() for name in classes):
        numbers = {name: int(name) for name in classes}
    else:
        numbers = {name: number for number, name in enumerate(classes)}
    return [Photograph(name, folder / name, numbers.get(name.split("/")[0])) for name in names]


def read(path: Path) -> NDArray[np.uint8]:
    """Read one image, without alpha; of several frames the first.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    ndarray
        uint8 (H, W, 3) RGB.

    Raises
    ------
    ImageError
        Where the file is not a whole image.
    """
    try:
        pixels = image_io.read(str(path)).frames[0]
    except ImageError as error:
        raise ImageError(f"{printable(str(path))}: {error}") from None
    color, _ = split_alpha(pixels)
    if color.dtype == np.uint16:
        color = (color >> 8).astype(np.uint8)
    return np.asarray(color if color.ndim == 3 else np.stack([color] * 3, axis=-1))


def fit(image: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resize and crop one image to what a model sees.

    Parameters
    ----------
    image : ndarray
        uint8 (H, W, 3).
    preprocessing : Preprocessing
        Its `resize` and `crop` are used.

    Returns
    -------
    ndarray
        uint8 (crop, crop, 3), or as large as the resized image where `crop` is 0.

    Raises
    ------
    ValueError
        Where the image is smaller than the crop.
    """
    height, width = image.shape[:2]
    if preprocessing.resize and min(height, width) != preprocessing.resize:
        ratio = preprocessing.resize / min(height, width)
        size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        height, width = image.shape[:2]
    side = preprocessing.crop
    if not side:
        return image
    if min(height, width) < side:
        raise ValueError(f"{width}×{height} is smaller than the crop of {side} px")
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def load(
    photographs: Sequence[Photograph],
    preprocessing: Preprocessing,
    size: tuple[int, ...] | None = None,
) -> Images:
    """Read photographs as a model sees them.

    Parameters
    ----------
    photographs : sequence of Photograph
        At least one.
    preprocessing : Preprocessing
        Its `resize` and `crop` are used.
    size : tuple of int, optional
        Height and width of the images before these; by default that of the first.

    Returns
    -------
    Images
        One for each photograph, in their order.

    Raises
    ------
    ImageError
        Where one cannot be read, or differs in size from those before it.
    """
    pixels: list[NDArray[np.uint8]] = []
    for photograph in photographs:
        path = printable(str(photograph.path))
        try:
            image = fit(read(photograph.path), preprocessing)
        except ValueError as error:
            raise ImageError(f"{path}: {error}") from None
        size = size or image.shape[:2]
        if image.shape[:2] != size:
            raise ImageError(
                f"{path} is {image.shape[1]}×{image.shape[0]}, the images before it "
                f"{size[1]}×{size[0]}: crop them to one size"
            )
        pixels.append(image)
    labels = [-1 if photograph.label is None else photograph.label for photograph in photographs]
    names = tuple(photograph.name for photograph in photographs)
    return Images(names, np.asarray(labels, np.int64), np.stack(pixels))
