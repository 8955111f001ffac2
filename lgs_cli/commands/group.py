"""The group of commands that a mistyped one is told about."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import click

from lgs_cli.wording import nearest, printable


class Group(click.Group):
    """Commands: without one it shows its help, and a wrong one gets a suggestion."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Show the help if there is nothing to parse."""
        if not args and not ctx.resilient_parsing:  # newer click and older do this differently
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names."""
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            ctx.fail(_no_command(args[0], ctx.command_path, self.list_commands(ctx)))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and let its errors know whose they are."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            name = ctx.invoked_subcommand
            command = None if name is None else self.get_command(ctx, name)
            if error.ctx is None and command is not None:  # click's parser leaves it out
                error.ctx = click.Context(command, ctx, name)
            raise


def _no_command(word: str, path: str, known: Iterable[str]) -> str:
    """Say that there is no such command, and what to write instead."""
    shown = printable(word)
    if word.lower() == "version":
        return f"no command {shown!r}; did you mean '{path} --version'?"
    meant = nearest(word.lower(), known)
    if meant is not None:
        return f"no command {shown!r}; did you mean '{path} {meant}'?"
    if os.path.exists(word):
        return f"no command {shown!r}; to clean it: lgs clean {shown} -o DIR"
    return f"no command {shown!r}; there are {', '.join(known)}"
