"""The README cannot fall behind the command line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from all_commands import COMMANDS, CONTEXT

from lgs_cli.errors import MissingExtraError

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


def test_there_is_a_readme():
    assert len(text()) > 1000


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_mentioned(name):
    assert re.search(rf"\blgs {name}\b", text())


def test_there_are_examples():
    assert len(examples()) >= 5


@pytest.mark.parametrize("line", examples())
def test_every_example_parses(line):
    name, *arguments = shlex.split(line)[1:]
    if name in ("--help", "-h", "--version"):
        return
    if arguments and f"{name} {arguments[0]}" in COMMANDS:
        name = f"{name} {arguments.pop(0)}"
    assert name in COMMANDS
    arguments = [_without_variables(argument) for argument in arguments]
    if not {"--help", "-h"} & set(arguments):
        try:
            COMMANDS[name].make_context(name, arguments, parent=CONTEXT).close()
        except MissingExtraError as error:
            pytest.skip(str(error))


def _without_variables(argument: str) -> str:
    """Put a file name where a shell, or make, would put one."""
    return re.sub(r"\$\$?(?:\w+|\{\w+\}|\(\w+\)|[@<^*])", "name", argument)
