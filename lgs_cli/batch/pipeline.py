"""One image from disk to disk: the work of a worker, and the record of what came of it."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from lgs_cli import __version__
from lgs_cli.batch.job import Job, Result, failed
from lgs_cli.defenses.chain import Chain, apply_chain, describe, method_name
from lgs_cli.defenses.defense import Region
from lgs_cli.errors import ImageError, OutOfMemoryError, is_out_of_memory
from lgs_cli.formats import MAX_PIXELS
from lgs_cli.storage import Like, write

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lgs_cli.image_io import Picture


@dataclass(frozen=True)
class CleanSettings:
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
    roots : tuple of str
        The directories for outputs and masks: nothing is written through a link below them.
    preserve_times : bool
        Whether outputs get the times of their inputs.
    """

    chain: Chain
    format: str | None = None
    quality: int | None = None
    optimize: bool = False
    mask_style: str = "heatmap"
    max_pixels: int = MAX_PIXELS
    roots: tuple[str, ...] = ()
    preserve_times: bool = False

    def digest(self) -> str:
        """Digest all that decides what an output looks like, given its source."""
        what = [
            __version__,
            method_name(self.chain),
            describe(self.chain),
            [step.params.fingerprint() for step in self.chain],
            self.format,
            self.quality,
            self.optimize,
        ]
        return hashlib.blake2b(json.dumps(what).encode(), digest_size=12).hexdigest()

    def do(self, job: Job) -> Result:
        """Clean one image: :func:`process`."""
        return process(job, self)

    def read(self, job: Job) -> Picture:
        """Read what is to be cleaned."""
        from lgs_cli import image_io

        return image_io.read(job.source, max_pixels=self.max_pixels, part=job.part)

    def store(self, job: Job, data: bytes, mask: bytes | None) -> None:
        """Write the output of a job, and its mask."""
        assert job.output is not None
        self.store_mask(job, mask)
        write(job.output, data, like=self.like(job, job.output))

    def store_mask(self, job: Job, mask: bytes | None) -> None:
        """Write the mask of a job, if one is wanted.

        Before the image: one that was replaced in place, without a mask, would count as not done.
        """
        if job.mask is not None:
            assert mask is not None
            write(job.mask, mask, like=self.like(job, job.mask))

    def like(self, job: Job, path: str) -> Like | None:
        """Say what a file that is made of an image takes over from it."""
        if job.part is not None:
            return None  # the file goes into an archive, which has its own permissions and times
        above = [root for root in self.roots if path.startswith(os.path.join(root, ""))]
        return Like(job.source, max(above, key=len, default=None), self.preserve_times)


def process(job: Job, settings: CleanSettings) -> Result:
    """Clean one image from disk to disk.

    Parameters
    ----------
    job : Job
        What to read and write.
    settings : CleanSettings
        How.

    Returns
    -------
    Result
        Done or failed; never an exception, whatever the image holds.
    """
    start = time.perf_counter()
    found = stamp(job.source)
    try:
        # Nothing here holds the picture: `clean` gives its pixels back as soon as it can.
        cleaned = clean(settings.read(job), settings, with_mask=job.mask is not None)
    except Exception as error:
        return failed(job, error, time.perf_counter() - start)._replace(
            hopeless=_is_hopeless(error), source_size=found[0], source_mtime_ns=found[1]
        )
    try:
        assert job.output is not None
        settings.store(job, cleaned.data, cleaned.mask)
        output_mtime = os.stat(job.output).st_mtime_ns
        mask_mtime = None if job.mask is None else os.stat(job.mask).st_mtime_ns
    except Exception as error:
        return failed(job, error, time.perf_counter() - start)
    return done(job, cleaned, time.perf_counter() - start)._replace(
        source_size=found[0],
        source_mtime_ns=found[1],
        output_mtime_ns=output_mtime,
        mask_mtime_ns=mask_mtime,
    )


def done(job: Job, cleaned: CleanedFile, seconds: float) -> Result:
    """Say what came of an image whose output is written.

    Parameters
    ----------
    job : Job
        The image.
    cleaned : CleanedFile
        What was written.
    seconds : float
        What all of it took.
    """
    return Result(
        job.place,
        job.source,
        job.output,
        job.mask,
        width=cleaned.width,
        height=cleaned.height,
        format=cleaned.format,
        coverage=cleaned.coverage,
        score=cleaned.score,
        regions=cleaned.regions,
        page=cleaned.page,
        unchanged=cleaned.coverage == 0,
        seconds=seconds,
        notes=cleaned.notes,
        output_size=len(cleaned.data),
        mask_size=None if cleaned.mask is None else len(cleaned.mask),
    )


def _is_hopeless(error: Exception) -> bool:
    """Say whether what an image came to is its own fault: not that of memory, or of permissions."""
    return (
        isinstance(error, ImageError)
        and not is_out_of_memory(error)
        and not isinstance(error.__cause__, OSError)
    )


def stamp(path: str) -> tuple[int | None, int | None]:
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
    width, height : int
        In pixels; of several frames those of the first.
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
    page : int or None
        The number of that frame, from 1; None if there is only one.
    """

    data: bytes
    mask: bytes | None
    width: int
    height: int
    format: str
    coverage: float
    notes: tuple[str, ...]
    score: float | None = None
    regions: tuple[Region, ...] = ()
    page: int | None = None


def clean(picture: Picture, settings: CleanSettings, *, with_mask: bool = False) -> CleanedFile:
    """Run the chain of defenses over every frame of a picture, and encode the outcome.

    Parameters
    ----------
    picture : Picture
        A decoded image file.
    settings : CleanSettings
        The chain, and how to write.
    with_mask : bool
        Whether a visualization is wanted; of several frames it shows the one with the largest
        coverage.

    Returns
    -------
    CleanedFile
        The input's own bytes if the defense changed nothing and the format stays.

    Raises
    ------
    ImageError
        If the format cannot hold the picture, or its coding would undo the defense.
    """
    from lgs_cli import image_io

    defended = _defend(picture, settings, with_mask=with_mask)
    frames, coverage = defended.frames, defended.coverage
    # The pixels as they were are needed no more, and may fill half the memory.
    picture = replace(picture, frames=frames)
    notes: tuple[str, ...] = ()
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
        _check_written(data, frames, settings)
        notes = (*picture.notes, *image_io.losses(picture, form))
    return CleanedFile(
        data, defended.mask, picture.width, picture.height, form, coverage, notes,
        defended.score, defended.regions, defended.page,
    )  # fmt: skip


class _Defended(NamedTuple):
    """The frames of a cleaned picture; the rest as in :class:`CleanedFile`."""

    frames: tuple[NDArray[Any], ...]
    mask: bytes | None
    coverage: float
    score: float | None
    regions: tuple[Region, ...]
    page: int | None


def _defend(picture: Picture, settings: CleanSettings, *, with_mask: bool) -> _Defended:
    """Run the chain of defenses over every frame, and draw a mask if one is wanted."""
    frames: list[NDArray[Any]] = []
    coverages: list[float] = []
    score: float | None = None
    regions: tuple[Region, ...] = ()
    page: int | None = None
    shown: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None = None
    for number, frame in enumerate(picture.frames, 1):
        try:
            cleaned = apply_chain(frame, settings.chain, with_mask=with_mask)
        except ValueError as error:
            if is_out_of_memory(error):
                raise OutOfMemoryError from error
            raise ImageError(str(error)) from error
        if cleaned.mask is not None and (shown is None or cleaned.coverage > max(coverages)):
            shown = frame, cleaned.mask, cleaned.image
        if cleaned.score is not None and (score is None or cleaned.score > score):
            score, regions = cleaned.score, cleaned.regions
            page = number if len(picture.frames) > 1 else None
        frames.append(cleaned.image)
        coverages.append(cleaned.coverage)
    mask = None if shown is None else _drawn(settings.mask_style, *shown)
    coverage = sum(coverages) / len(coverages)
    return _Defended(tuple(frames), mask, coverage, score, regions, page)


def _drawn(
    style: str, image: NDArray[Any], mask: NDArray[np.float32], cleaned: NDArray[Any]
) -> bytes:
    """Draw a mask as a PNG file."""
    from lgs_cli import visualize
    from lgs_cli.image_io.formats.png import encode_png

    picture = visualize.render(style, image, mask, cleaned)
    return encode_png(picture, few_colors=style != "overlay")


def _check_written(data: bytes, frames: Sequence[NDArray[Any]], settings: CleanSettings) -> None:
    """Let the last defense of the chain look at what coding left of its work, if it wants to."""
    from lgs_cli import image_io

    step = settings.chain[-1]
    check = step.defense.check_written
    if check is None:
        return
    written = image_io.decode(data, max_pixels=settings.max_pixels).frames
    try:
        for cleaned, read_back in zip(frames, written, strict=True):
            check(cleaned, read_back, step.params)
    except ValueError as error:
        raise ImageError(f"{step.name}: {error}") from error
