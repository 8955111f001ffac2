"""A command whose help shows its options in groups, the most needed first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

OTHERS = "Other options"

# Characters for the names, in every group alike.
_COLUMN = 26


class SectionedCommand(click.Command):
    """A command with its options in groups.

    Parameters
    ----------
    sections : mapping of str to sequence of str
        Title to long options, in the order of the help. Options in none come last.
    """

    def __init__(
        self, *arguments: Any, sections: Mapping[str, Sequence[str]] | None = None, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._sections = sections or {}

    def grouped(self, ctx: click.Context) -> dict[str, list[click.Option]]:
        """Give the options by the titles of their groups."""
        left = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        groups: dict[str, list[click.Option]] = {}
        for title, names in self._sections.items():
            found = [option for name in names for option in left if name in option.opts]
            left = [option for option in left if option not in found]
            groups[title] = found
        groups[OTHERS] = [option for option in left if not option.hidden]
        return {title: options for title, options in groups.items() if options}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups."""
        for title, options in self.grouped(ctx).items():
            records = [record for option in options if (record := option.get_help_record(ctx))]
            widest = min(max(len(name) for name, _ in records), _COLUMN)
            with formatter.section(title):
                formatter.write_dl(records, _COLUMN, _COLUMN + 2 - widest)
