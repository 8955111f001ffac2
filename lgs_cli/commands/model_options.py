"""The click options that ``attack``, ``evaluate`` and ``tune`` share. Light."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import click

from lgs_cli.evaluation.settings import DEVICES, PRESETS, Preprocessing
from lgs_cli.params import Params, valid_range

if TYPE_CHECKING:
    from lgs_cli.evaluation.models import Model

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
        Where a value is not valid.
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
            default="plain",
            show_default=True,
            help="Preprocessing that the options below change: plain takes RGB in [0, 1], "
            "as-is neither resizes nor crops.",
        ),
        click.option(
            "--model",
            required=True,
            metavar="MODEL",
            help="FILE.onnx (no gradients), FILE.pt2, FILE.pt or package.module:factory.",
        ),
    ):
        command = option(command)
    return command


def load_model(options: dict[str, Any]) -> Model:
    """Take the options of :func:`model_options` out of a command's, and load the model.

    Parameters
    ----------
    options : dict
        What click parsed; those that are taken are removed.

    Returns
    -------
    Model

    Raises
    ------
    click.UsageError, LgsError
        As :func:`take_params` and :func:`lgs_cli.evaluation.models.load`.
    """
    from lgs_cli.evaluation import models

    preprocessing = take_params(Preprocessing, options, PRESETS[options.pop("preset")])
    return models.load(options.pop("model"), preprocessing, options.pop("device"))


labels_option = click.option(
    "--labels",
    metavar="FILE.csv",
    type=FILE,
    help="Columns file and label; default: one subfolder a class.",
)


@contextlib.contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[str, int], None]]:
    """Show progress on a terminal: what is being done, and how many are done.

    Parameters
    ----------
    unit : str
        What is counted.

    Yields
    ------
    callable
        Takes what is being done, printable, and how many more are done.
    """
    if not sys.stderr.isatty():
        yield lambda what, count: None
        return
    from tqdm import tqdm

    with tqdm(unit=unit, dynamic_ncols=True, leave=False) as bar:

        def tell(what: str, count: int) -> None:
            bar.set_description(what, refresh=False)
            bar.update(count)

        yield tell
