"""``lgs evaluate``: what defenses cost and save, in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
from lgs_cli.errors import UsageError
from lgs_cli.evaluation.settings import ATTACKS, EvaluateParams, parse_attack, parse_defense
from lgs_cli.evaluation.table import FORMATS
from lgs_cli.evaluation.table import write as write_table
from lgs_cli.wording import printable


@click.command()
@model_options
@click.option("--images", required=True, metavar="DIR", type=FILE, help="Labeled photographs.")
@labels_option
@click.option(
    "--defense", "defenses", metavar="DEFENSE", multiple=True, default=("none", "lgs"),
    show_default=True, help="none, NAME or NAME:PARAM=VALUE,...; repeatable.",
)  # fmt: skip
@click.option(
    "--attack", "blind", metavar="ATTACK", multiple=True,
    help=f"{', '.join(ATTACKS)} or NAME:PARAM=VALUE,...; repeatable.",
)  # fmt: skip
@click.option(
    "--attacked", "folders", metavar="DIR", type=FILE, multiple=True,
    help="A folder of attacked images, named as the photographs; repeatable.",
)  # fmt: skip
@params_options(EvaluateParams)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="text", show_default=True,
    help="Format of the table.",
)  # fmt: skip
@click.option("-o", "--output", metavar="FILE", type=FILE, help="Write the table there.")
@click.option("--page", metavar="FILE", type=FILE, help="Write a page with a bar chart there.")
@click.option("--keep", metavar="DIR", type=FILE, help="Keep the attacked images there.")
def evaluate(**options: Any) -> int:
    """Measure what defenses cost and save on your model and your images.

    \b
    Example:
      lgs evaluate --model net.pt2 --images photos --labels labels.csv --count 100 \\
        --defense none --defense lgs --defense jpeg:quality=30 \\
        --attack lavan:patch-fraction=0.02 --adaptive
    """  # noqa: D301 - click reads the backspace
    from lgs_cli.evaluation import dataset, output, score
    from lgs_cli.evaluation.table import chart

    params = take_params(EvaluateParams, options)
    defenses = [parse_defense(text) for text in options["defenses"]]
    blind = [parse_attack(text) for text in options["blind"]]
    keep: Path | None = options["keep"]
    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise UsageError(f"{printable(str(keep))} is there already and not an empty directory")
    photographs = dataset.find(options["images"], options["labels"])
    output.refuse_overwriting(
        (options["output"], options["page"]),
        (Path(options["model"]), options["labels"], *(photo.path for photo in photographs)),
    )
    model = load_model(options)
    with progress_bar("image") as tell:
        table = score.evaluate(
            model, photographs, defenses, blind, options["folders"], params, tell, keep
        )
    text = write_table(table, options["form"])
    if options["output"] is None:
        click.echo(text, nl=False)
    else:
        output.write_text(options["output"], text)
    if options["form"] in {"csv", "json"} or options["output"] is not None:
        for warning in table.warnings:
            click.echo(f"warning: {warning}", err=True)
    if options["page"] is not None:
        output.write_page(options["page"], "lgs evaluate", chart(table), write_table(table, "text"))
    return 0
