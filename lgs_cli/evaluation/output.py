"""Results as files: whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from lgs_cli import storage
from lgs_cli.errors import UsageError
from lgs_cli.wording import printable


def refuse_overwriting(outputs: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Refuse to write over an input, or twice to one file, before anything is computed.

    Parameters
    ----------
    outputs : iterable of Path or None
        Files that will be written.
    inputs : iterable of Path or None
        Files that are read.

    Raises
    ------
    UsageError
        Naming the file.
    """
    read = {path.resolve() for path in inputs if path is not None}
    written: set[Path] = set()
    for path in outputs:
        if path is None:
            continue
        if path.resolve() in read:
            raise UsageError(f"{printable(str(path))} is an input; it would be overwritten")
        if path.resolve() in written:
            raise UsageError(f"{printable(str(path))} would be written twice")
        if path.is_dir():
            raise UsageError(f"{printable(str(path))} is a directory")
        written.add(path.resolve())


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8.

    Parameters
    ----------
    path : Path
        Where to.
    text : str
        What.

    Raises
    ------
    StorageError, OSError
        Where the file cannot be written.
    """
    storage.write(str(path), text.encode())


def write_page(path: Path, title: str, chart: str, text: str) -> None:
    """Write a chart, and the text below it, as a self-contained page.

    Parameters
    ----------
    path : Path
        Where to.
    title : str
        Its title and heading.
    chart : str
        An ``<svg>`` element.
    text : str
        Shown as it is.

    Raises
    ------
    StorageError, OSError
        Where the file cannot be written.
    """
    write_text(
        path,
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        "</title><style>body{max-width:80rem;margin:2rem auto;padding:0 1rem;"
        "font-family:system-ui,sans-serif;color-scheme:light dark}pre{overflow-x:auto}</style>"
        f"</head><body><h1>{escape(title)}</h1>{chart}<pre>{escape(text)}</pre></body></html>\n",
    )
