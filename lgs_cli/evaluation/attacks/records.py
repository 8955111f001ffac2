"""What became of each attacked image, in memory and as a folder of PNGs with ``attacks.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, get_type_hints

from lgs_cli import storage
from lgs_cli.errors import UsageError
from lgs_cli.evaluation import dataset
from lgs_cli.lazy import np
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECORDS = "attacks.jsonl"
PATCH = "patch.png"
PROVENANCE = "provenance.json"


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
        The class the model gives before and after, behind the defenses that the attack goes
        through.
    confidence : float
        Probability of `after`.
    steps : int
        Gradient steps on this image; 0 for a pasted patch.
    dead_steps : int
        How many of them had a gradient of exactly zero.
    seconds : float
        Wall time spent on it: its share of the batch's.
    found : bool or None
        Whether a defense that the attack goes through found a patch in the attacked image; None
        if none of them looks for patches.
    score : float or None
        How suspicious that defense finds the image, in [0, 1].
    survives : float or None
        Of an attack that is to survive transformations: under which share of random ones it
        succeeds.
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
    found: bool | None = None
    score: float | None = None
    survives: float | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the model gives the target, or without one any class but the label."""
        return self.after != self.label if self.target is None else self.after == self.target


class Crafted(NamedTuple):
    """A batch of attacked images.

    Attributes
    ----------
    pixels : ndarray
        uint8 (N, H, W, 3) RGB.
    records : list of Attacked
        One for each.
    """

    pixels: NDArray[np.uint8]
    records: list[Attacked]


def with_findings(
    records: Sequence[Attacked], found: Sequence[bool | None], scores: Sequence[float | None]
) -> list[Attacked]:
    """Return records that say what a defense that looks for patches found in each image."""
    return [
        replace(record, found=one, score=None if score is None else round(score, 6))
        for record, one, score in zip(records, found, scores, strict=True)
    ]


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
        If two would become one file, or one would take the place of the records or the patch.
    """
    taken: set[str] = set()
    for name in names:
        file = file_name(name)
        if file in taken:
            raise UsageError(f"two photographs would both become {printable(file)}")
        if file.split("/")[0] in {RECORDS, PATCH, PROVENANCE}:
            raise UsageError(f"{printable(name)} has the name of a result; rename it")
        taken.add(file)


def save(folder: Path, images: NDArray[np.uint8], records: Sequence[Attacked]) -> None:
    """Write attacked images as PNG and append their records to ``attacks.jsonl``.

    Parameters
    ----------
    folder : Path
        Made if missing.
    images : ndarray
        uint8 (N, H, W, 3) RGB.
    records : sequence of Attacked
        One for each image.

    Raises
    ------
    UsageError
        If the file of a record would lie outside `folder`.
    """
    for record in records:
        path = PurePosixPath(record.file)
        if path.is_absolute() or ".." in path.parts:
            raise UsageError(f"{printable(record.file)} leaves {printable(str(folder))}")
    from lgs_cli.image_io.formats.png import encode_png

    folder.mkdir(parents=True, exist_ok=True)
    for image, record in zip(images, records, strict=True):
        storage.write(str(folder / record.file), encode_png(image))
    with (folder / RECORDS).open("a", encoding="utf-8") as stream:
        stream.writelines(f"{json.dumps(asdict(record))}\n" for record in records)


def read_records(folder: Path) -> list[Attacked]:
    """Read ``attacks.jsonl`` of a folder, in the order of its lines.

    Raises
    ------
    UsageError
        If there is none, or a line of it is not such a record.
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
    defaults = {spec.name: spec.default for spec in fields(Attacked) if spec.default is not MISSING}
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            values = defaults | json.loads(line)
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
        The folder.
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
        If one cannot be read.
    UsageError
        If one has another size.
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
