"""Runs that read from object stores, or write to them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lgs_cli.batch import entry
from lgs_cli.batch.entry import Entry, MaskEntry
from lgs_cli.batch.job import Job, Result, failed
from lgs_cli.batch.manifest import Manifest
from lgs_cli.batch.outputs import Outputs
from lgs_cli.batch.path_table import PathTable
from lgs_cli.batch.pipeline import CleanSettings, clean, done
from lgs_cli.batch.remote_lines import LinesRead
from lgs_cli.batch.scan import ScanSettings
from lgs_cli.errors import UsageError
from lgs_cli.storage.inputs import Source
from lgs_cli.storage.stores import store
from lgs_cli.storage.stores.listing import States
from lgs_cli.storage.stores.store import is_remote
from lgs_cli.wording import printable

DIRECTORY = ".lgs-manifest"

# Lines of an object of the record, and seconds after which it is written with fewer.
_LINES, _SECONDS = 10_000, 60.0
# Small objects after which they become one.
_PARTS = 20
# Bytes of an object that is left as it is, while half of its lines are in force.
_LARGE = 1 << 30


@dataclass(frozen=True)
class RemoteCleaning(CleanSettings):
    """How every image of a run between stores is cleaned."""

    def do(self, job: Job) -> Result:
        """Clean one image, from object to object."""
        start = time.perf_counter()
        try:
            from lgs_cli import image_io

            assert job.output is not None
            # Nothing here holds the picture: `clean` gives its pixels back as soon as it can.
            cleaned = clean(
                image_io.decode(_read(job.source), max_pixels=self.max_pixels),
                self,
                with_mask=job.mask is not None,
            )
            store.write(job.output, cleaned.data)
            if job.mask is not None:
                assert cleaned.mask is not None
                store.write(job.mask, cleaned.mask)
        except Exception as error:
            return failed(job, error, time.perf_counter() - start)
        return done(job, cleaned, time.perf_counter() - start)


@dataclass(frozen=True)
class RemoteScan(ScanSettings):
    """How every image of a scan in stores is looked at."""

    def do(self, job: Job) -> Result:
        """Look at one object."""
        start = time.perf_counter()
        try:
            data = _read(job.source)
        except Exception as error:
            return failed(job, error, time.perf_counter() - start)
        return self.do_data(job, data)


def _read(path: str) -> bytes:
    if is_remote(path):
        return store.read(path)
    from lgs_cli.image_io.source import read_bytes

    return read_bytes(path)


class RemoteOutputs(Outputs):
    """The places of outputs, at least some of which are objects, or made of objects."""

    def prepare(self, sources: Iterable[Source]) -> None:
        """Make nothing: a store has no directories, and others are made with their first file."""

    def check(
        self,
        inputs: Iterable[str],
        sources: Iterable[Source],
        others: Sequence[str] = (),
        *,
        write: bool = True,
    ) -> None:
        """Refuse a run that would overwrite an input, or one output with another.

        Raises
        ------
        UsageError
            Naming the object.
        """
        sources = list(sources)
        read = {source.path for source in sources}
        written = set(others)
        for source in sources:
            for path in filter(None, self.of(source)):
                if path in read:
                    raise UsageError(f"{printable(path)} is an input; it would be overwritten")
                if path in written:
                    raise UsageError(f"{printable(path)} would be written twice")
                written.add(path)
        for path in others:
            if path in read:
                raise UsageError(f"{printable(path)} is an input; it would be overwritten")

    def refuse_strangers(self, inputs: Iterable[str], sources: Iterable[Source]) -> None:
        """Refuse to replace objects below an input, if no run has written to where outputs go.

        Raises
        ------
        UsageError
            Naming the first such object.
        """
        roots = tuple(path.rstrip("/") + "/" for path in inputs)
        for place, directory in enumerate(self.directories):
            root = directory.rstrip("/") + "/"
            if not root.startswith(roots):
                continue
            written = {self.of(source)[place] for source in sources}
            for found in store.find(root):
                path = root + found.relative
                if path in written:
                    raise UsageError(
                        f"{printable(path)} is there already, below an input, and not of "
                        "lgs: choose another place"
                    )


class RemoteManifest(Manifest):
    """The record of outputs among which are objects: objects of JSON lines beside them.

    Nothing is locked, which stores cannot do: two runs to one place both do all the work, and each
    output is whole.

    Parameters
    ----------
    outputs : RemoteOutputs
        Where outputs go.
    settings : CleanSettings
        How this run cleans.
    inputs : States
        The inputs.
    """

    def __init__(self, outputs: RemoteOutputs, settings: CleanSettings, inputs: States) -> None:
        super().__init__(outputs.directory, settings)
        self._inputs = inputs
        self._masks = outputs.masks
        self._sizes = PathTable()
        self._lines_read = LinesRead()
        self._new: list[Entry] = []
        self._written = time.monotonic()
        self._newest = 0
        try:
            self._read_all()
        except BaseException:
            self.close()
            raise

    def _read_all(self) -> None:
        """List what is there, and read the record, the oldest objects first."""
        parts = []
        for found in store.find(self._directory):
            self._sizes[self._directory + found.relative] = found.size
            if found.relative.startswith(DIRECTORY + "/"):
                parts.append(self._directory + found.relative)
        if self._masks is not None:
            root = self._masks.rstrip("/") + "/"
            for found in store.find(root):
                self._sizes[root + found.relative] = found.size
        parts.sort()
        for url in parts:
            self._lines_read.add_from(url)
        self._old = parts
        if parts:
            stamp = parts[-1].rpartition("/")[2].partition("-")[0]
            self._newest = int(stamp) if stamp.isdecimal() else 0

    @property
    def exists(self) -> bool:
        """Whether some run has written there."""
        return bool(self._old)

    def holds(self, url: str) -> bool:
        """Say whether there was an object where outputs go, when the run began."""
        return url in self._sizes

    def open(self, *, wait: bool) -> None:
        """Make large objects of small ones, if there are many, and of those out of date."""
        sizes = self._lines_read.sizes
        if sum(size < _LARGE for size in sizes) <= _PARTS:
            return
        in_force = self._lines_read.bytes_in_force()
        merged = {
            number
            for number, (size, left) in enumerate(zip(sizes, in_force, strict=True))
            if size < _LARGE or left < size / 2
        }
        self._lines_read.write(merged, self._part, _LARGE)
        store.remove([self._old[number] for number in sorted(merged)])

    def peek(self) -> None:
        """Read nothing more."""

    def close(self) -> None:
        """Write what is left of the record."""
        self._flush()
        self._sizes.close()
        self._lines_read.close()

    def adopt_mask(self, job: Job) -> None:
        """Adopt nothing: version 0.1.0 wrote no objects."""

    def knows(self, job: Job) -> bool:
        """Say whether anything is recorded of an image."""
        return self.entry(job) is not None

    def entry(self, job: Job) -> Entry | None:
        """Give what is recorded of an image."""
        assert job.output is not None
        return self._lines_read.entry(job.output.removeprefix(self._directory))

    def entries(self) -> Iterator[Entry]:
        """Give all that was recorded when the run began."""
        yield from self._lines_read.entries()

    def is_current(self, job: Job) -> bool:
        """Say whether nothing has changed since an image was done."""
        known = self.entry(job)
        if known is None or known.settings != self._digest or not known.is_done:
            return False
        if self._inputs.state(job.source) != (known.source_size, known.source_mtime_ns):
            return False
        if self._sizes.get(job.output or "") != known.output_size:
            return False
        if job.mask is None:
            return True
        style = (self._mask_style, self._sizes.get(job.mask))
        return known.mask is not None and style == (known.mask.style, known.mask.size)

    def why_hopeless(self, job: Job) -> str | None:
        """Say nothing: images that failed are tried again."""
        return None

    def add(self, result: Result) -> None:
        """Record an image that was done."""
        assert result.output is not None
        size, tag = self._inputs.state(result.source) or (None, None)
        mask = None
        if result.mask is not None and result.mask_size is not None:
            mask = MaskEntry(self._mask_style, result.mask_size)
        self._new.append(
            Entry(
                result.output.removeprefix(self._directory),
                self._digest,
                result.source,
                size,
                tag,
                result.output_size,
                mask=mask,
                **{name: getattr(result, name) for name in entry.OF_RESULT},
            )
        )
        if len(self._new) >= _LINES or time.monotonic() - self._written > _SECONDS:
            self._flush()

    def add_failure(self, job: Job, result: Result) -> Result:
        """Record nothing: the next run tries again."""
        return result

    def _flush(self) -> None:
        lines, self._new = self._new, []
        self._written = time.monotonic()
        if lines:
            store.write(self._part(), b"".join(known.line() for known in lines))

    def _part(self) -> str:
        """Name an object that sorts behind all that are there, whatever clock named those."""
        self._newest = max(self._newest + 1, time.time_ns())
        return f"{self._directory}{DIRECTORY}/{self._newest:020}-{uuid.uuid4().hex[:8]}.jsonl"
