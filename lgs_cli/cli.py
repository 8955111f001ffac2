"""The command line as a whole: its commands and its exit codes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from importlib import import_module

import click

from lgs_cli import __version__
from lgs_cli.errors import LgsError, missing_library
from lgs_cli.wording import printable


def run() -> int:
    """Run the command line: the one place where errors become exit codes.

    Returns
    -------
    int
        The exit code.
    """
    try:
        code = commands.main(prog_name="lgs", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as request:
        code = request.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        click.echo(f"lgs: {printable(error.format_message())}", err=True)
        if isinstance(error, click.UsageError) and error.ctx is not None:
            click.echo(f"Try '{error.ctx.command_path} --help' for help.", err=True)
        code = error.exit_code
    except click.Abort:
        code = 130
    except SystemExit:
        # Click's answer to a reader of our output that has gone; its exit code would be 1.
        code = 128 + signal.SIGPIPE
    except LgsError as error:
        click.echo(f"lgs: {printable(str(error))}", err=True)
        code = error.exit_code
    except ImportError as error:
        click.echo(f"lgs: {missing_library(error)}", err=True)
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
    "clean": "Clean images and directories of images.",
    "compare": "Lay images out by methods on one labeled sheet.",
    "evaluate": "Measure what defenses cost and save on your model and your images.",
    "methods": "List the defenses: parameters, defaults, ranges and papers.",
    "report": "Make one HTML page of what 'lgs clean' or 'lgs scan' reported.",
    "scan": "Find adversarial patches in images and directories of images.",
    "train": "Train the detector of localize on your own pictures and models.",
    "tune": "Choose the parameters of LGS for your model and your images.",
}


class _Commands(click.Group):
    """The commands, none of them loaded for the sake of a list."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"lgs_cli.commands.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
@click.version_option(__version__, message="lgs %(version)s")
def commands() -> None:
    """Clean images of localized adversarial noise, a folder at a time.

    \b
    Exit codes: 0 all done or up to date   1 some image failed
                2 wrong usage              3 no image found
                4 another lgs is at work   5 found, for scan --exit-code
                130/143 interrupted
    """  # noqa: D301 - click reads the backspace
