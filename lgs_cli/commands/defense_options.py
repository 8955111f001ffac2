"""The click options that commands share, and the types their values have."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import Field, asdict, fields
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.chain import Chain, canonical, parse_chain
from lgs_cli.defenses.lgs import LgsParams
from lgs_cli.defenses.localize import LocalizeParams
from lgs_cli.defenses.preprocessing import PRESETS
from lgs_cli.params import valid_range

if TYPE_CHECKING:
    from lgs_cli.defenses.double_mask import DoubleMaskParams

    Number = click.ParamType[int]
    Text = click.ParamType[str]
    Pair = click.ParamType[tuple[str, str]]
else:  # older click has no generic types
    Number = Text = Pair = click.ParamType

Command = TypeVar("Command", bound=Callable[..., Any])

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class Size(Number):
    """A number of bytes: ``500M``, ``2G``, ``1073741824``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the number and its unit, powers of 1024."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", str(value).lower())
        if match is None:
            self.fail(f"{value!r} is no size; write 500M or 2G", param, ctx)
        return int(float(match[1]) * _UNITS[match[2]])


class Location(click.Path):
    """A path; not an empty one, as an unset shell variable makes it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse the empty path."""
        if not value:
            self.fail("the path is empty; is a variable of the shell not set?", param, ctx)
        return super().convert(value, param, ctx)


class Assignment(Pair):
    """A parameter and its value: ``NAME=VALUE``."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Part the name from the value."""
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not NAME=VALUE, as threshold=0.2", param, ctx)
        return name.strip(), text.strip()

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Complete names of parameters of the methods chosen, and values that are a few words."""
        names = _methods(ctx.params.get("method") or "lgs")
        return _starting(incomplete, _assignments(names))


class MethodName(Text):
    """A defense, or several in a row, perhaps with parameters."""

    name = "method"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take the text as it is: it is read together with the parameters."""
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Complete the last name, or the last parameter behind a colon."""
        listing, colon, rest = incomplete.partition(":")
        if colon:
            given, comma, _ = rest.rpartition(",")
            stem = f"{listing}:{given}{comma}"
            return _starting(incomplete, [stem + one for one in _assignments(_methods(listing))])
        before, comma, _ = incomplete.rpartition(",")
        left = [name for name in DEFENSES if name not in _methods(before)]
        return _starting(incomplete, [f"{before}{comma}{name}" for name in left])


def complete_model(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Complete the files that may be models, and directories on the way to them."""
    directory, _ = os.path.split(incomplete)
    found = []
    with contextlib.suppress(OSError), os.scandir(directory or os.curdir) as entries:
        for entry in entries:
            path = os.path.join(directory, entry.name)
            if entry.is_dir():
                found.append(os.path.join(path, ""))
            elif entry.name.endswith((".onnx", ".pt2", ".pt")):
                found.append(path)
    return _starting(incomplete, sorted(found))


def _methods(listing: str) -> list[str]:
    return [canonical(name) for name in listing.partition(":")[0].split(",")]


def _assignments(methods: Iterable[str]) -> list[str]:
    """List what ``--param`` takes: ``threshold=``, ``fill=blur``."""
    found = []
    for name in methods:
        for spec in fields(DEFENSES[name].params) if name in DEFENSES else ():
            values = spec.metadata.get("choices", ("",))
            found += [f"{spec.name.replace('_', '-')}={value}" for value in values]
    return found


def _starting(incomplete: str, texts: Iterable[str]) -> list[CompletionItem[str]]:
    return [CompletionItem(text) for text in dict.fromkeys(texts) if text.startswith(incomplete)]


# What has the name of a parameter of LGS is given by the same option.
_OF_LGS = {spec.name for spec in fields(LgsParams)}
_SHARED = tuple(spec for spec in fields(LocalizeParams) if spec.name in _OF_LGS)
_LOCALIZE = tuple(spec for spec in fields(LocalizeParams) if spec.name not in _OF_LGS)


def _of_localize(spec: Field[Any]) -> str:
    """Describe a parameter of localize beside those of LGS."""
    text = str(spec.metadata["help"])
    text = f"Of localize: {text[0].lower()}{text[1:]}"
    return f"{text}  [default: {spec.default}]" if spec.default else text


def defense_options(command: Command) -> Command:
    """Add the options that choose a defense and its parameters; :func:`chosen_chain` reads them."""
    command = click.option(
        "--param",
        "assignments",
        metavar="NAME=VALUE",
        type=Assignment(),
        multiple=True,
        help="Set a parameter of any method; repeatable. With several methods: METHOD.NAME=VALUE.",
    )(command)
    command = click.option(
        "--preset",
        type=click.Choice(list(PRESETS)),
        help="Of double-mask: preprocessing of the model, which --param crop=N and the like change."
        "  [default: plain]",
    )(command)
    command = click.option(
        "--model",
        metavar="FILE.onnx",
        shell_complete=complete_model,
        help="Of double-mask: the model that shall answer rightly. Masks lie in the image as it "
        "is, over what the model sees of it; an image gets one where its answer needs it.",
    )(command)
    for spec in reversed(_LOCALIZE):
        command = click.option(
            f"--{spec.name}",
            spec.name,
            type=str,
            metavar=valid_range(spec) if "choices" in spec.metadata else "FILE",
            help=_of_localize(spec),
        )(command)
    for spec in reversed(fields(LgsParams)):
        command = click.option(
            f"--{spec.name.replace('_', '-')}",
            spec.name,
            type=int if isinstance(spec.default, int) else float,
            help=f"{spec.metadata['help']}  [{valid_range(spec)}; default: {spec.default}]"
            + "".join(f" {_of_localize(other)}" for other in _SHARED if other.name == spec.name),
        )(command)
    return click.option(
        "--method",
        type=MethodName(),
        metavar="METHOD",
        default="lgs",
        show_default=True,
        help=f"Defense: {', '.join(DEFENSES)}. Several in a row: median,lgs. See 'lgs methods'.",
    )(command)


def chosen_chain(options: dict[str, Any]) -> Chain:
    """Take the options of :func:`defense_options` out of a command's options.

    Parameters
    ----------
    options : dict
        Options by name; those of the defense are removed.

    Returns
    -------
    tuple of Step
        The defenses with their parameters.

    Raises
    ------
    click.UsageError
        If a method, parameter or value is not valid.
    """
    method, assignments = options.pop("method"), list(options.pop("assignments"))
    methods = _methods(method)
    for spec in (*fields(LgsParams), *_LOCALIZE):
        value = options.pop(spec.name)
        if value is not None:
            if spec in _LOCALIZE and "localize" not in methods:
                raise click.UsageError(f"--{spec.name} needs --method localize")
            assignments.append((spec.name, value))
    assignments = _of_double_mask(options, methods) + assignments
    try:
        chain = parse_chain(method, assignments)
        for step in chain:
            if isinstance(step.params, LocalizeParams):
                try_detector(step.params)
            elif step.name == "double-mask":
                _try_model(cast("DoubleMaskParams", step.params))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return chain


def _of_double_mask(options: dict[str, Any], methods: list[str]) -> list[tuple[str, Any]]:
    """Take --model and --preset out of a command's options, as parameters."""
    given = {name: options.pop(name) for name in ("model", "preset")}
    for name, value in given.items():
        if value is not None and "double-mask" not in methods:
            raise click.UsageError(f"--{name} needs --method double-mask")
    preset = {} if given["preset"] is None else asdict(PRESETS[given["preset"]])
    model = {} if given["model"] is None else {"model": given["model"]}
    return [(f"double-mask.{name}", value) for name, value in (preset | model).items()]


def _try_model(params: DoubleMaskParams) -> None:
    """Run the model of double-mask once, before any image meets it."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)  # as for the detector
    side = max(params.crop, 32)
    params.classifier.predict([np.zeros((side, side, 3), np.uint8)])


def try_detector(params: LocalizeParams) -> None:
    """Run the detector that a user brings once, before any image meets it.

    Raises
    ------
    ValueError
        If the file is no detector.
    """
    if params.detector:
        import cv2
        import numpy as np

        from lgs_cli.defenses import localize

        # The process that forks workers may yet have to be forked from this one. Threads of OpenCV
        # would be missing there, and waited for without end.
        cv2.setNumThreads(1)
        localize.find(np.zeros((32, 32), np.uint8), params)
