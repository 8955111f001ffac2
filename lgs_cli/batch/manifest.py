"""What earlier runs have done in an output directory, and who may write there now."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from typing import Any

from lgs_cli import __version__
from lgs_cli.batch.job import Job, Result
from lgs_cli.batch.pipeline import Settings
from lgs_cli.defenses.chain import describe, method_name
from lgs_cli.defenses.defense import Region
from lgs_cli.errors import ImageError, LgsError, LockedError
from lgs_cli.storage import temporary_path, write_error
from lgs_cli.wording import printable

NAME = ".lgs-manifest.jsonl"

_KEPT = (
    "width",
    "height",
    "format",
    "coverage",
    "score",
    "regions",
    "unchanged",
    "notes",
)
_FIELDS = frozenset(_KEPT) | {
    "output",
    "settings",
    "source_size",
    "source_mtime_ns",
    "output_size",
    "mask",
}

# A place is the offset of a line and, in its lower bits, the length.
_LENGTH_BITS = 20
_LONGEST = (1 << _LENGTH_BITS) - 1


class Manifest:
    """The record of an output directory: JSON lines, one for each image done.

    A line holds the output's path below the directory; size and mtime of its source; size of the
    output; style and size of its mask; a digest of the method with its parameters, of how outputs
    are coded, and of the version of lgs; and what a report says of the image. The last line of an
    output counts. A line that a killed run left torn counts for nothing.

    Parameters
    ----------
    directory : str
        The output directory.
    settings : Settings
        How this run cleans.
    """

    def __init__(self, directory: str, settings: Settings) -> None:
        self._directory = os.path.join(directory, "")
        self._path = self._directory + NAME
        self._temporary = temporary_path(self._path)
        self._mask_style = settings.mask_style
        self._digest = _digest(settings)
        self._file = -1
        # Hash of an output to where its line is: records themselves would fill the memory.
        self._lines: dict[int, int] = {}
        self._latest: tuple[int, dict[str, Any] | None] = (-1, None)

    def open(self, *, wait: bool) -> None:
        """Lock the directory for this run, and read what is there.

        Parameters
        ----------
        wait : bool
            Whether to wait for another run to end.

        Raises
        ------
        LockedError
            Where another run writes into the directory and `wait` is false.
        StorageError, ImageError
            Where the directory cannot be written; the message names it.
        """
        try:
            os.makedirs(self._directory, exist_ok=True)
            self._file = self._lock(wait)
            with contextlib.suppress(FileNotFoundError):  # of a run that was killed
                os.unlink(self._temporary)
            if self._read(self._file):
                self._compact()
        except OSError as error:
            raise self._refusal(error) from error

    @property
    def exists(self) -> bool:
        """Whether some run has written into the directory."""
        return os.path.lexists(self._path)

    def peek(self) -> None:
        """Read what is there without locking or writing anything, where there is something."""
        with contextlib.suppress(OSError):
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            self._read(self._file)

    def close(self) -> None:
        """Give the lock back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _refusal(self, error: OSError) -> LgsError:
        refusal = write_error(error, self._path)
        if isinstance(refusal, ImageError):  # which leaves it to others to say of what
            return ImageError(f"{printable(self._path)}: {refusal}")
        return refusal

    def _lock(self, wait: bool) -> int:
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            file = os.open(self._path, flags, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                # Whoever held the lock may have put a compacted file in the place of this one.
                if os.path.samestat(os.fstat(file), os.stat(self._path)):
                    return file
            except BlockingIOError:
                os.close(file)
                raise LockedError(
                    f"another lgs is writing into {printable(self._directory[:-1])}; "
                    "--wait waits for it"
                ) from None
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(file)
                raise
            os.close(file)

    def _read(self, file: int) -> bool:
        """Find the last line of each output; say whether there are others."""
        superfluous = False
        offset = 0
        with open(file, "rb", closefd=False) as lines:
            for line in lines:
                record = _parse(line)
                if record is None or len(line) > _LONGEST:
                    superfluous = True
                else:
                    key = hash(record["output"])
                    superfluous = superfluous or key in self._lines
                    self._lines[key] = offset << _LENGTH_BITS | len(line)
                offset += len(line)
        return superfluous

    def _line(self, place: int) -> bytes:
        return os.pread(self._file, place & _LONGEST, place >> _LENGTH_BITS)

    def _compact(self) -> None:
        """Write the lines that count into a new file, locked before it takes its place."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        file = os.open(self._temporary, flags, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            moved: dict[int, int] = {}
            end = 0
            with open(file, "wb", closefd=False) as lines:
                for key, place in self._lines.items():
                    line = self._line(place)
                    lines.write(line)
                    moved[key] = end << _LENGTH_BITS | len(line)
                    end += len(line)
            os.replace(self._temporary, self._path)
        except BaseException:
            os.close(file)
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            raise
        os.close(self._file)
        self._file, self._lines = file, moved

    def is_current(self, job: Job) -> bool:
        """Say whether nothing has changed since an image was done.

        Parameters
        ----------
        job : Job
            The image.

        Returns
        -------
        bool
            True where source, method, parameters, format, quality and version are the same, and
            the output, and the mask if one is asked for, are there in their full size.
        """
        record = self._record(job)
        if record is None or record["settings"] != self._digest:
            return False
        assert job.output is not None
        try:
            source, output = os.stat(job.source), os.stat(job.output)
            if job.mask is not None:
                mask = [self._mask_style, os.stat(job.mask).st_size]
                if record["mask"] != mask:
                    return False
        except OSError:
            return False
        recorded = record["source_size"], record["source_mtime_ns"], record["output_size"]
        return recorded == (source.st_size, source.st_mtime_ns, output.st_size)

    def skipped(self, job: Job) -> Result:
        """Give the result of an image that was found to be current.

        Parameters
        ----------
        job : Job
            The image.

        Returns
        -------
        Result
            As it was when the image was done, but ``"skipped"``.
        """
        record = self._record(job)
        assert record is not None
        kept = {name: record[name] for name in _KEPT}
        kept["notes"] = tuple(kept["notes"])
        kept["regions"] = tuple(Region(*region) for region in kept["regions"])
        return Result(job.place, job.source, job.output, job.mask, status="skipped", **kept)

    def _record(self, job: Job) -> dict[str, Any] | None:
        assert job.output is not None
        output = job.output.removeprefix(self._directory)
        place = self._lines.get(hash(output))
        if place is None:
            return None
        # Whoever asks whether an image is current asks for its result next.
        if place != self._latest[0]:
            self._latest = place, _parse(self._line(place))
        record = self._latest[1]
        return record if record is not None and record["output"] == output else None

    def add(self, result: Result) -> None:
        """Record an image that was done.

        Parameters
        ----------
        result : Result
            Done; others are not recorded, so that the next run tries them again.

        Raises
        ------
        StorageError
            Where the disk refuses.
        """
        if result.status != "done":
            return
        assert result.output is not None
        record: dict[str, Any] = {
            "output": result.output.removeprefix(self._directory),
            "settings": self._digest,
            "source_size": result.source_size,
            "source_mtime_ns": result.source_mtime_ns,
            "output_size": result.output_size,
            "mask": None if result.mask is None else [self._mask_style, result.mask_size],
            **{name: getattr(result, name) for name in _KEPT},
        }
        line = memoryview(json.dumps(record).encode() + b"\n")
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as error:
            raise self._refusal(error) from error


def _parse(line: bytes) -> dict[str, Any] | None:
    """Read one line; None where it was torn or is of another kind."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    known = isinstance(record, dict) and record.keys() == _FIELDS
    return record if known and isinstance(record["output"], str) else None


def _digest(settings: Settings) -> str:
    """Digest all that decides what an output looks like, given its source."""
    what = [
        __version__,
        method_name(settings.chain),
        describe(settings.chain),
        [step.params.fingerprint() for step in settings.chain],
        settings.format,
        settings.quality,
        settings.optimize,
    ]
    return hashlib.blake2b(json.dumps(what).encode(), digest_size=12).hexdigest()
