"""Attacks that do not know the defense: the columns of a table, made here or read from folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lgs_cli.errors import UsageError
from lgs_cli.evaluation import dataset
from lgs_cli.evaluation.attacks import records
from lgs_cli.evaluation.attacks.attack import Prepared
from lgs_cli.evaluation.attacks.records import Attacked, Crafted
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.kept import Kept
from lgs_cli.evaluation.selection import Selection
from lgs_cli.evaluation.specs import AttackSpec
from lgs_cli.evaluation.table import Share
from lgs_cli.evaluation.victim import Victim
from lgs_cli.lazy import np
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

# How often an attack on the undefended model must succeed before it says much about a defense.
_STRONG = 0.9


@dataclass(frozen=True, eq=False)
class Column:
    """What a blind attack, one that does not know the defense, made of the images.

    Attributes
    ----------
    name : str
        What the table calls it.
    index : ndarray
        intp (M,): which of the evaluated images were attacked.
    pixels : ndarray
        uint8 (M, H, W, 3) RGB.
    targets : ndarray
        int64 (M,): the class aimed at; -1: any but the label.
    dead : int
        For how many the gradient was zero in most steps.
    """

    name: str
    index: NDArray[np.intp]
    pixels: NDArray[np.uint8]
    targets: NDArray[np.int64]
    dead: int = 0

    def success(
        self, predicted: NDArray[np.intp], labels: NDArray[np.int64], before: NDArray[np.bool_]
    ) -> Share:
        """Return how often the attack reached its aim.

        Parameters
        ----------
        predicted : ndarray
            intp (M,): the class that each attacked image gets.
        labels : ndarray
            int64 (M,): the class it shows.
        before : ndarray
            bool (M,): whether it was classified rightly before.

        Returns
        -------
        Share
            Of an attack with targets, images that get their target; else those not classified
            rightly any more, of those that were.
        """
        if (self.targets >= 0).any():
            return Share(int((predicted == self.targets).sum()), len(predicted))
        return Share(int((before & (predicted != labels)).sum()), int(before.sum()))


def column(
    victim: Victim, selection: Selection, source: AttackSpec | Path, keep: Kept | None = None
) -> Column:
    """Attack the undefended model, or read what was attacked earlier.

    Parameters
    ----------
    victim : Victim
        The model, without defenses.
    selection : Selection
        The images to attack, and others to train a patch on.
    source : AttackSpec or Path
        An attack to make, or a folder of attacked images.
    keep : Kept, optional
        Keeps the attacked images, or has them from an earlier run.

    Raises
    ------
    LgsError
        If the model gives no gradients, or the folder is none of attacked images.
    """
    images = selection.chosen
    if isinstance(source, Path):
        return _from_folder(source, images)
    crafted = None if keep is None else keep.find(source.text, images)
    if crafted is None:
        prepared = source.attack.prepare(victim, source.params, selection.material)
        crafted = run(victim, prepared, images, source.text)
        if keep is not None:
            keep.save(source.text, crafted)
    index = np.arange(len(images))
    return Column(
        source.text, index, crafted.pixels, _targets(crafted.records), dead(crafted.records)
    )


def run(victim: Victim, prepared: Prepared, images: Images, what: str) -> Crafted:
    """Attack images batch by batch, and gather what becomes of them."""
    victim.progress.start(what, len(images))
    crafted = [prepared.run(batch) for batch in victim.batches(images)]
    return Crafted(
        np.concatenate([one.pixels for one in crafted]),
        [record for one in crafted for record in one.records],
    )


def dead(attacked: Iterable[Attacked]) -> int:
    """Count the images for which the gradient was zero in most steps."""
    return sum(record.dead_steps * 2 > record.steps for record in attacked)


def _targets(attacked: Sequence[Attacked]) -> NDArray[np.int64]:
    return np.asarray([-1 if r.target is None else r.target for r in attacked], np.int64)


def _from_folder(folder: Path, images: Images) -> Column:
    """Read attacked images, and match them by name with the clean ones."""
    position = {name: index for index, name in enumerate(images.names)}
    recorded: dict[str, Attacked] = {}
    if (folder / records.RECORDS).is_file():
        recorded = {record.file: record for record in records.read_records(folder)}
        sources: dict[str, str | None] = {file: r.source for file, r in recorded.items()}
    else:
        sources = _sources([photograph.name for photograph in dataset.find(folder)], images.names)
    matched = {file: source for file, source in sources.items() if source in position}
    shown = printable(str(folder))
    if not matched:
        raise UsageError(
            f"{shown}: none of its {len(sources)} images was made from an evaluated photograph"
        )
    if len(set(matched.values())) < len(matched):
        twice, _ = Counter(matched.values()).most_common(1)[0]
        raise UsageError(f"{shown}: several images were made from {printable(str(twice))}")
    size = (images.pixels.shape[1], images.pixels.shape[2])
    pixels = records.read_images(folder, matched, size)
    index = np.asarray([position[str(source)] for source in matched.values()], np.intp)
    name = printable(folder.name or str(folder))
    known = [recorded[file] for file in matched if file in recorded]
    targets = _targets(known) if known else np.full(len(matched), -1)
    return Column(name, index, pixels, targets, dead(known))


def _sources(files: Sequence[str], names: Sequence[str]) -> dict[str, str | None]:
    """Find the photograph of each attacked image: of the name it would get, or of its stem."""
    exact = {records.file_name(name): name for name in names}
    stems: dict[str, list[str]] = {}
    for name in names:
        stems.setdefault(_stem(name), []).append(name)
    sources: dict[str, str | None] = {}
    for file in files:
        candidates = [exact[file]] if file in exact else stems.get(_stem(file), [])
        if len(candidates) > 1:
            raise UsageError(
                f"{printable(file)} may be made from {' or '.join(map(printable, candidates))}: "
                f"without {records.RECORDS} names must differ in more than their suffix"
            )
        sources[file] = candidates[0] if candidates else None
    return sources


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def warnings_about(
    victim: Victim, column: Column, images: Images, right: NDArray[np.bool_]
) -> list[str]:
    """Say if an attack is too weak for its column to mean much.

    Parameters
    ----------
    victim : Victim
        The model, without defenses.
    column : Column
        The attack.
    images : Images
        The images before it.
    right : ndarray
        bool (N,): which of them the model classifies rightly.
    """
    labels, before = images.labels[column.index], right[column.index]
    share = column.success(victim.predict(column.pixels), labels, before)
    warnings = []
    if share.total and share.value < _STRONG:
        warnings.append(
            f"{column.name} succeeds on {share.hits} of {share.total} undefended photographs; "
            "what survives an attack this weak says little about a defense"
        )
    if column.dead:
        warnings.append(
            f"{column.name}: the gradient was zero in most steps on {column.dead} of "
            f"{len(column.index)} photographs"
        )
    return warnings
