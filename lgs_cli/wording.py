"""Words for people: names that are safe to print, counts, tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def printable(name: str) -> str:
    """Escape what a terminal would act on, such as in a file name that the system returned.

    Control characters and bytes that are not UTF-8 become backslash escapes; the result is one
    line.
    """
    if name.isprintable():
        return name
    return "".join(char if char.isprintable() else _escape(char) for char in name)


def _escape(char: str) -> str:
    # Python keeps a byte that is no UTF-8 as a surrogate.
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def counted(number: int, noun: str) -> str:
    """Count things by their noun in the singular: ``"1 image"``, ``"2,000 images"``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listing(words: Sequence[str], most: int) -> str:
    """List words, up to `most` of them, and count the others: ``"a, b and 3 more"``."""
    named, more = ", ".join(words[:most]), len(words) - most
    return f"{named} and {more:,} more" if more > 0 else named


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Write a table as lines, each column as wide as its longest cell, two spaces between them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the word of `known` that somebody who mistyped `word` may have meant, or None.

    `likeness`, from 0 to 1, is how similar it has to be.
    """
    from difflib import SequenceMatcher

    ratios = [(SequenceMatcher(None, one, word).ratio(), one) for one in known]
    ratio, best = max(ratios, key=lambda pair: pair[0], default=(0.0, ""))
    return best if ratio >= likeness else None
