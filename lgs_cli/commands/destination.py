"""Where outputs of ``lgs clean`` go: a directory, one file, stdout, or in place of the inputs."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from lgs_cli.errors import MissingExtraError, UsageError
from lgs_cli.formats import FORMATS
from lgs_cli.storage.archives.archive import SUFFIXES, is_archive
from lgs_cli.wording import counted, nearest, printable

if TYPE_CHECKING:
    Names = click.Choice[str]
else:  # older click has no generic types
    Names = click.Choice

Kind = Literal["directory", "file", "stdout", "in place"]

# What is hardly the name of a directory, if none is there.
_ARCHIVES = frozenset((*SUFFIXES, ".7z", ".bz2", ".gz", ".rar", ".tgz", ".xz", ".zip", ".zst"))
_SUFFIX = re.compile(r"\.[a-zA-Z0-9]{1,5}")


class FormatName(Names):
    """The name of a format, or a suffix of its files: ``jpeg`` and ``jpg``."""

    def __init__(self, *more: str) -> None:
        super().__init__([*more, *(form.name for form in FORMATS.values() if form.writable)])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Take the suffix for the name."""
        name = str(value).lower().lstrip(".")
        form = format_of(f".{name}") or name
        if form in FORMATS and form not in self.choices:
            raise _missing_extra(form)
        if form not in self.choices:
            self.fail(self._no_format(name, form), param, ctx)
        return form

    def _no_format(self, name: str, form: str) -> str:
        suffixes = [suffix[1:] for one in FORMATS.values() for suffix in one.suffixes]
        meant = nearest(name, [*suffixes, *self.choices])
        hint = f"did you mean {format_of(f'.{meant}') or meant!r}? " if meant else ""
        return f"no format {name!r}; {hint}valid is {', '.join(self.choices)}"


def _missing_extra(form: str) -> MissingExtraError:
    """Say what a format needs that cannot be written here; only HEIC is one."""
    return MissingExtraError(form.upper(), "pillow-heif", "heif")


def format_of(path: str) -> str | None:
    """Name the format that the suffix of a path stands for."""
    suffix = os.path.splitext(f"a{path}" if path.startswith(".") else path)[1].lower()
    return next((form.name for form in FORMATS.values() if suffix in form.suffixes), None)


def kind_of_output(
    inputs: Sequence[str], output: str | None, options: dict[str, Any]
) -> tuple[Kind, str]:
    """Say where outputs go.

    Parameters
    ----------
    inputs : sequence of str
        As the user gave them.
    output : str or None
        What ``--output`` says.
    options : dict
        ``in_place``, ``backup``, ``yes``, ``format``, ``files_from``, ``masks`` of the command.

    Returns
    -------
    kind : str
        ``"directory"``, ``"file"``, ``"stdout"`` or ``"in place"``.
    place : str
        The directory or the file; empty for the others.

    Raises
    ------
    UsageError
        If the options contradict each other, or several images would go to one file, or a directory
        is named as a file would be.
    """
    if not inputs and options["files_from"] is None:
        raise UsageError("nothing to clean: lgs clean FILE_OR_DIRECTORY... -o DIR")
    elsewhere = output is not None and _typed("output")
    if options["in_place"] and (_typed("in_place") or not elsewhere):
        if elsewhere:
            raise UsageError("--in-place replaces the inputs and --output does not: drop one")
        _check_in_place(inputs, options)
        return "in place", ""
    for name in ("backup", "yes"):
        if options[name] and _typed(name):
            raise UsageError(f"--{name} is for --in-place; outputs elsewhere replace no input")
    if output is None:
        raise UsageError(_no_output(inputs))
    if "-" in inputs and (len(inputs) > 1 or options["files_from"] is not None):
        raise UsageError("'-' is one image from stdin, and goes alone: lgs clean - -o OUT")
    if output == "-":
        _check_single(inputs, options, "stdout")
        return "stdout", ""
    if _is_image(output) and not os.path.isdir(output):
        _check_single(inputs, options, printable(output))
        _check_format(output, options["format"])
        return "file", output
    if os.path.isfile(output):
        raise UsageError(
            f"{printable(output)} is a file: name a directory, or for one image a file as b.jpg"
        )
    _check_directory(inputs, output, options)
    if "-" in inputs:
        raise UsageError(
            f"an image from stdin has no name: write -o {printable(os.path.join(output, 'a.jpg'))},"
            " or -o -"
        )
    return "directory", output


def _typed(name: str) -> bool:
    """Say whether an option stands on the command line, and not only in a file."""
    ctx = click.get_current_context(silent=True)
    return ctx is None or ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def backup_ending(suffix: str | None) -> str | None:
    """Put a dot before a suffix that is a word."""
    return f".{suffix}" if suffix and suffix[0].isalnum() else suffix


def _is_image(path: str) -> bool:
    return format_of(path) is not None


def _no_output(inputs: Sequence[str]) -> str:
    """Say that there is no output, and whether the last input may have been meant for it."""
    said = "--output DIR is missing: "
    last = inputs[-1] if len(inputs) > 1 else ""
    if not last or os.path.lexists(last) or "://" in last or any(char in last for char in "*?["):
        return f"{said}name where cleaned images go, or --in-place"
    return (
        f"{said}{printable(last)} does not exist; if outputs go there, write -o {printable(last)}"
    )


def _check_directory(inputs: Sequence[str], output: str, options: dict[str, Any]) -> None:
    """Refuse a directory that is the one for masks too, or that was hardly meant to be one."""
    masks = options["masks"]
    if masks is not None and os.path.realpath(masks) == os.path.realpath(output):
        raise UsageError(
            f"{printable(output)} is where outputs and masks go: "
            "give --masks a directory of its own"
        )
    if "://" in output or os.path.isdir(output):
        return
    suffix, shown = os.path.splitext(output)[1], printable(output)
    if suffix.lower() in _ARCHIVES:
        raise UsageError(
            f"{shown}: outputs go into a directory, those of archives too: -o DIR, "
            f"or -o {shown}/ for one of this name"
        )
    is_one_image = options["files_from"] is None and (
        len(inputs) == 1 and (inputs[0] == "-" or os.path.isfile(inputs[0]))
    )
    if is_one_image and not is_archive(inputs[0]) and _SUFFIX.fullmatch(suffix):
        raise UsageError(
            f"{shown}: no format has the suffix {printable(suffix)}; write -o b.jpg for a file, "
            f"or -o {shown}/ for a directory"
        )


def _check_in_place(inputs: Sequence[str], options: dict[str, Any]) -> None:
    """Refuse to replace what could not be had back, unless that is wanted."""
    ending = backup_ending(options["backup"])
    if "-" in inputs:
        raise UsageError("stdin cannot be replaced: write lgs clean - -o -")
    archive = next(filter(is_archive, inputs), None)
    if archive is not None:
        raise UsageError(f"--in-place is for images, and not for archives as {printable(archive)}")
    if ending is None and not options["yes"]:
        raise UsageError(
            "--in-place replaces your images: keep them with --backup .orig, or confirm with --yes"
        )
    if ending is not None and (os.sep in ending or not ending or _is_image(f"a{ending}")):
        raise UsageError(
            f"--backup {printable(ending)!r}: not the end of a file name that is no image; "
            "write --backup .orig"
        )
    if options["format"] != "keep":
        raise UsageError("--in-place keeps each format; to convert, write -o DIR --format NAME")


def _check_single(inputs: Sequence[str], options: dict[str, Any], place: str) -> None:
    """Refuse several images for a single place."""
    directory = next((path for path in inputs if os.path.isdir(path)), None)
    archive = next((path for path in inputs if is_archive(path)), None)
    if directory is not None:
        what = f"{printable(directory)} is a directory"
    elif archive is not None:
        what = f"{printable(archive)} is an archive"
    elif options["files_from"] is not None:
        what = "--files-from is a list"
    elif len(inputs) != 1:
        what = f"there are {counted(len(inputs), 'input')}" if inputs else "there is no input"
    else:
        return
    raise UsageError(f"{place} takes a single image, and {what}: name a directory, -o DIR")


def _check_format(output: str, wanted: str) -> None:
    form = format_of(output)
    assert form is not None
    if not FORMATS[form].writable:
        raise _missing_extra(form)
    if wanted not in ("keep", form):
        raise UsageError(
            f"{printable(output)} is {form} by its name, and --format says {wanted}: change one"
        )
