"""All commands: help, version, mistakes in the command line."""

from __future__ import annotations

import re

import click
import pytest
from all_commands import COMMANDS, CONTEXT
from click.testing import CliRunner

import lgs_cli
from lgs_cli.cli import commands


def test_version_and_help(lgs):
    assert lgs("--version").stdout.decode() == f"lgs {lgs_cli.__version__}\n"
    for arguments in (["-h"], ["--help"]):
        run = lgs(*arguments)
        assert run.returncode == 0
        assert run.stdout.startswith(b"Usage: lgs [OPTIONS] COMMAND")
        assert lgs("clean", *arguments).stdout.startswith(b"Usage: lgs clean [OPTIONS] INPUT...")
    run = lgs()
    assert (run.returncode, run.stdout) == (2, b"")
    assert run.stderr.startswith("Usage: lgs ")


def test_help_names_the_options_of_the_method_with_their_defaults(lgs):
    text = lgs("clean", "--help").stdout.decode()
    for option in ("--smoothing", "--threshold", "--block-size", "--overlap"):
        assert option in text
    for default in ("2.3", "0.1", "15", "5"):
        assert re.search(rf"default:\s+{re.escape(default)}\]", text)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_a_terminal_of_80_columns(name):
    run = CliRunner().invoke(
        commands, [*name.split(), "--help"], prog_name="lgs", terminal_width=80
    )
    assert run.exit_code == 0
    assert run.output.startswith(f"Usage: lgs {name}".rstrip())
    assert [line for line in run.output.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_says_what_it_does(name):
    command = COMMANDS[name]
    assert command.help, name
    for param in command.params:
        if isinstance(param, click.Option) and not param.hidden:
            assert param.help and param.help.strip(), f"{param.opts} of {name}"
            # A sentence; what click adds in brackets comes after it.
            assert re.search(r"[.)]$", param.help.partition("  [")[0]), f"{param.opts} of {name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_in_a_help_text_parses(name):
    """Each line that begins with ``lgs``, up to a pipe, or what else is the shell's."""
    text = (COMMANDS[name].help or "").replace("\\\n", " ")
    for line in re.findall(r"^\s*lgs ((?:[^|&;<>\n]|\S>\S)*)", text, re.MULTILINE):
        words = line.split()
        called = max((n for n in COMMANDS if words[: len(n.split())] == n.split()), key=len)
        COMMANDS[called].make_context(called, words[len(called.split()) :], parent=CONTEXT).close()


def test_the_list_of_commands_says_what_each_command_says_of_itself():
    shown = CliRunner().invoke(commands, ["--help"], terminal_width=200).output
    for name in commands.list_commands(CONTEXT):
        summary = commands.get_command(CONTEXT, name).get_short_help_str(200)
        assert re.search(rf"^  {name}\s+{re.escape(summary)}$", shown, re.MULTILINE)


def test_a_typo_in_a_command(lgs):
    run = lgs("claen")
    assert run.returncode == 2
    assert run.stderr == "lgs: no command 'claen'; did you mean 'lgs clean'?\n"
