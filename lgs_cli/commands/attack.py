"""``lgs attack``: attacked images, to see what a defense is worth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lgs_cli.commands.model_options import (
    FILE,
    labels_option,
    load_model,
    model_options,
    params_options,
    progress_bar,
    take_params,
)
from lgs_cli.evaluation.settings import BACKWARDS, LavanParams, PatchParams, parse_defense
from lgs_cli.wording import printable

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group()
def attack() -> None:
    """Attack images, to see what a defense is worth."""


def _attack_options(command: Command) -> Command:
    for option in (
        click.option(
            "--batch-size", type=click.IntRange(min=1), default=16, show_default=True,
            help="Images attacked at once.",
        ),
        click.option(
            "--backward", type=click.Choice(BACKWARDS), default="auto", show_default=True,
            help="Gradient of the defense: exact where it has one.",
        ),
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
        click.argument("images", metavar="IMAGES", type=FILE),
    ):  # fmt: skip
        command = option(command)
    return command


@attack.command()
@params_options(LavanParams)
@_attack_options
def lavan(**options: Any) -> int:
    """LaVAN: a patch of visible noise for each image (arXiv 1801.02608).

    IMAGES is a folder. Images without a label are taken for what the model says they are.
    Attacked images are the crops the model sees.
    """
    return _attack(take_params(LavanParams, options), options)


@attack.command()
@click.option("--train", metavar="DIR", type=FILE, help="Train on these images, not on IMAGES.")
@click.option(
    "--train-labels", metavar="FILE.csv", type=FILE, help="Labels of the images to train on."
)
@params_options(PatchParams)
@_attack_options
def patch(**options: Any) -> int:
    """Adversarial Patch: one patch for all images (arXiv 1712.09665).

    The patch is trained, written as patch.png, and pasted onto each image of the folder IMAGES;
    --apply pastes a patch that is there already.
    """
    return _attack(take_params(PatchParams, options), options)


def _attack(params: LavanParams | PatchParams, options: dict[str, Any]) -> int:
    from lgs_cli.evaluation import craft, dataset

    defense = parse_defense(options["through"])
    output: Path = options["output"]
    photographs = dataset.find(options["images"], options["labels"], [output])
    training = (
        dataset.find(options["train"], options["train_labels"], [output])
        if options.get("train")
        else []
    )
    model = load_model(options)
    with progress_bar("image") as tell:
        records = craft.attack_folder(
            model,
            photographs,
            output,
            params,
            chain=defense.chain,
            backward=options["backward"],
            batch_size=options["batch_size"],
            training=training,
            progress=tell,
        )
    succeeded = [record for record in records if record.succeeded]
    wrong = sum(record.before != record.label for record in succeeded)
    already = f", {wrong} of them classified wrongly before" if wrong else ""
    shown = printable(str(output))
    counts = f"{len(records)} attacked, {len(succeeded)} successfully{already}"
    click.echo(f"{counts} -> {shown}", err=True)
    return 0
