"""The runs of ``lgs clean`` and ``lgs scan`` over archives of images, in files or in stores."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from lgs_cli.commands.cleaning import follow, limits_of, report_file, report_paths, skip_of
from lgs_cli.commands.remote import refuse_for_stores, report_near
from lgs_cli.errors import UsageError
from lgs_cli.storage import refuse_overwriting
from lgs_cli.storage.archives.archive import expand, is_archive
from lgs_cli.storage.missing import missing, no_images
from lgs_cli.storage.stores.store import any_remote, is_remote
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from lgs_cli.batch.archives import ArchiveRun
    from lgs_cli.batch.job import Job, Result
    from lgs_cli.batch.pipeline import CleanSettings
    from lgs_cli.batch.run import Skip
    from lgs_cli.batch.scan import ScanSettings
    from lgs_cli.batch.unpacking import Reading


def clean_archives(
    inputs: Sequence[str], output: str, settings: CleanSettings, options: dict[str, Any]
) -> int:
    """Clean the images of archives into archives of the same names in a directory.

    Parameters
    ----------
    inputs : sequence of str
        Archives, or patterns of them, as the user gave them.
    output : str
        The directory, or a URL.
    settings : CleanSettings
        How every image is cleaned.
    options : dict
        The command's.

    Returns
    -------
    int
        The exit code.

    Raises
    ------
    UsageError
        If there are other inputs, or an archive does not exist or would be overwritten.
    """
    from lgs_cli.batch.archives import clean_archives

    for name, is_given in (
        ("delete", options["delete"]),
        ("preserve-times", settings.preserve_times),
    ):
        if is_given:
            raise UsageError(f"--{name} is for images, not for archives")
    paths = _archives(inputs, options)
    if options["masks"] is not None and any(path.lower().endswith(".parquet") for path in paths):
        raise UsageError("--masks is for images and tar archives: a table has no names for them")
    with report_near(options), _reading(paths, output, settings.format, options) as reading:
        jobs = _jobs(paths, output, options)
        run = _run(reading, output, settings, options)
        with contextlib.closing(run.manifest):
            if options["dry_run"]:
                run.manifest.peek()
                return _rehearse(jobs, run, skip_of(options))
            run.manifest.open(wait=options["wait"])
            with report_file(settings, options) as lines:
                results = _some(clean_archives(jobs, run, skip_of(options)), jobs, options)
                return follow(results, None, lines, options).exit_code


@contextlib.contextmanager
def archive_scan(
    inputs: Sequence[str], settings: ScanSettings, options: dict[str, Any]
) -> Iterator[Generator[Result]]:
    """Look for patches in the images of archives, while entered.

    Parameters
    ----------
    inputs : sequence of str
        Archives, or patterns of them, as the user gave them.
    settings : ScanSettings
        The detector, and what it finds.
    options : dict
        The command's.

    Yields
    ------
    generator of Result
        One for each image, in their order.

    Raises
    ------
    UsageError
        If there are other inputs, or an archive does not exist, or files would be moved.
    """
    from lgs_cli.batch.archives import scan_archives
    from lgs_cli.batch.job import Job

    if options["move_to"] is not None:
        raise UsageError("--move-to moves files, and no images of archives")
    paths = _archives(inputs, options)
    if options["shard"] is not None:
        paths = [path for path in paths if options["shard"].holds(os.path.basename(path))]
    jobs = [Job(place, path) for place, path in enumerate(paths)]
    with (
        _reading(paths, None, None, options) as reading,
        contextlib.closing(_some(scan_archives(jobs, reading, settings), jobs, options)) as results,
    ):
        yield results


def _some(
    results: Generator[Result], jobs: Sequence[Job], options: dict[str, Any]
) -> Generator[Result]:
    """Give the results of archives; NoImagesError in the end if there was none."""
    first = None
    with contextlib.closing(results):
        for first in results:
            yield first
    if jobs and first is None:
        filtered = bool(options["include"] or options["exclude"])
        hint = "no member has the suffix of an image, and no row holds one"
        raise no_images([job.source for job in jobs], filtered, hint)


def _archives(inputs: Sequence[str], options: dict[str, Any]) -> list[str]:
    """List the archives that the user names, all of which are there if they are files."""
    from lgs_cli.storage.archives.parquet import require_pyarrow

    if options["files_from"]:
        raise UsageError("--files-from is for images, not for archives")
    paths = [path for pattern in inputs for path in expand(pattern)]
    for path in paths:
        if not is_archive(path):
            raise UsageError(f"archives go in a run of their own, and {printable(path)} is none")
        if not is_remote(path) and not os.path.isfile(path):
            raise missing(path)
    if any(path.lower().endswith(".parquet") for path in paths):
        require_pyarrow()
    return paths


@contextlib.contextmanager
def _reading(
    paths: Sequence[str], output: str | None, format: str | None, options: dict[str, Any]
) -> Iterator[Reading]:
    """Say how archives are read, and keep a directory for images that none goes with."""
    from lgs_cli.batch.unpacking import Reading
    from lgs_cli.storage.archives.opening import Opening
    from lgs_cli.storage.inputs import Selection
    from lgs_cli.storage.scratch import scratch_directory
    from lgs_cli.storage.stores.listing import states_of

    selection = Selection(True, options["include"], options["exclude"])
    opening = Opening(selection, format, options["image_column"])
    states = states_of(paths)
    if output is not None and not is_remote(output):
        yield Reading(opening, states, limits_of(options), output)
        return
    # The workers of a cluster share the current directory, and not that for temporary files.
    cluster = options["cluster"]
    place = None if cluster is None or cluster.address == "local" else os.getcwd()
    with scratch_directory(place) as scratch:
        yield Reading(opening, states, limits_of(options), scratch)


def _jobs(paths: Sequence[str], output: str, options: dict[str, Any]) -> list[Job]:
    """Say where archives go."""
    from lgs_cli.batch.job import Job

    names = [os.path.basename(path) for path in paths]
    outputs = [os.path.join(output, name) for name in names]
    masks = options["masks"]
    pictures = [None if masks is None else os.path.join(masks, name) for name in names]
    refuse_overwriting([*outputs, *pictures, *report_paths(options)], paths)
    jobs = [
        Job(place, *paths) for place, paths in enumerate(zip(paths, outputs, pictures, strict=True))
    ]
    if options["shard"] is None:
        return jobs
    return [job for job in jobs if options["shard"].holds(names[job.place])]


def _run(
    reading: Reading, output: str, settings: CleanSettings, options: dict[str, Any]
) -> ArchiveRun:
    """Say where a run records what it does."""
    from lgs_cli.batch.archives import ArchiveRun
    from lgs_cli.batch.member_index import MemberIndex
    from lgs_cli.batch.remote import RemoteManifest, RemoteOutputs
    from lgs_cli.batch.shards import SharedManifest

    if not any_remote(*reading.states.urls, output, options["masks"]):
        if os.path.lexists(output) and not os.path.isdir(output):
            raise UsageError(f"{printable(output)} is not a directory")
        manifest = SharedManifest(output, settings, options["shard"])
        return ArchiveRun(reading, settings, manifest)
    refuse_for_stores(output, options)
    outputs = RemoteOutputs(output, options["masks"], settings.format)
    record = RemoteManifest(outputs, settings, reading.states)
    return ArchiveRun(reading, settings, record, MemberIndex(output, record))


def _rehearse(jobs: Sequence[Job], run: ArchiveRun, skip: Skip) -> int:
    """Say what a run would do."""
    for job in jobs:
        what = "up to date" if run.skips(job, skip) else "would clean"
        click.echo(f"{what}: {printable(job.source)} -> {printable(job.output or '')}")
    return 0
