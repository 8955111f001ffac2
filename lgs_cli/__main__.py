"""Where the program starts: ``lgs``, and ``python -m lgs_cli``."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from lgs_cli import signals


def main() -> NoReturn:
    """Run the command line, and exit."""
    signals.listen()
    try:
        _open_standard_files()
        from lgs_cli.cli import run

        code = run()
    except signals.Stopped as stop:
        code = stop.exit_code
        with contextlib.suppress(OSError):
            sys.stdout.flush()
    # To take the interpreter apart takes as long as to start it.
    os._exit(code)


def _open_standard_files() -> None:
    """Open the standard files that the process was started without.

    Otherwise the first files to be opened would get their numbers, and be read and written in
    their place. Each is opened the wrong way round, so that to use it is an error, as it should be.
    """
    for name, flags, mode in (
        ("stdin", os.O_WRONLY, "r"),
        ("stdout", os.O_RDONLY, "w"),
        ("stderr", os.O_WRONLY, "w"),
    ):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, flags), mode))


if __name__ == "__main__":
    main()
