"""What goes to a worker and comes back: plain records, which cross processes by the million."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from lgs_cli.defenses.defense import Region
from lgs_cli.errors import (
    LgsError,
    OutOfMemoryError,
    StorageError,
    is_out_of_memory,
    missing_library,
)


class Job(NamedTuple):
    """One image to work on. A tuple, which crosses to another process in no time.

    Attributes
    ----------
    place : int
        Its place in the order of the run.
    source : str
        Path to read.
    output : str or None
        Path to write; None for work that writes nothing.
    mask : str or None
        Path of the visualization; None if none is wanted.
    part : tuple of int or None
        Where in `source` the image begins, and its size, both in bytes; None if it is all of it.
    """

    place: int
    source: str
    output: str | None = None
    mask: str | None = None
    part: tuple[int, int] | None = None


class Result(NamedTuple):
    """What came of one image. Plain values only: it crosses processes by the million.

    Attributes
    ----------
    place : int
        The job's.
    source, output, mask : str or None
        Paths; `output` and `mask` are None if none was written.
    status : str
        ``"done"``, ``"skipped"``, ``"failed"``, or ``"unsupported"``: not tried, because it is of
        another kind, or an earlier run has found that it cannot be cleaned.
    error : str or None
        Why it failed or was not tried, on one line, without the path.
    width, height : int or None
        In pixels; None if the image could not be read.
    format : str or None
        The format written.
    coverage : float or None
        Share of pixels with mask > 0; the mean over the frames.
    score : float or None
        How suspicious the image is, in [0, 1], if that was looked at; the highest over the
        frames.
    regions : tuple of Region
        The patches found in the frame with that score, in pixels as stored (never rotated).
    page : int or None
        The number, from 1, of the frame or page that has this score and these regions; None if
        the image has only one.
    unchanged : bool
        Whether the defense found nothing to change.
    seconds : float
        What the image took.
    notes : tuple of str
        What is not as it was: ``"palette became RGB"``.
    source_size, source_mtime_ns, output_size, output_mtime_ns, mask_size, mask_mtime_ns
        Bytes and nanoseconds or None: by them a later run knows that nothing changed.
    fatal : bool
        Whether every later image would fail alike: the disk is full, a library is missing.
    hopeless : bool
        Whether the image will always fail: it is damaged, or of a kind that is not supported.
    stale : bool
        Whether the image failed, and its output is that of an earlier run.
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
    score: float | None = None
    regions: tuple[Region, ...] = ()
    page: int | None = None
    unchanged: bool = False
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    source_size: int | None = None
    source_mtime_ns: int | None = None
    output_size: int | None = None
    output_mtime_ns: int | None = None
    mask_size: int | None = None
    mask_mtime_ns: int | None = None
    fatal: bool = False
    hopeless: bool = False
    stale: bool = False


class Work(Protocol):
    """What a run does with every image. It is pickled: it crosses to the workers."""

    def do(self, job: Job) -> Result:
        """Do one job; whatever the image holds, give a result and never an exception."""
        ...


def failed(job: Job, error: Exception, seconds: float) -> Result:
    """Make an exception the result of the job that raised it.

    Parameters
    ----------
    job : Job
        The image.
    error : Exception
        What the image, or the disk, came to.
    seconds : float
        What the image took until then.

    Returns
    -------
    Result
        Failed, with the reason on one line.
    """
    return Result(
        job.place,
        job.source,
        status="failed",
        error=_reason(error),
        seconds=seconds,
        fatal=isinstance(error, StorageError | ImportError),
    )


def _reason(error: Exception) -> str:
    """Say on one line why an image failed."""
    if isinstance(error, ImportError):
        return missing_library(error)
    text = " ".join(str(error).split())
    if is_out_of_memory(error):
        return str(OutOfMemoryError())
    return text if isinstance(error, LgsError) else f"{type(error).__name__}: {text}"
