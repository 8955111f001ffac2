"""Whoever wants to know how far the work is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Hears what is being done and how far it is: a bar, or lines for programs."""

    def start(self, what: str, total: int) -> None:
        """Hear that work begins.

        Parameters
        ----------
        what : str
            The work, printable.
        total : int
            How many images or steps it has.
        """
        ...

    def advance(self, count: int = 1) -> None:
        """Hear that `count` more images or steps are done."""
        ...


class Silence:
    """Hears, and says nothing."""

    def start(self, what: str, total: int) -> None:
        """Do nothing."""

    def advance(self, count: int = 1) -> None:
        """Do nothing."""
