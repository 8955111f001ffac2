"""Attacks that go through the defense: the adaptive column of a table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lgs_cli.evaluation.attacks.records import Attacked, Crafted
from lgs_cli.evaluation.columns import dead, run
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.kept import Kept
from lgs_cli.evaluation.specs import AttackSpec, DefenseSpec
from lgs_cli.evaluation.table import Row, Share
from lgs_cli.evaluation.victim import Victim
from lgs_cli.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def attack_through(
    victim: Victim,
    defense: DefenseSpec,
    spec: AttackSpec,
    images: Images,
    keep: Kept | None = None,
) -> tuple[Share, list[str]]:
    """Attack through a defense in every way that suits it, each on what survived those before it.

    Parameters
    ----------
    victim : Victim
        The model.
    defense : DefenseSpec
        What stands in front of it.
    spec : AttackSpec
        An attack that has variants.
    images : Images
        The images to attack; also what a patch is trained on.
    keep : Kept, optional
        Keeps the attacked images, or has them from an earlier run.

    Returns
    -------
    left : Share
        The images that are classified rightly all the same.
    warnings : list of str
        Why this may say little about robustness.
    """
    what = f"{spec.text} through {defense.text}"
    victim = victim.behind(defense.chain)
    crafted = None if keep is None else keep.find(what, images)
    if crafted is None:
        crafted = _craft(victim, spec, images, what)
        if keep is not None:
            keep.save(what, crafted)
    left = int((victim.predict(crafted.pixels) == images.labels).sum())
    flat = dead(crafted.records)
    warnings = []
    if flat:
        warnings.append(
            f"{what}: the gradient was zero in most steps on {flat} of {len(images)} photographs; "
            "that these survive is no evidence of robustness"
        )
    return Share(left, len(images)), warnings


def _craft(victim: Victim, spec: AttackSpec, images: Images, what: str) -> Crafted:
    assert spec.attack.variants is not None
    pixels = images.pixels.copy()
    attacked: dict[int, Attacked] = {}
    alive = np.arange(len(images))
    for params in spec.attack.variants(spec.params, victim.chain):
        if not len(alive):
            break
        rest = images.at(alive)
        crafted = run(victim, spec.attack.prepare(victim, params, rest), rest, what)
        pixels[alive] = crafted.pixels
        for index, record in zip(alive.tolist(), crafted.records, strict=True):
            attacked[index] = _after(attacked.get(index), record)
        alive = alive[victim.predict(crafted.pixels) == rest.labels]
    return Crafted(pixels, [attacked[index] for index in range(len(images))])


def _after(earlier: Attacked | None, record: Attacked) -> Attacked:
    """Return the record of an attack that followed one that failed: with the work of both."""
    if earlier is None:
        return record
    return replace(
        record,
        steps=earlier.steps + record.steps,
        dead_steps=earlier.dead_steps + record.dead_steps,
        seconds=earlier.seconds + record.seconds,
    )


def weigh(
    row: Row, through: Share, blind: NDArray[np.bool_] | None, name: str
) -> tuple[Row, list[str]]:
    """Put the adaptive figure into a row, or that of the blind attack if it is lower.

    Parameters
    ----------
    row : Row
        The defense.
    through : Share
        What the attack through it leaves.
    blind : ndarray or None
        bool (N,): which images the same attack leaves if it does not know the defense.
    name : str
        The attack.

    Returns
    -------
    row : Row
        With the figure.
    warnings : list of str
        That the blind attack was stronger.
    """
    if blind is not None:
        same = Share(int(blind[: through.total].sum()), len(blind[: through.total]))
        if same.hits < through.hits:
            warning = (
                f"{name} through {row.defense} leaves {through.hits} of {through.total}, the blind "
                f"attack {same.hits}: the blind figure counts"
            )
            return replace(row, adaptive=same, adaptive_is_blind=True), [warning]
    return replace(row, adaptive=through), []
