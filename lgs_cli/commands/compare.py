"""``lgs compare``: images by methods, as one picture."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from lgs_cli.defenses.chain import Chain, describe, parse_chain
from lgs_cli.errors import ImageError, UsageError
from lgs_cli.formats import FORMATS, MAX_PIXELS
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from lgs_cli.report.sheet import Cell, Label

_METHODS = ("lgs", "jpeg", "tvm", "bit-depth", "median")


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
def compare(
    images: Sequence[str],
    output: str,
    methods: Sequence[str],
    masks: bool,
    max_side: int,
    max_pixels: int,
) -> None:
    """Lay images out by methods on one labeled sheet.

    An image is a row, a method a column.

    \b
    Example:
      lgs compare a.jpg b.jpg -o sheet.png --masks \\
        --method lgs --method lgs:threshold=0.05 --method jpeg:quality=30
    """  # noqa: D301 - click reads the backspace
    try:
        chains = {text: parse_chain(text) for text in methods or _METHODS}
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    suffix = os.path.splitext(output)[1].lower()
    if suffix not in (*FORMATS["png"].suffixes, *FORMATS["jpeg"].suffixes):
        raise UsageError(f"{printable(output)}: the sheet is a .png or a .jpg file")
    if any(os.path.realpath(path) == os.path.realpath(output) for path in images):
        raise UsageError(f"{printable(output)} is an input; it would be overwritten")
    _write_sheet(images, output, chains, masks, max_side, max_pixels)


def _write_sheet(
    images: Sequence[str],
    output: str,
    chains: dict[str, Chain],
    masks: bool,
    max_side: int,
    max_pixels: int,
) -> None:
    from PIL import Image

    from lgs_cli.report.sheet import Label, make_sheet
    from lgs_cli.storage import write

    rows: list[Label] = []
    cells: list[list[Cell]] = []
    for path in images:
        label, row = _row(path, chains.values(), masks, max_pixels)
        rows.append(label)
        cells.append(row)
    columns = [Label("original")]
    for text, chain in chains.items():
        details = (f"{name.replace('_', ' ')} {value:g}" for name, value in describe(chain).items())
        columns.append(Label(text.partition(":")[0], tuple(details)))
    try:
        sheet = Image.fromarray(make_sheet(rows, columns, cells, max_side=max_side))
    except ValueError as error:
        raise UsageError(str(error)) from None
    lossy = os.path.splitext(output)[1].lower() in FORMATS["jpeg"].suffixes
    options: dict[str, Any] = {"quality": 92, "subsampling": 0} if lossy else {}
    data = io.BytesIO()
    sheet.save(data, "JPEG" if lossy else "PNG", **options)
    write(output, data.getvalue())
    click.echo(f"{printable(output)}: {sheet.width} x {sheet.height} pixels", err=True)


def _row(
    path: str, chains: Iterable[Chain], masks: bool, max_pixels: int
) -> tuple[Label, list[Cell]]:
    """Clean one image with every method."""
    import numpy as np

    from lgs_cli import image_io
    from lgs_cli.batch.pipeline import defend
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
            cleaned = defend(frame, chain, with_mask=True)
        except ImageError as error:
            raise ImageError(f"{printable(path)}: {error}") from None
        caption = f"{cleaned.coverage:.1%} changed"
        row.append(Cell(cleaned.image, cleaned.mask if masks else None, caption).shrunk())
    size = f"{frame.shape[1]} x {frame.shape[0]}"
    return Label(os.path.basename(path), (size,)), row
