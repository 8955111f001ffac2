"""Labeled photographs: find them, read them as a model sees them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lgs_cli.defenses.preprocessing import Preprocessing, as_rgb, fit
from lgs_cli.errors import ImageError, NoImagesError, UsageError
from lgs_cli.evaluation.classes import Classes
from lgs_cli.lazy import np
from lgs_cli.storage import inputs
from lgs_cli.wording import counted, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Photograph:
    """One image and the class it shows.

    Attributes
    ----------
    name : str
        Path below the folder it was found in, with ``/``.
    path : Path
        The file.
    label : int or None
        Its class, from 0; None if it is not known.
    folders : int
        Among how many subfolders it was numbered, if its label is a guess: the first of them in
        the order of their names is 0, and so on. 0 if the label is given.
    """

    name: str
    path: Path
    label: int | None
    folders: int = 0

    def require_class(self, classes: int, model: str) -> None:
        """Check that the label is a class of a model.

        Parameters
        ----------
        classes : int
            How many classes it has.
        model : str
            Its name, printable.

        Raises
        ------
        UsageError
            If there is no label, it is no class of the model, or it is a guess and the model has
            other classes.
        """
        shown = printable(str(self.path))
        if self.label is None:
            raise UsageError(
                f"{shown} has no label; give --labels FILE.csv, or one subfolder per class"
            )
        if self.folders not in (0, classes):
            raise UsageError(
                f"the photographs are in {self.folders} subfolders that have names, but {model} "
                f"has {classes} classes: name each by the number of its class, or give "
                "--classes FILE with the names of all classes"
            )
        if self.label >= classes:
            raise UsageError(
                f"{shown} has label {self.label}, but {model} has classes 0 to {classes - 1}"
            )


@dataclass(frozen=True, eq=False)
class Images:
    """Photographs as the model sees them, with their labels.

    Attributes
    ----------
    names : tuple of str
        Their names.
    labels : ndarray
        int64 (N,); -1 for a label that is not known.
    pixels : ndarray
        uint8 (N, H, W, 3) RGB.
    """

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def joined(cls, parts: Sequence[Images]) -> Images:
        """Put images together, at least one part."""
        return cls(
            tuple(name for part in parts for name in part.names),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.pixels for part in parts]),
        )

    def at(self, index: NDArray[np.intp] | slice) -> Images:
        """Return those at some positions."""
        names = tuple(np.asarray(self.names, dtype=object)[index])
        return Images(names, self.labels[index], self.pixels[index])


def find(
    folder: Path,
    labels: Path | None = None,
    never: Sequence[Path] = (),
    classes: Classes | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[Photograph]:
    """List the images of a folder, sorted by name.

    Parameters
    ----------
    folder : Path
        The folder. Without `labels`, subfolders are classes (ImageFolder layout): by their number
        if all names are numbers, by their names in `classes` if that is given, otherwise 0, 1, and
        so on in sorted order, which is a guess. Images outside subfolders then have no label.
    labels : Path, optional
        CSV with the columns ``file`` (path below `folder`, or an absolute path inside it) and
        ``label`` (class from 0, or its name). Images it does not list are left out.
    never : sequence of Path
        Folders to skip: those that results go to.
    classes : Classes, optional
        The names of the model's classes.
    tell : callable, optional
        Called with a line if the CSV lists files that do not exist and others that do: the former
        are left out. Without it they are refused.

    Raises
    ------
    UsageError
        If the folder or the CSV does not exist, the CSV is no such table, it lists a file that
        lies outside `folder`, or does not exist, or there is no class of a name.
    NoImagesError
        If there is no image.
    """
    if not folder.is_dir():
        raise UsageError(f"{printable(str(folder))} is not a directory")
    if labels is None:
        found = _from_subfolders(folder, never, classes)
    else:
        found = _from_csv(folder, labels, classes)
        found = _those_there(found, folder, labels, tell)
    if not found:
        raise NoImagesError(f"no image in {printable(str(folder))}")
    return sorted(found, key=lambda photograph: photograph.name)


def _from_csv(folder: Path, labels: Path, classes: Classes | None) -> list[Photograph]:
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
        if not label.isdecimal() and classes is None:
            raise UsageError(
                f"{where}: label {label!r} is not a class number; for names give --classes FILE"
            )
        try:
            number = int(label) if classes is None or label.isdecimal() else classes.number(label)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        name = _below(folder, file)
        if name is None:
            raise UsageError(f"{where}: {printable(file)} does not lie in {shown}")
        found.append(Photograph(name.as_posix(), folder / name, number))
    return found


def _those_there(
    found: Sequence[Photograph], folder: Path, labels: Path, tell: Callable[[str], None] | None
) -> list[Photograph]:
    """Leave out files that do not exist, and tell of it, or refuse them."""
    there = [photograph for photograph in found if photograph.path.is_file()]
    if len(there) == len(found):
        return there
    index = next(index for index, one in enumerate(found) if not one.path.is_file())
    table, shown = printable(str(labels)), printable(str(folder))
    first = f"line {index + 2}: {printable(str(found[index].path))} does not exist"
    if not there or tell is None:
        raise UsageError(f"{table}, {first}; paths in the CSV start from {shown}")
    tell(
        f"{table} lists {counted(len(found), 'file')}, and {shown} holds {len(there)} of them: the "
        f"others are left out ({first})"
    )
    return there


def _below(folder: Path, file: str) -> Path | None:
    """Return the path of a file below a folder; None if it lies outside.

    Results are written under that path: outside its folder it could hit the user's files.
    """
    path = Path(file)
    if path.is_absolute():
        if not path.is_relative_to(folder.absolute()):
            return None
        path = path.relative_to(folder.absolute())
    return None if ".." in path.parts else path


def _from_subfolders(
    folder: Path, never: Sequence[Path], classes: Classes | None
) -> list[Photograph]:
    names = [
        Path(source.relative).as_posix()
        for source in inputs.find(
            [str(folder)], [], inputs.Selection(), [str(path) for path in never]
        )
        if source.problem is None
    ]
    subfolders = sorted({name.split("/")[0] for name in names if "/" in name})
    guessed = 0
    if all(name.isdecimal() for name in subfolders):
        numbers = {name: int(name) for name in subfolders}
    elif classes is not None:
        numbers = {name: classes.number(name) for name in subfolders}
    else:
        numbers = {name: number for number, name in enumerate(subfolders)}
        guessed = len(subfolders)
    return [
        Photograph(name, folder / name, numbers.get(name.split("/")[0]), guessed) for name in names
    ]


def read(path: Path) -> NDArray[np.uint8]:
    """Read one image without its alpha; of several frames the first.

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
        If the file is not a whole image.
    """
    from lgs_cli import image_io

    try:
        pixels = image_io.read(str(path)).frames[0]
    except ImageError as error:
        raise ImageError(f"{printable(str(path))}: {error}") from None
    return as_rgb(pixels)


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
        Height and width that all must have; by default those of the first.

    Raises
    ------
    ImageError
        If one cannot be read, or differs in size from those before it.
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
