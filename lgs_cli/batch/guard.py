"""What may be written is checked while inputs are found: without a list of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from lgs_cli.batch.outputs import Outputs, folds_case
from lgs_cli.formats import SUFFIXES
from lgs_cli.storage.inputs import Source


class Guard:
    """Checks of one input after the other.

    It does for very many inputs what :meth:`Outputs.check` does for all at once. It can if they lie
    in one directory, and that is apart from those that are written to: then no output is an input,
    and only images of one directory can have the same output.

    Parameters
    ----------
    outputs : Outputs
        The places of outputs.

    Attributes
    ----------
    spares_strangers : bool
        Whether an output that is there already, inside the input directory, is not replaced.
    """

    def __init__(self, outputs: Outputs, root: str) -> None:
        self._outputs = outputs
        self._prefixes = [os.path.join(path, "") for path in outputs.directories]
        self._bases = tuple(_real(path) for path in outputs.directories)
        self._inside = [base.startswith(_real(root)) for base in self._bases]
        self._folders = ["" for _ in self._bases]
        # Of the directory at hand and those above it: its path, and each output's input.
        self._owners: list[tuple[str, dict[str, str]]] = []
        self.spares_strangers = False

    @classmethod
    def over(
        cls, outputs: Outputs, inputs: Sequence[str], others: Iterable[str], *, write: bool
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
        write : bool
            As for :meth:`Outputs.check`.

        Returns
        -------
        Guard or None
            None if all inputs must be known before anything is written.
        """
        if len(inputs) != 1 or not os.path.isdir(inputs[0]):
            return None
        bases = [_real(path) for path in outputs.directories]
        if _real(inputs[0]).startswith(tuple(bases)):
            return None
        if len(bases) > 1 and (bases[0].startswith(bases[1]) or bases[1].startswith(bases[0])):
            return None
        if any(os.path.splitext(path)[1].lower() in SUFFIXES for path in others):
            return None
        if write and folds_case(outputs.directory):
            return None
        return cls(outputs, inputs[0])

    def checked(self, source: Source) -> Source:
        """Let an input fail that would overwrite another, or the output of another.

        Parameters
        ----------
        source : Source
            The next input, in the order of the walk.

        Returns
        -------
        Source
            The same, or one with a problem.
        """
        if source.problem is not None:
            return source
        problem = self._problem(source)
        return source if problem is None else source._replace(problem=problem)

    def _problem(self, source: Source) -> str | None:
        if source.link and os.path.realpath(source.path).startswith(self._bases):
            return "a link to where outputs go"
        for place, path in enumerate(filter(None, self._outputs.of(source))):
            prefix = self._prefixes[place]
            folder = path[: path.rfind(os.sep) + 1]
            if folder != self._folders[place]:
                if _real(folder) != self._bases[place] + folder[len(prefix) :]:
                    return f"{path} would be written through a link below {prefix[:-1]}"
                self._folders[place] = folder
            if self.spares_strangers and self._inside[place] and os.path.lexists(path):
                return f"{path} is there already, inside an input, and not of lgs"
        return None if self._outputs.format is None else self._clash(source)

    def _clash(self, source: Source) -> str | None:
        """Name the input in the same directory that has the same output, if there is one."""
        output = self._outputs.of(source)[0]
        folder = source.relative[: source.relative.rfind(os.sep) + 1]
        while self._owners and not folder.startswith(self._owners[-1][0]):
            self._owners.pop()
        if not self._owners or self._owners[-1][0] != folder:
            self._owners.append((folder, {}))
        owner = self._owners[-1][1].setdefault(os.path.basename(output), source.relative)
        return None if owner == source.relative else f"{output} is the output of {owner}"


def _real(path: str) -> str:
    return os.path.join(os.path.realpath(path), "")
