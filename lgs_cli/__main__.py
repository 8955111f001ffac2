"""Where the program starts: ``lgs``, and ``python -m lgs_cli``."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from lgs_cli import signals

# Commands that start workers, and what these need besides what they all need.
_WORKERS = {"clean": (), "scan": ("lgs_cli.batch.scan", "lgs_cli.defenses.localize")}

# Words with which they start none, or need not.
_WITHOUT_WORKERS = {"-h", "--help", "-n", "--dry-run", "-"}


def main() -> NoReturn:
    """Run the command line, and exit."""
    signals.listen()
    try:
        _open_standard_files()
        with contextlib.ExitStack() as stack:
            # OpenCV takes as long to load as all the rest, so it loads beside it.
            command = sys.argv[1] if len(sys.argv) > 1 else ""
            if command in _WORKERS and not _WITHOUT_WORKERS.intersection(sys.argv):
                from lgs_cli.batch import forkserver

                for _ in range(2):  # a signal may cut short one of them, and comes once
                    stack.callback(forkserver.discard)
                with contextlib.suppress(OSError):  # the run tries again, and says why not
                    forkserver.start(_WORKERS[command])
            from lgs_cli.cli import run

            code = run()
    except signals.Stopped as stop:
        code = stop.exit_code
        with contextlib.suppress(OSError):
            sys.stdout.flush()
    # To take the interpreter apart takes as long as to start it.
    os._exit(code)


def _open_standard_files() -> None:
    """Give files to a process that was started without the standard ones.

    What is opened first would get their numbers, and be read and written as if it were them. To
    read from what is open for writing, or the other way round, is an error, as it should be.
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
