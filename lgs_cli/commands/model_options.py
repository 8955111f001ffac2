"""The click options that commands with a model share. Light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import click

from lgs_cli.commands.defense_options import complete_model
from lgs_cli.defenses.preprocessing import PRESETS, Preprocessing
from lgs_cli.evaluation.models.reference import REFERENCES
from lgs_cli.evaluation.models.torch_model import DEVICES
from lgs_cli.evaluation.progress import Progress
from lgs_cli.evaluation.victim import BACKWARDS, Victim
from lgs_cli.params import Params, valid_range

if TYPE_CHECKING:
    from lgs_cli.evaluation.classes import Classes
    from lgs_cli.evaluation.dataset import Photograph
    from lgs_cli.evaluation.models.model import Model

Command = TypeVar("Command", bound=Callable[..., Any])
SomeParams = TypeVar("SomeParams", bound=Params)

_METAVARS = {int: "N", float: "X", str: "TEXT"}

FILE = click.Path(path_type=Path)


def params_options(kind: type[Params], *, default: bool = True) -> Callable[[Command], Command]:
    """Make the options of a dataclass of parameters; :func:`take_params` reads them.

    Parameters
    ----------
    kind : type
        The dataclass.
    default : bool
        Whether the help tells the defaults.

    Returns
    -------
    callable
        Adds the options to a command.
    """

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


def take_params(
    kind: type[SomeParams], options: dict[str, Any], base: SomeParams | None = None
) -> SomeParams:
    """Take the options of :func:`params_options` out of a command's, as one object.

    Parameters
    ----------
    kind : type
        The dataclass.
    options : dict
        What click parsed; those that are taken are removed.
    base : Params, optional
        What the options change; by default the defaults.

    Returns
    -------
    Params
        One of `kind`.

    Raises
    ------
    click.UsageError
        If a value is not valid.
    """
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


def model_options(command: Command) -> Command:
    """Add the options that name a model and how it takes images; :func:`load_model` reads them."""
    for option in (
        click.option(
            "--device",
            type=click.Choice(DEVICES),
            default="auto",
            show_default=True,
            help="Where torch runs.",
        ),
        params_options(Preprocessing, default=False),
        click.option(
            "--preset",
            type=click.Choice(list(PRESETS)),
            show_default="plain, or the model's own",
            help="Preprocessing that the options below change: plain takes RGB in [0, 1], "
            "as-is neither resizes nor crops.",
        ),
        click.option(
            "--model",
            required=True,
            metavar="MODEL",
            shell_complete=complete_model,
            help="FILE.onnx (no gradients), FILE.pt2, FILE.pt, package.module:factory, or a "
            f"pretrained one: {', '.join(REFERENCES)}. A model file runs code: use only what you "
            "trust.",
        ),
    ):
        command = option(command)
    return command


def load_model(options: dict[str, Any]) -> Model:
    """Take the options of :func:`model_options` out of a command's, and load the model.

    Raises
    ------
    click.UsageError, LgsError
        As :func:`take_params` and :func:`lgs_cli.evaluation.models.load`.
    """
    from lgs_cli.evaluation import models

    spec, preset = options.pop("model"), options.pop("preset")
    base = PRESETS[preset or "plain"]
    if preset is None and spec in REFERENCES:
        base = REFERENCES[spec].preprocessing
    return models.load(spec, take_params(Preprocessing, options, base), options.pop("device"))


def load_victim(options: dict[str, Any], progress: Progress) -> Victim:
    """Load the model of :func:`load_model`, with what a command says of how to work with it.

    Parameters
    ----------
    options : dict
        What click parsed, with `batch_size_option` and perhaps `backward_option`.
    progress : Progress
        Hears how far the work is.
    """
    return Victim(
        load_model(options),
        backward=options.pop("backward", "auto"),
        batch_size=options.pop("batch_size"),
        progress=progress,
    )


batch_size_option = click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Images in one pass of the model.",
)

backward_option = click.option(
    "--backward",
    type=click.Choice(BACKWARDS),
    default="auto",
    show_default=True,
    help="Gradient of a defense under attack: the best that it has, identity as in the paper, ...",
)


def labels_option(command: Command) -> Command:
    """Add the options that name the classes of images; :func:`find_photographs` reads them."""
    for option in (
        click.option(
            "--classes",
            metavar="FILE",
            type=FILE,
            help="Names of the model's classes, so that labels and subfolders may be names: one "
            "class a line from 0, or JSON (imagenet_class_index.json, class_to_idx).",
        ),
        click.option(
            "--labels",
            metavar="FILE.csv",
            type=FILE,
            help="Columns file and label; default: one subfolder per class.",
        ),
    ):
        command = option(command)
    return command


def class_names(options: dict[str, Any]) -> Classes | None:
    """Return the names of the model's classes, from ``--classes`` or known of the model itself."""
    from lgs_cli.evaluation import classes

    if options["classes"] is not None:
        return classes.read(options["classes"])
    return classes.of_imagenet() if options["model"] in REFERENCES else None


def find_photographs(
    options: dict[str, Any], folder: Path, never: Sequence[Path] = ()
) -> list[Photograph]:
    """Find the photographs of a folder, labeled as the options of a command say.

    Parameters
    ----------
    options : dict
        What click parsed: ``labels``, ``classes`` and ``model`` are read.
    folder : Path
        The folder.
    never : sequence of Path
        Folders to skip.

    Raises
    ------
    LgsError
        As :func:`lgs_cli.evaluation.dataset.find`.
    """
    from lgs_cli.evaluation import dataset

    def tell(line: str) -> None:
        click.echo(f"lgs: {line}", err=True)

    return dataset.find(folder, options["labels"], never, class_names(options), tell)
