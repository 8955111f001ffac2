"""What came of each image of archives in stores: so that to skip an archive is not to read it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lgs_cli.batch import entry
from lgs_cli.batch.entry import Entry
from lgs_cli.batch.job import Job, Result
from lgs_cli.batch.remote import RemoteManifest
from lgs_cli.errors import ImageError
from lgs_cli.storage.stores import store

DIRECTORY = ".lgs-members"


class MemberIndex:
    """An object beside the outputs for each archive, with a line for each of its images.

    Parameters
    ----------
    directory : str
        Where outputs go.
    manifest : RemoteManifest
        The record of the archives as such.
    """

    def __init__(self, directory: str, manifest: RemoteManifest) -> None:
        self._root = directory.rstrip("/") + "/"
        self._manifest = manifest

    def holds(self, job: Job) -> bool:
        """Say whether the images of an archive are listed."""
        return self._manifest.holds(self._url(job))

    def write(self, job: Job, results: Sequence[Result]) -> None:
        """List the images of an archive that is done."""
        store.write(self._url(job), b"".join(_line(job, result) for result in results))

    def read(self, job: Job) -> list[Result]:
        """Give the results of the images of an archive that is up to date.

        Raises
        ------
        ImageError
            If the list cannot be read, or is none.
        """
        results = [_result(job, line) for line in store.read(self._url(job)).splitlines(True)]
        if None in results:
            raise ImageError(f"{DIRECTORY}: not a list of lgs; --force writes it again")
        return [result for result in results if result is not None]

    def _url(self, job: Job) -> str:
        assert job.output is not None
        return f"{self._root}{DIRECTORY}/{job.output.removeprefix(self._root)}.jsonl"


def _line(job: Job, result: Result) -> bytes:
    """Write the two names of an image, and then what a manifest has of it."""
    assert result.output is not None
    names = [result.source[len(job.source) :], result.output[len(job.output or "") :]]
    known = Entry("image", **{name: getattr(result, name) for name in entry.OF_RESULT})
    return json.dumps(names).encode() + b"\t" + known.line()


def _result(job: Job, line: bytes) -> Result | None:
    names, _, rest = line.partition(b"\t")
    known = entry.read(rest)
    if known is None:
        return None
    try:
        old, new = json.loads(names)
    except ValueError:
        return None
    if not isinstance(old, str) or not isinstance(new, str):
        return None
    paths = f"{job.source}{old}", f"{job.output}{new}"
    return Result(0, *paths, job.mask, status="skipped", **known.of_result())
