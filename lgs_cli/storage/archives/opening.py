"""An archive by its suffix."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO

from lgs_cli.storage.archives.archive import Archive
from lgs_cli.storage.inputs import Selection


@dataclass(frozen=True)
class Opening:
    """How the archives of a run are read.

    Attributes
    ----------
    selection : Selection
        Which members of a tar archive are images to clean.
    format : str or None
        A name of ``FORMATS`` that all images will get; None keeps each one's own.
    column : str or None
        The column of images in a Parquet file, if it is not plain.
    """

    selection: Selection
    format: str | None = None
    column: str | None = None

    def open(self, path: str, parts: IO[bytes] | None = None) -> Archive:
        """Open an archive for reading.

        Parameters
        ----------
        path : str
            The file.
        parts : file, optional
            Parquet only: read from this instead, which is closed with the archive.

        Raises
        ------
        LgsError, OSError
            As its class says.
        """
        if os.path.splitext(path)[1].lower() == ".tar":
            from lgs_cli.storage.archives.tar import TarArchive

            return TarArchive(path, self.selection, self.format)
        from lgs_cli.storage.archives.parquet import ParquetArchive

        return ParquetArchive(path if parts is None else parts, self.column)

    def note(self) -> tuple[str, ...]:
        """Say what has been chosen, for the record: with another choice, all is done again."""
        selection = self.selection
        return (
            *(f"include {glob}" for glob in selection.include),
            *(f"exclude {glob}" for glob in selection.exclude),
            *([] if self.column is None else [f"column {self.column}"]),
        )
