from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from runs import a_run, jpeg_of, record

from lgs_cli.defenses.defense import Region
from lgs_cli.report import page
from lgs_cli.report.page import render
from lgs_cli.report.records import Record
from lgs_cli.report.run import Run, collect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

HOSTILE = [
    "</script><script>window.broken = 1</script>.png",
    '"><img src=x onerror="window.broken = 1">.png',
    "<!-- <script> -->.png",
    "{{data}} {{script}} $& \\1 \\u003c.png",
    "' onmouseover='window.broken = 1.png",
    "caf\udce9.png",
    "\ud800.png",
    "line\nfeed\x00\u2028.png",
    "\u202egnp.exe",
    "日本 é 🦜 & &amp;.png",
]


def html_of(run: Run, pictures: dict[int, dict[str, bytes]] | None = None) -> str:
    return render(run, (pictures or {}).items()).html


def small_run() -> Run:
    return a_run(
        record("in/b10.jpg", 0.25, seconds=0.3),
        record("in/b9.jpg", 0.0, unchanged=True, seconds=0.1),
        record("in/a.png", 0.75, seconds=0.2, notes=("palette became RGB",)),
        record("in/bad.jpg", None, status="failed", error="truncated file", seconds=None),
        record("in/old.jpg", None, status="skipped", seconds=0.0),
        command="lgs clean in -o 'it<s> out'",
    )


def a_scan() -> Run:
    """What a scan knows: nothing of outputs, coverages, times and methods."""
    regions = (Region(4, 6, 10, 12, 0.9), Region(0, 0, 5, 5, 0.7))
    size = {"width": 40, "height": 30}
    records = (
        Record("in/a.png", "done", score=0.0351, **size),
        Record("in/b.png", "done", score=0.9, regions=regions, moved_to="q/b.png", **size),
        Record("in/c.png", "failed", error="truncated"),
        Record("in/d.png", "done", score=0.4999, **size),
    )
    return collect("scan.jsonl", [(record, None) for record in records])


# Chromium


def browse(html: str, script: str | None = None) -> tuple[str, list[str]]:
    """Open a page, run a script after its own, and return the DOM and the console's lines."""
    if script is not None:
        html = re.sub("script-src '[^']*'", "script-src 'unsafe-inline'", html)
        html += f"<script>{script}</script>"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder, "page.html")
        file.write_text(html, "utf-8")
        done = subprocess.run(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
                *("--no-first-run", "--disable-background-networking", "--disable-sync"),
                *("--disable-component-update", "--enable-logging=stderr", "--dump-dom"),
                *(f"--user-data-dir={folder}/profile", "--virtual-time-budget=5000"),
                *("--window-size=1200,900", file.as_uri()),
            ],
            capture_output=True,
            timeout=120,
            check=True,
        )
    console = [line for line in done.stderr.decode().splitlines() if "CONSOLE" in line]
    return done.stdout.decode(), console


def evaluate(html: str, body: str) -> object:
    """Run the body of a function in the page and return what it returns."""
    dom, console = browse(
        html,
        f"""
        const $ = (selector) => document.querySelector(selector);
        const $$ = (selector) => [...document.querySelectorAll(selector)];
        const names = () => $$(".row .name button").map((button) => button.textContent);
        const count = () => $("#count").textContent;
        const type = (text) => {{ $("#search").value = text; $("#search").dispatchEvent(new Event("input")); }};
        const choose = (value) => {{ $("#filter").value = value; $("#filter").dispatchEvent(new Event("change")); }};
        const sortBy = (key) => $(`th[data-key=${{key}}] button`).click();
        const result = (() => {{ {body} }})();
        document.body.textContent = "";
        const box = document.createElement("pre");
        box.id = "result";
        box.textContent = encodeURIComponent(JSON.stringify(result));
        document.body.append(box);
        """,  # noqa: E501
    )
    assert console == []
    found = re.search('<pre id="result">(.*?)</pre>', dom)
    assert found, dom[-2000:]
    return json.loads(unquote(found[1]))


@needs_chromium
def test_opens_without_a_word_on_the_console_and_refuses_foreign_scripts():
    html = html_of(small_run())
    dom, console = browse(html)
    assert console == []
    assert "5 of 5 shown" in dom
    # The policy is in force, and the console is really watched.
    dom, console = browse(html.replace("</body>", "<script>document.title = 'x'</script></body>"))
    assert len(console) == 1
    assert "Content Security Policy" in console[0]
    assert "<title>x</title>" not in dom


@needs_chromium
def test_sorts_by_every_column_with_missing_values_last_and_says_so():
    result = evaluate(
        html_of(small_run()),
        """
        const seen = {};
        const note = (label) => seen[label] = [names(), $$("th[data-key]").map((th) => th.getAttribute("aria-sort"))];
        note("start");
        for (const key of ["coverage", "name", "status", "seconds"])
          for (const turn of [1, 2]) { sortBy(key); note(key + turn); }
        return seen;
        """,  # noqa: E501
    )
    up, down, off = "ascending", "descending", "none"
    by_coverage = ["a.png", "b10.jpg", "b9.jpg", "bad.jpg", "old.jpg"]
    # A click on the column that is sorted already turns it round.
    assert result == {
        "start": [by_coverage, [off, down, off, off]],
        "coverage1": [["b9.jpg", "b10.jpg", "a.png", "bad.jpg", "old.jpg"], [off, up, off, off]],
        "coverage2": [by_coverage, [off, down, off, off]],
        "name1": [["a.png", "b9.jpg", "b10.jpg", "bad.jpg", "old.jpg"], [up, off, off, off]],
        "name2": [["old.jpg", "bad.jpg", "b10.jpg", "b9.jpg", "a.png"], [down, off, off, off]],
        "status1": [["bad.jpg", "old.jpg", "b10.jpg", "b9.jpg", "a.png"], [off, off, up, off]],
        "status2": [["b10.jpg", "b9.jpg", "a.png", "old.jpg", "bad.jpg"], [off, off, down, off]],
        "seconds1": [["b10.jpg", "a.png", "b9.jpg", "old.jpg", "bad.jpg"], [off, off, off, down]],
        "seconds2": [["old.jpg", "b9.jpg", "a.png", "b10.jpg", "bad.jpg"], [off, off, off, up]],
    }


@needs_chromium
def test_filters_and_searches_with_the_count_in_a_live_region():
    result = evaluate(
        html_of(small_run()),
        """
        const seen = {};
        const note = (label) => seen[label] = [count(), names()];
        for (const kind of ["done", "changed", "unchanged", "skipped", "failed", "all"]) {
          choose(kind);
          note(kind);
        }
        type("B1"); note("B1");
        type("TRUNCATED"); note("error");
        type("palette  rgb"); note("two words of a note");
        type("nothing like it"); note("nothing");
        type(""); choose("done"); type("/B"); note("both");
        $("[data-filter]").click(); note("failures button");
        seen.live = [$("#count").getAttribute("aria-live"), $("#filter").value];
        return seen;
        """,
    )
    assert result == {
        "done": ["3 of 5 shown", ["a.png", "b10.jpg", "b9.jpg"]],
        "changed": ["2 of 5 shown", ["a.png", "b10.jpg"]],
        "unchanged": ["1 of 5 shown", ["b9.jpg"]],
        "skipped": ["1 of 5 shown", ["old.jpg"]],
        "failed": ["1 of 5 shown", ["bad.jpg"]],
        "all": ["5 of 5 shown", ["a.png", "b10.jpg", "b9.jpg", "bad.jpg", "old.jpg"]],
        "B1": ["1 of 5 shown", ["b10.jpg"]],
        "error": ["1 of 5 shown", ["bad.jpg"]],
        "two words of a note": ["1 of 5 shown", ["a.png"]],
        "nothing": ["0 of 5 shown", []],
        "both": ["2 of 5 shown", ["b10.jpg", "b9.jpg"]],
        "failures button": ["1 of 5 shown", ["bad.jpg"]],
        "live": ["polite", "failed"],
    }


@needs_chromium
def test_a_scan_is_sorted_by_score_and_shows_nothing_it_cannot_know():
    result = evaluate(
        html_of(a_scan()),
        """
        const seen = { names: names() };
        seen.columns = $$("th[data-key]").map((th) => [th.dataset.key, th.getAttribute("aria-sort")]);
        seen.cells = $$(".row").map((row) => [...row.cells].slice(2).map((td) => td.textContent));
        seen.filters = $$("#filter option").map((option) => option.value);
        choose("found"); seen.found = names();
        choose("clear"); seen.clear = names();
        choose("all");
        sortBy("score"); seen.ascending = names();
        sortBy("score"); $(".row button").click();
        seen.facts = $$(".more dt, .more dd").map((element) => element.textContent);
        seen.width = $(".more td").colSpan;
        return seen;
        """,  # noqa: E501
    )
    assert result == {
        "names": ["b.png", "d.png", "a.png", "c.png"],
        "columns": [["name", "none"], ["score", "descending"], ["status", "none"]],
        "cells": [
            ["2 regions0.90", "patch found"], ["0.49", "nothing found"], ["0.03", "nothing found"],
            ["–", "failed"],
        ],
        "filters": ["all", "found", "clear", "done", "failed"],
        "found": ["b.png"],
        "clear": ["d.png", "a.png"],
        "ascending": ["a.png", "d.png", "b.png", "c.png"],
        "facts": [
            "Source", "in/b.png", "Moved to", "q/b.png", "Size", "40 × 30 pixels",
            "Region", "10 × 12 pixels at 4, 6 (0.90)", "Region", "5 × 5 pixels at 0, 0 (0.70)",
        ],
        "width": 4,
    }  # fmt: skip


@needs_chromium
def test_a_run_of_localize_shows_score_and_coverage():
    run = a_run(
        record("a.png", 0.0, unchanged=True, score=0.2),
        record("b.png", 0.03, score=0.8, regions=(Region(0, 0, 9, 9, 0.8),)),
    )
    result = evaluate(
        html_of(run),
        """
        return [
          $$("th[data-key]").map((th) => th.dataset.key),
          $$(".row").map((row) => [...row.cells].slice(2).map((td) => td.textContent)),
          $$("#filter option").length,
        ];
        """,
    )
    assert result == [
        ["name", "score", "coverage", "status", "seconds"],
        [["1 region0.80", "3.00%", "done", "0.10 s"], ["0.20", "0.0%", "unchanged", "0.10 s"]],
        8,
    ]


@needs_chromium
def test_hostile_names_show_as_text_everywhere_and_run_nothing():
    run = a_run(
        *(
            record(name, None, status="failed", error=name, output=name, mask=name, notes=(name,))
            for name in HOSTILE
        ),
        command=" ".join(["lgs", *HOSTILE]),
        name=HOSTILE[1],
    )
    html = html_of(run)
    html.encode()  # strict: no lone surrogate

    result = evaluate(
        html,
        """
        for (const button of $$(".row button")) button.click();
        return {
          broken: window.broken ?? null,
          images: $$("img").length,
          handlers: $$("[onerror], [onmouseover]").length,
          sources: images_of(".more .path"),
          failures: images_of(".failures .path"),
          title: document.title,
        };
        function images_of(selector) { return $$(selector).map((element) => element.textContent); }
        """,
    )
    shown = [
        *HOSTILE[:5],
        r"caf\xe9.png",
        r"\ud800.png",
        r"line\nfeed\x00\u2028.png",
        r"\u202egnp.exe",
        HOSTILE[9],
    ]
    assert result["broken"] is None
    assert result["images"] == result["handlers"] == 0
    assert result["failures"] == shown
    # Source, output and mask of every image.
    assert result["sources"] == [name for name in shown for _ in range(3)]
    assert result["title"] == f"{HOSTILE[1]} – lgs report"


@needs_chromium
def test_pictures_show_on_hover_and_focus_and_stay_on_click():
    jpegs = {name: jpeg_of((200, 0, 0)) for name in ("original", "mask", "cleaned")}
    result = evaluate(
        html_of(small_run(), {2: jpegs}),
        """
        const [first, second] = $$(".row");
        const over = (row) => row.dispatchEvent(
          new PointerEvent("pointerover", { pointerType: "mouse", bubbles: true }));
        const captions = (at) => $$(`${at} figcaption`).map((caption) => caption.textContent);
        const seen = { thumbnails: $$(".pic img").length, before: $("#peek").hidden };
        first.scrollIntoView({ block: "center" });
        over(first);
        seen.hover = [$("#peek").hidden, captions("#peek")];
        const box = $("#peek").getBoundingClientRect();
        seen.inside = box.left >= 0 && box.top >= 0 && box.right <= innerWidth && box.bottom <= innerHeight;
        over(second);
        seen.without = $("#peek").hidden;
        over(first);
        document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
        seen.escape = $("#peek").hidden;
        const button = first.querySelector("button");
        button.focus({ focusVisible: true });
        seen.focus = $("#peek").hidden;
        button.click();
        seen.open = [button.getAttribute("aria-expanded"), captions(".more"), $("#peek").hidden];
        seen.alt = $$(".more img").map((image) => image.alt);
        seen.sources = $$(".more img").map((image) => image.src);
        seen.notes = $(".more dl").textContent.includes("palette became RGB");
        button.click();
        seen.closed = [button.getAttribute("aria-expanded"), $$(".more").length];
        return seen;
        """,  # noqa: E501
    )
    captions = ["Original", "Mask", "Cleaned"]
    sources = result.pop("sources")
    assert result == {
        "thumbnails": 1,
        "before": True,
        "hover": [False, captions],
        "inside": True,
        "without": True,
        "escape": True,
        "focus": False,
        "open": ["true", captions, True],
        "alt": [f"{caption} of a.png" for caption in captions],
        "notes": True,
        "closed": ["false", 0],
    }
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)


@needs_chromium
def test_ten_thousand_images_stay_under_20_mb_and_are_listed_in_steps():
    rng = np.random.default_rng(3)
    coverages = rng.permutation(10_000) / 10_000
    records = [
        record(f"folder/image_{number:05}.jpg", float(coverage), output=f"out/{number:05}.jpg")
        for number, coverage in enumerate(coverages)
    ]
    noise = rng.integers(0, 256, (192, 192, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=75)
    heavy = dict.fromkeys(("original", "mask", "cleaned"), buffer.getvalue())
    run = a_run(*records)
    html = html_of(run, dict.fromkeys(run.by_interest(), heavy))
    assert 15_000_000 < len(html.encode()) < 20_000_000

    result = evaluate(
        html,
        """
        const seen = { count: count(), rows: $$(".row").length, first: names().slice(0, 3) };
        seen.pictures = $$(".row img").length;
        $("#more").click();
        seen.more = [$$(".row").length, $("#more").textContent];
        sortBy("coverage");
        seen.last = names()[0];
        seen.lastPicture = $$(".row:first-child img").length;
        type("image_0123");
        seen.found = [count(), $$(".row").length, $("#more").hidden];
        seen.note = $("#images + p").textContent;
        return seen;
        """,
    )
    best = np.argsort(-coverages)
    assert result["count"] == "10,000 of 10,000 shown"
    assert result["first"] == [f"image_{number:05}.jpg" for number in best[:3]]
    assert result["pictures"] == result["rows"] < 1000
    assert result["more"][0] == result["rows"] + 100
    assert result["more"][1].startswith("Show 100 more of 9,")
    assert result["last"] == f"image_{best[-1]:05}.jpg"
    assert result["lastPicture"] == 0
    assert result["found"] == ["10 of 10,000 shown", 10, True]
    shown = re.search(r"Pictures are here for (\d+) of 10,000 images", result["note"])
    assert shown
    assert result["rows"] < int(shown[1]) < 1000


# The page as text


class Parsed(HTMLParser):
    """Collects what a page refers to and what it says."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] not in ("script", "style"):
            self.text += data + " "


def words(html: str) -> str:
    return " ".join(Parsed(html).text.split())


def test_refers_to_nothing_outside_itself():
    html = html_of(small_run())
    assert Parsed(html).references == ["data:,"]
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest", html)


def test_totals_parameters_failures_and_command_line():
    text = words(html_of(small_run()))
    assert "Report of 5 images" in text
    assert "run.jsonl" in text
    for tile in ("done 3", "unchanged 1", "skipped 1", "failed 1", "median coverage 25.0%"):
        assert tile in text
    # 0.3 + 0.1 + 0.2 + 0, and the median of 0, 0.1, 0.2, 0.3.
    assert "total image time 0.60 s median time 0.15 s" in text
    assert "method lgs smoothing 2.3 threshold 0.1 block size 15 overlap 5" in text
    assert "lgs clean in -o 'it<s> out'" in text
    assert "1 failure in/bad.jpg truncated file" in text


def test_a_scan_in_words():
    html = html_of(a_scan())
    text = words(html)
    assert "1 with a patch 2 without 1 failed" in " ".join(
        f"{value} {name}"
        for name, value in re.findall(r"<div[^>]*><dt>([^<]*)</dt><dd>([^<]*)</dd></div>", html)
    )
    assert "Images by score. 0.00–0.05: 1; 0.45–0.50: 1; 0.90–0.95: 1" in html
    assert "Coverage" not in text.replace("Coverage Status", "")
    assert "The report does not say." in text


def test_a_run_with_several_settings_names_each_with_its_count():
    other = {"quality": 30}
    run = a_run(record("a"), record("b"), record("c", method="jpeg", params=other))
    text = words(html_of(run))
    assert "method lgs – 2 images" in text
    assert "method jpeg – 1 image quality 30" in text


def test_many_failures_are_all_told_of():
    run = a_run(*(record(f"{n}.jpg", None, status="failed", error=f"E{n}!") for n in range(1100)))
    text = words(html_of(run))
    assert "1,100 failures" in text
    assert "1,094 more" in text
    assert "E999!" in text
    assert "E1000!" not in text
    assert "And 100 more." in text


def test_histogram_counts_every_image_once():
    coverages = [0, 0, 1e-9, 0.049, 0.05, 0.149, 0.15, 0.55, 0.999, 1, 1, None]
    run = a_run(*(record(f"{n}", coverage) for n, coverage in enumerate(coverages)))
    label = re.search('aria-label="Images by coverage. ([^"]*)"', html_of(run))[1]
    assert label == "none: 2; 0–5%: 2; 5–10%: 1; 10–15%: 1; 15–20%: 1; 55–60%: 1; 95–100%: 3"


@pytest.mark.parametrize(
    ("count", "ticks"),
    [(1, ["0", "1"]), (4, list("01234")), (49, ["0", "20", "40"]),
     (4100, ["0", "2,000", "4,000"])],
)  # fmt: skip
def test_histogram_axis_has_round_ticks(count, ticks):
    html = html_of(a_run(*[record("x", 0.5)] * count))
    axis = html[html.index('<div class="ticks') : html.index('<div class="plot')]
    assert re.findall('<span style="bottom:[0-9.]+%">([0-9,]+)</span>', axis) == ticks


@pytest.mark.parametrize(
    ("count", "short"),
    [(999, "999"), (1000, "1.0k"), (9949, "9.9k"), (9950, "10k"), (10**4, "10k")],
)
def test_the_number_on_a_bar_is_short_and_exact_in_its_title(count, short):
    html = html_of(a_run(*[record("x", 0.5)] * count))
    assert f'title="50–55%: {count:,} images"><span>{short}</span>' in html


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(59.96, "60.0 s"), (185, "3 min 5 s"), (7500, "2 h 5 min"), (500_000, "139 h")],
)
def test_the_total_time_is_in_units_for_people(seconds, shown):
    assert f"<dt>total image time</dt><dd>{shown}</dd>" in html_of(
        a_run(record("a", seconds=seconds))
    )


def test_what_was_not_tried_is_counted():
    run = a_run(record("a"), record("README", None, status="unsupported", error="another kind"))
    assert "unsupported 1" in words(html_of(run))


@needs_chromium
def test_what_was_not_tried_can_be_filtered_and_an_old_output_is_named():
    run = a_run(
        record("a"),
        record("README", None, status="unsupported", error="another kind"),
        record("bad.png", None, status="failed", error="truncated", stale=True),
    )
    result = evaluate(
        html_of(run),
        """
        const offered = $$("#filter option").map((option) => option.value);
        choose("unsupported");
        const shown = names();
        choose("failed");
        $(".row button").click();
        return [offered.includes("unsupported"), shown, $(".more").textContent];
        """,
    )
    assert result[:2] == [True, ["README"]]
    assert "Outputof an earlier run, still there" in result[2]


def test_a_run_without_images_still_makes_a_page():
    text = words(html_of(a_run()))
    assert "Report of 0 images" in text
    assert "No image of this run has a coverage" in text


def test_the_template_and_the_script_fit_together():
    template = (Path(page.__file__).parent / "page.html").read_text("utf-8")
    script = (Path(page.__file__).parent / "page.js").read_text("utf-8")
    ids = set(re.findall(r'\bid="([^"]+)"', template))
    assert set(re.findall(r'(?:byId|getElementById)\("([^"]+)"\)', script)) <= ids
    assert "</script" not in script
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)
