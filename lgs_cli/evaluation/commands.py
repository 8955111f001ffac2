"""The commands ``lgs attack``, ``lgs evaluate`` and ``lgs tune``. Light until one of them runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from html import escape
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import click

from lgs_cli.defenses.params import Params, valid_range
from lgs_cli.errors import UsageError
from lgs_cli.evaluation.settings import (
    ATTACKS,
    BACKWARDS,
    PRESETS,
    EvaluateParams,
    LavanParams,
    PatchParams,
    Preprocessing,
    TuneParams,
    parse_attack,
    parse_defense,
)
from lgs_cli.evaluation.table import FORMATS
from lgs_cli.evaluation.table import write as write_table

Command = TypeVar("Command", bound=Callable[..., Any])
SomeParams = TypeVar("SomeParams", bound=Params)

_METAVARS = {int: "N", float: "X", str: "TEXT"}

_FILE = click.Path(path_type=Path)


def _options(kind: type[Params], *, default: bool = True) -> Callable[[Command], Command]:
    """Make the options of a dataclass of parameters; :func:`_take` reads them."""

    def add(command: Command) -> Command:
        types = get_type_hints(kind)
        for spec in reversed(fields(kind)):
            flag = f"--{spec.name.replace('_', '-')}"
            if types[spec.name] is bool:
                command = click.option(flag, spec.name, is_flag=True, help=spec.metadata["help"])(
                    command
                )
                continue
            choices = spec.metadata.get("choices")
            valid = spec.metadata.get("form") or valid_range(spec)
            notes = [] if choices else [valid]
            if default and spec.default != "":
                notes.append(f"default: {spec.default}")
            command = click.option(
                flag,
                spec.name,
                type=click.Choice(choices) if choices else types[spec.name],
                metavar=None if choices else _METAVARS[types[spec.name]],
                help=f"{spec.metadata['help']}  [{'; '.join(notes)}]"
                if notes
                else spec.metadata["help"],
            )(command)
        return command

    return add


def _take(kind: type[SomeParams], options: dict[str, Any], base: SomeParams | None = None) -> Any:
    """Take the options of `_options` out of a command's, and make the parameters of them."""
    given = {spec.name: options.pop(spec.name) for spec in fields(kind)}
    types = get_type_hints(kind)
    given = {
        name: value
        for name, value in given.items()
        # a flag that is not there says nothing
        if value is not None and not (types[name] is bool and value is False)
    }
    try:
        return replace(base, **given) if base is not None else kind(**given)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _model_options(command: Command) -> Command:
    """Add the options that name a model and how it takes images; `_load_model` reads them."""
    for option in (
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            show_default=True,
            help="Where torch runs.",
        ),
        _options(Preprocessing, default=False),
        click.option(
            "--preset",
            type=click.Choice(list(PRESETS)),
            default="plain",
            show_default=True,
            help="Preprocessing that the options below change: plain takes RGB in [0, 1], "
            "as-is neither resizes nor crops.",
        ),
        click.option(
            "--model",
            required=True,
            metavar="MODEL",
            help="FILE.onnx (scoring only), FILE.pt2, FILE.pt or package.module:factory.",
        ),
    ):
        command = option(command)
    return command


def _load_model(options: dict[str, Any]) -> Any:
    from lgs_cli.evaluation import models

    preprocessing = _take(Preprocessing, options, PRESETS[options.pop("preset")])
    return models.load(options.pop("model"), preprocessing, options.pop("device"))


_LABELS = click.option(
    "--labels",
    metavar="FILE.csv",
    type=_FILE,
    help="Columns file and label; default: one subfolder a class.",
)


@contextlib.contextmanager
def _bar(unit: str) -> Iterator[Callable[[str, int], None]]:
    """Show progress on a terminal: what is being done, and how many are done."""
    if not sys.stderr.isatty():
        yield lambda what, count: None
        return
    from tqdm import tqdm

    with tqdm(unit=unit, dynamic_ncols=True, leave=False) as bar:

        def tell(what: str, count: int) -> None:
            bar.set_description(what, refresh=False)
            bar.update(count)

        yield tell


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
        _LABELS,
        _model_options,
        click.option(
            "-o", "--output", required=True, metavar="DIR", type=_FILE,
            help="Where attacked PNGs and attacks.jsonl go.",
        ),
        click.argument("images", metavar="IMAGES", type=_FILE),
    ):  # fmt: skip
        command = option(command)
    return command


@attack.command()
@_options(LavanParams)
@_attack_options
def lavan(**options: Any) -> int:
    """LaVAN: a patch of visible noise for each image (arXiv 1801.02608).

    IMAGES is a folder. Images without a label are taken for what the model says they are.
    Attacked images are the crops the model sees.
    """
    return _attack(_take(LavanParams, options), options)


@attack.command()
@click.option("--train", metavar="DIR", type=_FILE, help="Train on these images, not on IMAGES.")
@click.option(
    "--train-labels", metavar="FILE.csv", type=_FILE, help="Labels of the images to train on."
)
@_options(PatchParams)
@_attack_options
def patch(**options: Any) -> int:
    """Adversarial Patch: one patch for all images (arXiv 1712.09665).

    The patch is trained, written as patch.png, and pasted onto each image of the folder IMAGES;
    --apply pastes a patch that is there already.
    """
    return _attack(_take(PatchParams, options), options)


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
    model = _load_model(options)
    with _bar("image") as tell:
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
    succeeded = sum(record.succeeded for record in records)
    click.echo(f"{len(records)} attacked, {succeeded} successfully -> {output}", err=True)
    return 0


@click.command()
@_model_options
@click.option("--images", required=True, metavar="DIR", type=_FILE, help="Labeled photographs.")
@_LABELS
@click.option(
    "--defense", "defenses", metavar="DEFENSE", multiple=True, default=("none", "lgs"),
    show_default=True, help="none, NAME or NAME:PARAM=VALUE,...; repeatable.",
)  # fmt: skip
@click.option(
    "--attack", "blind", metavar="ATTACK", multiple=True,
    help=f"{', '.join(ATTACKS)} or NAME:PARAM=VALUE,...; repeatable.",
)  # fmt: skip
@click.option(
    "--attacked", "folders", metavar="DIR", type=_FILE, multiple=True,
    help="A folder that 'lgs attack' made; repeatable.",
)  # fmt: skip
@_options(EvaluateParams)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="text", show_default=True,
    help="Format of the table.",
)  # fmt: skip
@click.option("-o", "--output", metavar="FILE", type=_FILE, help="Write the table there.")
@click.option("--page", metavar="FILE", type=_FILE, help="Write a page with a bar chart there.")
@click.option("--keep", metavar="DIR", type=_FILE, help="Keep the attacked images there.")
def evaluate(**options: Any) -> int:
    """Measure what defenses cost and save on your model and your images.

    \b
    Example:
      lgs evaluate --model net.pt2 --images photos --labels labels.csv --count 100 \\
        --defense none --defense lgs --defense jpeg:quality=30 \\
        --attack lavan:patch-fraction=0.02 --adaptive
    """  # noqa: D301 - click reads the backspace
    from lgs_cli.evaluation import dataset, score
    from lgs_cli.evaluation.table import chart

    params = _take(EvaluateParams, options)
    defenses = [parse_defense(text) for text in options["defenses"]]
    blind = [parse_attack(text) for text in options["blind"]]
    keep: Path | None = options["keep"]
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise UsageError(f"{keep} is there already and not empty")
    photographs = dataset.find(options["images"], options["labels"])
    model = _load_model(options)
    with _bar("image") as tell:
        table = score.evaluate(
            model, photographs, defenses, blind, options["folders"], params, tell, keep
        )
    _emit(write_table(table, options["form"]), options["output"])
    if options["form"] in {"csv", "json"} or options["output"] is not None:
        for warning in table.warnings:
            click.echo(f"warning: {warning}", err=True)
    if options["page"] is not None:
        _page(options["page"], "lgs evaluate", chart(table), write_table(table, "text"))
    return 0


@click.command()
@_model_options
@click.option("--images", required=True, metavar="DIR", type=_FILE, help="Labeled photographs.")
@_LABELS
@click.option(
    "--attack", "blind", metavar="ATTACK", default="lavan", show_default=True,
    help="The attack to tune against: NAME or NAME:PARAM=VALUE,...",
)  # fmt: skip
@click.option(
    "--attacked", "folder", metavar="DIR", type=_FILE,
    help="Tune against a folder that 'lgs attack' made instead.",
)  # fmt: skip
@_options(TuneParams)
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="Format of the result.",
)  # fmt: skip
@click.option("-o", "--output", metavar="FILE", type=_FILE, help="Write the result there.")
@click.option("--page", metavar="FILE", type=_FILE, help="Write a page with a plot there.")
def tune(**options: Any) -> int:
    """Choose the parameters of LGS for your model and your images.

    Every combination of the values given is tried; of those that no other beats both clean and
    attacked, the one with the best weighted accuracy is printed as options of 'lgs clean'.
    """
    from lgs_cli.evaluation import dataset
    from lgs_cli.evaluation import tune as tuning

    params = _take(TuneParams, options)
    against = options["folder"] or parse_attack(options["blind"])
    photographs = dataset.find(options["images"], options["labels"])
    model = _load_model(options)
    with _bar("step") as tell:
        found = tuning.tune(model, photographs, against, params, tell)
    text = tuning.write(found)
    _emit(tuning.to_json(found) if options["form"] == "json" else text, options["output"])
    if options["page"] is not None:
        _page(options["page"], "lgs tune", tuning.chart(found), text)
    return 0


def _emit(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text)


def _write(path: Path, text: str) -> None:
    from lgs_cli import storage

    storage.write(str(path), text.encode())


def _page(path: Path, title: str, chart: str, text: str) -> None:
    _write(
        path,
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        "</title><style>body{max-width:60rem;margin:2rem auto;padding:0 1rem;"
        "font-family:system-ui,sans-serif;color-scheme:light dark}pre{overflow-x:auto}</style>"
        f"</head><body><h1>{escape(title)}</h1>{chart}<pre>{escape(text)}</pre></body></html>\n",
    )
