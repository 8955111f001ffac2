"""``lgs report``: a run as one HTML page."""

from __future__ import annotations

import os
from pathlib import Path

import click

from lgs_cli.commands.meter import Meter, progress_option
from lgs_cli.errors import LgsError, UsageError
from lgs_cli.storage.missing import missing
from lgs_cli.wording import counted, printable

# So many bad lines are named, the others counted.
_NAMED = 20


@click.command()
@click.argument("runs", metavar="RUN.jsonl...", nargs=-1, required=True, type=click.Path())
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    type=click.Path(),
    help="The page to write; '-' for stdout.",
)
@click.option(
    "--thumbnails", "limit", type=click.IntRange(min=0), default=500, show_default=True,
    metavar="N",
    help="Show pictures of this many images, those with the highest score or coverage.",
)  # fmt: skip
@progress_option
def report(runs: tuple[str, ...], output: str, limit: int, progress: str) -> int:
    """Make one HTML page of what 'lgs clean' or 'lgs scan' reported.

    RUN.jsonl is what 'lgs clean --report' or 'lgs scan --json' wrote; '-' is stdin. Several become
    one page, such as those of the runs of --shard. Relative paths in RUN.jsonl start from the
    current directory. Lines that are not the record of an image are named and left out.

    The page needs no network and no other file, and is never larger than 19 MB: of very many
    images it lists those that failed first, and those with the highest score or coverage.

    \b
    Examples:
      lgs clean photos -o cleaned --report run.jsonl
      lgs report run.jsonl -o report.html
      lgs report part-*.jsonl -o report.html
      lgs scan photos --json | lgs report - -o report.html

    \b
    Exit codes: 0 done   1 a line was left out, or the page cannot be written
    """  # noqa: D301 - click reads the backspace
    from lgs_cli.report.page import render
    from lgs_cli.report.run import read_runs
    from lgs_cli.report.thumbnails import thumbnails
    from lgs_cli.storage import refuse_overwriting, write_result

    for path in runs:
        if path != "-" and not os.path.exists(path):
            raise missing(path)
        if os.path.isdir(path):
            some = printable(os.path.join(path, "*.jsonl"))
            raise UsageError(f"{printable(path)} is a directory; name its records: {some}")
    if output != "-":
        refuse_overwriting([output], runs)
    named = 0

    def complain(message: str) -> None:
        nonlocal named
        named += 1
        if named <= _NAMED:
            click.echo(f"lgs: {printable(message)}", err=True)

    paths = [Path("/dev/stdin" if run == "-" else run) for run in runs]
    run = read_runs(paths, complain)
    if named > _NAMED:
        more = counted(named - _NAMED, "more line")
        click.echo(f"lgs: {more} without the record of an image", err=True)
    if run.bad_lines and not run.records:
        raise LgsError(f"{printable(run.name)}: no line is the record of an image")
    with Meter("image", min(limit, len(run.records)), progress) as meter:
        page = render(run, thumbnails(run, limit, meter.advance))
    if output == "-":
        click.echo(page.html)
    else:
        write_result(output, page.html.encode())
    images = run.totals.description
    listed = "" if page.listed == run.totals.images else f"{page.listed:,} listed, "
    click.echo(f"{printable(output)}: {images}, {listed}{page.pictured:,} with pictures", err=True)
    return 1 if run.bad_lines else 0
