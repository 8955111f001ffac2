"""How far a command is, for programs and for people."""

from __future__ import annotations

import json

import pytest
from PIL import Image


def events(stderr: str) -> list[dict]:
    return [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]


@pytest.fixture
def many(tmp_path) -> None:
    (tmp_path / "in").mkdir()
    for index in range(12):
        Image.effect_noise((40, 40), index).save(tmp_path / f"in/{index:02}.png")
    (tmp_path / "in/bad.jpg").write_text("no image")


@pytest.mark.parametrize(
    ("words", "total", "unit"),
    [
        (["clean", "in", "-o", "out"], 13, "image"),
        (["scan", "in"], 13, "image"),
        (["compare", "in/00.png", "in/01.png", "-o", "s.png", "--method", "lgs"], 2, "picture"),
    ],
)
def test_lines_of_json(lgs, many, words, total, unit):
    run = lgs(*words, "--progress", "json")
    found = events(run.stderr)
    assert found[0]["done"] == 0 and found[0]["seconds_left"] is None
    assert (found[-1]["done"], found[-1]["total"], found[-1]["seconds_left"]) == (total, total, 0)
    done = [event["done"] for event in found]
    assert done == sorted(done)
    assert {event["unit"] for event in found} == {unit}
    assert {event["event"] for event in found} == {"progress"}
    others = [line for line in run.stderr.splitlines() if not line.startswith("{")]
    assert ("lgs: in/bad.jpg: not an image" in others) == (total == 13)


def test_a_report_has_progress_too(lgs, many):
    lgs("clean", "in", "-o", "out", "--report", "run.jsonl")
    run = lgs("report", "run.jsonl", "-o", "r.html", "--progress", "json")
    assert run.returncode == 0
    last = events(run.stderr)[-1]
    assert (last["done"], last["total"]) == (12, 13)  # of one there is nothing to show


def test_quiet_leaves_the_json(lgs, many):
    run = lgs("clean", "in", "-o", "out", "-q", "--progress", "json")
    others = [line for line in run.stderr.splitlines() if not line.startswith("{")]
    assert others == ["lgs: in/bad.jpg: not an image"]
    assert events(run.stderr)


@pytest.mark.parametrize("form", ["auto", "none"])
def test_no_json_unless_asked_for(lgs, many, form):
    run = lgs("clean", "in", "-o", "out", "--progress", form)
    assert events(run.stderr) == []
    assert "13 images: " in run.stderr
