"""The runs of ``lgs clean`` and ``lgs scan`` over object stores."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lgs_cli.commands.cleaning import clean_sources
from lgs_cli.commands.run_inputs import Inputs
from lgs_cli.commands.run_options import selection_of
from lgs_cli.errors import NoImagesError, UsageError
from lgs_cli.storage.stores import store
from lgs_cli.storage.stores.store import is_remote
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from lgs_cli.batch.pipeline import CleanSettings
    from lgs_cli.batch.scan import ScanSettings
    from lgs_cli.storage.inputs import Source


def _next_inputs(inputs: Sequence[str], more: Iterator[Source], options: dict[str, Any]) -> Inputs:
    """List the first images of a run; the others are found later, and not checked.

    Parameters
    ----------
    inputs : sequence of str
        URLs and paths, as the user gave them.
    more : iterator of Source
        What they hold.
    options : dict
        The command's.

    Returns
    -------
    Inputs
        At least one image.

    Raises
    ------
    UsageError
        If an input does not exist, or an option is not for stores.
    NoImagesError
        If there is no image.
    """
    from lgs_cli.batch import sources
    from lgs_cli.storage.inputs import PassedOver

    if options["files_from"] is not None:
        raise UsageError("--files-from lists files; name URLs as INPUT")
    first = list(itertools.islice(more, sources.AHEAD))
    if not first:
        raise NoImagesError("no image found")
    return Inputs(inputs, first, PassedOver(), more)


def clean_remote(
    inputs: Sequence[str], output: str, settings: CleanSettings, options: dict[str, Any]
) -> int:
    """Clean images in object stores, or into them.

    Parameters
    ----------
    inputs : sequence of str
        URLs and paths, as the user gave them.
    output : str
        A URL, or a directory.
    settings : CleanSettings
        How every image is cleaned.
    options : dict
        The command's.

    Returns
    -------
    int
        The exit code.

    Raises
    ------
    UsageError
        If an option is not for stores, or objects would be overwritten.
    """
    from dataclasses import fields

    from lgs_cli.batch.remote import RemoteCleaning, RemoteManifest, RemoteOutputs
    from lgs_cli.batch.remote_inputs import RemoteGuard, RemoteInputs

    refuse_for_stores(output, options)
    if settings.preserve_times:
        raise UsageError("--preserve-times is for files, not for object stores")
    places = {path.rstrip("/") for path in (output, options["masks"] or "")}
    for path in inputs:
        if path.rstrip("/") in places:
            raise UsageError(f"{printable(path)} is both an input and where outputs go")
    outputs = RemoteOutputs(output, options["masks"], settings.format)
    states = RemoteInputs(inputs, selection_of(options), outputs.directories)
    found = _next_inputs(inputs, states.sources(), options)
    work = RemoteCleaning(**{f.name: getattr(settings, f.name) for f in fields(settings)})
    manifest = RemoteManifest(outputs, settings, states)
    others = [] if options["report"] is None else [options["report"]]
    with contextlib.closing(manifest), report_near(options):
        guard = RemoteGuard.over(outputs, inputs, others, manifest)
        if guard is None:
            found.sources.extend(found.more)
        outputs.check(inputs, found.sources, others)  # a report has another name for now
        return clean_sources(found._replace(guard=guard), outputs, work, manifest, options)


def refuse_for_stores(output: str, options: dict[str, Any]) -> None:
    """Refuse options that are not for stores, and places where nothing can go.

    Raises
    ------
    UsageError
        If an option is for files only, or a store is not known, or the outputs of runs over files
        are where outputs go.
    """
    from lgs_cli.batch.manifest import NAME

    for name in ("delete", "skip_unsupported", "watch", "wait"):
        if options[name]:
            raise UsageError(f"--{name.replace('_', '-')} is for files, not for object stores")
    for path in filter(is_remote, [output, options["masks"] or ""]):
        store.require(path)
    if os.path.lexists(os.path.join(output, NAME)):
        raise UsageError(f"{printable(output)} holds outputs of files: choose another directory")


def remote_scan(
    inputs: Sequence[str], settings: ScanSettings, options: dict[str, Any]
) -> tuple[ScanSettings, Inputs]:
    """Say how images in object stores are looked at, and which there are."""
    from lgs_cli.batch.remote import RemoteScan
    from lgs_cli.storage.stores import listing

    if options["move_to"] is not None:
        raise UsageError("--move-to moves files, and no objects")
    work = RemoteScan(settings.params, settings.max_pixels)
    sources = (source for source, _ in listing.find(inputs, selection_of(options)))
    return work, _next_inputs(inputs, sources, options)


@contextlib.contextmanager
def report_near(options: dict[str, Any]) -> Iterator[None]:
    """Write a report that goes to a store into a file first: an object is written whole."""
    url = options["report"]
    if url is None or not is_remote(url):
        yield
        return
    store.require(url)
    with tempfile.TemporaryDirectory(prefix="lgs-report-") as folder:
        options["report"] = os.path.join(folder, "report.jsonl")
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError), open(options["report"], "rb") as file:
                store.write(url, file.read())
