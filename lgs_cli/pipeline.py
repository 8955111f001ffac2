"""One image from disk to disk: the work of a worker, and the record of what came of it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lgs_cli.defenses.chain import Chain
from lgs_cli.errors import ImageError, LgsError, StorageError, missing_library
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


class Job(NamedTuple):
    """One image to clean. A tuple, which crosses to another process in no time.

    Attributes
    ----------
    place : int
        Its place in the order of the run.
    source, output : str
        Paths to read and to write.
    mask : str or None
        Path of the visualization, where one is wanted.
    """

    place: int
    source: str
    output: str
    mask: str | None = None


class Result(NamedTuple):
    """What came of one image. Plain values only: it crosses processes by the million.

    Attributes
    ----------
    place : int
        The job's.
    source, output, mask : str or None
        Paths; `output` and `mask` are None where none was written.
    status : str
        ``"done"``, ``"skipped"`` or ``"failed"``.
    error : str or None
        Why it failed, on one line, without the path.
    width, height : int or None
        Pixels, where the image could be read.
    format : str or None
        The format written.
    coverage : float or None
        Share of pixels with mask > 0; the mean over the frames.
    unchanged : bool
        Whether the defense found nothing to change.
    seconds : float
        What the image took.
    notes : tuple of str
        What is not as it was: ``"palette became RGB"``.
    source_size, source_mtime_ns, output_size, mask_size : int or None
        Bytes and nanoseconds, by which a later run knows that nothing changed.
    fatal : bool
        Whether every later image would fail alike: the disk is full, a library is missing.
    """

    place: int
    source: str
    output: str | None = None
    mask: str | None = None
    status: str = "done"
    error: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    coverage: float | None = None
    unchanged: bool = False
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    source_size: int | None = None
    source_mtime_ns: int | None = None
    output_size: int | None = None
    mask_size: int | None = None
    fatal: bool = False


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

        found = _stamp(job.source)
        picture = image_io.read(job.source, max_pixels=settings.max_pixels)
        cleaned = clean(picture, settings, with_mask=job.mask is not None)
        write(job.output, cleaned.data)
        if job.mask is not None:
            assert cleaned.mask is not None
            write(job.mask, cleaned.mask)
    except Exception as error:
        return Result(
            job.place,
            job.source,
            status="failed",
            error=_reason(error),
            seconds=time.perf_counter() - start,
            fatal=isinstance(error, StorageError | ImportError),
        )
    return Result(
        job.place,
        job.source,
        job.output,
        job.mask,
        width=picture.width,
        height=picture.height,
        format=cleaned.format,
        coverage=cleaned.coverage,
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


def _reason(error: Exception) -> str:
    """Say on one line why an image failed."""
    if isinstance(error, ImportError):
        return missing_library(error)
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "Insufficient memory" in text:
        return "not enough memory"
    return text if isinstance(error, LgsError) else f"{type(error).__name__}: {text}"


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
    """

    data: bytes
    mask: bytes | None
    format: str
    coverage: float
    notes: tuple[str, ...]


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
    shown: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None = None
    try:
        for frame in picture.frames:
            cleaned, mask, coverage = defend(frame, settings.chain, with_mask=with_mask)
            if mask is not None and (shown is None or coverage > max(coverages)):
                shown = frame, mask, cleaned
            frames.append(cleaned)
            coverages.append(coverage)
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
            from lgs_cli.image_io.png import encode_png

            png = encode_png(visualize.render(settings.mask_style, *shown))
    except MemoryError as error:
        raise ImageError("not enough memory") from error
    return CleanedFile(data, png, form, coverage, notes)


def defend(
    image: NDArray[Any], chain: Chain, *, with_mask: bool
) -> tuple[NDArray[Any], NDArray[Any] | None, float]:
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
    image : ndarray
        The cleaned pixels.
    mask : ndarray or None
        float32 (H, W) in [0, 1]: the strongest of the steps' masks at each pixel.
    coverage : float
        Share of pixels that some step masked; with several steps at least each one's.

    Raises
    ------
    ImageError
        Where a defense cannot take the image, or memory runs out.
    """
    import cv2
    import numpy as np

    several = len(chain) > 1
    masks = []
    coverage = 0.0
    for step in chain:
        try:
            cleaned = step.defense.apply(image, step.params, with_mask=with_mask or several)
        except (ValueError, TypeError, cv2.error) as error:
            raise ImageError(f"{step.name}: {' '.join(str(error).split())}") from error
        except MemoryError as error:
            raise ImageError("not enough memory") from error
        image, coverage = cleaned.image, cleaned.coverage
        if cleaned.mask is not None:
            masks.append(cleaned.mask)
    if not masks:
        return image, None, coverage
    mask = masks[0] if not several else np.maximum.reduce(masks)
    if several:
        coverage = float(np.count_nonzero(mask) / mask.size)
    return image, mask if with_mask else None, coverage
