"""``lgs scan``: which images hold a patch, and where."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from lgs_cli.commands.cleaning import limits_of
from lgs_cli.commands.defense_options import Location, try_detector
from lgs_cli.commands.meter import progress_option
from lgs_cli.commands.progress import Progress
from lgs_cli.commands.run_inputs import next_inputs_of
from lgs_cli.commands.run_options import (
    allowed_failures,
    failure_options,
    is_pipe,
    say_folders,
    selection_options,
    worker_options,
)
from lgs_cli.commands.scale_options import cluster_option, image_column_option, shard_option
from lgs_cli.defenses.localize import LocalizeParams
from lgs_cli.errors import ImageError, LgsError, UsageError
from lgs_cli.params import valid_range
from lgs_cli.report.records import scan_line
from lgs_cli.report.summary import ScanCounts, scan_text
from lgs_cli.storage.archives.archive import is_archive
from lgs_cli.storage.stores.store import any_remote
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from lgs_cli.batch.job import Result
    from lgs_cli.batch.quarantine import Quarantine
    from lgs_cli.batch.scan import ScanSettings
    from lgs_cli.batch.sources import Sources
    from lgs_cli.storage.inputs import PassedOver, Source

_FOUND = 5  # the exit code
_SPECS = {spec.name: spec for spec in fields(LocalizeParams)}


@click.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, type=Location())
@click.option(
    "--threshold", type=float, default=_SPECS["threshold"].default, metavar="SCORE",
    help=f"{_SPECS['threshold'].metadata['help']}  [{valid_range(_SPECS['threshold'])}; "
    f"default: {_SPECS['threshold'].default}]",
)  # fmt: skip
@click.option(
    "--detector", metavar="FILE", type=Location(), help=_SPECS["detector"].metadata["help"]
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object an image, one a line.")
@click.option("--found-only", is_flag=True, help="Print only images in which a patch was found.")
@selection_options
@click.option(
    "-0", "--null", is_flag=True,
    help="Paths end in NUL: those in --files-from, and those of --found-only, which then prints "
    "nothing but them, for xargs -0.",
)  # fmt: skip
@click.option(
    "--move-to", metavar="DIR", type=Location(),
    help="Move files in which a patch was found there, in the tree of their inputs; nothing is "
    "replaced, and links stay.",
)  # fmt: skip
@click.option(
    "--exit-code", is_flag=True,
    help=f"Exit with {_FOUND} if a patch was found, also if another image failed.",
)  # fmt: skip
@worker_options
@shard_option
@image_column_option
@cluster_option
@failure_options
@progress_option
@click.option("-q", "--quiet", is_flag=True, help="No summary, and no progress bar.")
@click.option("-v", "--verbose", is_flag=True, help="Print a line for each file moved, on stderr.")
def scan(inputs: tuple[str, ...], **options: Any) -> int:
    """Find adversarial patches in images and directories of images.

    Prints a line an image, in the order of the inputs: the score from 0 to 1, the path, and each
    region in which a patch was found with its own score, with tabs between them. Regions are in
    pixels as stored, before any rotation that EXIF asks for. Of several frames or pages the one
    with the highest score counts. Failures and a summary go to stderr. An INPUT of '-' is one
    image from stdin.

    \b
    Examples:
      lgs scan photos
      lgs scan photos | sort -rn | head
      lgs scan uploads --move-to quarantine --exit-code
      lgs scan uploads --found-only -0 | xargs -0 -r mv -n -t quarantine --
      lgs scan photos --json | jq -r 'select(.score > 0.9) | .source'
      lgs scan photos --json > scan.jsonl && lgs report scan.jsonl -o scan.html

    \b
    Keys of --json: source, status (done or failed), error, score, width, height,
    regions (each with x, y, width, height, score; empty if nothing was found),
    page (where the regions are, from 1; null if there is only one), and with
    --move-to moved_to.

    \b
    Exit codes: 0 done, found or not   1 some image failed, or was not moved
                5 a patch was found, with --exit-code, whatever else happened
                2, 3, 130, 143 as 'lgs --help' says
    """  # noqa: D301 - click reads the backspace
    from lgs_cli.batch.scan import ScanSettings

    params = _params(options["threshold"], options["detector"])
    settings = ScanSettings(params, options["max_pixels"])
    prints_paths = options["found_only"] and not options["as_json"]
    if options["null"] and options["files_from"] is None and not prints_paths:
        raise UsageError("-0 is for the paths of --files-from, and of --found-only")
    if "-" in inputs:
        if inputs != ("-",):
            raise UsageError("'-' is one image from stdin, and goes alone")
        for name in ("files_from", "move_to", "timeout", "memory_limit", "shard", "cluster"):
            if options[name]:
                raise UsageError(f"--{name.replace('_', '-')} needs files, not '-'")
        return _scan_stdin(settings, options)
    return _scan_files(inputs, settings, options)


def _params(threshold: float, detector: str | None) -> LocalizeParams:
    """Make the parameters, and try a detector that the user brings before any image meets it."""
    try:
        params = LocalizeParams(threshold=threshold, detector=detector or "")
        try_detector(params)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return params


def _scan_stdin(settings: ScanSettings, options: dict[str, Any]) -> int:
    """Look at one image from stdin."""
    from lgs_cli.batch.job import Job

    result = settings.do_data(Job(0, "-"), sys.stdin.buffer.read())
    return _follow([(None, result)], 1, None, options)


def _scan_files(inputs: tuple[str, ...], settings: ScanSettings, options: dict[str, Any]) -> int:
    """Look at files and directories."""
    from lgs_cli.batch.forkserver import HeadStart
    from lgs_cli.batch.quarantine import Quarantine
    from lgs_cli.batch.run import scan_all
    from lgs_cli.batch.sources import Sources

    if not inputs and options["files_from"] is None:
        raise UsageError("nothing to scan: name files or directories, or --files-from FILE")
    options["head_start"] = HeadStart()
    if any(map(is_archive, inputs)):
        from lgs_cli.commands.archiving import archive_scan

        with archive_scan(inputs, settings, options) as results:
            return _follow(_without_files(results), None, None, options)
    directory = options["move_to"]
    quarantine = None if directory is None else Quarantine(directory, inputs)
    if any_remote(*inputs):
        from lgs_cli.commands.remote import remote_scan

        settings, found = remote_scan(inputs, settings, options)
    else:
        never = () if directory is None else (directory,)
        at_once = is_pipe(options["files_from"])
        found = next_inputs_of(inputs, options, never, at_once=at_once)
    first: Iterable[Source] = found.sources
    more: Iterable[Source] = found.more if directory is None else _apart(found.more, directory)
    if options["shard"] is not None:
        first, more = map(options["shard"].part_of, (first, more))
    sources = Sources(first, more)
    with (
        contextlib.closing(found.passed_over),
        contextlib.closing(scan_all(sources, settings, limits_of(options))) as results,
    ):
        say_folders(found.passed_over, options)
        return _follow(results, sources, quarantine, options, found.passed_over)


def _apart(sources: Iterable[Source], directory: str) -> Iterator[Source]:
    """Let sources fail that are found, while files are moved, where these go."""
    from lgs_cli.batch.guard import Zone

    zone = Zone([directory])
    for source in sources:
        is_there = source.problem is None and zone.holds(source) is not None
        yield source._replace(problem="lies where files are moved to") if is_there else source


def _without_files(results: Iterable[Result]) -> Iterator[tuple[None, Result]]:
    return ((None, result) for result in results)


def _follow(
    found: Iterable[tuple[Source | None, Result]],
    amount: Sources | int | None,
    quarantine: Quarantine | None,
    options: dict[str, Any],
    passed_over: PassedOver | None = None,
) -> int:
    """Print results as they come, and move what is to be moved; give the exit code."""
    report = ScanCounts()
    lines = _Lines(options["as_json"], options["found_only"], options["null"])
    source: Source | None = None

    def results() -> Iterator[Result]:
        nonlocal source
        for source, result in found:  # noqa: B007 - for those who take the result
            yield result

    with (
        Progress(
            report,
            amount,
            quiet=options["quiet"],
            form=options["progress"],
            cluster=options["cluster"],
        ) as progress,
        contextlib.ExitStack() as stack,
    ):
        if passed_over is not None:
            stack.callback(_say_passed_over, passed_over, report, progress, options)
        try:
            for result in progress.follow(results(), allowed_failures(options)):
                more: dict[str, str | None] = {}
                if quarantine is not None:
                    more["moved_to"] = None
                    if result.regions and source is not None:
                        moved = _move(source, quarantine, report, progress)
                        if moved is not None and options["verbose"]:
                            progress.say(f"{printable(result.source)} -> {printable(moved)}: moved")
                        more["moved_to"] = moved
                if lines.on_terminal:
                    progress.clear()
                lines.write(result, more)
        except LgsError as error:
            if options["exit_code"] and report.found:
                error.exit_code = _FOUND
            raise
    if passed_over is not None and options["verbose"]:
        for path in passed_over.files:
            click.echo(f"{printable(path)}: unsupported, a file of another kind", err=True)
    return _FOUND if options["exit_code"] and report.found else report.exit_code


def _say_passed_over(
    passed_over: PassedOver, report: ScanCounts, progress: Progress, options: dict[str, Any]
) -> None:
    """Count the files of other kinds for the summary, and name the directories that are new."""
    report.other_kinds = len(passed_over.files)
    progress.clear()
    say_folders(passed_over, options)


def _move(
    source: Source, quarantine: Quarantine, report: ScanCounts, progress: Progress
) -> str | None:
    """Move a file away, and give its new path; or say why it stays."""
    try:
        target = quarantine.take(source)
    except ImageError as error:
        report.unmoved += 1
        progress.say(f"lgs: {printable(source.path)}: {error}")
        return None
    report.moved += 1
    return target


class _Lines:
    """What goes to stdout, each line at once."""

    def __init__(self, as_json: bool, found_only: bool, null: bool) -> None:
        self._as_json = as_json
        self._found_only = found_only
        self._null = found_only and null
        self._file = sys.stdout.buffer
        self._encoding = sys.stdout.encoding
        self.on_terminal = sys.stdout.isatty()

    def write(self, result: Result, more: dict[str, str | None]) -> None:
        """Write the line of a result, if it has one."""
        if self._found_only and not result.regions:
            return
        if self._as_json:
            data = scan_line(result, **more).encode()
        elif result.status == "failed":
            return
        elif self._null:
            data = os.fsencode(result.source) + b"\0"
        else:
            data = scan_text(result).encode(self._encoding, "backslashreplace")
        self._file.write(data)
        self._file.flush()
