"""``lgs help``: texts about working with other programs, and the help of each command."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from lgs_cli.commands.topics import TOPICS
from lgs_cli.errors import UsageError
from lgs_cli.wording import nearest, printable


def _complete(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    names = [*TOPICS, *_root(ctx).list_commands(ctx)]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _root(ctx: click.Context) -> click.Group:
    command = ctx.find_root().command
    assert isinstance(command, click.Group)
    return command


@click.command()
@click.argument("words", metavar="[TOPIC|COMMAND]", nargs=-1, shell_complete=_complete)
def help(words: tuple[str, ...]) -> None:  # noqa: A001 - the name of the command
    """Explain a topic, with examples, or a command."""
    ctx = click.get_current_context()
    if not words:
        width = max(map(len, TOPICS))
        click.echo("Topics, for 'lgs help TOPIC':")
        for name, topic in TOPICS.items():
            click.echo(f"  {name:<{width}}  {topic.summary}")
        click.echo("\n'lgs --help' lists the commands.")
    elif len(words) == 1 and words[0].lower() in TOPICS:
        click.echo(TOPICS[words[0].lower()].text, nl=False)
    else:
        click.echo(_help_of(ctx, words))


def _help_of(ctx: click.Context, words: tuple[str, ...]) -> str:
    """Give the help text of a command."""
    group: click.Command = _root(ctx)
    found = ctx.find_root()
    for word in words:
        command = group.get_command(found, word) if isinstance(group, click.Group) else None
        if command is None:
            known = [*TOPICS, *_root(ctx).list_commands(ctx)]
            meant = nearest(word.lower(), known)
            hint = f"did you mean {meant!r}?" if meant else f"there are {', '.join(known)}"
            raise UsageError(f"no help for {printable(word)!r}; {hint}")
        group, found = command, click.Context(command, found, word)
    return found.get_help()
