"""File names as text that is safe to print."""

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
