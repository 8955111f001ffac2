"""What the commands that work through many images share: their options, and the list of inputs."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from lgs_cli.commands.defense_options import Size
from lgs_cli.errors import UsageError
from lgs_cli.formats import MAX_PIXELS
from lgs_cli.wording import listing, printable

if TYPE_CHECKING:
    from lgs_cli.storage.inputs import PassedOver, Selection

# Directories that are named; the others are counted.
_MOST_FOLDERS = 5
_BLOCK = 1 << 20  # bytes

Command = TypeVar("Command", bound=Callable[..., Any])

_SELECTION = (
    click.option(
        "--recursive/--no-recursive", default=True, show_default=True,
        help="Walk directories below.",
    ),
    click.option(
        "--include", metavar="GLOB", multiple=True,
        help="Of directories take only files whose name, or path below INPUT, matches; repeatable.",
    ),
    click.option(
        "--exclude", metavar="GLOB", multiple=True,
        help="Leave out files and directories that match; repeatable.",
    ),
    click.option(
        "--include-outputs", is_flag=True,
        help="Walk also directories below that hold outputs of an earlier run.",
    ),
    click.option(
        "--files-from", metavar="FILE", type=click.File("rb"),
        help="Read more inputs from a file, a path a line; '-' for stdin.",
    ),
)  # fmt: skip

_WORKERS = (
    click.option(
        "-j", "--jobs", type=click.IntRange(min=1), show_default="all cores", metavar="N",
        help="Worker processes.",
    ),
    click.option(
        "--max-pixels", type=click.IntRange(min=1), default=MAX_PIXELS, show_default=True,
        metavar="N",
        help="Larger images fail, unread: those of more pixels over all frames, of more than "
        "10,000 frames or 50,000 chunks. A pixel takes 10 bytes of memory as JPEG, PNG or "
        "TIFF, of 16-bit RGBA 30; in other formats up to 50.",
    ),
    click.option(
        "--timeout", type=click.FloatRange(0, 10_000_000, min_open=True), metavar="SECONDS",
        help="An image that takes longer fails.",
    ),
    click.option(
        "--memory-limit", type=Size(), metavar="SIZE",
        help="An image for which a worker takes more, beside what it takes at rest, fails: 2G, "
        "500M.",
    ),
)  # fmt: skip

_FAILURES = (
    click.option(
        "--max-failures", type=click.IntRange(min=0), metavar="N", help="Stop after more failures."
    ),
    click.option("--fail-fast", is_flag=True, help="Stop at the first failure."),
)


def selection_options(command: Command) -> Command:
    """Add the options that say which files are taken; what they hold goes to ``Selection``."""
    return _added(_SELECTION, command)


def worker_options(command: Command) -> Command:
    """Add the options that say what a run may take; what they hold goes to ``Limits``."""
    return _added(_WORKERS, command)


def failure_options(command: Command) -> Command:
    """Add the options that end a run early; :func:`allowed_failures` reads them."""
    return _added(_FAILURES, command)


def _added(options: tuple[Callable[[Command], Command], ...], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def selection_of(options: dict[str, Any]) -> Selection:
    """Read which files of directories are taken."""
    from lgs_cli.storage.inputs import Selection

    return Selection(
        options["recursive"], options["include"], options["exclude"], options["include_outputs"]
    )


def say_folders(passed_over: PassedOver, options: dict[str, Any]) -> None:
    """Name the directories that were not walked because they hold outputs; each only once."""
    new = passed_over.folders[passed_over.said :]
    passed_over.said += len(new)
    if options["quiet"]:
        return
    folders = listing([printable(folder) for folder in new], _MOST_FOLDERS)
    if folders:
        click.echo(
            f"lgs: outputs of lgs passed over: {folders}; --include-outputs takes them too",
            err=True,
        )


def allowed_failures(options: dict[str, Any]) -> int | None:
    """Say how many images may fail before the run ends; None for any number."""
    most: int | None = 0 if options["fail_fast"] else options["max_failures"]
    return most


def is_pipe(file: IO[bytes] | None) -> bool:
    """Say whether a list may still be being written."""
    try:
        return file is not None and not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (OSError, ValueError):  # it has no descriptor, or is closed
        return False


class ListedPaths:
    """The paths of ``--files-from``, read as they are taken; empty lines are none. Iterated once.

    Parameters
    ----------
    file : file or None
        The list, if there is one; perhaps a pipe that is still being written.
    null : bool
        Whether its paths end in NUL, and not in a line feed.

    Attributes
    ----------
    count : int
        How many have been taken.
    """

    def __init__(self, file: IO[bytes] | None, null: bool) -> None:
        self._file = file
        self._null = null
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        """Give the paths.

        Raises
        ------
        UsageError
            If they end in NUL, and `null` says otherwise.
        """
        rest = b""
        # Lists written on Windows end their lines in CR LF.
        separator, end = (b"\0", b"") if self._null else (b"\n", b"\r")
        while data := self._read():
            if not self._null and b"\0" in data:
                raise UsageError("--files-from: the paths end in NUL; add -0")
            *lines, rest = (rest + data).split(separator)
            yield from self._paths(lines, end)
        yield from self._paths([rest], end)

    def _read(self) -> bytes:
        """Read what there is, and wait only if there is nothing yet."""
        if self._file is None:
            return b""
        data: bytes = getattr(self._file, "read1", self._file.read)(_BLOCK)
        return data

    def _paths(self, lines: list[bytes], end: bytes) -> Iterator[str]:
        for line in lines:
            path = line.rstrip(end) if end else line
            if path:
                self.count += 1
                yield os.fsdecode(path)
