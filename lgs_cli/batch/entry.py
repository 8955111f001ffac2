"""One line of a manifest: what is recorded of an image, and which lines are believed.

Whoever may write to the output directory may write anything there. A line is used only if each
value is of the right type and in its range, and if its paths stay below their directories.
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

from lgs_cli.defenses.defense import Region
from lgs_cli.wording import printable

# Of what goes into a report: above it, JavaScript rounds.
_LARGEST = 2**53


class MaskEntry(NamedTuple):
    """What is recorded of a mask.

    Attributes
    ----------
    style : str
        The ``--mask-style``.
    size : int
        In bytes.
    mtime_ns : int or None
        When it was written; None in lines of version 0.1.0.
    """

    style: str
    size: int
    mtime_ns: int | None = None


class Entry(NamedTuple):
    """What is recorded of an image.

    Attributes
    ----------
    output : str
        The output's path below the output directory.
    settings : str
        A digest of all that decides what the output looks like, given its source.
    source : str or None
        The absolute path of the source; None in lines of version 0.1.0.
    source_size, source_mtime_ns : int or None
        By which a later run knows that the source has not changed.
    output_size, output_mtime_ns : int or None
        By which a later run knows that the output is what was written.
    mask : MaskEntry or None
        The same of the mask.
    error : str or None
        Why the source cannot be cleaned, if that is what is known of it.
    stale : bool
        Whether there is an output, but of an earlier state of the source.
    removed : bool
        Whether the output was removed because the source was gone.
    width, height, format, coverage, score, regions, page, unchanged, notes
        As in :class:`~lgs_cli.batch.job.Result`.
    """

    output: str
    settings: str = ""
    source: str | None = None
    source_size: int | None = None
    source_mtime_ns: int | None = None
    output_size: int | None = None
    output_mtime_ns: int | None = None
    mask: MaskEntry | None = None
    error: str | None = None
    stale: bool = False
    removed: bool = False
    width: int | None = None
    height: int | None = None
    format: str | None = None
    coverage: float | None = None
    score: float | None = None
    regions: tuple[Region, ...] = ()
    page: int | None = None
    unchanged: bool = False
    notes: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether the output is what the source gave."""
        return self.error is None and not self.stale and not self.removed

    @property
    def state(self) -> tuple[object, ...] | None:
        """What is still the same if nothing has changed; None if the output is not that."""
        if not self.is_done:
            return None
        return self.settings, self.source_size, self.source_mtime_ns, self.output_size

    def line(self) -> bytes:
        """Write it as JSON on a line of its own, ASCII only; what is not there is left out."""
        values = self._asdict().items()
        said = {key: value for key, value in values if key in _NEEDED or value != _DEFAULTS[key]}
        return json.dumps(said).encode() + b"\n"

    def of_result(self) -> dict[str, Any]:
        """Give what a report says of the image."""
        return dict(zip(OF_RESULT, self[-len(OF_RESULT) :], strict=True))


# What a report says of an image that is up to date.
OF_RESULT = Entry._fields[Entry._fields.index("width") :]


def read(line: bytes) -> Entry | None:
    """Read a line; None if it is not one that :meth:`Entry.line` wrote."""
    try:
        text = line.decode()
        values, end = _decode(text)
        if text[end:] != "\n":
            return None
        if not values.keys() >= _NEEDED:
            return None
        if not values.keys() <= _DEFAULTS.keys():  # a line of another version
            values = {key: value for key, value in values.items() if key in _DEFAULTS}
        return _checked(*(_DEFAULTS | values).values())
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


# NaN and infinities are refused as being out of range.
_decode = json.JSONDecoder().raw_decode
_DEFAULTS = Entry("")._asdict()
# What all versions write.
_NEEDED = {"output", "settings", "source_size", "source_mtime_ns", "output_size"}


def _checked(*values: Any) -> Entry:
    """Make an entry of its values; ValueError or TypeError if they make none."""
    entry: Any = Entry(*values)
    kinds = tuple(map(type, entry))
    if kinds not in _known_kinds:
        for name, kind in zip(Entry._fields, kinds, strict=True):
            if kind not in _KINDS[name]:
                raise TypeError(name)
        _known_kinds.add(kinds)
    if entry.mask is not None:
        entry = entry._replace(mask=_mask(*entry.mask))
    if entry.regions != () or entry.notes != ():  # lists, as JSON has them
        entry = entry._replace(
            regions=tuple(_region(*region) for region in entry.regions),
            notes=tuple(printable(_text(note)) for note in entry.notes),
        )
    _require_path(entry.output)
    if entry.source is not None:
        _require_plain(entry.source)
    for share in (entry.coverage, entry.score):
        if share is not None and not 0 <= share <= 1:
            raise ValueError(share)
    for number in (entry.width, entry.height, entry.page):
        if number is not None and not 1 <= number <= _LARGEST:
            raise ValueError(number)
    checked: Entry = entry
    return checked


_NONE = type(None)
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(Entry._fields, (int, _NONE)),
    **dict.fromkeys(("output", "settings"), (str,)),
    **dict.fromkeys(("source", "error", "format"), (str, _NONE)),
    **dict.fromkeys(("stale", "removed", "unchanged"), (bool,)),
    **dict.fromkeys(("coverage", "score"), (int, float, _NONE)),
    **dict.fromkeys(("regions", "notes"), (list, tuple)),
    "mask": (list, _NONE),
}
# Nearly all lines have the same.
_known_kinds: set[tuple[type, ...]] = set()


def _require_path(path: str) -> None:
    """Refuse a path that leads out of its directory, or is not written in the plain way."""
    _require_plain(path)
    if path[:1] in ("", "/") or path[-1] == "/":
        raise ValueError(path)
    suspicious = "//" in path or "/." in path or path[0] == "."
    if suspicious and (path != os.path.normpath(path) or path in (".", "..") or path[:3] == "../"):
        raise ValueError(path)


def _require_plain(path: str) -> None:
    if "\0" in path:
        raise ValueError(path)
    if not path.isascii():
        os.fsencode(path)  # a ValueError if it is no path


def _mask(style: Any, size: Any, mtime_ns: Any = None) -> MaskEntry:
    return MaskEntry(_text(style), _whole(size), None if mtime_ns is None else _whole(mtime_ns))


def _region(x: Any, y: Any, width: Any, height: Any, score: Any) -> Region:
    for number, least in ((x, 0), (y, 0), (width, 1), (height, 1)):
        if not least <= _whole(number) <= _LARGEST:
            raise ValueError(number)
    if type(score) not in (int, float) or not 0 <= score <= 1:
        raise ValueError(score)
    return Region(x, y, width, height, score)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(value)
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(value)
    return value
