"""A run's report as one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any, NamedTuple

from lgs_cli.report.histogram import histogram
from lgs_cli.report.records import Record
from lgs_cli.report.run import Run, Totals
from lgs_cli.wording import counted, printable

MAX_BYTES = 19_000_000

# What pictures may take even if the list of images has to be cut for it.
_PICTURE_BYTES = 12_000_000
_FIRST_FAILURES, _FAILURES, _FAILURE_BYTES, _SETTINGS = 6, 1000, 1_000_000, 10
# Longer texts are cut: no path is longer.
_LONGEST_TEXT = 4096

Thumbnails = Mapping[str, bytes]


class Page(NamedTuple):
    """A page, and what it holds.

    Attributes
    ----------
    html : str
        Refers to nothing outside itself, and can be encoded as UTF-8, whatever the file names.
    listed : int
        Images in its list.
    pictured : int
        Those of them with pictures.
    """

    html: str
    listed: int
    pictured: int


def render(run: Run, thumbnails: Iterable[tuple[int, Thumbnails]]) -> Page:
    """Write the page.

    Parameters
    ----------
    run : Run
        What :func:`lgs_cli.report.run.read_runs` returns.
    thumbnails : iterable of (int, mapping)
        What :func:`lgs_cli.report.thumbnails.thumbnails` yields. As many are taken as fit.

    Returns
    -------
    Page
        At most 19 MB. Of very many images it lists those with pictures, those that failed, and
        those with the highest score, or else coverage.
    """
    source = resources.files("lgs_cli.report")
    script = source.joinpath("page.js").read_text("utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    parts = {
        "title": escape(f"{_shown(run.name)} – lgs report"),
        "heading": f"Report of {run.totals.description}",
        "subtitle": escape(_shown(run.name)),
        "totals": _totals(run.totals),
        "distributions": _distributions(run.totals),
        "parameters": _parameters(run.totals),
        "failures": _failures(run),
        "script_hash": "sha256-" + base64.b64encode(digest).decode(),
        "script": script,
    }
    template = source.joinpath("page.html").read_text("utf-8")
    # Enough for the notes and for what holds the data together.
    room = MAX_BYTES - len((template + "".join(parts.values())).encode()) - 10_000
    content = _fill(run, thumbnails, room)
    parts["bad_lines"] = _bad_lines(run.bad_lines)
    parts["list_note"] = _list_note(len(content.rows), run.totals)
    parts["thumbnail_note"] = _thumbnail_note(len(content.pictures), len(content.rows), run.totals)
    parts["data"] = content.json()
    # One pass: what a part brings is never taken for a place to fill.
    html = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)
    return Page(html, len(content.rows), len(content.pictures))


class _Content:
    """The data of the page, as JSON: rows and pictures by the place of their record."""

    def __init__(self) -> None:
        self.rows: dict[int, str] = {}
        self.pictures: dict[int, str] = {}
        self.settings: dict[tuple[str, str], int] = {}

    def row(self, record: Record) -> str:
        """Write the row of an image; what is the same for most is left out."""
        setting = _shown(record.method or ""), _shown(_params_text(record.params))
        values: dict[str, Any] = {
            "source": _shown(record.source),
            "status": record.status,
            "output": _shown(record.output),
            "mask": _shown(record.mask),
            "moved": _shown(record.moved_to),
            "error": _shown(record.error),
            "width": record.width,
            "height": record.height,
            "format": _shown(record.format),
            "coverage": _rounded(record.coverage, 8),
            "score": _rounded(record.score, 8),
            "regions": record.regions or None,
            "page": record.page,
            "unchanged": record.unchanged or None,
            "stale": record.stale or None,
            "seconds": _rounded(record.seconds, 4),
            "setting": self.settings.setdefault(setting, len(self.settings)) or None,
            "notes": [_shown(note) for note in record.notes] or None,
        }
        return _json({name: value for name, value in values.items() if value is not None})

    def json(self) -> str:
        """Write everything; a picture is named by the row it belongs to."""
        places = sorted(self.rows)
        rows = ",".join(self.rows[place] for place in places)
        pictures = ",".join(
            f'"{index}":{self.pictures[place]}'
            for index, place in enumerate(places)
            if place in self.pictures
        )
        settings = _json([{"method": method, "params": params} for method, params in self.settings])
        return f'{{"images":[{rows}],"thumbnails":{{{pictures}}},"settings":{settings}}}'


def _fill(run: Run, thumbnails: Iterable[tuple[int, Thumbnails]], room: int) -> _Content:
    """Choose pictures and rows that together fit into so many bytes."""
    content = _Content()
    rows = [content.row(record) for record in run.records]
    sizes = [len(row.encode()) + 1 for row in rows]
    room -= len(_json(list(content.settings)).encode()) + 30 * len(content.settings)
    room_for_pictures = max(room - sum(sizes), min(_PICTURE_BYTES, room))
    for place, jpegs in thumbnails:
        encoded = {name: base64.b64encode(jpeg).decode() for name, jpeg in jpegs.items()}
        picture = _json(encoded)
        # The place in the list takes some bytes too.
        size = len(picture) + 12
        if size > room_for_pictures or size + sizes[place] > room:
            break
        room_for_pictures -= size
        room -= size + sizes[place]
        content.pictures[place] = picture
        content.rows[place] = rows[place]
    for place in _by_importance(run):
        if place not in content.rows and sizes[place] <= room:
            room -= sizes[place]
            content.rows[place] = rows[place]
    return content


def _by_importance(run: Run) -> Iterator[int]:
    """Yield the records' places: some that failed, those of highest interest, the others."""
    failed = [place for place, record in enumerate(run.records) if record.status == "failed"]
    yield from failed[:_FAILURES]
    others = [place for place in run.by_interest() if run.records[place].status != "failed"]
    yield from others
    yield from failed[_FAILURES:]


def _json(value: object) -> str:
    """Serialize for a script element: "<" would let a string end it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _shown(text: str | None) -> Any:
    """Make a text safe to show, and of bounded length."""
    if text is None:
        return None
    return printable(text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…")


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _params_text(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in params.items())


def _text(value: object) -> str:
    return (value or "–") if isinstance(value, str) else json.dumps(value)


def _percent(share: float) -> str:
    return f"{share:.2%}" if 0 < share < 0.1 else f"{share:.1%}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 100:
        return f"{round(seconds / 3600):,} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _totals(totals: Totals) -> str:
    statuses = totals.statuses
    if totals.scored:
        clear = totals.scored - totals.found
        tiles = [("with a patch", f"{totals.found:,}"), ("without", f"{clear:,}")]
    else:
        tiles = [("done", f"{statuses['done']:,}"), ("unchanged", f"{totals.unchanged:,}")]
    if not totals.is_scan:
        tiles.append(("skipped", f"{statuses['skipped']:,}"))
    if statuses["unsupported"]:
        tiles.append(("unsupported", f"{statuses['unsupported']:,}"))
    tiles.append(("failed", f"{statuses['failed']:,}"))
    if totals.coverages:
        tiles.append(("median coverage", _percent(statistics.median(totals.coverages))))
    if totals.seconds:
        tiles.append(("total image time", _duration(sum(totals.seconds))))
        tiles.append(("median time", _duration(statistics.median(totals.seconds))))
    alarm = ' class="bad"' if statuses["failed"] else ""
    return "".join(
        f"<div{alarm if name == 'failed' else ''}><dt>{name}</dt><dd>{value}</dd></div>"
        for name, value in tiles
    )


def _distributions(totals: Totals) -> str:
    parts = []
    if totals.scored:
        bins = len(totals.score_bins)
        names = [f"{step / bins:.2f}–{(step + 1) / bins:.2f}" for step in range(bins)]
        bars = list(zip(names, totals.score_bins, strict=True))
        marks = ("0", "0.25", "0.5", "0.75", "1")
        caption = "how suspicious an image is, by number of images"
        parts.append(f"<h2>Score</h2>{histogram('score', bars, marks, caption)}")
    if not totals.is_scan:
        parts.append(f'<h2 id="coverage">Coverage</h2>{_coverages(totals)}')
    return "".join(f"<div>{part}</div>" for part in parts)


def _coverages(totals: Totals) -> str:
    if not totals.coverages:
        return '<p class="soft">No image of this run has a coverage.</p>'
    width = 100 // len(totals.coverage_bins)
    bars = [("none", len(totals.coverages) - sum(totals.coverage_bins))]
    for step, count in enumerate(totals.coverage_bins):
        bars.append((f"{step * width}–{(step + 1) * width}%", count))
    marks = ("0%", "25%", "50%", "75%", "100%")
    caption = "share of an image's pixels that the defense changed, by number of images"
    return histogram("coverage", bars, marks, caption)


def _parameters(totals: Totals) -> str:
    parts = [f"<pre>{_command(command)}</pre>" for command in totals.commands]
    counts = totals.settings
    shown = 0
    for setting, count in counts.most_common():
        if setting is None or shown == _SETTINGS:
            continue
        shown += 1
        method, params = setting
        if method:
            share = "" if len(counts) == 1 else f" – {counted(count, 'image')}"
            parts.append(_facts({"method": method + share} | json.loads(params)))
    if len(counts) > shown:
        rest = (
            "more other settings"
            if None in counts
            else counted(len(counts) - shown, "other setting")
        )
        parts.append(f'<p class="soft small">And {rest}.</p>')
    return "".join(parts) or '<p class="soft">The report does not say.</p>'


def _command(command: str) -> str:
    """Write a command line, each word in an element of its own."""
    words = _shown(command).split(" ")
    return " ".join(f"<span>{escape(word)}</span>" if word else "" for word in words)


def _facts(facts: Mapping[str, Any]) -> str:
    return (
        '<dl class="facts">'
        + "".join(
            f"<dt>{escape(_shown(name.replace('_', ' ')))}</dt>"
            f"<dd>{escape(_shown(_text(value)))}</dd>"
            for name, value in facts.items()
        )
        + "</dl>"
    )


def _failures(run: Run) -> str:
    count = run.totals.statuses["failed"]
    if not count:
        return ""
    room = _FAILURE_BYTES
    lines: list[str] = []
    for record in run.records:
        if record.status == "failed":
            line = _failure(record)
            room -= len(line.encode())
            if room < 0 or len(lines) == _FAILURES:
                break
            lines.append(line)
    first, others = lines[:_FIRST_FAILURES], lines[_FIRST_FAILURES:]
    parts = [f"<section><h2>{counted(count, 'failure')}</h2>", _failure_list(first)]
    if others:
        rest = count - len(lines)
        more = f'<p class="soft small">And {rest:,} more.</p>' if rest else ""
        parts.append(
            f"<details><summary>{count - len(first):,} more</summary>"
            f"{_failure_list(others)}{more}</details>"
        )
    parts.append(
        '<button class="plain" type="button" data-filter="failed" hidden>'
        "Show the failed in the list</button></section>"
    )
    return "".join(parts)


def _failure(record: Record) -> str:
    return (
        f'<li><span class="path">{escape(_shown(record.source))}</span>'
        f'<span class="reason">{escape(_shown(record.error or "no reason given"))}</span></li>'
    )


def _failure_list(lines: Sequence[str]) -> str:
    return f'<ul class="failures">{"".join(lines)}</ul>'


def _bad_lines(count: int) -> str:
    if not count:
        return ""
    lines = "1 line of the report is" if count == 1 else f"{count:,} lines of the report are"
    record = "the record of an image" if count == 1 else "records of images"
    return f'<p class="reason">{lines} not {record}, and missing here.</p>'


def _list_note(listed: int, totals: Totals) -> str:
    if listed == totals.images:
        return ""
    highest = "score" if totals.scored else "coverage"
    return (
        f'<p class="soft small">The list holds {listed:,} of {totals.images:,} images: some that'
        f" failed, and those of highest {highest}. All are in the report itself.</p>"
    )


def _thumbnail_note(pictured: int, listed: int, totals: Totals) -> str:
    if not pictured:
        return "No pictures: no image file of this run could be read, or none was asked for."
    what = "it larger" if totals.is_scan else "original, mask and cleaned"
    how = f"Point at an image to see {what}; press its name for all about it."
    if pictured == listed:
        return how
    highest = "score" if totals.scored else "coverage"
    return (
        f"{how} Pictures are here for {pictured:,} of {totals.images:,} images:"
        f" those of highest {highest} whose files could be read."
    )
