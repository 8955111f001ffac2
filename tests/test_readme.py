"""The README cannot fall behind the command line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lgs_cli.cli import commands

README = Path(__file__).resolve().parents[1] / "README.md"


def text() -> str:
    return README.read_text(encoding="utf-8")


def examples() -> list[str]:
    """Give every ``lgs ...`` command line of the code blocks, continued lines joined."""
    found = re.findall(r"^```([^\n]*)\n(.*?)^```", text(), re.MULTILINE | re.DOTALL)
    blocks = [block for language, block in found if language != "text"]
    joined = "\n".join(blocks).replace("\\\n", " ")
    lines = [re.sub(r"(^|\s)#.*", "", line) for line in joined.splitlines()]
    return [
        re.split(r"\s*[|;&<>)]", line[match.start(1) :])[0]
        for line in lines
        if (match := re.search(r"(?:^|[\s|;&(/@])(lgs\s+(?:-|[a-z]))", line))
    ]


CONTEXT = click.Context(commands, info_name="lgs")


def _below(group: click.Group, words: str = "") -> dict[str, click.Command]:
    """Find all commands, those of groups too, by the words that call them."""
    found = {}
    for name in group.list_commands(CONTEXT):
        command = group.get_command(CONTEXT, name)
        below = isinstance(command, click.Group)
        found |= _below(command, f"{words}{name} ") if below else {f"{words}{name}": command}
    return found


COMMANDS = _below(commands)


def options() -> list[tuple[str, str]]:
    return [
        (name, option)
        for name, command in [("lgs", commands), *COMMANDS.items()]
        for param in command.params
        if isinstance(param, click.Option) and not param.hidden
        for option in (*param.opts, *param.secondary_opts)
        if option.startswith("--")
    ]


def test_there_is_a_readme():
    assert len(text()) > 1000


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_mentioned(name):
    assert re.search(rf"\blgs {name}\b", text())


@pytest.mark.parametrize(("name", "option"), options())
def test_every_option_is_mentioned(name, option):
    assert re.search(rf"{option}(?![\w-])", text()), f"{option} of {name}"


def test_there_are_examples():
    assert len(examples()) >= 5


@pytest.mark.parametrize("line", examples())
def test_every_example_parses(line):
    name, *arguments = shlex.split(line)[1:]
    if name in ("--help", "-h", "--version"):
        return
    if name not in COMMANDS:
        name = f"{name} {arguments.pop(0)}"
    assert name in COMMANDS
    arguments = [_without_variables(argument) for argument in arguments]
    if not {"--help", "-h"} & set(arguments):
        COMMANDS[name].make_context(name, arguments, parent=CONTEXT).close()


def _without_variables(argument: str) -> str:
    """Put a file name where a shell, or make, would put one."""
    return re.sub(r"\$\$?(?:\w+|\{\w+\}|\(\w+\)|[@<^*])", "name", argument)


def test_the_list_of_commands_says_what_each_command_says_of_itself():
    shown = CliRunner().invoke(commands, ["--help"], terminal_width=200).output
    for name in commands.list_commands(CONTEXT):
        summary = commands.get_command(CONTEXT, name).get_short_help_str(200)
        assert re.search(rf"^  {name}\s+{re.escape(summary)}$", shown, re.MULTILINE)
