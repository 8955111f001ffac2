"""Where the program starts: ``lgs``, and ``python -m lgs_cli``."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from lgs_cli import signals

# Words of a "clean" that needs no workers.
_WITHOUT_WORKERS = {"-h", "--help", "-n", "--dry-run", "-"}


def main() -> NoReturn:
    """Run the command line, and exit."""
    signals.listen()
    try:
        with contextlib.ExitStack() as stack:
            # OpenCV takes as long to load as all the rest, so it loads beside it.
            if sys.argv[1:2] == ["clean"] and not _WITHOUT_WORKERS.intersection(sys.argv):
                from lgs_cli import forkserver

                for _ in range(2):  # a signal may cut short one of them, and comes once
                    stack.callback(forkserver.discard)
                with contextlib.suppress(OSError):  # the run tries again, and says why not
                    forkserver.start()
            from lgs_cli.cli import run

            code = run()
    except signals.Stopped as stop:
        code = stop.exit_code
    _exit(code)


def _exit(code: int) -> NoReturn:
    """Leave without taking the interpreter apart: that takes as long as starting it."""
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except OSError:
        code = code or 1
    os._exit(code)


if __name__ == "__main__":
    main()
