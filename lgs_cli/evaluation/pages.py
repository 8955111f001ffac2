"""Results as files: texts and pages, written whole or not at all."""

from __future__ import annotations

from html import escape
from pathlib import Path

from lgs_cli import storage


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8.

    Raises
    ------
    LgsError
        If the file cannot be written.
    """
    storage.write_result(str(path), text.encode())


def write_page(path: Path, title: str, chart: str, text: str) -> None:
    """Write a chart, and the text below it, as a self-contained page.

    Parameters
    ----------
    path : Path
        The page.
    title : str
        Its title and heading.
    chart : str
        An ``<svg>`` element.
    text : str
        Shown as it is.

    Raises
    ------
    StorageError, OSError
        If the file cannot be written.
    """
    write_text(
        path,
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        "</title><style>body{max-width:80rem;margin:2rem auto;padding:0 1rem;"
        "font-family:system-ui,sans-serif;color-scheme:light dark}pre{overflow-x:auto}</style>"
        f"</head><body><h1>{escape(title)}</h1>{chart}<pre>{escape(text)}</pre></body></html>\n",
    )
