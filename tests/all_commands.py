"""All commands of ``lgs``, those of groups too."""

from __future__ import annotations

import click

from lgs_cli.cli import commands

CONTEXT = click.Context(commands, info_name="lgs")


def _below(group: click.Group, words: str = "") -> dict[str, click.Command]:
    found = {}
    for name in group.list_commands(CONTEXT):
        command = group.get_command(CONTEXT, name)
        assert command is not None
        found[f"{words}{name}"] = command
        if isinstance(command, click.Group):
            found |= _below(command, f"{words}{name} ")
    return found


# By the words that call them.
COMMANDS = _below(commands)
