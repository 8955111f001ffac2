"""The images that a run reads: all of them, or those that are found first."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lgs_cli.commands.run_options import ListedPaths, say_folders, selection_of
from lgs_cli.errors import UsageError
from lgs_cli.storage.archives.archive import is_archive
from lgs_cli.storage.missing import no_images
from lgs_cli.wording import counted, printable

if TYPE_CHECKING:
    from lgs_cli.batch.guard import Guard
    from lgs_cli.batch.orphans import Wanted
    from lgs_cli.batch.outputs import Outputs
    from lgs_cli.batch.remote_inputs import RemoteGuard
    from lgs_cli.batch.sources import Sources
    from lgs_cli.storage.inputs import PassedOver, Source


class Inputs(NamedTuple):
    """What a run reads.

    Attributes
    ----------
    given : sequence of str
        As the user gave them.
    sources : list of Source
        The images, at least one; of very many only the first.
    passed_over : PassedOver
        What else is there.
    more : iterator of Source
        The images after them, found as they are taken.
    guard : Guard, RemoteGuard or None
        Checks all, if not all are known before the first is cleaned.
    """

    given: Sequence[str]
    sources: list[Source]
    passed_over: PassedOver
    more: Iterator[Source] = iter(())
    guard: Guard | RemoteGuard | None = None


def inputs_of(inputs: Sequence[str], options: dict[str, Any], never: Iterable[str]) -> Inputs:
    """List the images of a run.

    Parameters
    ----------
    inputs : sequence of str
        As the user gave them.
    options : dict
        The command's.
    never : iterable of str
        Directories that are never walked.

    Returns
    -------
    Inputs
        The images, and what was passed over.

    Raises
    ------
    UsageError
        If nothing is given, or what is given does not exist.
    NoImagesError
        If there is no image.
    """
    from lgs_cli.storage.inputs import PassedOver

    return _first(inputs, options, never, PassedOver())


def next_inputs_of(
    inputs: Sequence[str],
    options: dict[str, Any],
    never: Iterable[str],
    *,
    at_once: bool = False,
) -> Inputs:
    """List the first images of a run; the others are found later, and not checked.

    The other parameters, and errors, are those of :func:`inputs_of`.

    Parameters
    ----------
    at_once : bool
        Whether to begin with the first image, and not to know how many there are.
    """
    from lgs_cli.batch import sources
    from lgs_cli.storage.inputs import PassedOver
    from lgs_cli.storage.spool import Spool

    return _first(inputs, options, never, PassedOver(Spool()), 1 if at_once else sources.AHEAD)


def first_inputs_of(
    inputs: Sequence[str], options: dict[str, Any], outputs: Outputs, others: Sequence[str]
) -> Inputs:
    """List the images of a run, but only the first if a guard can check the others later.

    Parameters
    ----------
    inputs, options
        As for :func:`inputs_of`.
    outputs : Outputs
        The places of outputs.
    others : sequence of str
        More files that the run writes.

    Returns
    -------
    Inputs
        The images, and what was passed over so far.

    Raises
    ------
    UsageError, NoImagesError
        As for :func:`inputs_of`.
    """
    from lgs_cli.batch import sources
    from lgs_cli.batch.guard import Guard

    found = next_inputs_of(inputs, options, outputs.directories)
    if len(found.sources) < sources.AHEAD:
        return found
    has_list, write = options["files_from"] is not None, not options["dry_run"]
    guard = Guard.over(outputs, inputs, others, has_list=has_list, write=write)
    if guard is None:
        found.sources.extend(found.more)
    return found._replace(guard=guard)


def _first(
    inputs: Sequence[str],
    options: dict[str, Any],
    never: Iterable[str],
    passed_over: PassedOver,
    most: int | None = None,
) -> Inputs:
    """List the images of a run, at most so many."""
    from lgs_cli.storage.inputs import find

    more = ListedPaths(options["files_from"], options["null"])
    if not inputs and options["files_from"] is None:
        raise UsageError("nothing to clean: name files or directories, or --files-from FILE")
    found = find(inputs, more, selection_of(options), never, passed_over)
    sources = list(itertools.islice(found, most))
    if not sources:
        say_folders(passed_over, options)
        places = [f"{counted(more.count, 'path')} of --files-from"] if more.count else []
        filtered = bool(options["include"] or options["exclude"])
        archive = next(filter(is_archive, passed_over.files), None)
        hint = None if archive is None else f"name archives as INPUT: {printable(archive)}"
        raise no_images([*inputs, *places], filtered, hint)
    return Inputs(inputs, sources, passed_over, found)


def sources_of(found: Inputs, wanted: Wanted | None, options: dict[str, Any]) -> Sources:
    """Give the images that this run cleans, checked and noted as they are found.

    Parameters
    ----------
    found : Inputs
        What the run reads.
    wanted : Wanted or None
        Takes note of all.
    options : dict
        The command's.

    Returns
    -------
    Sources
        Those of its shard, if there are shards.
    """
    from lgs_cli.batch.sources import Sources

    first: Iterable[Source] = found.sources
    more: Iterable[Source] = found.more
    if found.guard is not None:
        more = found.guard.checked(itertools.chain(first, more))
        first = list(itertools.islice(more, len(found.sources)))
    if wanted is not None:
        first, more = list(map(wanted.note, first)), map(wanted.note, more)
    if options["shard"] is not None:
        part = options["shard"]
        first, more = part.part_of(first), part.part_of(more)
    return Sources(first, more)
