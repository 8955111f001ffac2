"""``lgs clean --watch``: what arrives is cleaned, until a signal ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from lgs_cli.commands.cleaning import (
    follow,
    limits_of,
    report_file,
    report_paths,
    skip_of,
)
from lgs_cli.commands.run_inputs import inputs_of
from lgs_cli.errors import LgsError, NoImagesError, UsageError
from lgs_cli.signals import Stopped

if TYPE_CHECKING:
    from lgs_cli.batch.outputs import Outputs
    from lgs_cli.batch.pipeline import CleanSettings
    from lgs_cli.storage.inputs import Source


def watch(
    inputs: Sequence[str], output: str, settings: CleanSettings, options: dict[str, Any]
) -> int:
    """Clean what is there, and then what arrives: one run after another.

    Parameters
    ----------
    inputs : sequence of str
        Directories, and files that may be written anew.
    output : str
        The directory for outputs.
    settings : CleanSettings
        How every image is cleaned.
    options : dict
        The command's; ``watch`` is the time between two looks, in seconds.

    Returns
    -------
    int
        0, after SIGTERM.
    """
    from lgs_cli.batch.arrivals import Arrivals
    from lgs_cli.batch.outputs import Outputs
    from lgs_cli.batch.run import clean_all
    from lgs_cli.batch.shards import SharedManifest
    from lgs_cli.storage.inputs import Source

    for name in ("files_from", "dry_run"):
        if options[name]:
            raise UsageError(
                f"--watch looks into directories again and again; drop --{_flag(name)}"
            )
    outputs = Outputs(output, options["masks"], settings.format)
    with contextlib.suppress(NoImagesError):  # so far
        sources = inputs_of(inputs, options, outputs.directories).sources
        outputs.check(inputs, sources, report_paths(options))
    arrivals = Arrivals()
    with contextlib.ExitStack() as stack:
        manifest = SharedManifest(output, settings, None)
        stack.callback(manifest.close)
        claimed = _Claims(outputs, is_first=not manifest.exists)
        outputs.prepare(Source(os.path.join(path, ""), "") for path in inputs)
        manifest.open(wait=options["wait"])
        lines = stack.enter_context(report_file(settings, options))
        if not options["quiet"]:
            click.echo(f"watching, every {options['watch']:g} s", err=True)
        try:
            while True:
                found = arrivals.finished(_look(inputs, options, outputs))
                if found:
                    results = clean_all(
                        claimed.checked(inputs, found),
                        outputs,
                        settings,
                        limits_of(options),
                        manifest,
                        skip_of(options),
                    )
                    follow(results, len(found), lines, options)
                    if lines is not None:
                        lines.start_again()
                time.sleep(options["watch"])
        except Stopped as stop:
            if stop.exit_code == 128 + signal.SIGTERM:  # how services are told to end
                return 0
            raise


def _flag(name: str) -> str:
    return name.replace("_", "-")


def _look(inputs: Sequence[str], options: dict[str, Any], outputs: Outputs) -> list[Source]:
    """List what is there now; a directory that has gone may come back."""
    try:
        return inputs_of(inputs, options, outputs.directories).sources
    except (NoImagesError, UsageError):
        return []


class _Claims:
    """Which input each output belongs to, over all runs.

    Parameters
    ----------
    outputs : Outputs
        The places of outputs.
    is_first : bool
        Whether no earlier run has written there: what is there is not of lgs.
    """

    def __init__(self, outputs: Outputs, is_first: bool) -> None:
        self._outputs = outputs
        self._is_first = is_first
        self._owners: dict[str, str] = {}

    def checked(self, inputs: Sequence[str], sources: Iterable[Source]) -> list[Source]:
        """Let those fail that would overwrite an input, or the output of another one."""
        return [self._checked(inputs, source) for source in sources]

    def _checked(self, inputs: Sequence[str], source: Source) -> Source:
        if source.problem is not None:
            return source
        places = [place for place in self._outputs.of(source) if place is not None]
        for place in places:
            owner = self._owners.get(place, source.path)
            if owner != source.path:
                return source._replace(problem=f"{place} is the output of {owner}")
        try:
            self._outputs.check(inputs, [source], write=False)
            if self._is_first and not any(place in self._owners for place in places):
                self._outputs.refuse_strangers(inputs, [source])
        except LgsError as error:
            return source._replace(problem=str(error))
        for place in places:
            self._owners[place] = source.path
        return source
