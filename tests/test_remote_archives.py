"""Archives of images in object stores: the same bytes as archives in files, and as few requests."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import time

import numpy as np
import pytest
from folders import image, images, leftovers, report, tree
from s3 import Proxy
from shell import until

pytest.importorskip("fsspec", reason="needs fsspec, of the extra 'remote'")


def write_tar(path, files):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def members(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


@pytest.fixture
def shards(tmp_path, photos):
    """Four tar archives of an image of noise and a photograph each, with labels, as files."""
    folder = tmp_path / "shards"
    photographs = [path.read_bytes() for path in sorted(photos.iterdir())]
    for number in range(4):
        noise = image(tmp_path / "made.png", number).read_bytes()
        label = json.dumps({"label": number}).encode()
        files = {
            "./0.png": noise,
            "./0.json": label,
            "1.jpg": photographs[number % 3],
            "1.cls": b"7" * number,
        }
        write_tar(folder / f"shard-{number:03}.tar", files)
    return folder


def local_tree(folder):
    return {name: data for name, data in tree(folder).items() if ".lgs-" not in name}


def scratch_of(lgs, folder):
    """Give runs a directory for temporary files, in which nothing may be left."""
    folder.mkdir(exist_ok=True)
    lgs.environment["TMPDIR"] = str(folder)
    return folder


def test_tar_shards_from_bucket_to_bucket(lgs, tmp_path, bucket, shards):
    scratch = scratch_of(lgs, tmp_path / "scratch")
    bucket.put(shards, "in")
    url = f"s3://{bucket.name}"
    words = ("--masks", "m", "--report", "r.jsonl")
    local = lgs("clean", "shards/shard-{000..003}.tar", "-o", "out", *words)
    assert local.returncode == 0
    remote = [
        "clean", f"{url}/in/shard-{{000..003}}.tar", "-o", f"{url}/out", "--masks", f"{url}/m",
        "--report", f"{url}/r/r.jsonl",
    ]  # fmt: skip
    run = lgs(*remote)
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("8 images: 8 done, 0 skipped, 0 failed")
    assert bucket.tree("out") == local_tree(tmp_path / "out")
    assert bucket.tree("m") == tree(tmp_path / "m")
    assert sorted(bucket.tree("out")) == [f"shard-{n:03}.tar" for n in range(4)]
    for number in range(4):
        before = members((shards / f"shard-{number:03}.tar").read_bytes())
        after = members(bucket.tree("out")[f"shard-{number:03}.tar"])
        assert list(after) == list(before)
        changed = {name for name in before if after[name] != before[name]}
        assert changed == {"./0.png", "1.jpg"}
    (tmp_path / "s3.jsonl").write_bytes(bucket.tree("r")["r.jsonl"])
    lines, expected = report(tmp_path / "s3.jsonl"), report(tmp_path / "r.jsonl")
    for line, other in zip(lines, expected, strict=True):
        for key in ("width", "height", "format", "coverage", "status"):
            assert line[key] == other[key]
        assert line["source"] == other["source"].replace("shards/", f"{url}/in/")
        assert line["output"] == other["output"].replace("out/", f"{url}/out/")
    # What is up to date is neither read nor written, and yet each of its images has its line.
    Proxy.reset()
    again = lgs(*remote)
    assert again.stderr.startswith("8 images: 0 done, 8 skipped, 0 failed")
    assert Proxy.served("/in/") == Proxy.served("/out/shard") == 0
    assert not [path for method, path, _ in Proxy.answers if method == "PUT" and "/r/" not in path]
    (tmp_path / "again.jsonl").write_bytes(bucket.tree("r")["r.jsonl"])
    ours = ("status", "seconds", "time", "started")
    assert [{k: v for k, v in line.items() if k not in ours} for line in lines] == [
        {k: v for k, v in line.items() if k not in ours}
        for line in report(tmp_path / "again.jsonl")
    ]
    assert lgs(*remote, "-n").stdout.decode().count("up to date: ") == 4
    assert list(scratch.iterdir()) == leftovers(tmp_path) == []


@pytest.mark.parametrize("way", ["down", "up"])
def test_between_a_bucket_and_files(lgs, tmp_path, bucket, shards, way):
    scratch = scratch_of(lgs, tmp_path / "scratch")
    assert lgs("clean", "shards/shard-{000..003}.tar", "-o", "expected").returncode == 0
    bucket.put(shards, "in")
    url = f"s3://{bucket.name}"
    where, to = (f"{url}/in", "out") if way == "down" else ("shards", f"{url}/out")
    words = ["clean", f"{where}/shard-{{000..003}}.tar", "-o", to]
    assert lgs(*words).returncode == 0
    found = bucket.tree("out") if way == "up" else local_tree(tmp_path / "out")
    assert found == local_tree(tmp_path / "expected")
    assert len(found) == 4
    assert lgs(*words).stderr.startswith("8 images: 0 done, 8 skipped")
    assert not [path for path in tmp_path.rglob(".lgs-*") if path.name.endswith(".members")]
    assert list(scratch.iterdir()) == leftovers(tmp_path) == []


def test_what_has_changed_is_done_again(lgs, tmp_path, bucket, shards):
    bucket.put(shards, "in")
    url = f"s3://{bucket.name}"
    words = ["clean", f"{url}/in/shard-{{000..003}}.tar", "-o", f"{url}/out"]
    assert lgs(*words).returncode == 0
    # Of the same size, so that only the etag tells.
    data = (shards / "shard-001.tar").read_bytes()
    (shards / "shard-001.tar").write_bytes(data.replace(b'{"label": 1}', b'{"label": 9}'))
    bucket.put(shards, "in")
    assert lgs(*words).stderr.startswith("8 images: 2 done, 6 skipped")
    assert members(bucket.tree("out")["shard-001.tar"])["./0.json"] == b'{"label": 9}'
    bucket.delete("out/shard-002.tar")
    assert lgs(*words).stderr.startswith("8 images: 2 done, 6 skipped")
    bucket.delete("out/.lgs-members/shard-003.tar.jsonl")
    assert lgs(*words).stderr.startswith("8 images: 2 done, 6 skipped")
    assert lgs(*words).stderr.startswith("8 images: 0 done, 8 skipped")
    assert lgs(*words, "--exclude", "1.jpg").stderr.startswith("4 images: 4 done")
    assert lgs(*words, "--shard", "1/2", "--force").returncode == 0


def test_one_shard_that_fails_costs_no_other(lgs, tmp_path, bucket, shards):
    scratch = scratch_of(lgs, tmp_path / "scratch")
    assert lgs("clean", "shards/shard-{000..003}.tar", "-o", "expected").returncode == 0
    expected = local_tree(tmp_path / "expected")
    bucket.put(shards, "in")
    bucket.write("out/shard-002.tar", b"of before")
    url = f"s3://{bucket.name}"
    words = ["clean", f"{url}/in/shard-{{000..003}}.tar", "-o", f"{url}/out"]
    Proxy.faults = {
        ("GET", "in/shard-000.tar"): [500, 503],
        ("GET", "in/shard-001.tar"): [403],
        ("PUT", "out/shard-002.tar"): [500] * 99,
    }
    run = lgs(*words)
    assert run.returncode == 1
    lines = run.stderr.splitlines()
    assert lines[0] == f"lgs: {url}/in/shard-001.tar: permission denied"
    assert [line.partition(": cannot write: ")[0] for line in lines[1:-1]] == [
        f"lgs: {url}/in/shard-002.tar/{name}" for name in ("./0.png", "1.jpg")
    ]
    assert lines[-1].startswith("7 images: 4 done, 0 skipped, 3 failed")
    assert bucket.tree("out") == {
        "shard-000.tar": expected["shard-000.tar"],
        "shard-002.tar": b"of before",
        "shard-003.tar": expected["shard-003.tar"],
    }
    Proxy.reset()
    assert lgs(*words).stderr.startswith("8 images: 4 done, 4 skipped")
    assert bucket.tree("out") == expected
    assert list(scratch.iterdir()) == []


def test_what_is_not_there_or_denied_is_said_in_one_line(lgs, tmp_path, bucket, shards):
    scratch = scratch_of(lgs, tmp_path / "scratch")
    bucket.put(shards, "in")
    url = f"s3://{bucket.name}"
    run = lgs("clean", f"{url}/in/shard-{{000..004}}.tar", "-o", f"{url}/out")
    assert run.returncode == 2
    assert run.stderr == f"lgs: {url}/in/shard-004.tar: no such object\n"
    Proxy.faults = {("PUT", "denied/"): [403]}
    run = lgs("clean", f"{url}/in/shard-{{000..003}}.tar", "-o", f"{url}/denied")
    assert run.returncode == 1
    failures = [line for line in run.stderr.splitlines() if line.startswith("lgs:")]
    assert failures == [f"lgs: stopped: cannot write into {url}/denied: permission denied"]
    assert bucket.tree("denied") == {}
    Proxy.faults = {("GET", "list-type"): [403]}
    for name in ("{000..003}", "000"):
        run = lgs("clean", f"{url}/in/shard-{name}.tar", "-o", "out")
        assert run.returncode == (1 if name != "000" else 0)
        if name != "000":
            assert run.stderr == f"lgs: {url}/in: permission denied\n"
    Proxy.faults = {}
    run = lgs("clean", f"{url}/in/shard-000.tar", f"{url}/in", "-o", "out")
    assert run.returncode == 2
    assert f"archives go in a run of their own, and {url}/in is none" in run.stderr
    run = lgs("clean", f"{url}/in/shard-000.tar", "-o", f"{url}/in")
    assert run.returncode == 2
    assert "would be overwritten" in run.stderr
    assert bucket.tree("in") == tree(shards)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_what_is_ended_midway_leaves_the_object_as_it_was(lgs, tmp_path, bucket, number):
    scratch = scratch_of(lgs, tmp_path / "scratch")
    met, go = tmp_path / "met", tmp_path / "go"
    noise = image(tmp_path / "made.png", 0, f"meet {met} {go}").read_bytes()
    write_tar(tmp_path / "in" / "a.tar", {"0.png": noise, "1.png": noise})
    bucket.put(tmp_path / "in", "in")
    bucket.write("out/a.tar", b"of before")
    url = f"s3://{bucket.name}"
    with lgs.start("clean", f"{url}/in/a.tar", "-o", f"{url}/out") as run:
        until(met.exists)
        os.kill(run.process.pid, number)
        assert run.end() == (143 if number == signal.SIGTERM else -9)
    assert bucket.tree("out") == {"a.tar": b"of before"}
    assert len(list(scratch.iterdir())) == (number == signal.SIGKILL)
    go.touch()
    assert lgs("clean", f"{url}/in/a.tar", "-o", f"{url}/out").stderr.startswith("2 images: 2 done")
    assert list(scratch.iterdir()) == []
    assert list(members(bucket.tree("out")["a.tar"])) == ["0.png", "1.png"]


def test_a_slow_store_does_not_hold_up_the_end(lgs, tmp_path, bucket, shards):
    scratch = scratch_of(lgs, tmp_path / "scratch")
    bucket.put(shards, "in")
    url = f"s3://{bucket.name}"
    Proxy.reset()
    Proxy.delays = {("GET", "in/shard-001.tar"): 45.0}
    words = ["clean", f"{url}/in/shard-{{000..001}}.tar", "-o", f"{url}/out"]
    with lgs.start(*words) as run:
        until(lambda: any("in/shard-001.tar" in path for path in Proxy.arrived))
        os.kill(run.process.pid, signal.SIGTERM)
        start = time.monotonic()
        assert run.end() == 143
        assert time.monotonic() - start < 30  # against the 45 of the answer
    assert list(scratch.iterdir()) == []


@pytest.fixture
def arrow():
    return pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra 'parquet'")


def write_table(arrow, path, pictures, filler):
    import pyarrow.parquet as pq

    rows = [data and {"bytes": data, "path": f"{n}.jpg"} for n, data in enumerate(pictures)]
    columns = {
        "before": [filler[::-1]] * len(rows),
        "image": arrow.array(
            rows, arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
        ),
        "after": [filler] * len(rows),
    }
    path.parent.mkdir(exist_ok=True)
    pq.write_table(
        arrow.table(columns), path, row_group_size=2, compression="none", use_dictionary=False
    )


def test_parquet_from_bucket_to_bucket(lgs, tmp_path, bucket, photos, arrow):
    import pyarrow.parquet as pq

    pictures = [path.read_bytes() for path in sorted(photos.iterdir())]
    for number in range(2):
        rows = [*pictures[number:], None]
        write_table(arrow, tmp_path / "in" / f"t-{number}.parquet", rows, "x" * 9)
    bucket.put(tmp_path / "in", "in")
    url = f"s3://{bucket.name}"
    words = ["--image-column", "image"]
    assert lgs("clean", "in/t-{0..1}.parquet", "-o", "out", *words).returncode == 0
    remote = ["clean", f"{url}/in/t-{{0..1}}.parquet", "-o", f"{url}/out", *words]
    run = lgs(*remote)
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("5 images: 5 done")
    assert bucket.tree("out") == local_tree(tmp_path / "out")
    (tmp_path / "cleaned").mkdir()
    lgs("clean", "photos", "-o", "cleaned")
    cleaned = [(tmp_path / "cleaned" / path.name).read_bytes() for path in sorted(photos.iterdir())]
    table = pq.read_table(io.BytesIO(bucket.tree("out")["t-1.parquet"]))
    assert [row and row["bytes"] for row in table["image"].to_pylist()] == [*cleaned[1:], None]
    assert cleaned != pictures
    before = pq.read_table(tmp_path / "in" / "t-1.parquet")
    assert table["before"].equals(before["before"])
    Proxy.reset()
    assert lgs(*remote).stderr.startswith("5 images: 0 done, 5 skipped")
    assert Proxy.served("/in/") == 0


def test_scan_reads_of_a_table_the_images_and_the_footer(lgs, tmp_path, bucket, photos, arrow):
    pictures = [path.read_bytes() for path in sorted(photos.iterdir())]
    filler = np.random.default_rng(3).integers(32, 126, 400_000, np.uint8).tobytes().decode()
    write_table(arrow, tmp_path / "in" / "a.parquet", pictures, filler)
    bucket.put(tmp_path / "in", "in")
    Proxy.reset()
    run = lgs("scan", f"s3://{bucket.name}/in/a.parquet")
    assert run.returncode == 0, run.stderr
    whole = sum(map(len, pictures))
    assert whole < Proxy.served("/in/") < whole + 200_000 < 2_400_000
    expected = lgs("scan", "photos").stdout.decode()
    for row, name in enumerate("abc"):
        expected = expected.replace(
            f"photos/{name}.jpg", f"s3://{bucket.name}/in/a.parquet/row {row}"
        )
    assert run.stdout.decode() == expected
    assert len(expected.splitlines()) == 3
    local = lgs("scan", "in/a.parquet").stdout.decode()
    assert local == expected.replace(f"s3://{bucket.name}/", "")
    run = lgs("scan", f"s3://{bucket.name}/in/a.parquet", "--image-column", "other")
    assert run.returncode == 1
    assert "/in/a.parquet: no column 'other' of images; there are ['image']" in run.stderr


def test_scan_tar_shards(lgs, tmp_path, bucket, shards, photos):
    scratch = scratch_of(lgs, tmp_path / "scratch")
    (shards / "shard-002.tar").write_bytes(b"no archive" * 99)
    bucket.put(shards, "in")
    url = f"s3://{bucket.name}/in"
    run = lgs("scan", f"{url}/shard-{{000..003}}.tar", "--json")
    assert run.returncode == 1
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    names = [
        f"{url}/shard-{number:03}.tar{name}"
        for number in range(4)
        for name in ([""] if number == 2 else ["/./0.png", "/1.jpg"])
    ]
    assert [line["source"] for line in lines] == names
    assert [line["status"] for line in lines] == ["done"] * 4 + ["failed"] + ["done"] * 2
    assert "shard-002.tar: a damaged tar archive" in run.stderr
    (tmp_path / "files").mkdir()
    for number in (0, 1, 3):
        for name, data in members((shards / f"shard-{number:03}.tar").read_bytes()).items():
            if name.endswith(("png", "jpg")):
                (tmp_path / "files" / f"{number}-{os.path.basename(name)}").write_bytes(data)
    expected = [json.loads(line) for line in lgs("scan", "files", "--json").stdout.splitlines()]
    done = [line for line in lines if line["status"] == "done"]
    for line, other in zip(done, expected, strict=True):
        same = ("score", "width", "height", "regions", "page")
        assert {key: line[key] for key in same} == {key: other[key] for key in same}
    local = lgs("scan", "shards/shard-{000..003}.tar", "--json")
    assert local.stdout.decode() == run.stdout.decode().replace(url, "shards")
    part = [lgs("scan", f"{url}/shard-{{000..003}}.tar", "--shard", f"{n}/2") for n in (1, 2)]
    assert sum(len(run.stdout.splitlines()) for run in part) == 6
    assert list(scratch.iterdir()) == []


def test_up_to_date_images_are_not_read(lgs, tmp_path, bucket):
    images(tmp_path / "in", 5, side=64)
    bucket.put(tmp_path / "in", "in")
    words = ["clean", f"s3://{bucket.name}/in", "-o", f"s3://{bucket.name}/out"]
    Proxy.reset()
    assert lgs(*words).returncode == 0
    size = sum(len(data) for data in tree(tmp_path / "in").values())
    assert Proxy.served("/in/") == size
    Proxy.reset()
    assert lgs(*words).stderr.startswith("5 images: 0 done, 5 skipped")
    assert Proxy.served("/in/") == Proxy.served("/out/0") == 0


def test_without_pyarrow(lgs, tmp_path, bucket):
    bucket.write("in/a.parquet", b"PAR1")
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "pyarrow.py").write_text("raise ImportError('not here')")
    paths = lgs.environment["PYTHONPATH"]
    lgs.environment["PYTHONPATH"] = f"{tmp_path / 'without'}{os.pathsep}{paths}"
    for command in (["clean", "-o", "out"], ["scan"]):
        run = lgs(*command, f"s3://{bucket.name}/in/a.parquet")
        assert run.returncode == 2
        assert run.stderr == "lgs: a Parquet file needs pyarrow: pip install 'lgs-cli[parquet]'\n"
