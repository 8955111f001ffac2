"""``lgs clean``: folders of images in, cleaned folders out."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import click

from lgs_cli.batch.forkserver import HeadStart
from lgs_cli.batch.pipeline import CleanSettings
from lgs_cli.commands.defense_options import Location, chosen_chain, defense_options
from lgs_cli.commands.destination import FormatName, backup_ending, format_of, kind_of_output
from lgs_cli.commands.meter import progress_option
from lgs_cli.commands.run_options import failure_options, selection_options, worker_options
from lgs_cli.commands.scale_options import cluster_option, image_column_option, shard_option
from lgs_cli.commands.sections import SectionedCommand
from lgs_cli.errors import UsageError
from lgs_cli.formats import MASK_STYLES
from lgs_cli.storage.archives.archive import is_archive
from lgs_cli.storage.inputs import MANIFEST
from lgs_cli.storage.stores.store import any_remote, as_local

# The ten that people need first, then the others by what they are about.
_SECTIONS = {
    "Most needed": (
        "--output",
        "--method",
        "--threshold",
        "--format",
        "--in-place",
        "--masks",
        "--include",
        "--jobs",
        "--report",
        "--dry-run",
    ),
    "Inputs": (
        "--exclude",
        "--recursive",
        "--include-outputs",
        "--files-from",
        "--null",
        "--max-pixels",
        "--shard",
        "--image-column",
        "--watch",
    ),
    "Outputs": (
        "--backup",
        "--yes",
        "--quality",
        "--optimize",
        "--preserve-times",
        "--force",
        "--delete",
    ),
    "Defense": (
        "--smoothing",
        "--block-size",
        "--overlap",
        "--fill",
        "--detector",
        "--model",
        "--preset",
        "--param",
    ),
    "Masks": ("--mask-style",),
    "Running": (
        "--cluster",
        "--timeout",
        "--memory-limit",
        "--skip-unsupported",
        "--max-failures",
        "--fail-fast",
        "--wait",
        "--config",
    ),
    "Reporting": ("--progress", "--quiet", "--verbose", "--help"),
}


@click.command(cls=SectionedCommand, sections=_SECTIONS)
@click.argument("inputs", metavar="INPUT...", nargs=-1, type=Location())
@click.option(
    "-o", "--output", metavar="OUT", type=Location(),
    help="Where cleaned images go: a directory, which gets the tree of the inputs. For one image "
    "also a file, as b.jpg, whose suffix gives the format; or '-' for stdout.",
)  # fmt: skip
@click.option("--in-place", is_flag=True, help="Replace the inputs; needs --backup or --yes.")
@click.option(
    "--backup",
    metavar="SUFFIX",
    help="With --in-place: keep each original; orig and .orig both make a.jpg.orig.",
)
@click.option("--yes", is_flag=True, help="With --in-place: keep no originals.")
@defense_options
@click.option(
    "--masks", metavar="DIR", type=Location(), help="Write a picture of each mask there, as PNG."
)
@click.option(
    "--mask-style", type=click.Choice(MASK_STYLES), default="heatmap", show_default=True,
    help="How masks look.",
)  # fmt: skip
@click.option(
    "--format", type=FormatName("keep"), default="keep", show_default=True,
    help="Format of the outputs.",
)  # fmt: skip
@click.option(
    "--quality", metavar="N", type=click.IntRange(1, 100), show_default="as the input",
    help="Quality of lossy outputs.",
)  # fmt: skip
@click.option("--optimize", is_flag=True, help="Take longer for JPEGs that are some 5 % smaller.")
@click.option("--preserve-times", is_flag=True, help="Give outputs the times of their inputs.")
@selection_options
@click.option("-0", "--null", is_flag=True, help="Paths in --files-from end in NUL.")
@worker_options
@shard_option
@image_column_option
@cluster_option
@click.option(
    "--watch", metavar="[SECONDS]", type=click.FloatRange(0, 86_400, min_open=True),
    is_flag=False, flag_value="2",
    help="Go on with what arrives, looking every so often, until SIGTERM.  [default: 2]",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Do again what is up to date.")
@click.option(
    "--delete", is_flag=True,
    help="Remove outputs and masks whose source in a directory given is gone, or now has an "
    "output of another format, if nobody has changed them.",
)  # fmt: skip
@click.option(
    "--skip-unsupported",
    is_flag=True,
    help="Pass over images that an earlier run could not clean, until they change.",
)
@click.option("--wait", is_flag=True, help="Wait for another lgs that writes to the same DIR.")
@failure_options
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@click.option(
    "--report", metavar="FILE", type=Location(), help="Write a JSON line an image; '-': stdout."
)
@progress_option
@click.option("-q", "--quiet", is_flag=True, help="Print failures only.")
@click.option("-v", "--verbose", is_flag=True, help="Print a line an image.")
def clean(inputs: tuple[str, ...], output: str | None, **options: Any) -> int:
    """Clean images and directories of images.

    INPUT is an image, a directory, an archive (tar, Parquet) or a URL of an object store ('lgs help
    archives'). Directories are walked in sorted order, and their tree is kept under the output
    directory; hidden files are passed over. What an earlier run has done, and nothing has changed
    since, is skipped. Inputs are never changed, but for --in-place.

    \b
    Examples:
      lgs clean photos -o cleaned
      lgs clean a.jpg -o b.png
      lgs clean *.jpg --in-place --backup .orig
      lgs clean photos -o cleaned --masks masks --mask-style overlay
      find . -name '*.png' -print0 | lgs clean --files-from - -0 -o cleaned
      curl -s https://example.org/a.jpg | lgs clean - -o - > a.jpg
    """  # noqa: D301 - click reads the backspace
    inputs = tuple(map(as_local, inputs))
    output = None if output is None else as_local(output)
    head_start = click.get_current_context().with_resource(contextlib.closing(HeadStart()))
    if _is_first(inputs, output, options):
        head_start.begin()
    options["head_start"] = head_start
    from lgs_cli.commands import cleaning

    chain = chosen_chain(options)
    kind, place = kind_of_output(inputs, output, options)
    if options["watch"] is not None and kind != "directory":
        raise UsageError("--watch needs a directory for what arrives: -o DIR")
    if options["shard"] is not None and (kind != "directory" or options["watch"] is not None):
        raise UsageError("--shard is for outputs in a directory, and not for --watch: -o DIR")
    if options["delete"] and (
        kind != "directory" or options["shard"] is not None or options["watch"] is not None
    ):
        raise UsageError("--delete is for outputs in a directory, without --shard and --watch")
    form = options.pop("format")
    times = options.pop("preserve_times")
    how = (
        chain,
        format_of(place) if kind == "file" else None if form == "keep" else form,
        options.pop("quality"),
        options.pop("optimize"),
        options.pop("mask_style"),
        options.pop("max_pixels"),
    )
    if kind == "in place":
        from lgs_cli.batch.in_place import InPlace

        return cleaning.clean_in_place(
            inputs,
            InPlace(*how, preserve_times=times, backup=backup_ending(options["backup"])),
            options,
        )
    settings = CleanSettings(*how, preserve_times=times)
    if kind == "directory" and any(map(is_archive, inputs)):
        if options["watch"] is not None:
            raise UsageError("--watch is for directories of images, not for archives")
        from lgs_cli.commands.archiving import clean_archives

        return clean_archives(inputs, place, settings, options)
    if kind == "directory" and any_remote(*inputs, place, options["masks"]):
        from lgs_cli.commands.remote import clean_remote

        return clean_remote(inputs, place, settings, options)
    if options["watch"] is not None:
        from lgs_cli.commands.watching import watch

        return watch(inputs, place, settings, options)
    if kind == "directory":
        return cleaning.clean_directory(inputs, place, settings, options)
    if kind == "stdout" or "-" in inputs:
        return cleaning.clean_stream(inputs[0], place, settings, options)
    return cleaning.clean_to_file(inputs[0], place, settings, options)


def _is_first(inputs: tuple[str, ...], output: str | None, options: dict[str, Any]) -> bool:
    """Say whether nothing has been cleaned into a local place yet, so that there is work to do."""
    if output in (None, "-") or "-" in inputs or any_remote(output):
        return False
    if options["dry_run"] or options["cluster"] is not None or options["watch"] is not None:
        return False
    return not os.path.lexists(os.path.join(output, MANIFEST))
