"""Put the man pages into what is built: they are made from the commands, and kept nowhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManPages(BuildHookInterface):  # type: ignore[type-arg]
    """Writes the man pages before files are collected."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write them where pyproject.toml takes them from."""
        sys.path.insert(0, self.root)
        try:
            from lgs_cli.cli import commands
            from lgs_cli.commands import man_pages

            man_pages.write(commands, Path(self.root, "results", "man"))
        finally:
            sys.path.remove(self.root)
