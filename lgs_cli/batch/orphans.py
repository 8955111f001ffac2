"""Outputs that no source has any more: found, and removed if they still are what was written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from lgs_cli.batch.entry import Entry
from lgs_cli.batch.index import Index, key_of
from lgs_cli.batch.job import Job
from lgs_cli.batch.manifest import Manifest
from lgs_cli.batch.outputs import Outputs, mask_name
from lgs_cli.storage import remove_unchanged
from lgs_cli.storage.inputs import Source


class Wanted:
    """The outputs that the sources of a run have.

    Parameters
    ----------
    outputs : Outputs
        The places of outputs.
    """

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._all = Index()
        self._pairs = Index()

    def note(self, source: Source) -> Source:
        """Take note of a source, and give it back."""
        output = self._outputs.of(source)[0]
        self._all[key_of(output)] = 0
        if source.problem is None:
            self._pairs[_pair(os.path.abspath(source.path), output)] = 0
        return source

    def __contains__(self, output: str) -> bool:
        """Say whether a source has this output."""
        return key_of(output) in self._all

    def has(self, source: str, output: str | None) -> bool:
        """Say whether the source of this absolute path has this output."""
        return output is not None and _pair(source, output) in self._pairs

    def close(self) -> None:
        """Forget all."""
        self._all.close()
        self._pairs.close()


def _pair(source: str, output: str) -> int:
    folder, name = os.path.split(output)
    return key_of(f"{folder}\0{source}\0{name}")


def find_orphans(
    manifest: Manifest,
    outputs: Outputs,
    inputs: Iterable[str],
    wanted: Wanted,
    *,
    rehearse: bool = False,
) -> Iterator[Entry]:
    """Find outputs of earlier runs whose source is gone, or has one of another format by now.

    An output counts only if its source lay below one of the directories that this run walks: what
    another run made of other directories is none of its business.

    Parameters
    ----------
    manifest : Manifest
        What earlier runs have done, read.
    outputs : Outputs
        The places of outputs.
    inputs : iterable of str
        The inputs as the user gave them.
    wanted : Wanted
        The outputs of what they hold now.
    rehearse : bool
        Whether nothing was cleaned: then what would be cleaned counts as if it were.

    Yields
    ------
    Entry
        What is recorded of it; without the mask, if that is now the one of the other output.
    """
    if not rehearse:
        manifest.read_again()
    walked = tuple(
        os.path.join(os.path.abspath(path), "") for path in inputs if os.path.isdir(path)
    )
    for known in manifest.entries():
        if known.source is None or not known.source.startswith(walked):
            continue
        if os.path.join(outputs.directory, known.output) in wanted:
            continue
        if _is_gone(known.source):
            yield known
            continue
        suffix = os.path.splitext(known.source)[1]
        named = Source("", os.path.splitext(known.output)[0] + suffix)
        job = Job(0, known.source, outputs.of(named)[0])
        if not wanted.has(known.source, job.output):
            continue
        is_ready = manifest.why_hopeless(job) is None if rehearse else manifest.is_current(job)
        if is_ready:
            yield known._replace(mask=None)


def remove_orphan(
    known: Entry, outputs: Outputs, *, rehearse: bool = False
) -> Iterator[tuple[str, bool]]:
    """Remove an output that was found, and its mask.

    Parameters
    ----------
    known : Entry
        What is recorded of it.
    outputs : Outputs
        Its place; the mask is removed if it lies in today's masks directory.
    rehearse : bool
        Whether to remove nothing.

    Yields
    ------
    path : str
        A file that is there.
    is_ours : bool
        Whether it is what was written, and is removed; else somebody has changed it, and it stays.
    """
    files: Sequence[tuple[str, str, int | None, int | None]] = [
        (outputs.directory, known.output, known.output_size, known.output_mtime_ns)
    ]
    if outputs.masks is not None and known.mask is not None and known.source is not None:
        folder, name = os.path.dirname(known.output), os.path.basename(known.source)
        mask = mask_name(os.path.join(folder, name))
        files = [*files, (outputs.masks, mask, known.mask.size, known.mask.mtime_ns)]
    for root, relative, size, mtime_ns in files:
        is_ours = remove_unchanged(root, relative, (size, mtime_ns), rehearse=rehearse)
        if is_ours is not None:
            yield os.path.join(root, relative), is_ours


def _is_gone(path: str) -> bool:
    """Say whether a file does not exist; if that cannot be known, it does."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
