"""``lgs report`` as a shell runs it."""

from __future__ import annotations

import json
import re

from detectors import write_magenta
from pictures import attacked
from PIL import Image

GOOD = {"source": "a.png", "status": "done", "coverage": 0.5}


def lines(*records: object) -> str:
    texts = [record if isinstance(record, str) else json.dumps(record) for record in records]
    return "".join(f"{text}\n" for text in texts)


def test_a_page_of_a_run(lgs, photos):
    lgs("clean", "photos", "-o", "out", "--masks", "masks", "--report", "run.jsonl", "-q")
    run = lgs("report", "run.jsonl", "-o", "page.html")
    assert (run.returncode, run.stdout) == (0, b"")
    assert run.stderr == "page.html: 3 images, 3 with pictures\n"
    page = (lgs.folder / "page.html").read_text()
    assert len(re.findall('"original":"[A-Za-z0-9+/=]{500,}"', page)) == 3
    assert len(re.findall('"mask":"[A-Za-z0-9+/=]{500,}"', page)) == 3


def test_through_a_pipe(lgs, photos):
    done = lgs("clean", "photos", "-o", "out", "--report", "-", "-q")
    run = lgs("report", "-", "-o", "-", "--thumbnails", 0, input=done.stdout)
    assert (run.returncode, run.stderr) == (0, "-: 3 images, 0 with pictures\n")
    assert run.stdout.startswith(b"<!DOCTYPE html>")


def test_several_reports_are_one_page(lgs):
    for name in "ab":
        (lgs.folder / f"{name}.jsonl").write_text(lines({**GOOD, "source": name}))
    run = lgs("report", "a.jsonl", "b.jsonl", "-o", "page.html")
    assert (run.returncode, run.stderr) == (0, "page.html: 2 images, 0 with pictures\n")


def test_bad_lines_are_named_and_the_rest_is_shown(lgs):
    bad = ['{"source": "x", "status": "do', '{"source": "\\u001b[2J", "status": 3}']
    (lgs.folder / "run.jsonl").write_text(lines(GOOD, bad[0], GOOD, bad[1]))
    run = lgs("report", "run.jsonl", "-o", "page.html")
    assert run.returncode == 1
    assert run.stderr.splitlines() == [
        "lgs: run.jsonl, line 2: Unterminated string starting at, column 27",
        'lgs: run.jsonl, line 4: "status" is 3',
        "page.html: 2 images, 0 with pictures",
    ]
    page = (lgs.folder / "page.html").read_text()
    assert "2 lines of the report are not records of images, and missing here." in page


def test_of_very_many_bad_lines_the_first_are_named(lgs):
    (lgs.folder / "run.jsonl").write_text(lines(GOOD, *["{}"] * 1021))
    run = lgs("report", "run.jsonl", "-o", "page.html")
    said = run.stderr.splitlines()
    assert said[:20] == [f'lgs: run.jsonl, line {n}: no "source"' for n in range(2, 22)]
    assert said[20:] == [
        "lgs: 1,001 more lines without the record of an image",
        "page.html: 1 image, 0 with pictures",
    ]


def test_what_is_no_report_makes_no_page(lgs, photos):
    run = lgs("report", "photos/a.jpg", "-o", "page.html")
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == "lgs: a.jpg: no line is the record of an image"
    assert not (lgs.folder / "page.html").exists()
    run = lgs("report", "none.jsonl", "-o", "page.html")
    assert run.returncode == 2
    assert run.stderr.startswith("lgs: none.jsonl: no such file or directory")


def test_the_page_of_a_very_large_run_is_small_and_keeps_its_pictures(lgs):
    """30,000 images whose list alone would take 48 MB."""
    for index in range(40):
        _, patched = attacked(index % 4)
        Image.fromarray(patched).save(lgs.folder / f"{index}.png")
    folder = "f" * 800
    with (lgs.folder / "run.jsonl").open("w") as report:
        for number in range(30_000):
            record = {"source": f"{folder}/{number}.jpg", "output": f"{folder}/out/{number}.jpg"}
            record |= {"status": "done", "coverage": number / 60_000}
            if number % 750 == 0:
                record |= {"source": f"{number // 750}.png", "coverage": 0.9}
            if number % 100 == 1:
                record |= {"status": "failed", "error": "truncated", "coverage": None}
            report.write(json.dumps(record) + "\n")
    run = lgs("report", "run.jsonl", "-o", "page.html")
    assert run.returncode == 0
    said = re.fullmatch(
        r"page\.html: 30,000 images, ([\d,]+) listed, 40 with pictures\n", run.stderr
    )
    assert said
    page = (lgs.folder / "page.html").read_text()
    assert 18_000_000 < len(page.encode()) < 19_000_000
    assert "Report of 30,000 images" in page
    assert f"The list holds {said[1]} of 30,000 images" in page
    assert "Pictures are here for 40 of 30,000 images" in page
    data = json.loads(re.search('id="data">(.*?)</script>', page, re.DOTALL)[1])
    listed = data["images"]
    assert len(listed) == int(said[1].replace(",", "")) > 5000
    assert sum(image["status"] == "failed" for image in listed) == 300
    # Pictures belong to the images they are of, and the others are those of highest coverage.
    assert {listed[int(index)]["source"] for index in data["thumbnails"]} == {
        f"{index}.png" for index in range(40)
    }
    rest = [i["coverage"] for i in listed if i["status"] == "done" and i["coverage"] != 0.9]
    assert min(rest) > 0.5 - (len(rest) + 400) / 60_000


def test_the_page_of_a_document_that_holds_the_patch_is_named(lgs):
    detector = write_magenta(lgs.folder / "magenta.onnx")
    pages = [Image.new("RGB", (160, 120), (90, 90, 90)) for _ in range(3)]
    pages[1].paste((255, 0, 255), (64, 32, 96, 64))
    pages[0].save(lgs.folder / "a.tif", save_all=True, append_images=pages[1:])
    pages[1].save(lgs.folder / "b.png")

    scanned = lgs("scan", "a.tif", "b.png", "--json", "--detector", detector)
    assert [json.loads(line)["page"] for line in scanned.stdout.splitlines()] == [2, None]
    columns = lgs("scan", "a.tif", "b.png", "--detector", detector).stdout.decode().split("\t")
    assert columns[2].startswith("page=2,x=")
    assert columns[-1].startswith("x=")

    method = ("--method", "localize", "--detector", detector)
    cleaned = lgs("clean", "a.tif", "-o", "out", *method, "--report", "-", "-v")
    assert json.loads(cleaned.stdout)["page"] == 2
    assert "1 region on page 2" in cleaned.stderr
    again = lgs("clean", "a.tif", "-o", "out", *method, "--report", "-", "-v")
    assert json.loads(again.stdout)["status"] == "skipped"
    assert json.loads(again.stdout)["page"] == 2

    run = lgs("report", "-", "-o", "-", input=scanned.stdout)
    data = json.loads(re.search('id="data">(.*?)</script>', run.stdout.decode(), re.DOTALL)[1])
    assert [image.get("page") for image in data["images"]] == [2, None]
