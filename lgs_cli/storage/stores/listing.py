"""Which images there are in object stores, and in directories beside them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from lgs_cli.errors import UsageError
from lgs_cli.storage import inputs
from lgs_cli.storage.inputs import Selection, Source
from lgs_cli.storage.stores import store
from lgs_cli.storage.stores.store import is_remote
from lgs_cli.wording import printable


class States:
    """The state that each object of a run was listed in.

    Parameters
    ----------
    states : dict
        URL to size and tag.
    """

    def __init__(self, states: dict[str, tuple[int, int]]) -> None:
        self._states = states

    @property
    def urls(self) -> list[str]:
        """The objects."""
        return list(self._states)

    def state(self, source: str) -> tuple[int, int] | None:
        """Give size and tag of an input as it was listed; of a file, as it is now."""
        if source in self._states or is_remote(source):
            return self._states.get(source)
        try:
            found = os.stat(source)
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns


def states_of(paths: Iterable[str]) -> States:
    """Look up what objects there are among some paths.

    Raises
    ------
    UsageError
        If one of them does not exist.
    LgsError
        If the store refuses to say.
    """
    urls = [path for path in paths if is_remote(path)]
    for url in urls:
        store.require(url)
    found = store.look_up(urls)
    for url in urls:
        if url not in found:
            raise UsageError(f"{printable(url)}: no such object")
    return States({url: (one.size, one.tag) for url, one in found.items()})


class Listing(States):
    """The images of a run, and the state that each object was listed in.

    Parameters
    ----------
    paths : iterable of str
        Inputs as the user gave them: URLs of objects or of what lies below, files, directories.
    selection : Selection
        Which are taken of what lies below.
    never : iterable of str
        URLs and directories that are not looked into: those the run writes to.

    Raises
    ------
    UsageError
        If one of `paths` does not exist.
    LgsError
        If the store refuses to list it.
    """

    def __init__(
        self, paths: Iterable[str], selection: Selection, never: Iterable[str] = ()
    ) -> None:
        super().__init__({})
        self.sources: list[Source] = []
        closed = tuple(path.rstrip("/") + "/" for path in never)
        for path in paths:
            if is_remote(path):
                self.sources.extend(self._below(path, selection, closed))
            else:
                self.sources.extend(inputs.find([path], [], selection, never))

    def _below(self, url: str, selection: Selection, closed: tuple[str, ...]) -> Iterator[Source]:
        store.require(url)
        single = None if url.endswith("/") else store.find_one(url)
        if single is not None:
            self._states[url] = single.size, single.tag
            yield Source(url[: -len(single.relative)], single.relative, None, False)
            return
        root = url.rstrip("/") + "/"
        is_empty = True
        for found in store.find(root):
            is_empty = False
            if _is_taken(found.relative, selection) and not (root + found.relative).startswith(
                closed
            ):
                self._states[root + found.relative] = found.size, found.tag
                yield Source(root, found.relative, None, False)
        if is_empty:
            raise UsageError(f"{printable(url)}: no such object, and nothing below it")


def _is_taken(relative: str, selection: Selection) -> bool:
    """Say whether an object is taken, as the walk over a directory does it."""
    parts = relative.split("/")
    # Names that no file could have lead out of where outputs go.
    if any(part in ("", ".", "..") or part.startswith(".") for part in parts):
        return False
    above = ["/".join(parts[:count]) for count in range(1, len(parts))]
    if above and (not selection.recursive or any(map(selection.leaves_out, above))):
        return False
    return selection.takes(relative)
