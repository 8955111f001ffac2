"""The lines of a report: one JSON object an image. They are written and read here, nowhere else."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, NoReturn

from lgs_cli.batch.job import Result
from lgs_cli.defenses.chain import Chain, describe, method_name
from lgs_cli.defenses.defense import Region

STATUSES = ("done", "skipped", "failed", "unsupported")
_CLEAN = (
    "source", "output", "mask", "status", "error", "width", "height", "format", "coverage",
    "score", "regions", "page", "unchanged", "seconds", "notes", "stale",
)  # fmt: skip
_SCAN = ("source", "status", "error", "score", "regions", "page", "width", "height")
_LONGEST_NUMBER = 15  # digits that JavaScript does not round


@dataclass(frozen=True, slots=True)
class Record:
    """One image of a run, as its line of the report says.

    Attributes
    ----------
    source, status : str
        The file read; ``"done"``, ``"skipped"``, ``"failed"`` or ``"unsupported"``.
    output, mask, error, format, method : str or None
        The files written, why the image failed, its format, the defense.
    width, height : int or None
        In pixels.
    coverage : float or None
        Share of pixels with mask > 0, in [0, 1].
    score : float or None
        How suspicious the image is, in [0, 1]; None if nothing looked for patches.
    regions : tuple of Region
        The patches found, in pixels as stored.
    page : int or None
        The number, from 1, of the frame or page that has this score and these regions; None if
        the image has only one.
    moved_to : str or None
        Where the file read is now, if the run moved it.
    unchanged : bool
        Whether the output is the input's bytes.
    stale : bool
        Whether the image failed, and the output of an earlier run is still there.
    seconds : float or None
        Time spent on the image.
    params : dict
        The defense's parameters: numbers and text.
    notes : tuple of str
        What else the run said about the image.
    """

    source: str
    status: str
    output: str | None = None
    mask: str | None = None
    error: str | None = None
    format: str | None = None
    method: str | None = None
    width: int | None = None
    height: int | None = None
    coverage: float | None = None
    unchanged: bool = False
    seconds: float | None = None
    params: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    score: float | None = None
    regions: tuple[Region, ...] = ()
    page: int | None = None
    moved_to: str | None = None
    stale: bool = False


class CleanLines:
    """Writes the lines of ``lgs clean --report``.

    Parameters
    ----------
    chain : tuple of Step
        The defenses of the run.
    command : str
        The command line that was run.
    """

    def __init__(self, chain: Chain, command: str) -> None:
        run = {"method": method_name(chain), "params": describe(chain), "command": command}
        self._of_the_run = json.dumps(run)[1:]

    def line(self, result: Result) -> str:
        """Write one result as a JSON object on a line of its own, ASCII only.

        Bytes of a file name that are not UTF-8 become the escapes of lone surrogates, from which
        ``os.fsencode`` makes the bytes again.
        """
        return f"{json.dumps(_values(result, _CLEAN))[:-1]}, {self._of_the_run}\n"


def scan_line(result: Result, **more: str | None) -> str:
    """Write the line of ``lgs scan --json`` for a result, with more fields if there are any."""
    return json.dumps(_values(result, _SCAN) | more) + "\n"


def _values(result: Result, names: tuple[str, ...]) -> dict[str, Any]:
    values = {name: getattr(result, name) for name in names}
    values["regions"] = [region._asdict() for region in result.regions]
    if "seconds" in values:
        values["seconds"] = round(result.seconds, 6)
    return values


def read_line(line: bytes) -> tuple[Record, str | None]:
    """Read one line that :class:`CleanLines` or :func:`scan_line` wrote.

    Returns
    -------
    record : Record
        What it says of the image.
    command : str or None
        The command line that was run, if the line holds it.

    Raises
    ------
    ValueError
        If the line is not such a record; says why on one line.
    """
    try:
        values = json.loads(
            line.decode().strip(),
            parse_constant=_refuse_constant,
            parse_int=_whole_number,
        )
        if not isinstance(values, dict):
            raise ValueError("not an object")
        command = _get(values, "command", str)
        return _record(values), command
    except json.JSONDecodeError as error:  # it counts lines of its own
        raise ValueError(f"{error.msg}, column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _whole_number(digits: str) -> int | float:
    """Read a whole number; one that is too large is infinite, which only matters if it is used."""
    return int(digits) if len(digits) <= _LONGEST_NUMBER else math.inf


def _record(values: dict[str, Any]) -> Record:
    source, status = _get(values, "source", str), _get(values, "status", str)
    if source is None:
        raise ValueError('no "source"')
    if status not in STATUSES:
        raise ValueError(f'"status" is {_shown(status)}; valid is {", ".join(STATUSES)}')
    texts = ("output", "mask", "error", "format", "method", "moved_to")
    return Record(
        source,
        status,
        **{name: _get(values, name, str) for name in texts},
        width=_count(values, "width"),
        height=_count(values, "height"),
        page=_count(values, "page"),
        coverage=_share(values, "coverage"),
        score=_share(values, "score"),
        regions=tuple(_region(region) for region in _get(values, "regions", list) or ()),
        unchanged=_get(values, "unchanged", bool) or False,
        stale=_get(values, "stale", bool) or False,
        seconds=_seconds(values),
        params=_params(values),
        notes=tuple(str(note) for note in _get(values, "notes", list) or ()),
    )


def _get(values: dict[str, Any], name: str, *types: type) -> Any:
    """Return a field, None if it is absent or null."""
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f'"{name}" is out of range')
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ValueError(f'"{name}" is {_shown(value)}')
    return value


def _shown(value: object) -> str:
    return json.dumps(value)[:80]


def _count(values: dict[str, Any], name: str) -> int | None:
    count: int | None = _get(values, name, int)
    if count is not None and count < 1:
        raise ValueError(f'"{name}" is {count}; valid is at least 1')
    return count


def _share(values: dict[str, Any], name: str) -> float | None:
    share: float | None = _get(values, name, int, float)
    if share is not None and not 0 <= share <= 1:
        raise ValueError(f'"{name}" is {share}; valid is 0 to 1')
    return share


def _seconds(values: dict[str, Any]) -> float | None:
    seconds: float | None = _get(values, "seconds", int, float)
    if seconds is not None and seconds < 0:
        raise ValueError(f'"seconds" is {seconds}; valid is at least 0')
    return seconds


def _params(values: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters: numbers, text and None as they are, anything else as JSON."""
    return {
        name: value if value is None or isinstance(value, str | int | float) else json.dumps(value)
        for name, value in (_get(values, "params", dict) or {}).items()
    }


def _region(region: object) -> Region:
    if not isinstance(region, dict):
        raise ValueError(f'"regions" holds {_shown(region)}')
    x, y, width, height = (_get(region, name, int) for name in Region._fields[:4])
    score = _share(region, "score")
    if score is None or None in (x, y, width, height) or min(x, y, width - 1, height - 1) < 0:
        raise ValueError(f'"regions" holds {_shown(region)}')
    return Region(x, y, width, height, score)
