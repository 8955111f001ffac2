"""The man pages of lgs, made from its commands: ``make man``."""

from __future__ import annotations

import inspect
import os
import re
import textwrap
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from lgs_cli import __version__
from lgs_cli.commands.sections import SectionedCommand
from lgs_cli.commands.topics import TOPICS

_AT_MOST = 10_000  # columns: records are not wrapped here, but by man


def pages(commands: click.Group) -> Iterator[tuple[str, str]]:
    """Give the path of each page below ``share/man``, and its text."""
    root = click.Context(
        commands, info_name="lgs", max_content_width=_AT_MOST, **commands.context_settings
    )
    yield "man1/lgs.1", _of_program(root)
    for ctx in _below(root):
        name = ctx.command_path.replace(" ", "-")
        yield f"man1/{name}.1", _of_command(name, ctx)
    for name, topic in TOPICS.items():
        lines = [_head(f"lgs-{name}", 7), *_name(f"lgs-{name}", topic.summary)]
        yield f"man7/lgs-{name}.7", _page([*lines, ".SH DESCRIPTION", *_as_it_is(topic.text)])


def write(commands: click.Group, directory: Path) -> None:
    """Write all pages below a directory, in place of those of before."""
    for old in directory.glob("man[17]/lgs*.[17]"):
        old.unlink()
    for name, text in pages(commands):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _below(ctx: click.Context) -> Iterator[click.Context]:
    """Give the contexts of all commands, and of those below them."""
    assert isinstance(ctx.command, click.Group)
    for name in ctx.command.list_commands(ctx):
        command = ctx.command.get_command(ctx, name)
        assert command is not None
        below = click.Context(command, ctx, name, max_content_width=_AT_MOST)
        yield below
        if isinstance(command, click.Group):
            yield from _below(below)


def _of_program(ctx: click.Context) -> str:
    assert isinstance(ctx.command, click.Group)
    lines = [_head("lgs", 1), *_name("lgs", ctx.command.get_short_help_str(_AT_MOST))]
    lines += [".SH SYNOPSIS", *_synopsis(ctx)]
    lines += [".SH DESCRIPTION", *_text(ctx.command.help or "")]
    lines += [".SH COMMANDS"]
    for name in ctx.command.list_commands(ctx):
        command = ctx.command.get_command(ctx, name)
        assert command is not None
        lines += _entry(f"lgs {name}", command.get_short_help_str(_AT_MOST))
    lines += [".SH OPTIONS", *_options(ctx)]
    lines += [".SH ENVIRONMENT"]
    lines += _entry(
        "LGS_COMMAND_OPTION",
        "The value of an option that is not on the command line: LGS_CLEAN_THRESHOLD. See "
        "lgs-config(7).",
    )
    lines += _entry("LGS_CONFIG", "As --config.")
    lines += [".SH FILES"]
    lines += _entry("lgs.toml, pyproject.toml", "Values of options; see lgs-config(7).")
    lines += _entry(".lgs-manifest.jsonl", "In an output directory: what is up to date there.")
    lines += _entry(".lgs-manifest.volumes", "Older parts of it, once it is larger than 1 GB.")
    lines += _entry(".lgs-in-place.jsonl", "What --in-place has cleaned; see lgs-in-place(7).")
    names = [
        f"lgs-{path}(1)" for path in (c.command_path[4:].replace(" ", "-") for c in _below(ctx))
    ]
    names += [f"lgs-{name}(7)" for name in TOPICS]
    return _page([*lines, ".SH SEE ALSO", *_filled(", ".join(names))])


def _of_command(name: str, ctx: click.Context) -> str:
    lines = [_head(name, 1), *_name(name, ctx.command.get_short_help_str(_AT_MOST))]
    lines += [".SH SYNOPSIS", *_synopsis(ctx)]
    lines += [".SH DESCRIPTION", *_text(ctx.command.help or "")]
    lines += [".SH OPTIONS"]
    if isinstance(ctx.command, SectionedCommand):
        for title, options in ctx.command.grouped(ctx).items():
            lines += [f".SS {title}", *_records(ctx, options)]
    else:
        lines += _options(ctx)
    return _page([*lines, ".SH SEE ALSO", "lgs(1)"])


def _head(name: str, section: int) -> str:
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", datetime.now(UTC).timestamp()))
    date = datetime.fromtimestamp(seconds, UTC).date()
    return f'.TH {_escaped(name.upper())} {section} {date} "lgs {__version__}" "User Commands"'


def _name(name: str, summary: str) -> list[str]:
    return [".SH NAME", f"{_escaped(name)} \\- {_escaped(summary.rstrip('.'))}"]


def _synopsis(ctx: click.Context) -> list[str]:
    pieces = " ".join(ctx.command.collect_usage_pieces(ctx))
    return [f".B {_escaped(ctx.command_path)}", _escaped(pieces)]


def _options(ctx: click.Context) -> list[str]:
    return _records(ctx, ctx.command.get_params(ctx))


def _records(ctx: click.Context, params: Iterable[click.Parameter]) -> list[str]:
    records = (param.get_help_record(ctx) for param in params)
    return [line for record in records if record for line in _entry(*record)]


def _entry(term: str, text: str) -> list[str]:
    return [".TP", f".B {_escaped(term)}", *_filled(text)]


def _text(help: str) -> list[str]:
    """Write the help of a command; paragraphs after a backspace are not filled."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(help)):
        if paragraph.startswith("\b"):
            lines += _as_it_is(paragraph.lstrip("\b\n"))
        else:
            lines += [".PP", *_filled(paragraph)]
    return lines[1:] if lines[:1] == [".PP"] else lines


def _filled(text: str) -> list[str]:
    """Break a paragraph into lines as short as linters want them; man fills them again."""
    return [_escaped(line) for line in textwrap.wrap(text, 72, break_on_hyphens=False)]


def _as_it_is(text: str) -> list[str]:
    return [".nf", *(_escaped(line) for line in text.rstrip().splitlines()), ".fi"]


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("\t", "        ")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def _page(lines: Iterable[str]) -> str:
    return "\n".join(['.\\" Made from the commands: make man', *lines, ""])
