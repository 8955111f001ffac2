"""The run of ``lgs clean`` over archives of images."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from lgs_cli.commands.cleaning import follow, limits_of, report_file, report_paths
from lgs_cli.errors import UsageError
from lgs_cli.storage import refuse_overwriting
from lgs_cli.storage.missing import missing
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from lgs_cli.batch.archives import ArchiveRun
    from lgs_cli.batch.job import Job
    from lgs_cli.batch.pipeline import CleanSettings


def clean_archives(
    inputs: Sequence[str], output: str, settings: CleanSettings, options: dict[str, Any]
) -> int:
    """Clean the images of archives into archives of the same names in a directory.

    Parameters
    ----------
    inputs : sequence of str
        Archives, or patterns of them, as the user gave them.
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

    Raises
    ------
    UsageError
        If there are other inputs, or an archive does not exist or would be overwritten.
    """
    from lgs_cli.batch.archives import ArchiveRun, clean_archives
    from lgs_cli.batch.shards import SharedManifest
    from lgs_cli.storage.archives.opening import Opening
    from lgs_cli.storage.inputs import Selection

    jobs = _jobs(inputs, output, options)
    if os.path.lexists(output) and not os.path.isdir(output):
        raise UsageError(f"{printable(output)} is not a directory")
    manifest = SharedManifest(output, settings, options["shard"])
    selection = Selection(True, options["include"], options["exclude"])
    opening = Opening(selection, settings.format, options["image_column"])
    run = ArchiveRun(opening, settings, limits_of(options), manifest)
    with contextlib.ExitStack() as stack:
        stack.callback(manifest.close)
        if options["dry_run"]:
            manifest.peek()
            return _rehearse(jobs, run, options["force"])
        manifest.open(wait=options["wait"])
        lines = stack.enter_context(report_file(settings, options))
        results = clean_archives(jobs, run, force=options["force"])
        return follow(results, None, lines, options).exit_code


def _jobs(inputs: Sequence[str], output: str, options: dict[str, Any]) -> list[Job]:
    """Name the archives, and where they go."""
    from lgs_cli.batch.job import Job
    from lgs_cli.storage.archives.archive import expand, is_archive
    from lgs_cli.storage.archives.parquet import require_pyarrow

    for name in ("files_from", "delete", "skip_unsupported"):
        if options[name]:
            raise UsageError(f"--{name.replace('_', '-')} is for images, not for archives")
    paths = [path for pattern in inputs for path in expand(pattern)]
    for path in paths:
        if not is_archive(path):
            raise UsageError(f"archives go in a run of their own, and {printable(path)} is none")
        if not os.path.isfile(path):
            raise missing(path)
    if any(path.lower().endswith(".parquet") for path in paths):
        require_pyarrow()
        if options["masks"] is not None:
            raise UsageError(
                "--masks is for images and tar archives: a table has no names for them"
            )
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


def _rehearse(jobs: Sequence[Job], run: ArchiveRun, force: bool) -> int:
    """Say what a run would do."""
    for job in jobs:
        what = "up to date" if not force and run.is_current(job) else "would clean"
        click.echo(f"{what}: {printable(job.source)} -> {printable(job.output or '')}")
    return 0
