"""The click options that commands share, and the types their values have."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any, TypeVar

import click

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.chain import Chain, parse_chain
from lgs_cli.defenses.lgs import LgsParams
from lgs_cli.defenses.localize import LocalizeParams
from lgs_cli.params import valid_range

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


# What has the name of a parameter of LGS is given by the same option.
_OF_LGS = {spec.name for spec in fields(LgsParams)}
_SHARED = tuple(spec for spec in fields(LocalizeParams) if spec.name in _OF_LGS)
_LOCALIZE = tuple(spec for spec in fields(LocalizeParams) if spec.name not in _OF_LGS)


def _of_localize(spec: Field[Any]) -> str:
    """Describe a parameter of localize beside those of LGS."""
    text = str(spec.metadata["help"])
    text = f"Of localize: {text[0].lower()}{text[1:]}"
    return f"{text}  [default: {spec.default}]" if spec.default else text


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
    for spec in reversed(_LOCALIZE):
        command = click.option(
            f"--{spec.name}",
            spec.name,
            type=str,
            metavar=valid_range(spec) if "choices" in spec.metadata else "FILE",
            help=_of_localize(spec),
        )(command)
    for spec in reversed(fields(LgsParams)):
        command = click.option(
            f"--{spec.name.replace('_', '-')}",
            spec.name,
            type=int if isinstance(spec.default, int) else float,
            help=f"{spec.metadata['help']}  [{valid_range(spec)}; default: {spec.default}]"
            + "".join(f" {_of_localize(other)}" for other in _SHARED if other.name == spec.name),
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
    methods = [name.strip() for name in method.partition(":")[0].split(",")]
    for spec in (*fields(LgsParams), *_LOCALIZE):
        value = options.pop(spec.name)
        if value is not None:
            if spec in _LOCALIZE and "localize" not in methods:
                raise click.UsageError(f"--{spec.name} needs --method localize")
            assignments.append((spec.name, value))
    try:
        chain = parse_chain(method, assignments)
        for step in chain:
            if isinstance(step.params, LocalizeParams):
                try_detector(step.params)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return chain


def try_detector(params: LocalizeParams) -> None:
    """Run the detector that a user brings once, before any image meets it.

    Raises
    ------
    ValueError
        Where the file is no detector.
    """
    if params.detector:
        import cv2
        import numpy as np

        from lgs_cli.defenses import localize

        # The process that forks workers may yet have to be forked from this one. Threads of OpenCV
        # would be missing there, and waited for without end.
        cv2.setNumThreads(1)
        localize.find(np.zeros((32, 32), np.uint8), params)


def cores() -> int:
    """Count the processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
