"""The table: what each defense costs and saves, blindly attacked and attacked through."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from lgs_cli.defenses.chain import Chain
from lgs_cli.errors import UsageError
from lgs_cli.evaluation import attacks, craft, dataset
from lgs_cli.evaluation.attacks import Attacked
from lgs_cli.evaluation.dataset import Images, Photograph
from lgs_cli.evaluation.defended import clean
from lgs_cli.evaluation.models import Model, require_gradients
from lgs_cli.evaluation.pasting import Patch
from lgs_cli.evaluation.settings import (
    AttackSpec,
    DefenseSpec,
    EvaluateParams,
    LavanParams,
    PatchParams,
    hides_from,
)
from lgs_cli.evaluation.table import Row, Share, Table
from lgs_cli.wording import printable

Progress = Callable[[str, int], None]

# How often an attack on the undefended model must succeed before it says much about a defense.
_STRONG = 0.9

ADAPTIVE_CELLS = 16

EVADE_WEIGHTS = (1.0, 0.1, 10.0)
"""With which an attack hides from `localize`, in turn."""

# Longer steps are found, and the way back costs more of them.
_HIDING_STEP = 0.03


@dataclass(frozen=True, eq=False)
class Blind:
    """What an attack that knows no defense made of the images.

    Attributes
    ----------
    name : str
        What the table calls it.
    index : ndarray
        intp (M,): which of the evaluated images were attacked.
    pixels : ndarray
        uint8 (M, H, W, 3) RGB.
    targets : ndarray
        int64 (M,): the class aimed at; -1 where it was any but the label.
    dead : int
        On how many the gradient was zero in most steps.
    """

    name: str
    index: NDArray[np.intp]
    pixels: NDArray[np.uint8]
    targets: NDArray[np.int64]
    dead: int = 0


def _targets(records: Sequence[Attacked]) -> NDArray[np.int64]:
    return np.asarray([-1 if r.target is None else r.target for r in records], np.int64)


def _dead(records: Iterable[Attacked]) -> int:
    return sum(record.dead_steps * 2 > record.steps for record in records)


def choose(
    model: Model, photographs: Sequence[Photograph], params: EvaluateParams
) -> tuple[Images, Images, str]:
    """Choose the photographs to evaluate.

    Parameters
    ----------
    model : Model
        The undefended model.
    photographs : sequence of Photograph
        All there are.
    params : EvaluateParams
        Its `count`, `all_images` and `batch_size` are used.

    Returns
    -------
    chosen : Images
        The first `count` that qualify.
    left : Images
        Up to as many of those after them, to train a patch on.
    population : str
        Which photographs were chosen, in words.

    Raises
    ------
    UsageError
        Where a photograph has no label, its label is no class of the model, or none qualifies.
    ImageError
        Where one cannot be read, or differs from the first in size.
    """
    for photograph in photographs:
        if photograph.label is None:
            raise UsageError(
                f"{printable(str(photograph.path))} has no label; "
                "give --labels FILE.csv, or one subfolder a class"
            )
    found: list[Images] = []
    seen = right = 0
    # enough for the table and for training, then no further file is opened
    wanted = 2 * params.count or len(photographs)
    for start in range(0, len(photographs), params.batch_size):
        batch = photographs[start : start + params.batch_size]
        size = found[0].pixels.shape[1:3] if found else None
        images = dataset.load(batch, model.preprocessing, size)
        labels = images.labels
        predicted = model.predict(images.pixels, params.batch_size)
        if labels.max() >= model.classes:
            worst = int(labels.argmax())
            raise UsageError(
                f"{printable(str(batch[worst].path))} has label {labels[worst]}, but "
                f"{printable(model.spec)} has classes 0 to {model.classes - 1}"
            )
        seen += len(batch)
        right += int((predicted == labels).sum())
        found.append(
            images if params.all_images else images.at(np.flatnonzero(predicted == labels))
        )
        if sum(map(len, found)) >= wanted:
            break
    images = Images(
        tuple(name for part in found for name in part.names),
        np.concatenate([part.labels for part in found]),
        np.concatenate([part.pixels for part in found]),
    )
    if not len(images):
        raise UsageError(
            f"{printable(model.spec)} classifies none of {seen} photographs rightly: "
            "check the labels and the preprocessing"
        )
    count = params.count or len(images)
    chosen, left = images.at(slice(0, count)), images.at(slice(count, None))
    population = f"{len(chosen)} photographs"
    if not params.all_images:
        population += f" that it classifies rightly undefended ({right} of {seen} are)"
    return chosen, left, population


def evaluate(
    model: Model,
    photographs: Sequence[Photograph],
    defenses: Sequence[DefenseSpec],
    blind: Sequence[AttackSpec] = (),
    folders: Sequence[Path] = (),
    params: EvaluateParams | None = None,
    progress: Progress | None = None,
    keep: Path | None = None,
) -> Table:
    """Measure defenses against attacks on a model.

    Parameters
    ----------
    model : Model
        The model. Attacks need one with gradients; folders and ready patches do not.
    photographs : sequence of Photograph
        Labeled images.
    defenses : sequence of DefenseSpec
        The rows.
    blind : sequence of AttackSpec
        Attacks on the undefended model: the columns. A patch is trained on the photographs that
        `count` left over or, where none are left, on the evaluated ones.
    folders : sequence of Path
        Attacked images made earlier, with or without their ``attacks.jsonl``, named as the
        photographs: further columns.
    params : EvaluateParams, optional
        Everything else.
    progress : callable, optional
        Called with what is being done and how many more images are done.
    keep : Path, optional
        Folder to write attacked images to, one subfolder an attack.

    Returns
    -------
    Table

    Raises
    ------
    LgsError
        Where an input cannot be used; the message says which and why.
    """
    params = params or EvaluateParams()
    tell = progress or _silent
    # what is refused is refused before the work, not hours into it
    if params.adaptive or not all(spec.params.needs_no_gradient for spec in blind):
        require_gradients(model, "an attack")
    if params.adaptive:
        from lgs_cli.evaluation import bpda

        for defense in defenses:
            bpda.layer(defense.chain, params.backward)
    images, left, population = choose(model, photographs, params)
    if keep is not None:
        attacks.require_free_names(images.names)
    sources: list[AttackSpec | Path] = [*blind, *folders]
    columns = [attacked(model, images, left, attack, params, tell, keep) for attack in sources]
    lavans = [
        (i, a.text, a.params) for i, a in enumerate(blind) if isinstance(a.params, LavanParams)
    ]
    first, name, base = lavans[0] if lavans else (None, "lavan", LavanParams())
    some = images.at(slice(0, params.adaptive_count or len(images)))
    undefended = model.predict(images.pixels, params.batch_size) == images.labels
    rows, warnings = [], []
    for column in columns:
        warnings += _check_strength(model, column, images, undefended, params.batch_size)
    for spec in defenses:
        row, survived = _row(model, spec, images, columns, params, tell)
        if params.adaptive:
            share, found = _attack_through(model, spec, some, name, base, params, tell, keep)
            row, more = _weigh(row, share, None if first is None else survived[first], name)
            warnings += found + more
        rows.append(row)
    return Table(
        model=printable(model.spec),
        population=population,
        attacks=tuple(column.name for column in columns),
        adaptive=name if params.adaptive else None,
        rows=tuple(rows),
        warnings=tuple(warnings),
    )


def _silent(what: str, images: int) -> None:
    pass


def attacked(
    model: Model,
    images: Images,
    left: Images,
    attack: AttackSpec | Path,
    params: EvaluateParams,
    progress: Progress | None = None,
    keep: Path | None = None,
) -> Blind:
    """Attack the undefended model, or read what was attacked earlier.

    Parameters
    ----------
    model : Model
        The model.
    images, left : Images
        The images to attack, and others to train a patch on.
    attack : AttackSpec or Path
        An attack to make, or a folder of attacked images.
    params : EvaluateParams
        Its `batch_size` is used.
    progress : callable, optional
        Called with the attack and how many more images are done.
    keep : Path, optional
        Folder to write the attacked images to, in a subfolder.

    Returns
    -------
    Blind

    Raises
    ------
    LgsError
        Where the model gives no gradients, or the folder is none of attacked images.
    """
    if isinstance(attack, Path):
        return _from_folder(attack, images)
    tell = progress or _silent
    material = left if len(left) else images
    patches = craft.patches(model, attack.params, material, params.batch_size)
    pixels, records = _collect(
        model, images, attack.params, params, lambda n: tell(attack.text, n), patches=patches
    )
    if keep is not None:
        attacks.save(keep / _as_folder(attack.text), pixels, records)
    return Blind(attack.text, np.arange(len(images)), pixels, _targets(records), _dead(records))


def _as_folder(text: str) -> str:
    return "".join(char if char.isalnum() or char in "-=.," else "-" for char in text)


def _collect(
    model: Model,
    images: Images,
    attack: LavanParams | PatchParams,
    params: EvaluateParams,
    tick: Callable[[int], None],
    *,
    chain: Chain = (),
    patches: Sequence[Patch] = (),
) -> tuple[NDArray[np.uint8], list[Attacked]]:
    """Attack images batch by batch, and gather what becomes of them."""
    size = params.batch_size
    batches = (images.at(slice(start, start + size)) for start in range(0, len(images), size))
    pixels, records = [], []
    for part, found in craft.craft(model, batches, attack, chain, params.backward, patches):
        pixels.append(part)
        records += found
        tick(len(found))
    return np.concatenate(pixels), records


def _from_folder(folder: Path, images: Images) -> Blind:
    """Read attacked images, and match them by name with the clean ones."""
    position = {name: index for index, name in enumerate(images.names)}
    recorded: dict[str, Attacked] = {}
    if (folder / attacks.RECORDS).is_file():
        recorded = {record.file: record for record in attacks.read_records(folder)}
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
    pixels = attacks.read_images(folder, matched, size)
    index = np.asarray([position[str(source)] for source in matched.values()], np.intp)
    name = printable(folder.name or str(folder))
    known = [recorded[file] for file in matched if file in recorded]
    targets = _targets(known) if known else np.full(len(matched), -1)
    return Blind(name, index, pixels, targets, _dead(known))


def _sources(files: Sequence[str], names: Sequence[str]) -> dict[str, str | None]:
    """Find the photograph of each attacked image: of the name it would get, or of its stem."""
    exact = {attacks.file_name(name): name for name in names}
    stems: dict[str, list[str]] = {}
    for name in names:
        stems.setdefault(_stem(name), []).append(name)
    sources: dict[str, str | None] = {}
    for file in files:
        alike = [exact[file]] if file in exact else stems.get(_stem(file), [])
        if len(alike) > 1:
            raise UsageError(
                f"{printable(file)} may be made from {' or '.join(map(printable, alike))}: "
                f"without {attacks.RECORDS} names must differ in more than their suffix"
            )
        sources[file] = alike[0] if alike else None
    return sources


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _ways(base: LavanParams, chain: Chain) -> tuple[LavanParams, ...]:
    """Return the variants of an attack that suit a defense best.

    Smooth cells stay below the threshold of LGS, and the maximal step scales them down further;
    defenses that blur or quantize give way to free pixels at times. From `localize` a patch
    hides, with every weight and start in turn where the attack does not say how; last comes one
    that does not hide but makes the most of the repair.
    """
    smooth = replace(base, cells=base.cells or ADAPTIVE_CELLS, exploit_normalization=True)
    if not hides_from(chain):
        return smooth, base
    if base.evade:
        return (base,)
    step_size = min(base.step_size, _HIDING_STEP)
    hidden = [
        replace(base, start=start, evade=evade, step_size=step_size)
        for evade, start in product(EVADE_WEIGHTS, ("content", "noise"))
    ]
    if len(chain) > 1:
        hidden.append(replace(smooth, start="content", evade=EVADE_WEIGHTS[0]))
    return *hidden, base


def _row(
    model: Model,
    spec: DefenseSpec,
    images: Images,
    columns: Sequence[Blind],
    params: EvaluateParams,
    tell: Progress,
) -> tuple[Row, list[NDArray[np.bool_]]]:
    """Measure one defense, and return which images survive each attack."""
    cleaned, seconds = clean(images.pixels, spec.chain)
    right = model.predict(cleaned, params.batch_size) == images.labels
    accuracy, success, survived = [], [], []
    for column in columns:
        found = model.predict(clean(column.pixels, spec.chain)[0], params.batch_size)
        kept = found == images.labels[column.index]
        survived.append(kept)
        accuracy.append(Share(int(kept.sum()), len(kept)))
        success.append(_success(column, found, kept, right[column.index]))
        tell(f"{spec.text} against {column.name}", len(kept))
    row = Row(
        defense=spec.text,
        milliseconds=1000 * statistics.median(seconds),
        clean=Share(int(right.sum()), len(right)),
        accuracy=tuple(accuracy),
        success=tuple(success),
    )
    return row, survived


def _success(
    column: Blind, found: NDArray[np.intp], kept: NDArray[np.bool_], before: NDArray[np.bool_]
) -> Share:
    """Return what an attack reached, as `Row.success` says."""
    if (column.targets >= 0).any():
        return Share(int((found == column.targets).sum()), len(found))
    return Share(int((before & ~kept).sum()), int(before.sum()))


def _attack_through(
    model: Model,
    spec: DefenseSpec,
    images: Images,
    name: str,
    base: LavanParams,
    params: EvaluateParams,
    tell: Progress,
    keep: Path | None,
) -> tuple[Share, list[str]]:
    """Attack through a defense, each way on what survived those before it."""
    what = f"{name} through {spec.text}"
    pixels = images.pixels.copy()
    records: dict[int, Attacked] = {}
    alive = np.arange(len(images))
    for way in _ways(base, spec.chain):
        if not len(alive):
            break
        pixels[alive], found = _collect(
            model, images.at(alive), way, params, lambda n: tell(what, n), chain=spec.chain
        )
        for index, record in zip(alive.tolist(), found, strict=True):
            records[index] = _after(records.get(index), record)
        predicted = model.predict(clean(pixels[alive], spec.chain)[0], params.batch_size)
        alive = alive[predicted == images.labels[alive]]
    if keep is not None:
        attacks.save(keep / _as_folder(what), pixels, [records[i] for i in range(len(images))])
    dead = _dead(records.values())
    warnings = []
    if dead:
        warnings.append(
            f"{what}: the gradient was zero in most steps on {dead} of {len(images)} photographs; "
            "that these survive is no evidence of robustness"
        )
    return Share(len(alive), len(images)), warnings


def _after(before: Attacked | None, record: Attacked) -> Attacked:
    """Return the record of an attack that followed one that failed: with the work of both."""
    if before is None:
        return record
    return replace(
        record,
        steps=before.steps + record.steps,
        dead_steps=before.dead_steps + record.dead_steps,
        seconds=before.seconds + record.seconds,
    )


def _weigh(
    row: Row, share: Share, blind: NDArray[np.bool_] | None, name: str
) -> tuple[Row, list[str]]:
    """Put the adaptive figure into a row, or the blind one where that is lower."""
    if blind is not None:
        same = Share(int(blind[: share.total].sum()), len(blind[: share.total]))
        if same.hits < share.hits:
            warning = (
                f"{name} through {row.defense} leaves {share.hits} of {share.total}, the blind "
                f"attack {same.hits}: the blind figure counts"
            )
            return replace(row, adaptive=same, adaptive_is_blind=True), [warning]
    return replace(row, adaptive=share), []


def _check_strength(
    model: Model, column: Blind, images: Images, undefended: NDArray[np.bool_], batch_size: int
) -> list[str]:
    """Say where an attack is too weak for its column to mean much."""
    found = model.predict(column.pixels, batch_size)
    kept = found == images.labels[column.index]
    share = _success(column, found, kept, undefended[column.index])
    warnings = []
    if share.total and share.value < _STRONG:
        warnings.append(
            f"{column.name} succeeds on {share.hits} of {share.total} undefended photographs; "
            "what survives an attack this weak says little about a defense"
        )
    if column.dead:
        warnings.append(
            f"{column.name}: the gradient was zero in most steps on {column.dead} of {len(kept)} "
            "photographs"
        )
    return warnings
