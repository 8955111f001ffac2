"""One image from disk to disk: the work of a worker, and the record of what came of it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lgs_cli.batch.job import Job, Result, failed
from lgs_cli.defenses.chain import Chain
from lgs_cli.defenses.defense import Cleaned, Region
from lgs_cli.errors import ImageError
from lgs_cli.formats import MAX_PIXELS
from lgs_cli.storage import write

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lgs_cli.image_io import Picture


@dataclass(frozen=True)
class Settings:
    """What is the same for every image of a run.

    Attributes
    ----------
    chain : tuple of Step
        The defenses, applied in order.
    format : str or None
        A name of ``FORMATS`` that all outputs get; None keeps each image's own.
    quality : int or None
        Quality of lossy formats, 1 to 100; None keeps the input's where it is known.
    optimize : bool
        Whether to take more time for a smaller JPEG of the same pixels.
    mask_style : str
        One of ``formats.MASK_STYLES``.
    max_pixels : int
        Larger images fail.
    """

    chain: Chain
    format: str | None = None
    quality: int | None = None
    optimize: bool = False
    mask_style: str = "heatmap"
    max_pixels: int = MAX_PIXELS

    def do(self, job: Job) -> Result:
        """Clean one image: :func:`process`."""
        return process(job, self)


def process(job: Job, settings: Settings) -> Result:
    """Clean one image from disk to disk.

    Parameters
    ----------
    job : Job
        What to read and write.
    settings : Settings
        How.

    Returns
    -------
    Result
        Done or failed; never an exception, whatever the image holds.
    """
    start = time.perf_counter()
    try:
        from lgs_cli import image_io

        assert job.output is not None
        found = _stamp(job.source)
        picture = image_io.read(job.source, max_pixels=settings.max_pixels)
        cleaned = clean(picture, settings, with_mask=job.mask is not None)
        write(job.output, cleaned.data)
        if job.mask is not None:
            assert cleaned.mask is not None
            write(job.mask, cleaned.mask)
    except Exception as error:
        return failed(job, error, time.perf_counter() - start)
    return Result(
        job.place,
        job.source,
        job.output,
        job.mask,
        width=picture.width,
        height=picture.height,
        format=cleaned.format,
        coverage=cleaned.coverage,
        score=cleaned.score,
        regions=cleaned.regions,
        unchanged=cleaned.coverage == 0,
        seconds=time.perf_counter() - start,
        notes=cleaned.notes,
        source_size=found[0],
        source_mtime_ns=found[1],
        output_size=len(cleaned.data),
        mask_size=None if cleaned.mask is None else len(cleaned.mask),
    )


def _stamp(path: str) -> tuple[int | None, int | None]:
    """Take size and mtime of a file that is about to be read.

    The mtime is None where the file is so young that it could change once more within the same
    tick of the file system's clock: then its mtime proves nothing to a later run.
    """
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None, None  # reading it will say why
    tick = 2_000_000_000 if stat.st_mtime_ns % 1_000_000_000 == 0 else 20_000_000
    young = abs(time.time_ns() - stat.st_mtime_ns) < tick
    return stat.st_size, None if young else stat.st_mtime_ns


class CleanedFile(NamedTuple):
    """A cleaned image as bytes.

    Attributes
    ----------
    data : bytes
        The image file.
    mask : bytes or None
        The visualization as PNG, where one was asked for.
    format : str
        The name of the format of `data`.
    coverage : float
        Share of pixels with mask > 0; the mean over the frames.
    notes : tuple of str
        What is not as it was.
    score : float or None
        How suspicious the image is, where a defense looks at that; the highest over the frames.
    regions : tuple of Region
        The patches found in the frame with that score.
    """

    data: bytes
    mask: bytes | None
    format: str
    coverage: float
    notes: tuple[str, ...]
    score: float | None = None
    regions: tuple[Region, ...] = ()


def clean(picture: Picture, settings: Settings, *, with_mask: bool = False) -> CleanedFile:
    """Run the chain of defenses over every frame of a picture, and encode the outcome.

    Parameters
    ----------
    picture : Picture
        A decoded image file.
    settings : Settings
        The chain, and how to write.
    with_mask : bool
        Whether a visualization is wanted; of several frames it shows the one with the largest
        coverage.

    Returns
    -------
    CleanedFile
        The input's own bytes, where the defense changed nothing and the format stays.

    Raises
    ------
    ImageError
        Where the format cannot hold the picture, or memory runs out.
    """
    from lgs_cli import image_io, visualize

    frames: list[NDArray[Any]] = []
    coverages: list[float] = []
    notes: tuple[str, ...] = ()
    score: float | None = None
    regions: tuple[Region, ...] = ()
    shown: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None = None
    try:
        for frame in picture.frames:
            cleaned = defend(frame, settings.chain, with_mask=with_mask)
            if cleaned.mask is not None and (shown is None or cleaned.coverage > max(coverages)):
                shown = frame, cleaned.mask, cleaned.image
            if cleaned.score is not None and (score is None or cleaned.score > score):
                score, regions = cleaned.score, cleaned.regions
            frames.append(cleaned.image)
            coverages.append(cleaned.coverage)
        coverage = sum(coverages) / len(coverages)
        form = settings.format or picture.format
        if coverage == 0 and form == picture.format and settings.quality is None:
            data = picture.data
        else:
            data = image_io.encode(
                picture,
                frames,
                format=form,
                quality=settings.quality,
                optimize=settings.optimize,
            )
            notes = (*picture.notes, *image_io.losses(picture, form))
        png = None
        if shown is not None:
            from lgs_cli.image_io.formats.png import encode_png

            png = encode_png(visualize.render(settings.mask_style, *shown))
    except MemoryError as error:
        raise ImageError("not enough memory") from error
    return CleanedFile(data, png, form, coverage, notes, score, regions)


def defend(image: NDArray[Any], chain: Chain, *, with_mask: bool) -> Cleaned:
    """Apply a chain of defenses to one frame.

    Parameters
    ----------
    image : ndarray
        Pixels as DEFENSES take them.
    chain : tuple of Step
        The defenses.
    with_mask : bool
        Whether the mask is wanted.

    Returns
    -------
    Cleaned
        Its mask is the strongest of the steps' masks at each pixel, its coverage the share of
        pixels that some step masked; score and regions are those of the step that looks for
        patches.

    Raises
    ------
    ImageError
        Where a defense cannot take the image, or memory runs out.
    """
    import numpy as np

    several = len(chain) > 1
    masks = []
    coverage = 0.0
    score: float | None = None
    regions: tuple[Region, ...] = ()
    for step in chain:
        with image_errors(step.name):
            cleaned = step.defense.apply(image, step.params, with_mask=with_mask or several)
        image, coverage = cleaned.image, cleaned.coverage
        if cleaned.mask is not None:
            masks.append(cleaned.mask)
        if cleaned.score is not None:
            score, regions = cleaned.score, cleaned.regions
    if not masks:
        return Cleaned(image, None, coverage, score, regions)
    mask = masks[0] if not several else np.maximum.reduce(masks)
    if several:
        coverage = float(np.count_nonzero(mask) / mask.size)
    return Cleaned(image, mask if with_mask else None, coverage, score, regions)


@contextlib.contextmanager
def image_errors(method: str) -> Iterator[None]:
    """Turn what a defense raises over an image into the image's error.

    Parameters
    ----------
    method : str
        The name of the defense.

    Raises
    ------
    ImageError
        Where the defense cannot take the image, or memory runs out.
    """
    import cv2

    try:
        yield
    except (ValueError, TypeError, cv2.error) as error:
        raise ImageError(f"{method}: {' '.join(str(error).split())}") from error
    except MemoryError as error:
        raise ImageError("not enough memory") from error
