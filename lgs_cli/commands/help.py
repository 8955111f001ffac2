"""``lgs help``: topics, the help of each command, and the defenses."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from lgs_cli.commands.topics import TOPICS
from lgs_cli.errors import UsageError
from lgs_cli.wording import nearest, printable

# What people look for, and the topic that it stands in.
_STANDS_IN = {
    "configuration": "config",
    "exit": "programs",
    "exit-codes": "programs",
    "systemd": "watch",
}


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
@click.argument("words", metavar="[TOPIC|COMMAND|METHOD]", nargs=-1, shell_complete=_complete)
def help(words: tuple[str, ...]) -> None:  # noqa: A001 - the name of the command
    """Explain a topic, with examples, a command or a defense."""
    ctx = click.get_current_context()
    if not words:
        width = max(map(len, TOPICS))
        click.echo("Topics, for 'lgs help TOPIC':")
        for name, topic in TOPICS.items():
            click.echo(f"  {name:<{width}}  {topic.summary}")
        click.echo("\n'lgs --help' lists the commands, 'lgs methods' the defenses.")
    elif len(words) == 1 and words[0].lower() in TOPICS:
        click.echo(TOPICS[words[0].lower()].text, nl=False)
    else:
        click.echo(_of_method(words) or _of_command(ctx, words))


def _of_method(words: tuple[str, ...]) -> str | None:
    """Give the part of ``lgs methods`` about a defense; None if there is none of that name."""
    from lgs_cli.commands.methods import paragraph
    from lgs_cli.defenses import DEFENSES

    defense = DEFENSES.get("-".join(words).lower().replace("_", "-"))
    return None if defense is None else paragraph(defense)


def _of_command(ctx: click.Context, words: tuple[str, ...]) -> str:
    """Give the help text of a command."""
    group: click.Command = _root(ctx)
    found = ctx.find_root()
    for word in words:
        if not isinstance(group, click.Group):
            raise UsageError(f"{found.command_path} has no commands; 'lgs help {words[0]}' is all")
        command = group.get_command(found, word)
        if command is None:
            raise UsageError(_no_help(ctx, word))
        group, found = command, click.Context(command, found, word)
    return found.get_help()


def _no_help(ctx: click.Context, word: str) -> str:
    from lgs_cli.defenses import DEFENSES

    known = [*TOPICS, *_root(ctx).list_commands(ctx)]
    meant = _STANDS_IN.get(word.lower()) or nearest(word.lower(), [*known, *DEFENSES])
    hint = f"did you mean {meant!r}?" if meant else f"there are {', '.join(known)}"
    return f"no help for {printable(word)!r}; {hint}"
