"""The command line as a whole: its commands and its exit codes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from importlib import import_module

import click

from lgs_cli import __version__
from lgs_cli.commands.group import Group
from lgs_cli.errors import LgsError, OutOfMemoryError, missing_library
from lgs_cli.wording import printable

# With this variable a shell asks what could come next on a command line.
_COMPLETION = "_LGS_COMPLETE"


def run() -> int:
    """Run the command line: the one place where errors become exit codes.

    Returns
    -------
    int
        The exit code.
    """
    try:
        if _COMPLETION in os.environ:
            import_module("lgs_cli.commands.completion").register()
        code = commands.main(prog_name="lgs", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as request:
        code = request.exit_code
    except click.ClickException as error:
        from lgs_cli.commands.mistakes import explain

        click.echo(f"lgs: {printable(explain(error))}", err=True)
        code = error.exit_code
    except click.Abort:
        code = 130
    except SystemExit as end:
        # Otherwise it is click's answer to a reader of our output that has gone, and would be 1.
        code = end.code if _COMPLETION in os.environ else 128 + signal.SIGPIPE
    except LgsError as error:
        click.echo(f"lgs: {printable(str(error))}", err=True)
        for note in getattr(error, "__notes__", ()):
            click.echo(note, err=True)
        code = error.exit_code
    except ImportError as error:
        click.echo(f"lgs: {missing_library(error)}", err=True)
        code = 1
    except MemoryError:
        click.echo(f"lgs: {OutOfMemoryError()}", err=True)
        code = 1
    except BrokenPipeError:
        code = 128 + signal.SIGPIPE
    except OSError as error:
        place = "" if error.filename is None else f"{printable(os.fsdecode(error.filename))}: "
        click.echo(f"lgs: {place}{(error.strerror or str(error)).lower()}", err=True)
        code = 1
    with contextlib.suppress(OSError):  # of which something has been said by now
        sys.stdout.flush()
    return code if isinstance(code, int) else 0


# Name to summary; each command lives in the module of its name, which loads when it is used.
_COMMANDS = {
    "attack": "Attack images, to see what a defense is worth.",
    "certify": "Prove of photographs that no patch can change what a model answers.",
    "clean": "Clean images and directories of images.",
    "compare": "Lay images out by methods on one labeled sheet.",
    "completion": "Print what makes a shell complete commands, options and values.",
    "config": "Show the values that options have here, and where each comes from.",
    "evaluate": "Measure what defenses cost and save on your model and your images.",
    "help": "Explain a topic, with examples, a command or a defense.",
    "methods": "List the defenses: parameters, defaults, ranges and papers.",
    "report": "Make one HTML page of what 'lgs clean' or 'lgs scan' reported.",
    "scan": "Find adversarial patches in images and directories of images.",
    "train": "Train the detector of localize on your own pictures and models.",
    "tune": "Choose the parameters of LGS for your model and your images.",
}


# These take no values from a file.
_WITHOUT_VALUES = {"completion", "config", "help"}


class _Commands(Group):
    """The commands, none of them loaded for the sake of a list."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"lgs_cli.commands.{name}"), name)
        if name not in _WITHOUT_VALUES:
            from lgs_cli.commands.configuration import make_configurable

            make_configurable(command, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="lgs %(version)s")
def commands() -> None:
    """Clean images of localized adversarial noise, a folder at a time.

    'lgs help' also lists topics with examples: archives, config, cron, find, in-place, make,
    programs, shards, watch.

    \b
    Exit codes: 0 all done or up to date   1 some image failed
                2 wrong usage              3 no image found
                4 another lgs is at work   5 found, for scan --exit-code
                130/143 interrupted
    """  # noqa: D301 - click reads the backspace
