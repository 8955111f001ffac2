"""Attacked images that a table keeps, so that an interrupted one goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lgs_cli import storage
from lgs_cli.errors import UsageError
from lgs_cli.evaluation.attacks import records
from lgs_cli.evaluation.attacks.records import Crafted
from lgs_cli.evaluation.dataset import Images
from lgs_cli.wording import printable

_SETTINGS = "settings.json"


class Kept:
    """A folder with one subfolder of attacked images for each attack.

    Parameters
    ----------
    folder : Path
        The folder; made if missing.
    resume : bool
        Whether it may hold attacks that an earlier run made, which are then not made again.

    Raises
    ------
    UsageError
        If it holds something and must not.
    """

    def __init__(self, folder: Path, *, resume: bool = False) -> None:
        self._folder = folder
        self._resume = resume
        shown = printable(str(folder))
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{shown} is there already and not a directory")
        if folder.exists() and any(folder.iterdir()) and not resume:
            raise UsageError(
                f"{shown} is there already and not an empty directory; --resume continues it"
            )

    def begin(self, settings: dict[str, Any], images: Images) -> None:
        """Note what decides the outcome of an attack, and hold it against that of earlier runs.

        Parameters
        ----------
        settings : dict
            Plain values, from `provenance.settings`.
        images : Images
            What is attacked.

        Raises
        ------
        UsageError
            If an earlier run had other settings, or the images cannot all get files.
        """
        records.require_free_names(images.names)
        path = self._folder / _SETTINGS
        if path.exists():
            try:
                before = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                before = {}
            for name, value in settings.items():
                if not isinstance(before, dict) or before.get(name) != value:
                    shown = printable(str(self._folder))
                    raise UsageError(f"{shown} was made with another {_NOUNS.get(name, name)}")
        elif self._folder.exists() and any(self._folder.iterdir()):
            shown = printable(str(self._folder))
            raise UsageError(f"{shown} does not say how it was made, so it cannot be continued")
        text = json.dumps(settings, ensure_ascii=False, indent=2) + "\n"
        storage.write(str(path), text.encode())

    def find(self, what: str, images: Images) -> Crafted | None:
        """Return what an earlier run made of images with an attack; None if it did not finish."""
        folder = self._folder / as_folder(what)
        if not self._resume or not (folder / records.RECORDS).is_file():
            return None
        made = records.read_records(folder)
        if [record.source for record in made] != list(images.names):
            return None
        size = (images.pixels.shape[1], images.pixels.shape[2])
        pixels = records.read_images(folder, [record.file for record in made], size)
        return Crafted(pixels, made)

    def save(self, what: str, crafted: Crafted) -> None:
        """Keep what an attack made."""
        folder = self._folder / as_folder(what)
        (folder / records.RECORDS).unlink(missing_ok=True)  # of a run that was interrupted
        records.save(folder, crafted.pixels, crafted.records)


_NOUNS = {"lgs": "version of lgs", "data": "choice of photographs", "backward": "--backward"}


def as_folder(text: str) -> str:
    """Turn an attack as the user wrote it into the name of a folder."""
    return "".join(char if char.isalnum() or char in "-=.," else "-" for char in text)
