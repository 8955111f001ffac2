"""What may be written is checked while inputs are found: without a list of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence

from lgs_cli.batch.outputs import Outputs, folds_case
from lgs_cli.batch.path_table import LARGEST, PathTable
from lgs_cli.formats import SUFFIXES
from lgs_cli.storage.inputs import Source
from lgs_cli.storage.spool import Spool


class Zone:
    """Directories that a run writes to.

    Parameters
    ----------
    directories : iterable of str
        Their paths.
    """

    def __init__(self, directories: Iterable[str]) -> None:
        self.bases = tuple(map(_real, directories))
        self._folder, self._real_folder = "", _real("")

    def holds(self, source: Source) -> str | None:
        """Give the real path of a source that lies here, a link itself and not what it leads to."""
        path = source.path
        folder = path[: path.rfind(os.sep) + 1]
        if folder != self._folder:  # neighbors come one after the other
            self._folder, self._real_folder = folder, _real(folder)
        if not self._real_folder.startswith(self.bases):
            return None
        return self._real_folder + path[len(folder) :]

    def draws(self, source: Source) -> str | None:
        """Give the real path of what a source leads to that is a link to here."""
        if not source.link or not os.path.islink(source.path):
            return None
        target = os.path.realpath(source.path)
        return target if target.startswith(self.bases) else None


class Guard:
    """Checks of one input after the other.

    It does for very many inputs what :meth:`Outputs.check` does for all at once. It can if the
    directories that are given lie apart from those that are written to: then no output is an input,
    unless a list says so. As nobody knows what is still to come in a list, an output that is there
    already waits until all inputs are known.

    Parameters
    ----------
    outputs : Outputs
        The places of outputs.
    inputs : sequence of str
        The inputs as the user gave them.
    has_list : bool
        Whether there are more inputs, in a list.

    Attributes
    ----------
    spares_strangers : bool
        Whether an output that is there already, inside an input, is not replaced.
    """

    def __init__(self, outputs: Outputs, inputs: Sequence[str], *, has_list: bool) -> None:
        self._outputs = outputs
        self._has_list = has_list
        self._prefixes = [os.path.join(path, "") for path in outputs.directories]
        self._zone = Zone(outputs.directories)
        roots = tuple(map(_real, inputs))
        self._inside = [base.startswith(roots) for base in self._zone.bases]
        self._folders = ["" for _ in self._zone.bases]
        self._claims = Claims(outputs, is_one_walk=len(inputs) == 1 and not has_list)
        self._read = PathTable()  # of what lies where outputs go
        self.spares_strangers = False

    @classmethod
    def over(
        cls,
        outputs: Outputs,
        inputs: Sequence[str],
        others: Iterable[str],
        *,
        has_list: bool,
        write: bool,
    ) -> Guard | None:
        """Make a guard, if one can stand in for :meth:`Outputs.check`.

        Parameters
        ----------
        outputs : Outputs
            The places of outputs.
        inputs : sequence of str
            The inputs as the user gave them.
        others : iterable of str
            More files that the run writes.
        has_list : bool
            Whether there are more inputs, in a list.
        write : bool
            As for :meth:`Outputs.check`.

        Returns
        -------
        Guard or None
            None if all inputs must be known before anything is written.
        """
        bases = tuple(map(_real, outputs.directories))
        if len(bases) > 1 and (bases[0].startswith(bases[1]) or bases[1].startswith(bases[0])):
            return None  # an output may be a mask
        given = {os.path.realpath(path) for path in others}
        for path in inputs:
            real, folder = os.path.realpath(path), os.path.dirname(path)
            if (real + os.sep).startswith(bases) or _real(folder).startswith(bases):
                return None  # the walk may meet outputs of this run
            if real in given:
                return None
        if any(os.path.splitext(path)[1].lower() in SUFFIXES for path in others):
            return None
        if write and folds_case(outputs.directory):
            return None
        return cls(outputs, inputs, has_list=has_list)

    def checked(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Let inputs fail that would overwrite another, or the output of another.

        Parameters
        ----------
        sources : iterable of Source
            All inputs, in the order in which they are found.

        Yields
        ------
        Source
            Each of them, perhaps with a problem; in their order, but for those that had to wait.

        Raises
        ------
        StorageError
            If the disk for temporary files refuses.
        """
        with contextlib.closing(Spool()) as waiting, contextlib.closing(self):
            for source in sources:
                problem = source.problem or self._problem(source)
                if problem is not None:
                    yield source._replace(problem=problem)
                elif self._has_list and any(map(os.path.lexists, self._places(source))):
                    waiting.append(source.root)
                    waiting.append(source.relative)
                else:
                    yield source
            parts = iter(waiting)
            for root, relative in zip(parts, parts, strict=True):
                source = Source(root, relative)
                yield source._replace(problem=self._overwritten(source))

    def close(self) -> None:
        """Forget all."""
        self._read.close()
        self._claims.close()

    def _places(self, source: Source) -> Iterator[str]:
        return filter(None, self._outputs.of(source))

    def _problem(self, source: Source) -> str | None:
        drawn, held = self._zone.draws(source), self._zone.holds(source)
        for path in filter(None, (drawn, held)):
            self._read[path] = 0
        if drawn is not None:
            return "a link to where outputs go"
        if held is not None:
            return "lies where outputs go"
        for place, path in enumerate(self._places(source)):
            prefix = self._prefixes[place]
            folder = path[: path.rfind(os.sep) + 1]
            if folder != self._folders[place]:
                if _real(folder) != self._zone.bases[place] + folder[len(prefix) :]:
                    return f"{path} would be written through a link below {prefix[:-1]}"
                self._folders[place] = folder
            if self.spares_strangers and self._inside[place] and os.path.lexists(path):
                return f"{path} is there already, inside an input, and not of lgs"
        return self._claims.clash(source)

    def _overwritten(self, source: Source) -> str | None:
        """Say which input an input would overwrite, now that all are known."""
        for place, path in enumerate(self._places(source)):
            if self._zone.bases[place] + path[len(self._prefixes[place]) :] in self._read:
                return f"{path} is an input; it would be overwritten"
        return None


class Claims:
    """Which input each output belongs to.

    Parameters
    ----------
    outputs : Outputs
        The places of outputs.
    is_one_walk : bool
        Whether all inputs come from one walk: then only those side by side can have the same
        output, and only if all get one format.
    """

    def __init__(self, outputs: Outputs, *, is_one_walk: bool) -> None:
        self._outputs = outputs
        self._is_one_walk = is_one_walk
        self._all = PathTable()
        # Of the directory at hand and those above it: its path, and each output's input.
        self._near: list[tuple[str, dict[str, str]]] = []

    def clash(self, source: Source) -> str | None:
        """Claim the output of an input; if another one has it, say so."""
        output = self._outputs.of(source)[0]
        if self._is_one_walk:
            return None if self._outputs.format is None else self._clash_near(source, output)
        mark = hash(source.path) & LARGEST
        known = self._all.setdefault(output, mark)
        if known is None:
            return None
        twice = known == mark
        return "is given twice" if twice else f"{output} is the output of another input as well"

    def _clash_near(self, source: Source, output: str) -> str | None:
        folder = source.relative[: source.relative.rfind(os.sep) + 1]
        while self._near and not folder.startswith(self._near[-1][0]):
            self._near.pop()
        if not self._near or self._near[-1][0] != folder:
            self._near.append((folder, {}))
        owner = self._near[-1][1].setdefault(os.path.basename(output), source.relative)
        return None if owner == source.relative else f"{output} is the output of {owner}"

    def close(self) -> None:
        """Forget all."""
        self._all.close()


def _real(path: str) -> str:
    return os.path.join(os.path.realpath(path), "")
