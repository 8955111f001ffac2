"""``lgs report``: a run as one HTML page."""

from __future__ import annotations

import os
from pathlib import Path

import click

from lgs_cli.errors import UsageError
from lgs_cli.wording import counted, printable


@click.command()
@click.argument("run", metavar="RUN.jsonl", type=click.Path())
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
def report(run: str, output: str, limit: int) -> None:
    """Make one HTML page of what 'lgs clean' or 'lgs scan' reported.

    RUN.jsonl is what 'lgs clean --report' or 'lgs scan --json' wrote; it may be '-', for stdin. The
    page needs no network and no other file. Relative paths in RUN.jsonl start from the current
    directory.

    \b
    Examples:
      lgs clean photos -o cleaned --report run.jsonl
      lgs report run.jsonl -o report.html
      lgs scan photos --json | lgs report - -o report.html
    """  # noqa: D301 - click reads the backspace
    from lgs_cli.report import page
    from lgs_cli.storage import write

    if output != "-" and os.path.realpath(run) == os.path.realpath(output):
        raise UsageError(f"{printable(output)} is the input; it would be overwritten")
    images = page.read_run(Path("/dev/stdin" if run == "-" else run))
    pictures = page.thumbnails(images, limit)
    text = page.render(images, pictures)
    if output == "-":
        click.echo(text)
    else:
        write(output, text.encode())
    shown = f"{counted(len(images.entries), 'image')}, {len(pictures)} with pictures"
    click.echo(f"{printable(output)}: {shown}", err=True)
