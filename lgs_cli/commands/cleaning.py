"""The runs of ``lgs clean``: what each reads and writes, and what is said of it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from lgs_cli.commands.configuration import command_line
from lgs_cli.commands.progress import Amount, Progress
from lgs_cli.commands.report_file import ReportFile
from lgs_cli.commands.run_inputs import (
    Inputs,
    first_inputs_of,
    inputs_of,
    next_inputs_of,
    sources_of,
)
from lgs_cli.commands.run_options import allowed_failures, say_folders
from lgs_cli.errors import ImageError, UsageError
from lgs_cli.report.records import CleanLines
from lgs_cli.report.summary import CleanCounts, describe_result
from lgs_cli.wording import counted, printable

if TYPE_CHECKING:
    from lgs_cli.batch.job import Result
    from lgs_cli.batch.manifest import Manifest
    from lgs_cli.batch.orphans import Wanted
    from lgs_cli.batch.outputs import Outputs
    from lgs_cli.batch.pipeline import CleanSettings
    from lgs_cli.batch.run import Skip
    from lgs_cli.batch.workers import Limits
    from lgs_cli.storage.inputs import PassedOver, Source


def clean_stream(path: str, output: str, settings: CleanSettings, options: dict[str, Any]) -> int:
    """Clean one image that comes from stdin, or goes to stdout.

    Parameters
    ----------
    path : str
        The image; ``"-"`` for stdin.
    output : str
        Where it goes; empty for stdout.
    settings : CleanSettings
        How it is cleaned.
    options : dict
        The command's.

    Returns
    -------
    int
        The exit code.
    """
    from lgs_cli import image_io
    from lgs_cli.batch.pipeline import clean as clean_picture
    from lgs_cli.storage import write

    if not output and sys.stdout.isatty():
        raise UsageError("the image would go to the terminal: write > b.jpg behind it, or -o b.jpg")
    for name in ("masks", "report", "dry_run", "timeout", "memory_limit", "cluster"):
        if options[name]:
            raise UsageError(f"--{name.replace('_', '-')} needs files as input and output, not '-'")
    try:
        if path == "-":
            data = sys.stdin.buffer.read()
            picture = image_io.decode(data, max_pixels=settings.max_pixels)
        else:
            inputs_of((path,), options, ())  # says what is not there
            picture = image_io.read(path, max_pixels=settings.max_pixels)
        cleaned = clean_picture(picture, settings)
    except ImageError as error:
        name = "standard input" if path == "-" else printable(path)
        raise ImageError(f"{name}: {error}") from None
    if output:
        try:
            write(output, cleaned.data)
        except ImageError as error:
            raise ImageError(f"{printable(output)}: {error}") from None
    else:
        sys.stdout.buffer.write(cleaned.data)
        sys.stdout.buffer.flush()
    return 0


def clean_to_file(path: str, output: str, settings: CleanSettings, options: dict[str, Any]) -> int:
    """Clean one image into a file of any name; parameters as for :func:`clean_stream`."""
    from lgs_cli.batch.single import NoManifest, SingleOutput

    found = inputs_of((path,), options, ())
    if os.path.realpath(path) == os.path.realpath(output):
        raise UsageError(f"{printable(output)} is the input; to replace it, write --in-place")
    outputs = SingleOutput(output, options["masks"])
    return clean_sources(found, outputs, settings, NoManifest(), options)


def clean_in_place(inputs: Sequence[str], settings: CleanSettings, options: dict[str, Any]) -> int:
    """Replace images by their cleaned selves; parameters as for :func:`clean_directory`."""
    from lgs_cli.batch.in_place import Originals, Records, are_told_apart, without_links

    masks = options["masks"]
    found = next_inputs_of(inputs, options, filter(None, [masks]))
    has_list = options["files_from"] is not None
    if has_list or not are_told_apart(inputs, masks, report_paths(options)):
        found.sources.extend(found.more)
    first, more = without_links(found.sources), without_links(found.more)
    found = found._replace(sources=list(first), more=more)
    outputs = Originals(masks)
    return clean_sources(found, outputs, settings, Records(found.sources, settings), options)


def clean_directory(
    inputs: Sequence[str], output: str, settings: CleanSettings, options: dict[str, Any]
) -> int:
    """Clean files and directories into a directory.

    Parameters
    ----------
    inputs : sequence of str
        As the user gave them.
    output : str
        The directory.
    settings : CleanSettings
        How every image is cleaned.
    options : dict
        The command's.

    Returns
    -------
    int
        The exit code.
    """
    from lgs_cli.batch.outputs import Outputs
    from lgs_cli.batch.shards import SharedManifest

    outputs = Outputs(output, options["masks"], settings.format)
    found = first_inputs_of(inputs, options, outputs, report_paths(options))
    manifest = SharedManifest(output, settings, options["shard"])
    return clean_sources(found, outputs, settings, manifest, options)


def clean_sources(
    found: Inputs,
    outputs: Outputs,
    settings: CleanSettings,
    manifest: Manifest,
    options: dict[str, Any],
) -> int:
    """Clean images, wherever they are and go; the options are the command's."""
    from lgs_cli.batch.run import clean_all

    # All shards check all images, so that none begins what another refuses.
    outputs.check(found.given, found.sources, report_paths(options), write=not options["dry_run"])
    with contextlib.ExitStack() as stack:
        stack.callback(found.passed_over.close)
        stack.callback(manifest.close)
        say_folders(found.passed_over, options)
        wanted = _wanted(outputs, stack) if options["delete"] else None
        if options["dry_run"]:
            manifest.peek()
            _warn(manifest)
            sources = sources_of(found, wanted, options)
            _rehearse(sources, outputs, manifest, skip_of(options))
            say_folders(found.passed_over, options)
            if wanted is not None:
                _remove_orphans(found.given, wanted, outputs, manifest, options)
            return 0
        if not manifest.exists:
            if found.guard is not None:
                found.guard.spares_strangers = True
            try:
                outputs.refuse_strangers(found.given, found.sources)
            except UsageError:
                if not manifest.exists:  # else they are outputs of a shard that has just begun
                    raise
        outputs.prepare(found.sources)
        manifest.open(wait=options["wait"])
        _warn(manifest)
        lines = stack.enter_context(report_file(settings, options))
        sources = sources_of(found, wanted, options)
        limits, skip = limits_of(options), skip_of(options)
        results = clean_all(sources, outputs, settings, limits, manifest, skip)
        counts = follow(results, sources, lines, options, found.passed_over)
        if wanted is not None:
            _remove_orphans(found.given, wanted, outputs, manifest, options)
        return counts.exit_code


def _wanted(outputs: Outputs, stack: contextlib.ExitStack) -> Wanted:
    from lgs_cli.batch.orphans import Wanted

    return stack.enter_context(contextlib.closing(Wanted(outputs)))


def skip_of(options: dict[str, Any]) -> Skip:
    """Read which images are not worked on."""
    from lgs_cli.batch.run import Skip

    return Skip(current=not options["force"], hopeless=options["skip_unsupported"])


def _warn(manifest: Manifest) -> None:
    if manifest.warning is not None:
        click.echo(f"lgs: {manifest.warning}", err=True)


def _remove_orphans(
    given: Sequence[str],
    wanted: Wanted,
    outputs: Outputs,
    manifest: Manifest,
    options: dict[str, Any],
) -> None:
    """Remove outputs that no source has any more, or say which would be removed."""
    from lgs_cli.batch.orphans import find_orphans, remove_orphan

    rehearse = options["dry_run"]
    removed = 0
    for known in find_orphans(manifest, outputs, given, wanted, rehearse=rehearse):
        is_left = False
        for path, is_ours in remove_orphan(known, outputs, rehearse=rehearse):
            removed += is_ours
            is_left = is_left or not is_ours
            if not is_ours:
                click.echo(f"lgs: {printable(path)}: changed by others, and stays", err=True)
            elif rehearse:
                click.echo(f"would remove: {printable(path)}")
            elif options["verbose"]:
                click.echo(f"{printable(path)}: removed", err=True)
        if not rehearse and not is_left:
            manifest.mark_removed(known)
    if removed and not rehearse and not options["quiet"]:
        click.echo(f"{counted(removed, 'outdated file')} removed", err=True)


def limits_of(options: dict[str, Any]) -> Limits:
    """Read what a run may take."""
    from lgs_cli.batch.workers import Limits, cores

    return Limits(
        options["jobs"] or cores(),
        options["timeout"],
        options["memory_limit"],
        options["cluster"],
        options["head_start"],
    )


def report_paths(options: dict[str, Any]) -> list[str]:
    """List the files that a run writes besides images and masks, if they can be written."""
    path = options["report"]
    if path in (None, "-"):
        return []
    if os.path.isdir(path):
        raise UsageError(f"--report {printable(path)}: is a directory")
    directory = os.path.dirname(path)
    if directory and not os.path.isdir(directory):
        there_is = f"there is no directory {printable(directory)}; make it first"
        raise UsageError(f"--report {printable(path)}: {there_is}")
    return [path]


@contextlib.contextmanager
def report_file(settings: CleanSettings, options: dict[str, Any]) -> Iterator[ReportFile | None]:
    """Open the report, if one is wanted."""
    if options["report"] is None:
        yield None
        return
    command = command_line(click.get_current_context())
    with ReportFile(options["report"], CleanLines(settings.chain, command)) as lines:
        yield lines


def follow(
    results: Generator[Result],
    amount: Amount | int | None,
    lines: ReportFile | None,
    options: dict[str, Any],
    passed_over: PassedOver | None = None,
) -> CleanCounts:
    """Say what comes of images, until there are no more.

    Parameters
    ----------
    results : generator of Result
        As they come; is closed.
    amount : Amount, int or None
        How many come; None if nobody will know.
    lines : ReportFile or None
        Gets each of them.
    options : dict
        The command's.
    passed_over : PassedOver, optional
        Files of other kinds, to be counted and named as well.

    Returns
    -------
    CleanCounts
        Their counts.

    Raises
    ------
    LgsError
        If a failure ends the run.
    """
    others = [] if passed_over is None else passed_over.files
    report = CleanCounts()
    progress = Progress(
        report,
        amount,
        quiet=options["quiet"],
        form=options["progress"],
        cluster=options["cluster"],
    )
    with contextlib.closing(results), progress, contextlib.ExitStack() as stack:

        @stack.callback  # when the run ends, however it does
        def finish() -> None:
            report.other_kinds = len(others)
            if passed_over is not None:
                progress.clear()
                say_folders(passed_over, options)

        for result in progress.follow(results, allowed_failures(options)):
            if lines is not None:
                lines.add(result)
            if options["verbose"] and result.status != "failed":
                progress.say(describe_result(result))
        for number, path in enumerate(others):
            from lgs_cli.batch.job import Result

            result = Result(
                (progress.total or 0) + number,
                path,
                status="unsupported",
                error="a file of another kind",
            )
            if lines is not None:
                lines.add(result)
            if options["verbose"]:
                progress.say(describe_result(result))
    return report


def _rehearse(sources: Iterable[Source], outputs: Outputs, manifest: Manifest, skip: Skip) -> None:
    """Say what a run would do."""
    for source in sources:
        path, job = printable(source.path), outputs.job(0, source)
        if source.problem is not None:
            line = f"would fail: {path}: {source.problem}"
        elif skip.current and manifest.is_current(job):
            line = f"up to date: {path} -> {printable(job.output or '')}"
        elif skip.hopeless and (reason := manifest.why_hopeless(job)) is not None:
            line = f"unsupported: {path}: {printable(reason)}"
        else:
            line = f"would clean: {path} -> {printable(job.output or '')}"
        sys.stdout.write(line + "\n")
