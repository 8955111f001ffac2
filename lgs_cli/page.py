"""A run's JSONL report as one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import statistics
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from lgs_cli.errors import LgsError
from lgs_cli.text import counted, printable
from lgs_cli.visualize import heatmap, to_rgb8, upright

MAX_BYTES = 19_000_000

_SIDE, _QUALITY = 192, 75
_BINS = 20
_FIRST_FAILURES, _FAILURES, _SETTINGS = 6, 1000, 10
_STATUSES = ("done", "skipped", "failed")


@dataclass(frozen=True)
class Entry:
    """One image of a run, as its line of the report says.

    Attributes
    ----------
    source, status : str
        The file read; ``"done"``, ``"skipped"`` or ``"failed"``.
    output, mask, error, format, method : str or None
        The files written, why the image failed, its format, the defense.
    width, height : int or None
        In pixels.
    coverage : float or None
        Share of pixels with mask > 0, in [0, 1].
    unchanged : bool
        Whether the output is the input's bytes.
    seconds : float or None
        Time spent on the image.
    params : dict
        The defense's parameters.
    notes : tuple of str
        What the run said about the image besides.
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


@dataclass(frozen=True)
class Run:
    """One run of ``lgs``.

    Attributes
    ----------
    name : str
        The report's file name.
    entries : tuple of Entry
        One an image, in input order.
    commands : tuple of str
        The command line; several where the file was put together from several runs.
    """

    name: str
    entries: tuple[Entry, ...]
    commands: tuple[str, ...] = ()


Thumbnails = Mapping[int, Mapping[str, bytes]]


def read_run(path: Path) -> Run:
    """Read the JSONL that ``lgs clean --report`` writes.

    Parameters
    ----------
    path : Path
        One JSON object an image, one a line.

    Returns
    -------
    Run
        The images in the file's order.

    Raises
    ------
    LgsError
        Where the file cannot be read, or a line is not such an object; names file and line.
    """
    entries: list[Entry] = []
    commands: dict[str, None] = {}
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line.decode().strip(), parse_constant=_refuse_constant)
                    if not isinstance(record, dict):
                        raise ValueError("not an object")
                    entries.append(_entry(record))
                    if isinstance(record.get("command"), str):
                        commands.setdefault(record["command"])
                except (ValueError, RecursionError) as error:
                    reason = str(error)
                    if isinstance(error, json.JSONDecodeError):  # which counts lines of its own
                        reason = f"{error.msg}, column {error.colno}"
                    raise LgsError(f"{path}, line {number}: {reason}") from error
    except OSError as error:
        raise LgsError(f"{path}: {error.strerror}") from error
    return Run(path.name, tuple(entries), tuple(commands))


def thumbnails(run: Run, limit: int = 500) -> dict[int, dict[str, bytes]]:
    """Make small pictures of the images with the highest coverage.

    Parameters
    ----------
    run : Run
        Its paths, where relative, start from the current directory.
    limit : int
        The most images to make pictures of.

    Returns
    -------
    dict
        By the image's place in ``run.entries``, highest coverage first: JPEG bytes by name, of
        ``"original"``, ``"mask"`` (where the run wrote none: ``"difference"`` of original and
        cleaned) and ``"cleaned"``, each at most 192 pixels a side. A file that is missing or
        unreadable has none.
    """
    found = {}
    for index in _by_coverage(run.entries)[:limit]:
        pictures = _pictures(run.entries[index])
        if pictures:
            found[index] = {name: _jpeg(picture) for name, picture in pictures.items()}
    return found


def render(run: Run, thumbnails: Thumbnails) -> str:
    """Write the page.

    Parameters
    ----------
    run : Run
        What :func:`read_run` returns.
    thumbnails : mapping
        What :func:`thumbnails` returns. Those of the lowest coverage are left out where the page
        would exceed 19 MB.

    Returns
    -------
    str
        HTML that refers to nothing outside itself and can be encoded as UTF-8, whatever the
        file names.
    """
    settings: dict[tuple[str, str], int] = {}
    images = [_image_data(entry, settings) for entry in run.entries]
    setting_data = [{"method": method, "params": params} for method, params in settings]
    source = resources.files("lgs_cli")
    script = source.joinpath("page.js").read_text("utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    parts = {
        "title": escape(f"{printable(run.name)} – lgs report"),
        "heading": f"Report of {counted(len(run.entries), 'image')}",
        "subtitle": escape(printable(run.name)),
        "totals": _totals(run.entries),
        "histogram": _histogram([e.coverage for e in run.entries if e.coverage is not None]),
        "parameters": _parameters(run),
        "failures": _failures([entry for entry in run.entries if entry.status == "failed"]),
        "script_hash": "sha256-" + base64.b64encode(digest).decode(),
        "script": script,
    }
    template = source.joinpath("page.html").read_text("utf-8")
    data = {"images": images, "settings": setting_data}
    used = len((template + "".join(parts.values()) + _json(data)).encode())
    shown: dict[int, dict[str, str]] = {}
    for index in _by_coverage(run.entries):
        if index in thumbnails:
            encoded = {n: base64.b64encode(jpeg).decode() for n, jpeg in thumbnails[index].items()}
            used += len(_json({str(index): encoded}))
            if used > MAX_BYTES:
                break
            shown[index] = encoded
    parts["thumbnail_note"] = _thumbnail_note(len(shown), len(run.entries))
    parts["data"] = _json(data | {"thumbnails": shown})
    # One pass: what a part brings is never taken for a place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _entry(record: dict[str, Any]) -> Entry:
    def get(name: str, *types: type, default: Any = None) -> Any:
        value = record.get(name)
        if value is None:
            return default
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ValueError(f"{json.dumps(name)} is {json.dumps(value)[:80]}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{json.dumps(name)} is out of range")
        return value

    source, status = get("source", str), get("status", str)
    if source is None:
        raise ValueError('no "source"')
    if status not in _STATUSES:
        raise ValueError(f'"status" is {json.dumps(status)}; valid is {", ".join(_STATUSES)}')
    coverage = get("coverage", int, float)
    if coverage is not None and not 0 <= coverage <= 1:
        raise ValueError(f'"coverage" is {coverage}; valid is 0 to 1')
    return Entry(
        source,
        status,
        **{name: get(name, str) for name in ("output", "mask", "error", "format", "method")},
        width=get("width", int),
        height=get("height", int),
        coverage=coverage,
        unchanged=get("unchanged", bool, default=False),
        seconds=get("seconds", int, float),
        params=get("params", dict, default={}),
        notes=tuple(str(note) for note in get("notes", list, default=[])),
    )


def _by_coverage(entries: Sequence[Entry]) -> list[int]:
    def key(index: int) -> float:
        coverage = entries[index].coverage
        return 1.0 if coverage is None else -coverage

    return sorted(range(len(entries)), key=key)


def _pictures(entry: Entry) -> dict[str, NDArray[np.uint8]]:
    original, turn = _small(Path(entry.source), None)
    cleaned, _ = _small(Path(entry.output), turn) if entry.output else (None, None)
    # Masks are drawn over pixels as stored, and carry no orientation of their own.
    mask, _ = _small(Path(entry.mask), turn) if entry.mask else (None, None)
    pictures = {"original": original, "mask": mask}
    if mask is None and original is not None and cleaned is not None:
        pictures["difference"] = _difference(original, cleaned)
    pictures["cleaned"] = cleaned
    return {name: picture for name, picture in pictures.items() if picture is not None}


def _small(path: Path, turn: int | None) -> tuple[NDArray[np.uint8] | None, int | None]:
    """Read a picture at thumbnail size, turned as its EXIF orientation says, or else as `turn`."""
    try:
        if not path.is_file():
            return None, turn
        with warnings.catch_warnings():
            # Odd metadata and great size are the run's business, not that of its report.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                turn = image.getexif().get(ExifTags.Base.Orientation, turn)
                image.draft("RGB", (_SIDE, _SIDE))
                picture = _eight_bits(image)
                picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
        # Of all formats, Pillow turns a TIFF as it reads it.
        turned = 1 if image.format == "TIFF" else turn or 1
        return upright(to_rgb8(np.asarray(picture)), turned), turn
    except Exception:
        # Pillow's decoders raise many kinds on broken files; a page without a picture is right.
        return None, turn


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray(to_rgb8(np.asarray(image).clip(0, 65535).astype(np.uint16)))
    if image.mode == "F":
        return Image.fromarray(to_rgb8(np.asarray(image).clip(0, 1)))
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _difference(
    original: NDArray[np.uint8], cleaned: NDArray[np.uint8]
) -> NDArray[np.uint8] | None:
    if original.shape != cleaned.shape:
        return None
    change = np.abs(original.astype(np.float32) - cleaned).max(axis=2)
    # Scaled to the strongest change, but not so far that compression's traces would glow.
    return heatmap(change / np.maximum(change.max(), np.float32(64)))


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _json(value: object) -> str:
    """Serialize for a script element: "<" would let a string end it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _image_data(entry: Entry, settings: dict[tuple[str, str], int]) -> dict[str, Any]:
    def show(text: str | None) -> str | None:
        return None if text is None else printable(text)

    return {
        "source": printable(entry.source),
        "output": show(entry.output),
        "mask": show(entry.mask),
        "status": entry.status,
        "error": show(entry.error),
        "width": entry.width,
        "height": entry.height,
        "format": show(entry.format),
        "coverage": entry.coverage,
        "unchanged": entry.unchanged,
        "seconds": entry.seconds,
        "setting": settings.setdefault(_setting(entry), len(settings)),
        "notes": [printable(note) for note in entry.notes],
    }


def _setting(entry: Entry) -> tuple[str, str]:
    return printable(entry.method or ""), printable(_params_text(entry.params))


def _params_text(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in params.items())


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return f"({_params_text(value)})"
    return value if isinstance(value, str) else json.dumps(value)


def _percent(share: float) -> str:
    return f"{share:.2%}" if 0 < share < 0.1 else f"{share:.1%}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _totals(entries: Sequence[Entry]) -> str:
    statuses = Counter(entry.status for entry in entries)
    unchanged = sum(entry.status == "done" and entry.unchanged for entry in entries)
    coverages = [entry.coverage for entry in entries if entry.coverage is not None]
    times = [entry.seconds for entry in entries if entry.seconds is not None]
    tiles = [
        ("done", f"{statuses['done']:,}"),
        ("unchanged", f"{unchanged:,}"),
        ("skipped", f"{statuses['skipped']:,}"),
        ("failed", f"{statuses['failed']:,}"),
    ]
    if coverages:
        tiles.append(("median coverage", _percent(statistics.median(coverages))))
    if times:
        tiles.append(("total image time", _duration(sum(times))))
        tiles.append(("median image time", _duration(statistics.median(times))))
    alarm = ' class="bad"' if statuses["failed"] else ""
    return "".join(
        f"<div{alarm if name == 'failed' else ''}><dt>{name}</dt><dd>{value}</dd></div>"
        for name, value in tiles
    )


def _histogram(coverages: Sequence[float]) -> str:
    if not coverages:
        return '<p class="soft">No image of this run has a coverage.</p>'
    bins = Counter(min(int(share * _BINS), _BINS - 1) for share in coverages if share > 0)
    width = 100 // _BINS
    bars = [("none", sum(share == 0 for share in coverages))]
    bars += [(f"{low * width}–{(low + 1) * width}%", bins[low]) for low in range(_BINS)]
    top = max(count for _, count in bars)
    step = _tick_step(top)
    ticks = range(0, top + 1, step)
    # Head room for the number above the tallest bar.
    share = 90 / top
    summary = "; ".join(f"{name}: {count:,}" for name, count in bars if count)
    return (
        f'<figure class="histogram" role="img" aria-label="Images by coverage. {summary}">'
        '<div class="ticks axis">'
        f'<span class="room">{ticks[-1]:,}</span>'
        + "".join(f'<span style="bottom:{tick * share:.2f}%">{tick:,}</span>' for tick in ticks)
        + '</div><div class="plot">'
        + "".join(f'<div class="grid" style="bottom:{t * share:.2f}%"></div>' for t in ticks[1:])
        + "".join(_bar(name, count, share) for name, count in bars)
        + '</div><div class="scale axis"><span class="none">none</span><span class="ends">'
        + "".join(f"<span>{mark}%</span>" for mark in (0, 25, 50, 75, 100))
        + '</span></div><figcaption class="caption axis">share of an image\'s pixels that the'
        " defense changed, by number of images</figcaption></figure>"
    )


def _bar(name: str, count: int, share: float) -> str:
    kind = "bar zero" if name == "none" else "bar"
    # A bar has room for four characters; the exact number is in its title.
    short = f"{count}" if count < 1000 else f"{count / 1000:.{1 if count < 9950 else 0}f}k"
    label = f"<span>{short}</span>" if count else ""
    # One image among thousands is still there.
    height = max(count * share, 1) if count else 0
    return (
        f'<div class="{kind}" style="height:{height:.2f}%" title="{name}:'
        f' {counted(count, "image")}">{label}</div>'
    )


def _tick_step(top: int) -> int:
    """Return the least of 1, 2, 5, 10, 20, ... that needs at most four steps to `top`."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power * 4 >= top:
                return digit * power
        power *= 10


def _parameters(run: Run) -> str:
    parts = [f"<pre>{escape(printable(command))}</pre>" for command in run.commands[:_SETTINGS]]
    counts = Counter((entry.method or "", json.dumps(entry.params)) for entry in run.entries)
    for (method, frozen), count in counts.most_common(_SETTINGS):
        if not method:
            continue
        share = "" if len(counts) == 1 else f" – {counted(count, 'image')}"
        parts.append(_facts({"method": method + share} | json.loads(frozen)))
    if len(counts) > _SETTINGS:
        rest = counted(len(counts) - _SETTINGS, "other setting")
        parts.append(f'<p class="soft small">And {rest}.</p>')
    return "".join(parts)


def _facts(facts: Mapping[str, Any]) -> str:
    return (
        '<dl class="facts">'
        + "".join(
            f"<dt>{escape(printable(name.replace('_', ' ')))}</dt>"
            f"<dd>{escape(printable(_text(value)))}</dd>"
            for name, value in facts.items()
        )
        + "</dl>"
    )


def _failures(failed: Sequence[Entry]) -> str:
    if not failed:
        return ""
    first, others = failed[:_FIRST_FAILURES], failed[_FIRST_FAILURES:_FAILURES]
    rest = len(failed) - _FAILURES
    parts = [f"<section><h2>{counted(len(failed), 'failure')}</h2>", _failure_list(first)]
    if others:
        more = (
            f'<p class="soft small">And {rest:,} more, in the list below.</p>' if rest > 0 else ""
        )
        parts.append(
            f"<details><summary>{len(failed) - len(first):,} more</summary>"
            f"{_failure_list(others)}{more}</details>"
        )
    parts.append(
        '<button class="plain" type="button" data-filter="failed" hidden>'
        "Show the failed in the list</button></section>"
    )
    return "".join(parts)


def _failure_list(failed: Sequence[Entry]) -> str:
    lines = (
        f'<li><span class="path">{escape(printable(entry.source))}</span>'
        f'<span class="reason">{escape(printable(entry.error or "no reason given"))}</span></li>'
        for entry in failed
    )
    return f'<ul class="failures">{"".join(lines)}</ul>'


def _thumbnail_note(shown: int, total: int) -> str:
    if not shown:
        return "No pictures: no image file of this run could be read, or none was asked for."
    how = "Point at an image to see original, mask and cleaned; press its name for all about it."
    if shown == total:
        return how
    return (
        f"{how} Pictures are here for {shown:,} of {total:,} images:"
        " those of highest coverage whose files could be read."
    )
