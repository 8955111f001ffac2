"""Attack photographs from folder to folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from lgs_cli import storage
from lgs_cli.defenses.chain import describe as describe_chain
from lgs_cli.defenses.chain import method_name
from lgs_cli.errors import UsageError
from lgs_cli.evaluation import dataset, provenance
from lgs_cli.evaluation.attacks import records
from lgs_cli.evaluation.attacks.records import Attacked
from lgs_cli.evaluation.dataset import Photograph
from lgs_cli.evaluation.provenance import DataHash
from lgs_cli.evaluation.specs import AttackSpec
from lgs_cli.evaluation.victim import Victim
from lgs_cli.wording import printable


def attack_folder(
    victim: Victim,
    photographs: Sequence[Photograph],
    spec: AttackSpec,
    output: Path,
    training: Sequence[Photograph] = (),
) -> list[Attacked]:
    """Attack photographs, and write them as PNG with their records.

    Parameters
    ----------
    victim : Victim
        The model under attack, and the defenses that the attack goes through.
    photographs : sequence of Photograph
        What to attack. The model's own answer stands for a label that is not known, or only
        guessed for a model with other classes.
    spec : AttackSpec
        The attack.
    output : Path
        Where the images, ``attacks.jsonl``, ``provenance.json`` and a trained ``patch.png`` go.
        Nothing else may be there.
    training : sequence of Photograph
        What a patch is trained on; by default the photographs themselves.

    Returns
    -------
    list of Attacked
        One for each photograph.

    Raises
    ------
    UsageError
        If the output is not empty, two photographs would become one file, or one would take the
        place of the records or the patch.
    LgsError
        If the model, a photograph or a parameter cannot be used.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        shown = printable(str(output))
        raise UsageError(f"{shown} is there already and not an empty directory")
    spec.attack.check(spec.params, victim.chain)
    records.require_free_names([photograph.name for photograph in photographs])
    preprocessing, size = victim.model.preprocessing, victim.batch_size
    photographs = _without_guesses(victim, photographs)
    training = _without_guesses(victim, training)
    material = None
    if spec.attack.needs_training(spec.params):
        # read in full only here: training draws its batches from all of them
        material = victim.labeled(dataset.load(training or photographs, preprocessing))
    prepared = spec.attack.prepare(victim, spec.params, material)
    if prepared.patch is not None:
        from lgs_cli.image_io.formats.png import encode_png

        storage.write(str(output / records.PATCH), encode_png(prepared.patch))
    victim.progress.start("attacking", len(photographs))
    attacked = []
    data = DataHash()
    for start in range(0, len(photographs), size):
        images = victim.labeled(dataset.load(photographs[start : start + size], preprocessing))
        data.update(images)
        crafted = prepared.run(images)
        records.save(output, crafted.pixels, crafted.records)
        attacked += crafted.records
    through = {"method": method_name(victim.chain), **describe_chain(victim.chain)}
    record = provenance.describe(victim, data, [spec]) | {
        "params": asdict(spec.params),
        "through": through if victim.chain else None,
    }
    text = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
    storage.write(str(output / records.PROVENANCE), text.encode())
    return attacked


def _without_guesses(victim: Victim, photographs: Sequence[Photograph]) -> Sequence[Photograph]:
    """Take away labels that are a guess and do not match the model's classes."""
    guessed = [one for one in photographs if one.folders]
    if not guessed:
        return photographs
    example = dataset.load(guessed[:1], victim.model.preprocessing)
    classes = victim.model.logits(example.pixels).shape[1]
    return [
        one if one.folders in (0, classes) else replace(one, label=None, folders=0)
        for one in photographs
    ]
