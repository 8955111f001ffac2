"""``lgs evaluate``: what defenses cost and save, in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

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
from lgs_cli.evaluation.evaluate import EvaluateParams
from lgs_cli.evaluation.evaluate import evaluate as measure
from lgs_cli.evaluation.kept import Kept
from lgs_cli.evaluation.specs import parse_attack, parse_defense
from lgs_cli.evaluation.table import FORMATS
from lgs_cli.evaluation.table import write as write_table


@click.command()
@model_options
@click.option("--images", required=True, metavar="DIR", type=FILE, help="Labeled photographs.")
@labels_option
@click.option(
    "--defense", "defenses", metavar="DEFENSE", multiple=True, default=("none", "lgs"),
    show_default=True,
    help="none, NAME or NAME:PARAM=VALUE,...; repeatable. double-mask asks the evaluated model if "
    "no other is named.",
)  # fmt: skip
@click.option(
    "--attack", "attacks", metavar="ATTACK", multiple=True,
    help=f"{', '.join(ATTACKS)} or NAME:PARAM=VALUE,...; repeatable.",
)  # fmt: skip
@click.option(
    "--attacked", "folders", metavar="DIR", type=FILE, multiple=True,
    help="A folder of attacked images, named as the photographs; repeatable.",
)  # fmt: skip
@params_options(EvaluateParams)
@backward_option
@batch_size_option
@progress_option
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="text", show_default=True,
    help="Format of the table.",
)  # fmt: skip
@click.option("-o", "--output", metavar="FILE", type=FILE, help="Write the table there.")
@click.option("--page", metavar="FILE", type=FILE, help="Write a page with a bar chart there.")
@click.option("--keep", metavar="DIR", type=FILE, help="Keep the attacked images there.")
@click.option(
    "--resume", is_flag=True,
    help="Continue an interrupted table: attacks that --keep DIR holds are not made again.",
)  # fmt: skip
def evaluate(**options: Any) -> int:
    """Measure what defenses cost and save on your model and your images.

    \b
    Example:
      lgs evaluate --model net.pt2 --images photos --labels labels.csv \\
        --count 100 --defense none --defense lgs --defense jpeg:quality=30 \\
        --attack lavan:patch-fraction=0.02 --adaptive
    """  # noqa: D301 - click reads the backspace
    from lgs_cli.evaluation import charts, pages
    from lgs_cli.storage import refuse_overwriting

    params = take_params(EvaluateParams, options)
    defenses = [parse_defense(text) for text in options["defenses"]]
    names = class_names(options)
    attacks = [parse_attack(text, names) for text in options["attacks"]]
    if options["resume"] and options["keep"] is None:
        raise click.UsageError("--resume needs --keep DIR: what it continues")
    keep = Kept(options["keep"], resume=options["resume"]) if options["keep"] else None
    photographs = find_photographs(options, options["images"])
    refuse_overwriting(
        (options["output"], options["page"]),
        (
            Path(options["model"]),
            options["labels"],
            options["classes"],
            *(photo.path for photo in photographs),
        ),
    )
    with Meter("image", None, options["progress"]) as meter:
        victim = load_victim(options, meter)
        sources = [*attacks, *options["folders"]]
        table = measure(victim, photographs, defenses, sources, params, keep)
    text = write_table(table, options["form"])
    if options["output"] is None:
        click.echo(text, nl=False)
    else:
        pages.write_text(options["output"], text)
    if options["form"] in {"csv", "json"} or options["output"] is not None:
        for warning in table.warnings:
            click.echo(f"warning: {warning}", err=True)
    if options["page"] is not None:
        text = write_table(table, "text")
        pages.write_page(options["page"], "lgs evaluate", charts.bars(table), text)
    return 0
