"""``lgs config``: which values options have here, and where each comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

import click
from click.shell_completion import CompletionItem

from lgs_cli.commands.configuration import (
    as_given,
    configure,
    flag,
    from_elsewhere,
    leaves,
    options_of,
    origin,
)
from lgs_cli.commands.defense_options import Location
from lgs_cli.errors import UsageError
from lgs_cli.wording import nearest, printable


def _complete(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    return [CompletionItem(name) for name in _names(ctx) if name.startswith(incomplete)]


@click.command()
@click.argument("command", metavar="[COMMAND]", nargs=-1, shell_complete=_complete)
@click.option(
    "--config", "path", metavar="FILE", type=Location(), envvar="LGS_CONFIG",
    help="Look at this file.  [default: lgs.toml, or [tool.lgs] of pyproject.toml, here]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def config(command: tuple[str, ...], path: str | None, as_json: bool) -> None:
    """Show the values that options have here, and where each comes from.

    The text is a configuration file itself: 'lgs config clean > lgs.toml' makes one to edit.
    See 'lgs help config'.
    """
    root = click.get_current_context().find_root()
    found = {
        words: list(_values(root, words, path))
        for name in _chosen(root, command)
        for words, _ in leaves(_command(root, name), name)
        if command[1:] in ((), words[1:])
    }
    if not found:
        several = "one command at a time: " if len(command) > 1 else ""
        raise UsageError(f"{several}no command {printable(' '.join(command))!r}")
    if as_json:
        click.echo(json.dumps({" ".join(words): _record(rows) for words, rows in found.items()}))
    else:
        click.echo("\n\n".join(_table(words, rows) for words, rows in found.items()))


Row = tuple[click.Option, Any, str]


def _names(ctx: click.Context) -> list[str]:
    """List the commands that take values from a file."""
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)
    return [
        name
        for name in root.command.list_commands(root)
        if any(
            param.name == "config"
            for _, leaf in leaves(_command(root, name))
            for param in leaf.params
        )
    ]


def _command(ctx: click.Context, name: str) -> click.Command:
    assert isinstance(ctx.command, click.Group)
    command = ctx.command.get_command(ctx, name)
    assert command is not None
    return command


def _chosen(root: click.Context, command: tuple[str, ...]) -> list[str]:
    names = _names(root)
    if not command:
        return names
    if command[0] not in names:
        meant = nearest(command[0], names)
        hint = f"did you mean {meant!r}?" if meant else f"there are {', '.join(names)}"
        raise UsageError(f"no options of {printable(command[0])!r} to show; {hint}")
    return [command[0]]


def _values(root: click.Context, words: tuple[str, ...], path: str | None) -> Iterator[Row]:
    """Read the values of one command as a run of it would."""
    ctx = root
    for name in words:
        ctx = click.Context(_command(ctx, name), ctx, name)
    configure(ctx, path)
    for option in options_of(ctx.command):
        try:
            option.handle_parse_result(ctx, {}, [])
        except click.MissingParameter:
            ctx.params[str(option.name)] = None
        value = ctx.params[str(option.name)]
        # Newer click has a marker for what is not set, which it takes out at the end.
        value = None if isinstance(value, Enum) else value
        if value is not None and not isinstance(value, bool | int | float | str):
            elsewhere = option in from_elsewhere(ctx)
            value = as_given(ctx, option) if elsewhere else list(value)
        yield option, value, origin(ctx, option)


def _record(rows: list[Row]) -> dict[str, dict[str, Any]]:
    return {flag(option): {"value": value, "from": place} for option, value, place in rows}


def _table(words: tuple[str, ...], rows: list[Row]) -> str:
    """Write the rows of a command as TOML; a comment says where each comes from."""
    lines = [f"[{'.'.join(words)}]"]
    for option, value, place in rows:
        if value is None:
            lines.append(f"# {flag(option)} = {_shape_of(option)}")
        else:
            # JSON of a text, a number, a truth value or a list of texts is TOML.
            lines.append(f"{flag(option)} = {json.dumps(value)}  # {printable(place)}")
    return "\n".join(lines)


def _shape_of(option: click.Option) -> str:
    """Say what could stand there, and what holds as long as nothing does."""
    metavar = option.metavar or option.type.name.upper()
    if option.required:
        return f"{metavar}  # required"
    told = re.search(r"default: ([^];]+)", option.help or "")
    default = option.show_default if isinstance(option.show_default, str) else told and told[1]
    return f"{metavar}  # default: {default}" if default else metavar
