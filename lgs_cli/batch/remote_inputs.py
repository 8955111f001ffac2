"""The inputs of a run over object stores, found and checked while it works."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence

from lgs_cli.batch.guard import Claims
from lgs_cli.batch.path_table import PathTable
from lgs_cli.batch.remote import RemoteManifest, RemoteOutputs
from lgs_cli.formats import SUFFIXES
from lgs_cli.storage.inputs import Selection, Source
from lgs_cli.storage.stores import listing
from lgs_cli.storage.stores.listing import States
from lgs_cli.storage.stores.store import is_remote

# Of the tag of an object, beside its size.
_BITS_OF_TAG = 56


class RemoteInputs(States):
    """The images of a run, and the state in which each object was found.

    Parameters
    ----------
    paths : sequence of str
        Inputs as the user gave them: URLs of objects or of what lies below, files, directories.
    selection : Selection
        Which are taken of what lies below.
    never : sequence of str
        URLs and directories that are not looked into: those the run writes to.
    """

    def __init__(
        self, paths: Sequence[str], selection: Selection, never: Sequence[str] = ()
    ) -> None:
        super().__init__({})
        self._found = PathTable()
        self._paths, self._selection, self._never = paths, selection, never

    def sources(self) -> Iterator[Source]:
        """Find the images in order; errors as of :func:`lgs_cli.storage.stores.listing.find`."""
        for source, found in listing.find(self._paths, self._selection, self._never):
            if found is not None:
                self._found[source.path] = found.size << _BITS_OF_TAG | found.tag
            yield source

    def _known(self, url: str) -> tuple[int, int] | None:
        number = self._found.get(url)
        if number is None:
            return None
        return number >> _BITS_OF_TAG, number & (1 << _BITS_OF_TAG) - 1


class RemoteGuard:
    """Checks of one input after the other, as :class:`lgs_cli.batch.guard.Guard` does for files.

    Parameters
    ----------
    outputs : RemoteOutputs
        The places of outputs.
    inputs : sequence of str
        The inputs as the user gave them.
    manifest : RemoteManifest
        The record, which also knows what objects there are where outputs go.

    Attributes
    ----------
    spares_strangers : bool
        Whether an output that is there already, below an input, is not replaced.
    """

    def __init__(
        self, outputs: RemoteOutputs, inputs: Sequence[str], manifest: RemoteManifest
    ) -> None:
        self._outputs = outputs
        self._manifest = manifest
        roots = tuple(map(_root, inputs))
        self._inside = [_root(path).startswith(roots) for path in outputs.directories]
        self._claims = Claims(outputs, is_one_walk=len(inputs) == 1)
        self.spares_strangers = False

    @classmethod
    def over(
        cls,
        outputs: RemoteOutputs,
        inputs: Sequence[str],
        others: Iterable[str],
        manifest: RemoteManifest,
    ) -> RemoteGuard | None:
        """Make a guard; None if all inputs must be known before anything is written.

        It stands in for :meth:`RemoteOutputs.check` if no input lies where outputs go. Of files
        beside objects as inputs, and outputs that are files, only names would tell that: these are
        rather listed.
        """
        bases = tuple(map(_root, outputs.directories))
        if len(bases) > 1 and (bases[0].startswith(bases[1]) or bases[1].startswith(bases[0])):
            return None  # an output may be a mask
        if any(_root(path).startswith(bases) for path in inputs):
            return None
        if not all(map(is_remote, outputs.directories)) and not all(map(is_remote, inputs)):
            return None
        for path in others:
            if path in inputs or os.path.splitext(path)[1].lower() in SUFFIXES:
                return None
        return cls(outputs, inputs, manifest)

    def checked(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Let inputs fail that would overwrite the output of another, or an object of others."""
        with contextlib.closing(self._claims):
            for source in sources:
                problem = source.problem or self._problem(source)
                yield source if problem is None else source._replace(problem=problem)

    def _problem(self, source: Source) -> str | None:
        if self.spares_strangers:
            for path, is_inside in zip(
                filter(None, self._outputs.of(source)), self._inside, strict=True
            ):
                if is_inside and self._manifest.holds(path):
                    return f"{path} is there already, below an input, and not of lgs"
        return self._claims.clash(source)


def _root(path: str) -> str:
    return path.rstrip("/") + "/"
