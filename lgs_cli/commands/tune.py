"""``lgs tune``: the parameters of LGS that suit a model."""

from __future__ import annotations

from typing import Any

import click

from lgs_cli.evaluation.options import (
    FILE,
    emit,
    labels_option,
    load_model,
    model_options,
    params_options,
    progress_bar,
    take_params,
    write_page,
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
    from lgs_cli.evaluation import dataset
    from lgs_cli.evaluation import tune as tuning

    params = take_params(TuneParams, options)
    against = options["folder"] or parse_attack(options["blind"])
    photographs = dataset.find(options["images"], options["labels"])
    model = load_model(options)
    with progress_bar("step") as tell:
        found = tuning.tune(model, photographs, against, params, tell)
    text = tuning.write(found)
    emit(tuning.to_json(found) if options["form"] == "json" else text, options["output"])
    if options["page"] is not None:
        write_page(options["page"], "lgs tune", tuning.chart(found), text)
    return 0
