"""``lgs tune``: the parameters of LGS that suit a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lgs_cli.commands.meter import Meter, progress_option
from lgs_cli.commands.model_options import (
    FILE,
    batch_size_option,
    class_names,
    find_photographs,
    labels_option,
    load_victim,
    model_options,
    params_options,
    take_params,
)
from lgs_cli.evaluation import grid_search
from lgs_cli.evaluation.grid_search import TuneParams
from lgs_cli.evaluation.specs import parse_attack


@click.command()
@model_options
@click.option("--images", required=True, metavar="DIR", type=FILE, help="Labeled photographs.")
@labels_option
@click.option(
    "--attack", metavar="ATTACK", default="lavan", show_default=True,
    help="The attack to tune against: NAME or NAME:PARAM=VALUE,...",
)  # fmt: skip
@click.option(
    "--attacked", "folder", metavar="DIR", type=FILE,
    help="Tune against a folder of attacked images instead.",
)  # fmt: skip
@params_options(TuneParams)
@batch_size_option
@progress_option
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
    from lgs_cli.evaluation import charts, pages
    from lgs_cli.storage import refuse_overwriting

    params = take_params(TuneParams, options)
    source = options["folder"] or parse_attack(options["attack"], class_names(options))
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
    with Meter("step", None, options["progress"]) as meter:
        victim = load_victim(options, meter)
        search = grid_search.search_grid(victim, photographs, source, params)
    text = grid_search.write(search)
    result = grid_search.to_json(search) if options["form"] == "json" else text
    if options["output"] is None:
        click.echo(result, nl=False)
    else:
        pages.write_text(options["output"], result)
    if options["page"] is not None:
        pages.write_page(options["page"], "lgs tune", charts.scatter(search), text)
    return 0
