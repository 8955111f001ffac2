"""Very many objects in stores: found while others are cleaned, and with little in memory."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from few_ahead import FewAhead
from folders import image, images, report, tree
from s3 import Bucket, Proxy
from shell import Lgs

from lgs_cli.storage.stores import store

fsspec = pytest.importorskip("fsspec", reason="needs fsspec, of the extra 'remote'")


@pytest.fixture
def few(tmp_path: Path, lgs: Lgs, bucket: Bucket) -> FewAhead:
    few = FewAhead(tmp_path)
    few.environment = lgs.environment
    return few


@pytest.fixture
def here(tmp_path: Path, bucket: Bucket) -> Path:
    """Eleven images and one that is none, in two trees, here and in the bucket."""
    images(tmp_path / "in", 5)
    for number in range(3):
        image(tmp_path / f"in/deep/{number}/x.png", 20 + number)
    images(tmp_path / "more/sub", 3)
    (tmp_path / "more/bad.png").write_text("no image")
    for name in ("in", "more"):
        bucket.put(tmp_path / name, name)
    return tmp_path


def test_the_same_comes_of_it(lgs: Lgs, few: FewAhead, here: Path, bucket: Bucket) -> None:
    url = f"s3://{bucket.name}"
    local = lgs("clean", "in", "more", "-o", "out", "--masks", "m", "--report", "r.jsonl")
    words = ("clean", f"{url}/in", f"{url}/more", "-o", f"{url}/out", "--masks", f"{url}/m")
    run = few(*words, "--report", "s3.jsonl")
    assert local.returncode == run.returncode == 1
    assert "12 images: 11 done, 0 skipped, 1 failed" in run.stderr
    assert bucket.tree("out") == tree(here / "out")
    assert bucket.tree("m") == tree(here / "m")
    assert len(bucket.tree("out")) == 11
    statuses = [
        {line["source"].removeprefix(f"{url}/"): line["status"] for line in report(here / name)}
        for name in ("r.jsonl", "s3.jsonl")
    ]
    assert statuses[0] == statuses[1]
    changed = image(here / "in/deep/1/x.png", 77)
    bucket.write("in/deep/1/x.png", changed.read_bytes())
    bucket.delete("out/00.png")
    for done in (2, 0, 0):  # also of a record of which parts have become one
        run = few(*words)
        assert f"12 images: {done} done, {11 - done} skipped, 1 failed" in run.stderr
    lgs("clean", changed, "-o", "alone")
    assert bucket.tree("out")["deep/1/x.png"] == (here / "alone/x.png").read_bytes()


def record(bucket: Bucket) -> dict[str, list[dict[str, object]]]:
    """Read the record in a bucket: the name of each object, and its lines."""
    system = bucket._system
    system.invalidate_cache()
    names = sorted(system.find(f"{bucket.name}/out/.lgs-manifest/"))
    return {
        name: [json.loads(line) for line in system.cat_file(name).splitlines()] for name in names
    }


def test_the_record_stays_in_few_objects_of_bounded_size(few: FewAhead, bucket: Bucket) -> None:
    url = f"s3://{bucket.name}"
    data = image(Path(few.folder) / "x.png", 1).read_bytes()
    words = ("clean", f"{url}/in", "-o", f"{url}/out")
    seen: list[set[str]] = []
    for runs in range(1, 6):
        for number in range(3):
            bucket.write(f"in/{runs}-{number}.png", data)
        run = few(*words)
        assert f"{3 * runs} images: 3 done, {3 * (runs - 1)} skipped, 0 failed" in run.stderr
        seen.append(set(record(bucket)))
    now = record(bucket)
    assert sorted(line["output"] for lines in now.values() for line in lines) == sorted(
        f"{runs}-{number}.png" for runs in range(1, 6) for number in range(3)
    )
    longest = max(len(json.dumps(line)) for lines in now.values() for line in lines)
    sizes = [sum(len(json.dumps(line)) + 1 for line in lines) for lines in now.values()]
    assert max(sizes) < 1500 + longest
    assert len(now) <= 15 * longest // 1500 + 1 + 4
    assert seen[-1] & seen[-3]  # a large one is not written again

    # What is out of date does not stay.
    for threshold in ("0.2", "0.3"):
        assert "15 images: 15 done" in few(*words, "--threshold", threshold).stderr
    assert "15 images: 0 done, 15 skipped" in few(*words, "--threshold", "0.3").stderr
    now = record(bucket)
    assert sum(map(len, now.values())) < 3 * 15
    assert not set(now) & seen[-1]


def test_work_begins_before_all_is_listed(
    few: FewAhead, here: Path, bucket: Bucket, lgs: Lgs
) -> None:
    for number in range(5, 25):
        bucket.write(f"in/{number:02}.png", (here / "in/00.png").read_bytes())
    Proxy.reset()
    run = few("clean", f"s3://{bucket.name}/in", "-o", "out", "-j1")
    assert run.returncode == 0
    assert "28 images: 28 done" in run.stderr
    lists = [
        n for n, path in enumerate(Proxy.arrived) if re.search(r"list-type=2.*prefix=in/", path)
    ]
    reads = [n for n, path in enumerate(Proxy.arrived) if path.endswith("in/00.png")]
    assert len(lists) >= 14
    assert reads[0] < lists[-1]


def test_a_scan_prints_the_same(lgs: Lgs, few: FewAhead, here: Path, bucket: Bucket) -> None:
    words = ("scan", f"s3://{bucket.name}/more", f"s3://{bucket.name}/in", "--json")
    runs = [each(*words, *options) for each in (lgs, few) for options in ((), ("-j1",))]
    sources = [[json.loads(line)["source"] for line in run.stdout.splitlines()] for run in runs]
    assert len(sources[0]) == 12
    assert all(names == sources[0] for names in sources)
    assert {run.returncode for run in runs} == {1}
    # A plain image is one in every order.
    assert sources[0][0] == f"s3://{bucket.name}/more/bad.png"


def test_the_second_of_two_that_have_one_output_fails(
    few: FewAhead, lgs: Lgs, here: Path, bucket: Bucket
) -> None:
    first, second = image(here / "a.png", 50), image(here / "b.png", 51)
    bucket.write("in/z.png", first.read_bytes())
    bucket.write("more/z.png", second.read_bytes())
    url = f"s3://{bucket.name}"
    run = few("clean", f"{url}/in", f"{url}/more", "-o", "out")
    assert run.returncode == 1
    assert f"lgs: {url}/more/z.png: out/z.png is the output of another input as well" in run.stderr
    lgs("clean", "a.png", "-o", "alone")
    assert (here / "out/z.png").read_bytes() == (here / "alone/a.png").read_bytes()


def test_objects_of_others_below_an_input_are_not_replaced(
    few: FewAhead, here: Path, bucket: Bucket
) -> None:
    mine = image(here / "mine.png", 60).read_bytes()
    bucket.write("in/out/deep/2/x.png", mine)
    url = f"s3://{bucket.name}/in"
    run = few("clean", url, "-o", f"{url}/out")
    assert run.returncode == 1
    assert "in/out/deep/2/x.png is there already, below an input, and not of lgs" in run.stderr
    assert bucket.tree("in/out")["deep/2/x.png"] == mine
    assert len(bucket.tree("in/out")) == 8


REFUSED = {
    "an input where outputs go": (
        ["{url}/in", "{url}/out/04.png", "-o", "{url}/out"], "out/04.png is an input; it would be",
    ),
    "a report": (["{url}/in", "-o", "out", "--report", "{url}/in/04.png"], "in/04.png is an input"),
    "an input that is not there": (
        ["{url}/in", "{url}/gone", "-o", "out"], "gone: no such object, and nothing below it",
    ),
    "a directory that is not there": (["{url}/in", "gone", "-o", "out"], "gone: no such file or"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_before_anything_is_written(
    few: FewAhead, here: Path, bucket: Bucket, words: list[str], reason: str
) -> None:
    url = f"s3://{bucket.name}"
    bucket.write("out/04.png", (here / "in/00.png").read_bytes())
    before = bucket.tree("in"), bucket.tree("out")
    run = few("clean", *(word.format(url=url) for word in words))
    assert run.returncode == 2
    assert re.search(reason, run.stderr)
    assert (bucket.tree("in"), bucket.tree("out")) == before
    assert not (here / "out").exists()


def test_other_stores_are_listed_in_the_same_order() -> None:
    """Those that only list folders, and those that list all that is below."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    dice = random.Random(4)
    names = {
        "/".join(dice.choice(["a", "a.b", "a-", "b", "B", "ä"]) for _ in range(dice.randint(1, 4)))
        + f"/{number % 3}.png"
        for number in range(120)
    }
    for name in names:
        store.write(f"memory://bucket/in/{name}", b"x")
    assert [one.relative for one in store.find("memory://bucket/in")] == sorted(names)
    system.store.clear()
