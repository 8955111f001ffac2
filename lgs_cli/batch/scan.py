"""A look at one image for patches: the work of ``lgs scan``. Writes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lgs_cli.batch.job import Job, Result, failed
from lgs_cli.defenses.defense import Region
from lgs_cli.defenses.localize import LocalizeParams
from lgs_cli.errors import ImageError
from lgs_cli.formats import MAX_PIXELS
from lgs_cli.lazy import cv2

if TYPE_CHECKING:
    from lgs_cli.image_io import Picture


@dataclass(frozen=True)
class ScanSettings:
    """What is the same for every image of a scan.

    Attributes
    ----------
    params : LocalizeParams
        The detector and the score from which something is found.
    max_pixels : int
        Larger images fail.
    """

    params: LocalizeParams
    max_pixels: int = MAX_PIXELS

    def do(self, job: Job) -> Result:
        """Look at one image file.

        Parameters
        ----------
        job : Job
            The image; it names no output.

        Returns
        -------
        Result
            Done or failed; never an exception, whatever the image holds.
        """

        def read() -> Picture:
            from lgs_cli import image_io

            return image_io.read(job.source, max_pixels=self.max_pixels, part=job.part)

        return self._look(job, read)

    def do_data(self, job: Job, data: bytes) -> Result:
        """Look at an image that is in memory; `job` says what to call it."""

        def read() -> Picture:
            from lgs_cli import image_io

            return image_io.decode(data, max_pixels=self.max_pixels)

        return self._look(job, read)

    def _look(self, job: Job, read: Callable[[], Picture]) -> Result:
        start = time.perf_counter()
        try:
            picture = read()
            score, regions, page = find(picture, self.params)
        except Exception as error:
            return failed(job, error, time.perf_counter() - start)
        return Result(
            job.place,
            job.source,
            width=picture.width,
            height=picture.height,
            format=picture.format,
            score=score,
            regions=regions,
            page=page,
            seconds=time.perf_counter() - start,
        )


def find(picture: Picture, params: LocalizeParams) -> tuple[float, tuple[Region, ...], int | None]:
    """Look for patches in every frame of a picture.

    Parameters
    ----------
    picture : Picture
        A decoded image file.
    params : LocalizeParams
        The detector and the score from which something is found.

    Returns
    -------
    score : float
        In [0, 1], the highest over the frames.
    regions : tuple of Region
        Those of the frame with that score, the first such one, in pixels as stored.
    page : int or None
        The number of that frame, from 1; None if there is only one.

    Raises
    ------
    ImageError
        If the detector cannot be used.
    """
    from lgs_cli.defenses import localize

    best: tuple[float, tuple[Region, ...], int | None] | None = None
    several = len(picture.frames) > 1
    for number, frame in enumerate(picture.frames, 1):
        try:
            found = localize.find(frame, params)
        except (ValueError, TypeError, cv2.error) as error:
            raise ImageError(f"localize: {error}") from error
        if best is None or found.score > best[0]:
            best = found.score, found.regions, number if several else None
    assert best is not None
    return best
