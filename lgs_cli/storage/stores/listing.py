"""Which images there are in object stores, and in directories beside them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from lgs_cli.errors import UsageError
from lgs_cli.storage import inputs
from lgs_cli.storage.inputs import Selection, Source
from lgs_cli.storage.missing import missing
from lgs_cli.storage.stores import store
from lgs_cli.storage.stores.store import Found, is_remote
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
        known = self._known(source)
        if known is not None or is_remote(source):
            return known
        try:
            found = os.stat(source)
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns

    def _known(self, url: str) -> tuple[int, int] | None:
        return self._states.get(url)


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


def find(
    paths: Iterable[str], selection: Selection, never: Iterable[str] = ()
) -> Iterator[tuple[Source, Found | None]]:
    """Find the images of a run, in order.

    Parameters
    ----------
    paths : iterable of str
        Inputs as the user gave them: URLs of objects or of what lies below, files, directories.
    selection : Selection
        Which are taken of what lies below.
    never : iterable of str
        URLs and directories that are not looked into: those the run writes to.

    Yields
    ------
    source : Source
        An image.
    found : Found or None
        Its state, if it is an object.

    Raises
    ------
    UsageError
        If one of `paths` does not exist: before the first is given.
    LgsError
        If the store refuses to list it.
    """
    paths, never = list(paths), list(never)
    singles = {path: _single(path) for path in paths}
    closed = tuple(path.rstrip("/") + "/" for path in never)
    for path in paths:
        single = singles[path]
        if not is_remote(path):
            for source in inputs.find([path], [], selection, never):
                yield source, None
        elif single is not None:
            yield Source(path[: -len(single.relative)], single.relative, None, False), single
        else:
            root = path.rstrip("/") + "/"
            for found in store.find(root):
                is_closed = (root + found.relative).startswith(closed)
                if not is_closed and _is_taken(found.relative, selection):
                    yield Source(root, found.relative, None, False), found


def _single(path: str) -> Found | None:
    """Look up an object of this very name; None for what lies below, and for paths."""
    if not is_remote(path):
        if not os.path.lexists(path):
            raise missing(path)
        return None
    store.require(path)
    single = None if path.endswith("/") else store.find_one(path)
    if single is None and next(store.find(path.rstrip("/") + "/"), None) is None:
        raise UsageError(f"{printable(path)}: no such object, and nothing below it")
    return single


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
