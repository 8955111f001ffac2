"""Values of options that stand in a file or in the environment.

What the command line gives counts first, then the environment, then the file, then the default:
click's own order. The file becomes click's ``default_map``.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import click
from click.core import ParameterSource

from lgs_cli.commands.defense_options import Location
from lgs_cli.errors import UsageError
from lgs_cli.wording import nearest, printable

_OWN_FILE, _SHARED_FILE = "lgs.toml", "pyproject.toml"
_FILE = "lgs.file"  # the key of ctx.meta


@dataclass(frozen=True)
class Configuration:
    """What a file says.

    Attributes
    ----------
    path : str
        The file; empty if there is none.
    tables : dict
        A table for each command.
    """

    path: str = ""
    tables: dict[str, Any] = field(default_factory=dict)

    def values(self, words: tuple[str, ...], options: Iterable[click.Option]) -> dict[str, Any]:
        """Give the values for one command, by the names its parameters have.

        Parameters
        ----------
        words : tuple of str
            The command: ``("clean",)``, ``("attack", "lavan")``.
        options : iterable of click.Option
            What it takes.

        Returns
        -------
        dict
            As click's ``default_map`` wants it.

        Raises
        ------
        UsageError
            If the file has a key that is no option, or a value that no option can have.
        """
        table: Any = self.tables
        for word in words:
            table = table.get(word, {})
            if not isinstance(table, dict):
                raise self._wrong(f"{word!r} is a table: [{'.'.join(words)}]")
        known = {flag(option): option for option in options}
        found = {}
        for key, value in table.items():
            option = known.get(key.replace("_", "-"))
            if option is None:
                raise self._wrong(_unknown(f"key {key!r} in [{'.'.join(words)}]", key, known))
            if isinstance(value, dict) or (isinstance(value, list) and not option.multiple):
                raise self._wrong(f"{key} in [{'.'.join(words)}] takes a single value")
            found[str(option.name)] = _as_typed(value, option)
        return found

    def check_tables(self, known: Iterable[str]) -> None:
        """Refuse a table, or a key above all tables, that belongs to no command.

        Parameters
        ----------
        known : iterable of str
            The commands.

        Raises
        ------
        UsageError
            Naming the first such one.
        """
        known = list(known)
        for key, value in self.tables.items():
            if isinstance(value, dict) and key not in known:
                raise self._wrong(_unknown(f"table [{key}]", key, known))
            if not isinstance(value, dict):
                raise self._wrong(
                    f"{key!r} stands above all tables; put it below the name of a command: [clean]"
                )

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"{printable(self.path)}: {printable(what)}")


def _unknown(what: str, key: str, known: Iterable[str]) -> str:
    known = list(known)
    meant = nearest(key.replace("_", "-"), known)
    hint = f"did you mean {meant!r}?" if meant else f"there are {', '.join(sorted(known))}"
    return f"no {what}; {hint}"


def _as_typed(value: Any, option: click.Option) -> Any:
    """Make a value what it would be on the command line, so that click checks it as strictly."""
    if option.multiple:
        return [str(one) for one in (value if isinstance(value, list) else [value])]
    if isinstance(value, bool):
        return value if option.is_flag else str(value).lower()
    return str(value)


def read(path: str | None) -> Configuration:
    """Read a file, or what the current directory has.

    Parameters
    ----------
    path : str or None
        The file. None for ``lgs.toml``, or else ``[tool.lgs]`` of ``pyproject.toml``, in the
        current directory.

    Returns
    -------
    Configuration
        Empty if there is no file.

    Raises
    ------
    UsageError
        If the file cannot be read, or is not TOML.
    """
    for name in (_OWN_FILE, _SHARED_FILE) if path is None else (path,):
        if path is None and not os.path.isfile(name):
            continue
        tables = _parse(name)
        if os.path.basename(name) == _SHARED_FILE:
            tables = _table(_table(tables, "tool"), "lgs")
            if path is None and not tables:
                continue
        return Configuration(name, tables)
    return Configuration()


def _parse(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise UsageError(f"--config {printable(path)}: {reason}") from None
    except ValueError as error:  # of tomllib, and of what is no UTF-8
        raise UsageError(f"{printable(path)}: not TOML: {error}") from None


def _table(tables: dict[str, Any], name: str) -> dict[str, Any]:
    table = tables.get(name)
    return table if isinstance(table, dict) else {}


def flag(option: click.Option) -> str:
    """Name an option as a file does: ``"block-size"``."""
    return max(option.opts, key=len).lstrip("-")


def options_of(command: click.Command) -> list[click.Option]:
    """List the options of a command that a file and the environment may give."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    return [option for option in options if option.name != "config"]


def leaves(command: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Walk a command, or the commands of a group, with the words that call each."""
    if not isinstance(command, click.Group):
        yield words, command
        return
    for name, below in command.commands.items():
        yield from leaves(below, *words, name)


def make_configurable(command: click.Command, *words: str) -> None:
    """Let a command, and those below it, take values from a file and from the environment.

    Parameters
    ----------
    command : click.Command
        Gets the option ``--config``, if it has none yet.
    *words : str
        The words that call it.
    """
    for path, leaf in leaves(command, *words):
        if any(param.name == "config" for param in leaf.params):
            continue
        for option in options_of(leaf):
            option.envvar = variable(path, option)
        leaf.params.append(_config_option())


def _config_option() -> click.Option:
    return click.Option(
        ["--config"],
        metavar="FILE",
        type=Location(),
        envvar="LGS_CONFIG",
        is_eager=True,
        expose_value=False,
        callback=_configure,
        help=f"Take values from a file.  [default: {_OWN_FILE}, or [tool.lgs] of {_SHARED_FILE}, "
        "here]",
    )


def variable(words: tuple[str, ...], option: click.Option) -> str:
    """Name the environment variable of an option: ``LGS_CLEAN_BLOCK_SIZE``."""
    return "_".join(("LGS", *words, flag(option))).upper().replace("-", "_")


def _configure(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    # Click 8.1 comes to this option first, and then to --help.
    words = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    if not ctx.resilient_parsing and not set(ctx.help_option_names).intersection(words):
        configure(ctx, value)


def configure(ctx: click.Context, path: str | None) -> None:
    """Give the context of a command what a file, and the environment, hold for it.

    Parameters
    ----------
    ctx : click.Context
        Of a command, before its options are read.
    path : str or None
        As for :func:`read`.

    Raises
    ------
    UsageError
        If the file cannot be read, or names what the command does not have; likewise a variable.
    """
    root = ctx.find_root()
    words = tuple(ctx.command_path.split()[len(root.command_path.split()) :])
    options = options_of(ctx.command)
    found = read(path)
    if isinstance(root.command, click.Group):
        found.check_tables(root.command.list_commands(root))
    ctx.default_map = found.values(words, options)
    ctx.meta[_FILE] = found.path
    _check_variables(words, options)


def _check_variables(words: tuple[str, ...], options: Iterable[click.Option]) -> None:
    prefix = "_".join(("LGS", *words, "")).upper().replace("-", "_")
    known = [variable(words, option) for option in options]
    for name in sorted(os.environ):
        if name.startswith(prefix) and name not in known:
            meant = nearest(name, known)
            hint = f"did you mean {meant}?" if meant else f"see 'lgs config {' '.join(words)}'"
            raise UsageError(f"environment: no option has the name {printable(name)}; {hint}")


def origin(ctx: click.Context, option: click.Parameter) -> str:
    """Say where the value of an option comes from.

    Parameters
    ----------
    ctx : click.Context
        The command's.
    option : click.Parameter
        One of its options.

    Returns
    -------
    str
        The variable, or the file; ``"default"``; ``"command line"``.
    """
    source = ctx.get_parameter_source(str(option.name))
    if source is ParameterSource.ENVIRONMENT:
        return str(option.envvar)
    if source is ParameterSource.DEFAULT_MAP:
        return str(ctx.meta[_FILE])
    return "command line" if source is ParameterSource.COMMANDLINE else "default"


def from_elsewhere(ctx: click.Context) -> dict[click.Option, str]:
    """List the options whose value comes from a file or the environment, and from which."""
    elsewhere = (ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)
    return {
        option: origin(ctx, option)
        for option in options_of(ctx.command)
        if ctx.get_parameter_source(str(option.name)) in elsewhere
    }


def command_line(ctx: click.Context) -> str:
    """Write the command line so that it does the same elsewhere, without file or environment.

    Parameters
    ----------
    ctx : click.Context
        The command's, with its values.

    Returns
    -------
    str
        What was typed, with what the file and the environment added, and from where as a comment.
    """
    added: list[str] = []
    origins = []
    for option, place in from_elsewhere(ctx).items():
        added += _as_words(option, ctx)
        origins.append(f"--{flag(option)} from {printable(place)}")
    called = len(ctx.command_path.split())
    typed = shlex.join(["lgs", *sys.argv[1:called], *added, *sys.argv[called:]])
    return f"{typed}  # {', '.join(origins)}" if origins else typed


def as_given(ctx: click.Context, option: click.Option) -> Any:
    """Give the value of an option as the file or the environment has it: a text, or several."""
    if ctx.get_parameter_source(str(option.name)) is ParameterSource.ENVIRONMENT:
        return option.value_from_envvar(ctx)
    return (ctx.default_map or {})[str(option.name)]


def _as_words(option: click.Option, ctx: click.Context) -> list[str]:
    name = f"--{flag(option)}"
    if option.is_flag:
        if ctx.params.get(str(option.name)):
            return [name]
        return [max(option.secondary_opts, key=len)] if option.secondary_opts else []
    given = as_given(ctx, option)
    return [f"{name}={one}" for one in (given if option.multiple else [given])]
