"""The command line as a whole: its commands, its signals, its exit codes."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from lgs_cli import __version__
from lgs_cli.commands.clean import clean
from lgs_cli.commands.compare import compare
from lgs_cli.commands.methods import methods
from lgs_cli.commands.report import report
from lgs_cli.errors import LgsError, missing_library


class _Stopped(BaseException):
    """A signal asked the run to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def main() -> NoReturn:
    """Run the command line, and exit: the one place where errors become exit codes."""
    _listen_to_signals()
    try:
        code = commands.main(prog_name="lgs", standalone_mode=False)
    except _Stopped as stop:
        code = stop.exit_code
    except click.exceptions.Exit as request:
        code = request.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = 130
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except LgsError as error:
        click.echo(f"lgs: {error}", err=True)
        code = error.exit_code
    except ImportError as error:
        click.echo(f"lgs: {missing_library(error)}", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _listen_to_signals() -> None:
    """Let the signals that end a run end it in order."""

    def stop(number: int, frame: FrameType | None) -> None:
        # Once is enough: what follows is the clean-up.
        for other in ends:
            signal.signal(other, signal.SIG_IGN)
        raise _Stopped(number)

    ends = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    for number in ends:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
@click.version_option(__version__, message="lgs %(version)s")
def commands() -> None:
    """Clean images of localized adversarial noise, a folder at a time.

    \b
    Exit codes: 0 all done or up to date   1 some image failed
                2 wrong usage              3 no image found
                4 another lgs is at work   130/143 interrupted
    """  # noqa: D301 - click reads the backspace


for command in (clean, compare, methods, report):
    commands.add_command(command)
