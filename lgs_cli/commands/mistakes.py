"""What click refuses, on one line that says what to write instead."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

import click

from lgs_cli.commands.configuration import flag, from_elsewhere
from lgs_cli.params import between
from lgs_cli.wording import nearest

# What other programs call it.
_ELSEWHERE = {
    "--workers": "--jobs",
    "--threads": "--jobs",
    "--processes": "--jobs",
    "--overwrite": "--force",
    "--out-dir": "--output",
    "--outdir": "--output",
    "--inplace": "--in-place",
    "-m": "--method",
    "-v": "--version",
}


def explain(error: click.ClickException) -> str:
    """Say what is wrong, and what would be right.

    Parameters
    ----------
    error : click.ClickException
        What click, or a command, raised.

    Returns
    -------
    str
        One line.
    """
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    if ctx is None:
        return error.format_message()
    if isinstance(error, click.NoSuchOption):
        return _no_option(error.option_name, ctx)
    if isinstance(error, click.MissingParameter):
        return _missing(error, ctx)
    if isinstance(error, click.BadOptionUsage):
        return _without_value(error, ctx)
    if isinstance(error, click.BadParameter) and error.param is not None:
        return f"{_name(error.param)}: {_not_valid(error)}{_origins(ctx, [error.param])}"
    message = error.format_message()
    if "unexpected extra argument" in message:
        return f"{_lowered(message)}; {_usage(ctx)}"
    named = [option for option in from_elsewhere(ctx) if _mentions(message, str(option.name))]
    return f"{message}{_origins(ctx, named)}"


def _lowered(message: str) -> str:
    if message[1:2].isupper():  # FILE
        return message.rstrip(".")
    return message[:1].lower() + message[1:].rstrip(".")


def _mentions(message: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", message) is not None


def _origins(ctx: click.Context, params: Iterable[click.Parameter]) -> str:
    """Name the file or the variable that a refused value stands in."""
    elsewhere = from_elsewhere(ctx)
    places = [
        f"--{flag(param)} from {elsewhere[param]}"
        for param in params
        if isinstance(param, click.Option) and param in elsewhere
    ]
    return f" ({', '.join(places)})" if places else ""


def _name(param: click.Parameter) -> str:
    if isinstance(param, click.Option):
        return f"--{flag(param)}"
    return str(param.metavar or param.human_readable_name)


def _usage(ctx: click.Context) -> str:
    """Write the shortest command line that works."""
    arguments = [_name(param) for param in ctx.command.params if isinstance(param, click.Argument)]
    required = [
        _with_metavar(param)
        for param in ctx.command.params
        if isinstance(param, click.Option) and param.required
    ]
    return f"usage: {' '.join([ctx.command_path, *arguments, *required])}"


def _options(ctx: click.Context) -> dict[str, click.Option]:
    return {
        name: param
        for param in ctx.command.get_params(ctx)
        if isinstance(param, click.Option)
        for name in (*param.opts, *param.secondary_opts)
    }


def _no_option(name: str, ctx: click.Context) -> str:
    said = f"no option {name!r}"
    known = _options(ctx)
    typed = next((word for word in sys.argv if f"-{word}" in known and len(word) > 2), None)
    if typed is not None and not name.startswith("--"):
        return f"no option {typed!r}; did you mean '-{typed}'?"
    meant = _ELSEWHERE.get(name.lower())
    if meant not in known:
        word = nearest(_word(name), [_word(one) for one in known if one.startswith("--")])
        meant = f"--{word}" if word else None
    if meant is not None:
        return f"{said}; did you mean {meant!r}?"
    if re.fullmatch(r"-[\d.]+", name):
        return f"{said}, and no value here is negative"
    if isinstance(ctx.command, click.Group):
        return f"{said}; options follow a command: {ctx.command_path} COMMAND {name}"
    return f"{said}; '{ctx.command_path} --help' lists all"


def _word(name: str) -> str:
    return name.lstrip("-").replace("_", "-")


def _missing(error: click.MissingParameter, ctx: click.Context) -> str:
    if not isinstance(error.param, click.Option):
        return f"nothing is given to work on; {_usage(ctx)}"
    what = (error.param.help or "").partition("  [")[0].partition(". ")[0]
    return f"{_with_metavar(error.param)} is missing: {_lowered(what)}"


def _without_value(error: click.BadOptionUsage, ctx: click.Context) -> str:
    option = _options(ctx).get(error.option_name)
    if option is None:
        return _lowered(error.format_message())
    if option.is_flag:
        return f"{error.option_name} takes no value; write it alone"
    return f"{error.option_name} needs a value: {_with_metavar(option)}"


def _with_metavar(option: click.Option) -> str:
    kind = option.type
    words = "|".join(map(str, kind.choices)) if isinstance(kind, click.Choice) else ""
    return f"--{flag(option)} {option.metavar or words or kind.name.upper()}"


def _not_valid(error: click.BadParameter) -> str:
    """Say what a value is not, and what it may be."""
    message, kind = _lowered(error.message), getattr(error.param, "type", None)
    value = next(iter(re.findall(r"^'(.*?)'|^(\S+) is not in the range", message)), ("", ""))
    given = value[0] or value[1]
    if isinstance(kind, click.Choice) and given and "is not one of" in message:
        choices = [str(choice) for choice in kind.choices]
        meant = nearest(given.lower(), choices)
        guess = f"did you mean {meant!r}? " if meant else ""
        return f"{given!r} is not valid; {guess}valid is {', '.join(choices)}"
    if isinstance(kind, click.types.BoolParamType):
        return f"{given!r} is not valid; valid is true, false"
    if not given and message.startswith("''"):
        return "the value is empty; is a variable of the shell not set?"
    if not (given and isinstance(kind, click.types.IntParamType | click.types.FloatParamType)):
        return message
    valid = _range(kind)
    if "not in the range" in message:
        return f"{given} is not valid; {valid}"
    if not valid:
        told = re.search(r"\[([^];]* to [^];]*|at least [^];]*)", getattr(error.param, "help", ""))
        valid = f"valid is {told[1]}" if told else ""
    noun = "whole number" if isinstance(kind, click.types.IntParamType) else "number"
    hint = ""
    if isinstance(error.param, click.Option) and error.param._flag_needs_value:
        hint = f"write {error.param.opts[0]} last, or {error.param.opts[0]}=VALUE"
    return "; ".join(filter(None, [f"{given!r} is no {noun}", valid, hint]))


def _range(kind: object) -> str:
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return ""
    if kind.min_open:
        return f"valid is more than {kind.min:g}"
    return f"valid is {between(kind.min, kind.max)}"
