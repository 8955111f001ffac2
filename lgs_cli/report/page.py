"""A run's JSONL report as one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from lgs_cli.report.records import Entry, Run, by_interest, read_run
from lgs_cli.report.thumbnails import thumbnails
from lgs_cli.wording import counted, printable

__all__ = ["MAX_BYTES", "Entry", "Run", "Thumbnails", "read_run", "render", "thumbnails"]

MAX_BYTES = 19_000_000

_BINS = 20
_FIRST_FAILURES, _FAILURES, _SETTINGS = 6, 1000, 10

Thumbnails = Mapping[int, Mapping[str, bytes]]


def render(run: Run, thumbnails: Thumbnails) -> str:
    """Write the page.

    Parameters
    ----------
    run : Run
        What :func:`read_run` returns.
    thumbnails : mapping
        What :func:`thumbnails` returns. Those of the lowest score, or else coverage, are left
        out where the page would exceed 19 MB.

    Returns
    -------
    str
        HTML that refers to nothing outside itself and can be encoded as UTF-8, whatever the
        file names.
    """
    settings: dict[tuple[str, str], int] = {}
    images = [_image_data(entry, settings) for entry in run.entries]
    setting_data = [{"method": method, "params": params} for method, params in settings]
    source = resources.files("lgs_cli.report")
    script = source.joinpath("page.js").read_text("utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    parts = {
        "title": escape(f"{printable(run.name)} – lgs report"),
        "heading": f"Report of {counted(len(run.entries), 'image')}",
        "subtitle": escape(printable(run.name)),
        "totals": _totals(run.entries),
        "distributions": _distributions(run.entries),
        "parameters": _parameters(run),
        "failures": _failures([entry for entry in run.entries if entry.status == "failed"]),
        "script_hash": "sha256-" + base64.b64encode(digest).decode(),
        "script": script,
    }
    template = source.joinpath("page.html").read_text("utf-8")
    data = {"images": images, "settings": setting_data}
    used = len((template + "".join(parts.values()) + _json(data)).encode())
    shown: dict[int, dict[str, str]] = {}
    for index in by_interest(run.entries):
        if index in thumbnails:
            encoded = {n: base64.b64encode(jpeg).decode() for n, jpeg in thumbnails[index].items()}
            used += len(_json({str(index): encoded}))
            if used > MAX_BYTES:
                break
            shown[index] = encoded
    parts["thumbnail_note"] = _thumbnail_note(len(shown), run.entries)
    parts["data"] = _json(data | {"thumbnails": shown})
    # One pass: what a part brings is never taken for a place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _json(value: object) -> str:
    """Serialize for a script element: "<" would let a string end it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _image_data(entry: Entry, settings: dict[tuple[str, str], int]) -> dict[str, Any]:
    def show(text: str | None) -> str | None:
        return None if text is None else printable(text)

    looked_at: dict[str, Any] = {}
    if entry.score is not None:
        looked_at = {"score": entry.score, "regions": entry.regions}
    if entry.moved_to is not None:
        looked_at["moved"] = printable(entry.moved_to)
    return looked_at | {
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
    return (value or "–") if isinstance(value, str) else json.dumps(value)


def _percent(share: float) -> str:
    return f"{share:.2%}" if 0 < share < 0.1 else f"{share:.1%}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _is_scan(entries: Sequence[Entry]) -> bool:
    """Say whether nothing was done to these images but to look at them."""
    return any(entry.score is not None for entry in entries) and not any(
        entry.output is not None or entry.coverage is not None for entry in entries
    )


def _totals(entries: Sequence[Entry]) -> str:
    statuses = Counter(entry.status for entry in entries)
    unchanged = sum(entry.status == "done" and entry.unchanged for entry in entries)
    coverages = [entry.coverage for entry in entries if entry.coverage is not None]
    times = [entry.seconds for entry in entries if entry.seconds is not None]
    scored = sum(entry.score is not None for entry in entries)
    found = sum(bool(entry.regions) for entry in entries)
    if scored:
        tiles = [("with a patch", f"{found:,}"), ("without", f"{scored - found:,}")]
    else:
        tiles = [("done", f"{statuses['done']:,}"), ("unchanged", f"{unchanged:,}")]
    if not _is_scan(entries):
        tiles.append(("skipped", f"{statuses['skipped']:,}"))
    tiles.append(("failed", f"{statuses['failed']:,}"))
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


def _distributions(entries: Sequence[Entry]) -> str:
    scores = [entry.score for entry in entries if entry.score is not None]
    parts = []
    if scores:
        counts = Counter(min(int(score * _BINS), _BINS - 1) for score in scores)
        bars = [(f"{n / _BINS:.2f}–{(n + 1) / _BINS:.2f}", counts[n]) for n in range(_BINS)]
        marks = ("0", "0.25", "0.5", "0.75", "1")
        caption = "how suspicious an image is, by number of images"
        parts.append(f"<h2>Score</h2>{_histogram('score', bars, marks, caption)}")
    if not _is_scan(entries):
        coverages = [entry.coverage for entry in entries if entry.coverage is not None]
        parts.append(f'<h2 id="coverage">Coverage</h2>{_coverage_histogram(coverages)}')
    return "".join(f"<div>{part}</div>" for part in parts)


def _coverage_histogram(coverages: Sequence[float]) -> str:
    if not coverages:
        return '<p class="soft">No image of this run has a coverage.</p>'
    bins = Counter(min(int(share * _BINS), _BINS - 1) for share in coverages if share > 0)
    width = 100 // _BINS
    bars = [("none", sum(share == 0 for share in coverages))]
    bars += [(f"{low * width}–{(low + 1) * width}%", bins[low]) for low in range(_BINS)]
    marks = ("0%", "25%", "50%", "75%", "100%")
    caption = "share of an image's pixels that the defense changed, by number of images"
    return _histogram("coverage", bars, marks, caption)


def _histogram(
    what: str, bars: Sequence[tuple[str, int]], marks: Sequence[str], caption: str
) -> str:
    top = max(count for _, count in bars)
    step = _tick_step(top)
    ticks = range(0, top + 1, step)
    # Head room for the number above the tallest bar.
    share = 90 / top
    summary = "; ".join(f"{name}: {count:,}" for name, count in bars if count)
    none = '<span class="none">none</span>' if bars[0][0] == "none" else ""
    return (
        f'<figure class="histogram" role="img" aria-label="Images by {what}. {summary}">'
        '<div class="ticks axis">'
        f'<span class="room">{ticks[-1]:,}</span>'
        + "".join(f'<span style="bottom:{tick * share:.2f}%">{tick:,}</span>' for tick in ticks)
        + '</div><div class="plot">'
        + "".join(f'<div class="grid" style="bottom:{t * share:.2f}%"></div>' for t in ticks[1:])
        + "".join(_bar(name, count, share) for name, count in bars)
        + f'</div><div class="scale axis">{none}<span class="ends">'
        + "".join(f"<span>{mark}</span>" for mark in marks)
        + f'</span></div><figcaption class="caption axis">{caption}</figcaption></figure>'
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
    return "".join(parts) or '<p class="soft">The report does not say.</p>'


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


def _thumbnail_note(shown: int, entries: Sequence[Entry]) -> str:
    if not shown:
        return "No pictures: no image file of this run could be read, or none was asked for."
    what = "it larger" if _is_scan(entries) else "original, mask and cleaned"
    how = f"Point at an image to see {what}; press its name for all about it."
    if shown == len(entries):
        return how
    highest = "score" if any(entry.score is not None for entry in entries) else "coverage"
    return (
        f"{how} Pictures are here for {shown:,} of {len(entries):,} images:"
        f" those of highest {highest} whose files could be read."
    )
