"""``lgs compare``: images by methods, as one picture."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from lgs_cli.commands.meter import Meter, progress_option
from lgs_cli.defenses.chain import Chain, apply_chain, describe, parse_chain
from lgs_cli.errors import ImageError, UsageError
from lgs_cli.formats import FORMATS, MAX_PIXELS
from lgs_cli.storage.missing import missing
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from lgs_cli.report.sheet import Cell, Label

_METHODS = ("lgs", "localize", "jpeg", "tvm", "bit-depth", "median")


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "-o", "--output", required=True, metavar="FILE", type=click.Path(), help="A .png or .jpg file."
)
@click.option(
    "--method", "methods", metavar="METHOD", multiple=True,
    help="A column: NAME, NAME:PARAM=VALUE,... or several names in a row; repeatable.  "
    f"[default: {', '.join(_METHODS)}]",
)  # fmt: skip
@click.option("--masks", is_flag=True, help="Inset the mask of each cleaned image.")
@click.option(
    "--max-side", type=click.IntRange(min=256), default=4096, show_default=True, metavar="PX",
    help="Long side of the sheet at most.",
)  # fmt: skip
@click.option(
    "--max-pixels", type=click.IntRange(min=1), default=MAX_PIXELS, show_default=True,
    metavar="N", help="Larger images fail, unread.",
)  # fmt: skip
@progress_option
def compare(
    images: Sequence[str],
    output: str,
    methods: Sequence[str],
    masks: bool,
    max_side: int,
    max_pixels: int,
    progress: str,
) -> None:
    """Lay images out by methods on one labeled sheet.

    An image is a row, a method a column.

    \b
    Example:
      lgs compare a.jpg b.jpg -o sheet.png --masks \\
        --method lgs --method lgs:threshold=0.05 --method jpeg:quality=30
    """  # noqa: D301 - click reads the backspace
    from lgs_cli.storage import refuse_overwriting

    try:
        chains = {text: parse_chain(text) for text in methods or _METHODS}
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    suffix = os.path.splitext(output)[1].lower()
    if suffix not in (*FORMATS["png"].suffixes, *FORMATS["jpeg"].suffixes):
        raise UsageError(f"{printable(output)}: the sheet is a .png or a .jpg file")
    refuse_overwriting([output], images)
    for path in images:
        if not os.path.lexists(path):
            raise missing(path)
        if os.path.isdir(path):
            some = printable(os.path.join(path, "*.jpg"))
            raise UsageError(f"{printable(path)} is a directory; name its images: {some}")
    with Meter("picture", len(images) * len(chains), progress) as meter:
        rows = [_row(path, chains.values(), masks, max_pixels, meter) for path in images]
    _write_sheet(rows, output, chains, max_side)


def _write_sheet(
    rows: Sequence[tuple[Label, list[Cell]]], output: str, chains: dict[str, Chain], max_side: int
) -> None:
    from PIL import Image

    from lgs_cli.report.sheet import Label, make_sheet
    from lgs_cli.storage import write_result

    columns = [Label("original")]
    for text, chain in chains.items():
        details = (_detail(name, value) for name, value in describe(chain).items())
        columns.append(Label(text.partition(":")[0], tuple(filter(None, details))))
    try:
        sheet = Image.fromarray(
            make_sheet(
                [label for label, _ in rows],
                columns,
                [cells for _, cells in rows],
                max_side=max_side,
            )
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    lossy = os.path.splitext(output)[1].lower() in FORMATS["jpeg"].suffixes
    options: dict[str, Any] = {"quality": 92, "subsampling": 0} if lossy else {}
    data = io.BytesIO()
    sheet.save(data, "JPEG" if lossy else "PNG", **options)
    write_result(output, data.getvalue())
    click.echo(f"{printable(output)}: {sheet.width} x {sheet.height} pixels", err=True)


def _detail(name: str, value: Any) -> str:
    """Write a parameter; empty for a text that is empty, as the path of a detector may be."""
    shown = f"{value:g}" if isinstance(value, int | float) else str(value)
    return shown and f"{name.replace('_', ' ')} {shown}"


def _row(
    path: str, chains: Iterable[Chain], masks: bool, max_pixels: int, meter: Meter
) -> tuple[Label, list[Cell]]:
    """Clean one image with every method."""
    import numpy as np

    from lgs_cli import image_io
    from lgs_cli.report.sheet import Cell, Label
    from lgs_cli.visualize import upright

    try:
        picture = image_io.read(path, max_pixels=max_pixels)
    except ImageError as error:
        raise ImageError(f"{printable(path)}: {error}") from None
    frame = np.ascontiguousarray(upright(picture.frames[0], image_io.orientation(picture)))
    row = [Cell(frame).shrunk()]
    for chain in chains:
        try:
            cleaned = apply_chain(frame, chain, with_mask=True)
        except ValueError as error:
            raise ImageError(f"{printable(path)}: {error}") from None
        caption = f"{cleaned.coverage:.1%} changed"
        row.append(Cell(cleaned.image, cleaned.mask if masks else None, caption).shrunk())
        meter.advance()
    size = f"{frame.shape[1]} x {frame.shape[0]}"
    return Label(os.path.basename(path), (size,)), row
