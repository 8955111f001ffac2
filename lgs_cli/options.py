"""The click options that commands share, and the types their values have."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import click

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.chain import Chain, parse_chain
from lgs_cli.defenses.params import LgsParams, valid_range

Command = TypeVar("Command", bound=Callable[..., Any])

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class Size(click.ParamType[int]):
    """A number of bytes: ``500M``, ``2G``, ``1073741824``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the number and its unit, powers of 1024."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", str(value).lower())
        if match is None:
            self.fail(f"{value!r} is no size; write 500M or 2G", param, ctx)
        return int(float(match[1]) * _UNITS[match[2]])


class Location(click.Path):
    """A path; not an empty one, as an unset shell variable makes it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse the empty path."""
        if not value:
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


class Assignment(click.ParamType[tuple[str, str]]):
    """A parameter and its value: ``NAME=VALUE``."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Part the name from the value."""
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name.strip(), text.strip()


def defense_options(command: Command) -> Command:
    """Add the options that choose a defense and its parameters; :func:`chosen_chain` reads them."""
    command = click.option(
        "--param",
        "assignments",
        metavar="NAME=VALUE",
        type=Assignment(),
        multiple=True,
        help="Set a parameter of any method; repeatable. With several methods: METHOD.NAME=VALUE.",
    )(command)
    for spec in reversed(fields(LgsParams)):
        command = click.option(
            f"--{spec.name.replace('_', '-')}",
            spec.name,
            type=int if isinstance(spec.default, int) else float,
            help=f"{spec.metadata['help']}  [{valid_range(spec)}; default: {spec.default}]",
        )(command)
    return click.option(
        "--method",
        metavar="METHOD",
        default="lgs",
        show_default=True,
        help=f"Defense: {', '.join(DEFENSES)}. Several in a row: median,lgs. See 'lgs methods'.",
    )(command)


def chosen_chain(options: dict[str, Any]) -> Chain:
    """Take the options of :func:`defense_options` out of a command's options.

    Parameters
    ----------
    options : dict
        Options by name; those of the defense are removed.

    Returns
    -------
    tuple of Step
        The defenses with their parameters.

    Raises
    ------
    click.UsageError
        Where a method, parameter or value is not valid.
    """
    method, assignments = options.pop("method"), list(options.pop("assignments"))
    for spec in fields(LgsParams):
        value = options.pop(spec.name)
        if value is not None:
            assignments.append((spec.name, value))
    try:
        return parse_chain(method, assignments)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def cores() -> int:
    """Count the processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
