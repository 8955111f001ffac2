"""``lgs tune``: the parameters of LGS that suit a model."""

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
from lgs_cli.evaluation.settings import TuneParams, parse_attack


@click.command()
@model_options
@click.option("--images", required=True, metavar="DIR", type=FILE, help="Labeled photographs.")
@labels_option
@click.option(
    "--attack", "blind", metavar="ATTACK", default="lavan", show_default=True,
    help="The attack to tune against: NAME or NAME:PARAM=VALUE,...",
)  # fmt: skip
@click.option(
    "--attacked", "folder", metavar="DIR", type=FILE,
    help="Tune against a folder of attacked images instead.",
)  # fmt: skip
@params_options(TuneParams)
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="Format of the result.",
)  # fmt: skip
@click.option("-o", "--output", metavar="FILE", type=FILE, help="Write the result there.")
@click.option("--page", metavar="FILE", type=FILE, help="Write a page with a plot there.")
def tune(**options: Any) -> int:
    """Choose the parameters of LGS for your model and your images.

    Every combination of the values given is tried; of those that no other beats both clean and
    attacked, the one with the best weighted accuracy is printed as options of 'lgs clean'.
    """
    from lgs_cli.evaluation import dataset, output, tuning
    from lgs_cli.evaluation.tune import tune as choose

    params = take_params(TuneParams, options)
    against = options["folder"] or parse_attack(options["blind"])
    photographs = dataset.find(options["images"], options["labels"])
    output.refuse_overwriting(
        (options["output"], options["page"]),
        (Path(options["model"]), options["labels"], *(photo.path for photo in photographs)),
    )
    model = load_model(options)
    with progress_bar("step") as tell:
        found = choose(model, photographs, against, params, tell)
    text = tuning.write(found)
    result = tuning.to_json(found) if options["form"] == "json" else text
    if options["output"] is None:
        click.echo(result, nl=False)
    else:
        output.write_text(options["output"], result)
    if options["page"] is not None:
        output.write_page(options["page"], "lgs tune", tuning.chart(found), text)
    return 0
