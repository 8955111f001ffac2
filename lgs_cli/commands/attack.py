"""``lgs attack``: attacked images, to see what a defense is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lgs_cli.commands.group import Group
from lgs_cli.commands.meter import Meter, progress_option
from lgs_cli.commands.model_options import (
    FILE,
    backward_option,
    batch_size_option,
    class_names,
    find_photographs,
    labels_option,
    load_victim,
    model_options,
    params_options,
    take_params,
)
from lgs_cli.evaluation.attacks import ATTACKS
from lgs_cli.evaluation.attacks.attack import Attack
from lgs_cli.evaluation.specs import AttackSpec, parse_defense, target_number
from lgs_cli.wording import in_columns, printable


def _presets() -> str:
    """List the well-known kinds of the attacks, as ``--attack`` takes them."""
    kinds = [
        (preset, f"{kind.name}:{parameters}")
        for kind in ATTACKS.values()
        for preset, parameters in kind.presets.items()
    ]
    return "\n".join(
        [
            "\b",
            "Kinds of patches, as 'lgs evaluate --attack' takes them; for 'lgs attack' each",
            "parameter is an option (--cells 8 --flat-cells):",
            *in_columns([[f"  {preset}", spec] for preset, spec in kinds]),
        ]
    )


@click.group(cls=Group, epilog=_presets())
def attack() -> None:
    """Attack images, to see what a defense is worth."""


def _command(kind: Attack) -> click.Command:
    """Make the command of one attack."""

    def run(**options: Any) -> int:
        if options.get("target") is not None:
            options["target"] = target_number(options["target"], class_names(options))
        params = take_params(kind.params, options)
        return _attack(AttackSpec(kind.name, kind, params), options)

    papers = ", ".join(f"arXiv {paper}" for paper in kind.papers)
    run.__doc__ = (
        f"{kind.title}: {kind.summary} ({papers})\n\n"
        "IMAGES is a folder. Images without a label are taken for what the model says they are. "
        "Attacked images are the crops the model sees."
    )
    command: Any = run
    training = (
        click.option(
            "--train", metavar="DIR", type=FILE,
            help="Train on these, not on IMAGES or, with --count, as many after those.",
        ),
        click.option(
            "--train-labels", metavar="FILE.csv", type=FILE,
            help="Labels of the images to train on.",
        ),
    )  # fmt: skip
    for option in (
        progress_option,
        batch_size_option,
        backward_option,
        click.option(
            "--through", metavar="DEFENSE", default="none",
            help="Attack through a defense: NAME or NAME:PARAM=VALUE,...",
        ),
        labels_option,
        model_options,
        click.option(
            "-o", "--output", required=True, metavar="DIR", type=FILE,
            help="Where attacked PNGs and attacks.jsonl go.",
        ),
        click.option(
            "--count", metavar="N", type=click.IntRange(min=0), default=0, show_default=True,
            help="Photographs to attack, the first ones; 0: all.",
        ),
        click.argument("images", metavar="IMAGES", type=FILE),
        params_options(kind.params),
        *(reversed(training) if kind.needs_training(kind.params()) else ()),
    ):  # fmt: skip
        command = option(command)
    return click.command(kind.name)(command)


for _kind in ATTACKS.values():
    attack.add_command(_command(_kind))


def _attack(spec: AttackSpec, options: dict[str, Any]) -> int:
    from lgs_cli.evaluation.attack_folder import attack_folder

    defense = parse_defense(options["through"])
    output: Path = options["output"]
    photographs = find_photographs(options, options["images"], [output])
    count = options["count"]
    training = []
    if count:
        # as lgs evaluate does it: a patch is better tried on what it was not trained on
        photographs, training = photographs[:count], photographs[count : 2 * count]
    if options.get("train"):
        given = options | {"labels": options["train_labels"]}
        training = find_photographs(given, options["train"], [output])
    with Meter("image", None, options["progress"]) as meter:
        victim = load_victim(options, meter).behind(defense.chain)
        records = attack_folder(victim, photographs, spec, output, training)
    succeeded = [record for record in records if record.succeeded]
    wrong = sum(record.before != record.label for record in succeeded)
    already = f", {wrong} of them classified wrongly before" if wrong else ""
    shown = printable(str(output))
    counts = f"{len(records)} attacked, {len(succeeded)} successfully{already}"
    shares = [record.survives for record in records if record.survives is not None]
    if shares:
        counts += f", on average in {sum(shares) / len(shares):.0%} of the views tried"
    click.echo(f"{counts} -> {shown}", err=True)
    return 0
