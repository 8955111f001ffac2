"""One image to a file of a name of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable

from lgs_cli.batch.job import Job, Result
from lgs_cli.batch.manifest import Manifest
from lgs_cli.batch.outputs import Outputs, mask_name
from lgs_cli.storage.inputs import Source


class SingleOutput(Outputs):
    """The places of one output and its mask.

    Parameters
    ----------
    path : str
        The output.
    masks : str or None
        The mask, if it ends in ``.png`` and is no directory; else the directory it goes to.
    """

    def __init__(self, path: str, masks: str | None) -> None:
        mask = None
        if masks is not None:
            is_file = masks.lower().endswith(".png") and not os.path.isdir(masks)
            mask = masks if is_file else os.path.join(masks, mask_name(os.path.basename(path)))
        self._pair = path, mask
        directory = os.path.dirname(path) or os.curdir
        super().__init__(directory, None if mask is None else os.path.dirname(mask) or ".", None)

    def prepare(self, sources: Iterable[Source]) -> None:
        """Leave the directory as it is: it is not one of outputs alone."""

    def of(self, source: Source) -> tuple[str, str | None]:
        """Name the output and the mask."""
        return self._pair


class NoManifest(Manifest):
    """No record: the image is always cleaned."""

    def __init__(self) -> None:
        """Remember nothing."""

    @property
    def exists(self) -> bool:
        """Whether what is there may be replaced: the user named it."""
        return True

    def open(self, *, wait: bool) -> None:
        """Lock nothing."""

    def peek(self) -> None:
        """Read nothing."""

    def close(self) -> None:
        """Leave nothing open."""

    def is_current(self, job: Job) -> bool:
        """Say that it is to be cleaned."""
        return False

    def knows(self, job: Job) -> bool:
        """Know nothing."""
        return False

    def add(self, result: Result) -> None:
        """Record nothing."""

    def add_failure(self, job: Job, result: Result) -> Result:
        """Record nothing."""
        return result
