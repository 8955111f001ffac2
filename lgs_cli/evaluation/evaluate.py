"""The table: what each defense costs and saves, under blind attacks and under adaptive ones."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lgs_cli.errors import UsageError
from lgs_cli.evaluation import adaptive, provenance
from lgs_cli.evaluation.columns import Column, column, warnings_about
from lgs_cli.evaluation.dataset import Images, Photograph
from lgs_cli.evaluation.double_masking import is_provable, is_proved
from lgs_cli.evaluation.kept import Kept
from lgs_cli.evaluation.models import require_gradients
from lgs_cli.evaluation.provenance import DataHash
from lgs_cli.evaluation.selection import choose
from lgs_cli.evaluation.specs import AttackSpec, DefenseSpec, parse_attack
from lgs_cli.evaluation.table import Row, Share, Table
from lgs_cli.evaluation.victim import Victim
from lgs_cli.lazy import np
from lgs_cli.params import Params, parameter
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class EvaluateParams(Params):
    """What the table is made from.

    Attributes
    ----------
    count : int
        How many photographs are evaluated; 0: all.
    all_images : bool
        Whether photographs that the undefended model classifies wrongly are evaluated, too.
    adaptive : bool
        Whether an attack through each defense is made.
    adaptive_count : int
        How many of the photographs it is made on; 0: all.
    certify : bool
        Whether it is counted, for double masking, of how many photographs it is proved that no
        patch changes the answer.
    """

    count: int = parameter(0, "Photographs to evaluate; 0: all.", at_least=0)
    all_images: bool = parameter(
        False, "Evaluate also what the undefended model classifies wrongly."
    )
    adaptive: bool = parameter(False, "Attack through each defense, too.")
    adaptive_count: int = parameter(
        0, "Photographs to attack through each defense; 0: all.", at_least=0
    )
    certify: bool = parameter(
        False, "Count for how many photographs double-mask is proved to be right."
    )


def evaluate(
    victim: Victim,
    photographs: Sequence[Photograph],
    defenses: Sequence[DefenseSpec],
    sources: Sequence[AttackSpec | Path] = (),
    params: EvaluateParams | None = None,
    keep: Kept | None = None,
) -> Table:
    """Measure defenses against attacks on a model.

    Parameters
    ----------
    victim : Victim
        The model, without defenses, and how to work with it. Attacks need one with gradients;
        folders and ready patches do not.
    photographs : sequence of Photograph
        Labeled images.
    defenses : sequence of DefenseSpec
        The rows.
    sources : sequence of AttackSpec or Path
        The columns: attacks on the undefended model, and folders of images attacked earlier, with
        or without their ``attacks.jsonl``, named as the photographs. A patch is trained on the
        photographs that `count` left over or, if none are left, on the evaluated ones.
    params : EvaluateParams, optional
        Everything else.
    keep : Kept, optional
        Keeps the attacked images, and has those that an earlier run made.

    Raises
    ------
    LgsError
        If an input cannot be used; the message says which and why.
    """
    params = params or EvaluateParams()
    attacks = [source for source in sources if not isinstance(source, Path)]
    _refuse_early(victim, defenses, attacks, params)
    selection = choose(victim, photographs, params.count, all_images=params.all_images)
    images = selection.chosen
    data = DataHash()
    data.update(images)
    if keep is not None:
        keep.begin(provenance.settings(victim, data), images)
    columns = [column(victim, selection, source, keep) for source in sources]
    through = next((spec for spec in attacks if spec.attack.variants), parse_attack("lavan"))
    name = through.text
    blind = sources.index(through) if through in sources else None
    right = victim.predict(images.pixels) == images.labels
    warnings = [selection.doubt] if selection.doubt else []
    warnings += [text for one in columns for text in warnings_about(victim, one, images, right)]
    rows = []
    for spec in defenses:
        row, survived = _row(victim, spec, images, columns)
        if params.certify and is_provable(spec.chain):
            row = replace(row, certified=_proved(victim, spec, images))
        if params.adaptive:
            few = images.at(slice(0, params.adaptive_count or len(images)))
            share, doubts = adaptive.attack_through(victim, spec, through, few, keep)
            unaware = None if blind is None else survived[blind]
            row, more_doubts = adaptive.weigh(row, share, unaware, name)
            warnings += doubts + more_doubts
        rows.append(row)
    return Table(
        model=printable(victim.model.spec),
        population=selection.population,
        attacks=tuple(one.name for one in columns),
        adaptive=name if params.adaptive else None,
        rows=tuple(rows),
        warnings=tuple(warnings),
        provenance=provenance.describe(
            victim, data, [*attacks, *([through] if params.adaptive else [])]
        ),
    )


def _proved(victim: Victim, spec: DefenseSpec, images: Images) -> Share:
    """Count the photographs of which it is proved that no patch changes the answer."""
    victim.progress.start(f"{spec.text}: proofs", len(images))
    chain = victim.behind(spec.chain).chain
    hits = 0
    for pixels, label in zip(images.pixels, images.labels.tolist(), strict=True):
        hits += is_proved(pixels, label, chain)
        victim.progress.advance()
    return Share(hits, len(images))


def _refuse_early(
    victim: Victim,
    defenses: Sequence[DefenseSpec],
    attacks: Sequence[AttackSpec],
    params: EvaluateParams,
) -> None:
    """Refuse what cannot work before the work begins, not hours into it."""
    if params.certify and not any(is_provable(defense.chain) for defense in defenses):
        raise UsageError("--certify proves what double-mask answers: add --defense double-mask")
    if params.adaptive or any(spec.attack.needs_gradients(spec.params) for spec in attacks):
        require_gradients(victim.model, "an attack")
    if params.adaptive:
        for defense in defenses:
            victim.behind(defense.chain).layer()


def _row(
    victim: Victim, spec: DefenseSpec, images: Images, columns: Sequence[Column]
) -> tuple[Row, list[NDArray[np.bool_]]]:
    """Measure one defense, and return which images survive each attack."""
    defended = victim.behind(spec.chain)
    clean = defended.clean(images.pixels)
    right = victim.predict(clean.pixels) == images.labels
    accuracy, success, survived = [], [], []
    for one in columns:
        victim.progress.start(f"{spec.text} against {one.name}", len(one.index))
        predicted = defended.predict(one.pixels)
        labels = images.labels[one.index]
        kept = predicted == labels
        survived.append(kept)
        accuracy.append(Share(int(kept.sum()), len(kept)))
        success.append(one.success(predicted, labels, right[one.index]))
        victim.progress.advance(len(one.index))
    row = Row(
        defense=spec.text,
        milliseconds=1000 * statistics.median(clean.seconds),
        clean=Share(int(right.sum()), len(right)),
        accuracy=tuple(accuracy),
        success=tuple(success),
    )
    return row, survived
