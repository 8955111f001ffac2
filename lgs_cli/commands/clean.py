"""``lgs clean``: folders of images in, cleaned folders out."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, Self

import click

from lgs_cli.commands.defense_options import Location, chosen_chain, cores, defense_options
from lgs_cli.commands.progress import Progress
from lgs_cli.commands.run_options import (
    allowed_failures,
    failure_options,
    listed,
    selection_options,
    worker_options,
)
from lgs_cli.errors import ImageError, LgsError, NoImagesError, UsageError
from lgs_cli.formats import FORMATS, MASK_STYLES
from lgs_cli.report.summary import Report, describe_result
from lgs_cli.wording import printable

if TYPE_CHECKING:
    from lgs_cli.batch.job import Result
    from lgs_cli.batch.manifest import Manifest
    from lgs_cli.batch.outputs import Outputs
    from lgs_cli.batch.pipeline import Settings
    from lgs_cli.inputs import Source
    from lgs_cli.report.summary import JsonLines

WRITABLE = [form.name for form in FORMATS.values() if form.writable]


@click.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, type=Location())
@click.option(
    "-o", "--output", required=True, metavar="DIR", type=Location(),
    help="Where cleaned images go, in the tree of their inputs. With '-' as the only INPUT: '-'.",
)  # fmt: skip
@defense_options
@click.option(
    "--masks", metavar="DIR", type=Location(), help="Write a picture of each mask there, as PNG."
)
@click.option(
    "--mask-style", type=click.Choice(MASK_STYLES), default="heatmap", show_default=True,
    help="How masks look.",
)  # fmt: skip
@click.option(
    "--format", type=click.Choice(["keep", *WRITABLE]), default="keep", show_default=True,
    help="Format of the outputs.",
)  # fmt: skip
@click.option(
    "--quality", metavar="N", type=click.IntRange(1, 100), show_default="as the input",
    help="Quality of lossy outputs.",
)  # fmt: skip
@click.option("--optimize", is_flag=True, help="Take longer for JPEGs that are some 5 % smaller.")
@selection_options
@click.option("-0", "--null", is_flag=True, help="Paths in --files-from end in NUL.")
@worker_options
@click.option("--force", is_flag=True, help="Do again what is up to date.")
@click.option("--wait", is_flag=True, help="Wait for another lgs that writes to the same DIR.")
@failure_options
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@click.option(
    "--report", metavar="FILE", type=Location(), help="Write a JSON line an image; '-': stdout."
)
@click.option("-q", "--quiet", is_flag=True, help="Print failures only.")
@click.option("-v", "--verbose", is_flag=True, help="Print a line an image.")
def clean(inputs: tuple[str, ...], output: str, **options: Any) -> int:
    """Clean images and directories of images.

    Directories are walked in sorted order, and their tree is kept under the output directory;
    hidden files are passed over. What an earlier run has done, and nothing has changed since, is
    skipped. Inputs are never changed.

    \b
    Examples:
      lgs clean photos -o cleaned
      lgs clean photos -o cleaned --masks masks --mask-style overlay
      find . -name '*.png' -print0 | lgs clean --files-from - -0 -o cleaned
      curl -s https://example.org/a.jpg | lgs clean - -o - > a.jpg
    """  # noqa: D301 - click reads the backspace
    from lgs_cli.batch.pipeline import Settings

    chain = chosen_chain(options)
    form = options.pop("format")
    settings = Settings(
        chain,
        None if form == "keep" else form,
        options.pop("quality"),
        options.pop("optimize"),
        options.pop("mask_style"),
        options.pop("max_pixels"),
    )
    if "-" in inputs or output == "-":
        if inputs != ("-",) or output != "-":
            raise UsageError("'-' is one image from stdin to stdout, and goes alone: - -o -")
        for name in ("masks", "report", "files_from", "dry_run", "timeout", "memory_limit"):
            if options[name]:
                raise UsageError(f"--{name.replace('_', '-')} needs an output directory")
        return _filter(settings)
    return _clean_files(inputs, output, settings, options)


def _filter(settings: Settings) -> int:
    """Clean one image from stdin to stdout."""
    from lgs_cli import image_io
    from lgs_cli.batch.pipeline import clean as clean_picture

    data = sys.stdin.buffer.read()
    try:
        picture = image_io.decode(data, max_pixels=settings.max_pixels)
        cleaned = clean_picture(picture, settings)
    except ImageError as error:
        raise ImageError(f"standard input: {error}") from None
    sys.stdout.buffer.write(cleaned.data)
    sys.stdout.buffer.flush()
    return 0


def _clean_files(
    inputs: tuple[str, ...], output: str, settings: Settings, options: dict[str, Any]
) -> int:
    """Clean files and directories into a directory."""
    from lgs_cli.batch.manifest import Manifest
    from lgs_cli.batch.outputs import Outputs
    from lgs_cli.batch.pool import Limits
    from lgs_cli.batch.run import clean_all
    from lgs_cli.inputs import Selection, find
    from lgs_cli.report.summary import JsonLines

    more = listed(options["files_from"], options["null"])
    if not inputs and options["files_from"] is None:
        raise UsageError("nothing to clean: name an INPUT, or --files-from")
    outputs = Outputs(output, options["masks"], settings.format)
    selection = Selection(options["recursive"], options["include"], options["exclude"])
    sources = list(find(inputs, more, selection, outputs.directories))
    if not sources:
        raise NoImagesError("no image found")
    report_path = options["report"]
    others = [] if report_path in (None, "-") else [report_path]
    outputs.check(inputs, sources, others, write=not options["dry_run"])

    with contextlib.ExitStack() as stack:
        manifest = Manifest(output, settings)
        stack.callback(manifest.close)
        if options["dry_run"]:
            manifest.peek()
            return _rehearse(sources, outputs, manifest, options["force"])
        if not manifest.exists:
            outputs.refuse_strangers(inputs, sources)
        manifest.open(wait=options["wait"])
        results = clean_all(
            sources,
            outputs,
            settings,
            Limits(options["jobs"] or cores(), options["timeout"], options["memory_limit"]),
            manifest,
            force=options["force"],
        )
        stack.enter_context(contextlib.closing(results))
        lines = None
        if report_path is not None:
            json_lines = JsonLines(settings.chain, shlex.join(["lgs", *sys.argv[1:]]))
            lines = stack.enter_context(_ReportFile(report_path, json_lines))
        report = Report()
        progress = Progress(report, len(sources), quiet=options["quiet"])
        stack.enter_context(progress)
        for result in progress.follow(results, allowed_failures(options)):
            if lines is not None:
                lines.add(result)
            if options["verbose"] and result.status != "failed":
                progress.say(describe_result(result))
        return report.exit_code


def _rehearse(sources: Sequence[Source], outputs: Outputs, manifest: Manifest, force: bool) -> int:
    """Say what a run would do."""
    for source in sources:
        path, output = printable(source.path), printable(outputs.of(source)[0])
        if source.problem is not None:
            click.echo(f"would fail: {path}: {source.problem}")
        elif not force and manifest.is_current(outputs.job(0, source)):
            click.echo(f"up to date: {path} -> {output}")
        else:
            click.echo(f"would clean: {path} -> {output}")
    return 0


class _ReportFile:
    """The report: a line an image, in the order of the inputs, each as soon as its turn comes.

    At the end of a run that was cut short, what is finished out of turn is written too.
    """

    def __init__(self, path: str, json_lines: JsonLines) -> None:
        self._path = path
        self._json_lines = json_lines
        self._waiting: dict[int, str] = {}
        self._next = 0
        if path == "-":
            self._file: IO[str] = sys.stdout
            return
        try:
            self._file = open(path, "w", encoding="ascii")
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise UsageError(f"--report {printable(path)}: {reason}") from None

    def __enter__(self) -> Self:
        return self

    def add(self, result: Result) -> None:
        """Write a result, where its turn has come."""
        self._waiting[result.place] = self._json_lines.line(result)
        with self._refusals():
            while self._next in self._waiting:
                self._file.write(self._waiting.pop(self._next))
                self._next += 1
            if result.status != "skipped":  # of those there may be a million in a row
                self._file.flush()

    def __exit__(self, *exception: object) -> None:
        with self._refusals():
            try:
                for index in sorted(self._waiting):
                    self._file.write(self._waiting[index])
            finally:
                if self._file is not sys.stdout:
                    self._file.close()

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise LgsError(f"--report {printable(self._path)}: {reason}") from None
