"""What earlier runs have done in an output directory, and who may write there now."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from lgs_cli.batch import entry
from lgs_cli.batch.entry import Entry, MaskEntry
from lgs_cli.batch.index import Index, key_of
from lgs_cli.batch.job import Job, Result
from lgs_cli.batch.outputs import old_mask_name
from lgs_cli.batch.pipeline import CleanSettings
from lgs_cli.batch.record_file import LONGEST, lock_record, open_record
from lgs_cli.batch.volumes import Volumes
from lgs_cli.errors import ImageError, LgsError, LockedError
from lgs_cli.storage import write_error
from lgs_cli.storage.inputs import MANIFEST
from lgs_cli.wording import counted, printable

NAME = MANIFEST

_WORD = (1 << 64) - 1
# The share of all lines that others have replaced by now, from which on it is worth it to write
# the record again.
_MOST_OTHERS = 0.1


class Manifest:
    """The record of an output directory: JSON lines, one for each image, see :class:`Entry`.

    The last line of an output counts. Lines that a killed run left torn, and lines that somebody
    else wrote, count for nothing.

    Parameters
    ----------
    directory : str
        The output directory.
    settings : CleanSettings
        How this run cleans.
    name : str
        The name of the record in the directory.

    Attributes
    ----------
    foreign : int
        Lines that are none of lgs.
    is_old : bool
        Whether there are lines of version 0.1.0.
    """

    foreign = 0
    is_old = False

    def __init__(self, directory: str, settings: CleanSettings, name: str = NAME) -> None:
        self._directory = os.path.join(directory, "")
        self._path = self._directory + name
        self._mask_style = settings.mask_style
        self._digest = settings.digest()
        self._volumes = Volumes(self._path)
        self._is_locked = False
        # Key of an output to its line, see _packed: entries themselves would fill the memory.
        self._lines = Index()

    def open(self, *, wait: bool) -> None:
        """Lock the directory for this run, and read what is there.

        Parameters
        ----------
        wait : bool
            Whether to wait for another run to end.

        Raises
        ------
        LockedError
            If another run writes into the directory and `wait` is false.
        LgsError
            If the directory cannot be written, or the record is not a file; the message names it.
        """
        try:
            self._lock_all(wait)
            self._load()
        except OSError as error:
            raise self._refusal(error) from error

    def _lock_all(self, wait: bool) -> None:
        os.makedirs(self._directory, exist_ok=True)
        self._volumes.open(self._lock(self._path, fcntl.LOCK_EX, wait))
        self._volumes.remove_temporary()

    def _load(self) -> None:
        """Read what is there, and drop lines that no longer count."""
        if self._read() or self._volumes.has_other_names:
            self._compact()
        self._is_locked = True

    @property
    def exists(self) -> bool:
        """Whether some run has written into the directory."""
        return os.path.lexists(self._path)

    def peek(self) -> None:
        """Read what is there, if anything is, without locking or writing anything."""
        with contextlib.suppress(OSError):
            self._volumes.open(open_record(self._path, os.O_RDONLY))
            self._read()

    def read_again(self) -> None:
        """Read what this run has recorded until now."""
        self._read()

    def close(self) -> None:
        """Give the lock back."""
        self._volumes.close()
        self._lines.close()

    @property
    def warning(self) -> str | None:
        """What is to be said of what was read; None if there is nothing."""
        if not self.foreign:
            return None
        return f"{printable(self._path)}: {counted(self.foreign, 'line')} not of lgs, passed over"

    def _refusal(self, error: OSError) -> LgsError:
        refusal = write_error(error, self._path)
        if isinstance(refusal, ImageError):  # which leaves it to others to say of what
            return ImageError(f"{printable(self._path)}: {refusal}")
        return refusal

    def _lock(self, path: str, kind: int, wait: bool) -> int:
        try:
            return lock_record(path, kind, wait=wait)
        except LockedError as error:
            directory = printable(self._directory[:-1])
            raise LockedError(f"another lgs is writing into {directory}; {error}") from None

    def _read(self) -> bool:
        """Find the last line of each output; say whether there are too many others."""
        count = torn = 0
        self.foreign = 0
        self._lines.close()
        self._lines = Index()
        for place, line in self._volumes.lines():
            count += 1
            is_whole = line.endswith(b"\n")
            known = entry.read(line) if is_whole else None
            if known is None:
                torn += not is_whole
                self.foreign += is_whole and line != b"\n"  # which separates what is put together
                continue
            self.is_old = self.is_old or known.source is None
            key = key_of(known.output)
            if known.removed:
                del self._lines[key]
            else:
                self._lines[key] = _packed(place, line, known)
        others = count - len(self._lines)
        return torn + self.foreign > 0 or others > count * _MOST_OTHERS

    def _line(self, packed: int) -> bytes:
        return self._volumes.line((packed & _WORD) >> 20, packed & LONGEST)

    def _compact(self) -> None:
        """Write each volume without the lines that do not count.

        The oldest comes first, so that a line which takes back another one outlives it.
        """
        lines = ((place >> 20, place & LONGEST) for place in self._lines.places())
        extents = self._volumes.extents(lines)
        for number, (start, end, has_others) in enumerate(extents):
            is_last = number == len(extents) - 1
            if has_others or (is_last and self._volumes.has_other_names):
                self._volumes.rewrite(number, self._moved(start, end))
        self._volumes.remove_empty()

    def _moved(self, start: int, end: int) -> Iterator[bytes]:
        """Give the lines of a volume that count, and note where they will be."""
        for key, packed in self._lines.items(start << 20, end << 20):
            line = self._line(packed)
            yield line
            self._lines[key] = packed >> 64 << 64 | start << 20 | len(line)
            start += len(line)

    def knows(self, job: Job) -> bool:
        """Say whether anything is recorded of an image."""
        assert job.output is not None
        return key_of(job.output.removeprefix(self._directory)) in self._lines

    def is_current(self, job: Job) -> bool:
        """Say whether nothing has changed since an image was done.

        Parameters
        ----------
        job : Job
            The image.

        Returns
        -------
        bool
            True if source, method, parameters, format, quality and version are the same, and the
            output, and the mask if one is asked for, are there in their full size.
        """
        assert job.output is not None
        packed = self._lines.get(key_of(job.output.removeprefix(self._directory)))
        if packed is None:
            return False
        try:
            source, output = os.stat(job.source), os.stat(job.output)
            state = self._digest, source.st_size, source.st_mtime_ns, output.st_size
            if packed >> 64 & _WORD != _word(state):
                return False
            if job.mask is None:
                return True
            size = os.stat(self._mask_of(job)).st_size
        except OSError:
            return False
        return packed >> 128 == _word((self._mask_style, size))

    def _mask_of(self, job: Job) -> str:
        """Name the mask of an image; it may still have the name that version 0.1.0 gave it."""
        assert job.mask is not None
        if os.path.lexists(job.mask):
            return job.mask
        known = self.entry(job)
        if known is None or known.mask is None or known.mask.mtime_ns is not None:
            return job.mask
        return old_mask_name(job.mask.removesuffix(".png"))

    def adopt_mask(self, job: Job) -> None:
        """Give the mask that version 0.1.0 made of an image the name that it has today."""
        if job.mask is None:
            return
        old = self._mask_of(job)
        if old == job.mask:
            return
        known = self.entry(job)
        with contextlib.suppress(OSError):
            found = os.lstat(old)
            if known is not None and known.mask is not None and found.st_size == known.mask.size:
                os.rename(old, job.mask)

    def why_hopeless(self, job: Job) -> str | None:
        """Say why an image cannot be cleaned, if that is known and nothing has changed since."""
        known = self.entry(job) if self.knows(job) else None
        if known is None or known.error is None or known.settings != self._digest:
            return None
        try:
            source = os.stat(job.source)
        except OSError:
            return None
        same = (known.source_size, known.source_mtime_ns) == (source.st_size, source.st_mtime_ns)
        return known.error if same else None

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
        known = self.entry(job)
        skipped = Result(job.place, job.source, job.output, job.mask, status="skipped")
        if known is None:  # somebody has changed the record since it was read
            return skipped
        if known.source is None and self._is_locked:
            self._write(self._completed(known, job))
        return skipped._replace(**known.of_result())

    def _completed(self, known: Entry, job: Job) -> Entry:
        """Add to a line of version 0.1.0 what is recorded today."""
        assert job.output is not None
        mask = known.mask
        known = known._replace(source=os.path.abspath(job.source))
        with contextlib.suppress(OSError):  # it has gone since it was found to be current
            known = known._replace(output_mtime_ns=os.stat(job.output).st_mtime_ns)
            if mask is not None and job.mask is not None:
                mask = mask._replace(mtime_ns=os.stat(job.mask).st_mtime_ns)
        return known._replace(mask=mask)

    def entry(self, job: Job) -> Entry | None:
        """Give what is recorded of an image."""
        assert job.output is not None
        output = job.output.removeprefix(self._directory)
        packed = self._lines.get(key_of(output))
        known = None if packed is None else entry.read(self._line(packed))
        return known if known is not None and known.output == output else None

    def entries(self) -> Iterator[Entry]:
        """Give all that was recorded when the run began."""
        for packed in self._lines.values():
            known = entry.read(self._line(packed))
            if known is not None:
                yield known

    def add(self, result: Result) -> None:
        """Record an image that was done.

        Parameters
        ----------
        result : Result
            Done; with an ``error``, as far as it can be.

        Raises
        ------
        LgsError
            If the disk refuses.
        """
        assert result.output is not None
        mask = None
        if result.mask is not None and result.mask_size is not None:
            mask = MaskEntry(self._mask_style, result.mask_size, result.mask_mtime_ns)
        self._write(
            Entry(
                result.output.removeprefix(self._directory),
                self._digest,
                os.path.abspath(result.source),
                result.source_size,
                result.source_mtime_ns,
                result.output_size,
                result.output_mtime_ns,
                mask,
                result.error,
                **{name: getattr(result, name) for name in entry.OF_RESULT},
            )
        )

    def add_failure(self, job: Job, result: Result) -> Result:
        """Record an image that failed, if the next run should know.

        It should know of one that will always fail, and of an output that is stale by now. Other
        images are just tried again.

        Parameters
        ----------
        job : Job
            The image.
        result : Result
            What came of it.

        Returns
        -------
        Result
            The same; ``stale`` says whether there still is an output of an earlier run.

        Raises
        ------
        LgsError
            If the disk refuses.
        """
        assert job.output is not None
        known = self.entry(job) if self.knows(job) else None
        stale = known is not None and os.path.lexists(job.output) and not self.is_current(job)
        if result.hopeless:
            known = known or Entry(job.output.removeprefix(self._directory))
            self._write(
                known._replace(
                    settings=self._digest,
                    source=os.path.abspath(job.source),
                    source_size=result.source_size,
                    source_mtime_ns=result.source_mtime_ns,
                    error=result.error,
                    stale=stale,
                )
            )
        elif known is not None and stale and not known.stale:
            self._write(known._replace(stale=True))
        return result._replace(stale=stale)

    def mark_removed(self, known: Entry) -> None:
        """Record that an output was removed."""
        self._write(known._replace(removed=True))

    def _write(self, known: Entry) -> None:
        try:
            self._volumes.append(known.line())
        except OSError as error:
            raise self._refusal(error) from error


def _packed(place: int, line: bytes, known: Entry) -> int:
    """Pack where a line is and what is compared most often; a million tuples take 100 MB more.

    The lowest 20 bits are the length, the next 43 the place; a word for the states of source and
    output, and one for that of the mask.
    """
    mask = None if known.mask is None else (known.mask.style, known.mask.size)
    return place << 20 | len(line) | _word(known.state) << 64 | _word(mask) << 128


def _word(state: object) -> int:
    return 0 if state is None else hash(state) & _WORD
