"""Words for people: file names that are safe to print, and counts."""

from __future__ import annotations


def printable(name: str) -> str:
    """Escape what a terminal would act on.

    Parameters
    ----------
    name : str
        Any text, for instance a file name as the operating system gave it.

    Returns
    -------
    str
        The same on one line: control characters and bytes that are no UTF-8 become backslash
        escapes, all else stays.
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
    """Count things.

    Parameters
    ----------
    number : int
        How many.
    noun : str
        What, in the singular.

    Returns
    -------
    str
        ``"1 image"``, ``"2,000 images"``.
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
