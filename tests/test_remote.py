"""Images in object stores: fsspec's own stores, and a server that speaks S3 over HTTP."""

from __future__ import annotations

import errno
import json
import os
import time

import pytest
from folders import image, images, leftovers, report, tree
from s3 import Proxy

from lgs_cli.batch.remote_inputs import RemoteInputs
from lgs_cli.errors import ImageError, LgsError, StorageError, UsageError
from lgs_cli.storage.inputs import Selection
from lgs_cli.storage.stores import store

fsspec = pytest.importorskip("fsspec", reason="needs fsspec, of the extra 'remote'")


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def test_a_store_lists_what_was_written(memory):
    for name in ("b/2.png", "a.png", "b/1.png", "bb/3.png"):
        store.write(f"memory://bucket/{name}", name.encode())
    found = list(store.find("memory://bucket/"))
    assert [one.relative for one in found] == ["a.png", "b/1.png", "b/2.png", "bb/3.png"]
    assert [one.size for one in found] == [5, 7, 7, 8]
    assert [one.relative for one in store.find("memory://bucket/b")] == ["1.png", "2.png"]
    assert list(store.find("memory://nothing/")) == []
    assert store.read("memory://bucket/b/2.png") == b"b/2.png"
    with pytest.raises(ImageError, match=r"^no such object$"):
        store.read("memory://bucket/b/9.png")
    before = store.find_one("memory://bucket/a.png")
    time.sleep(0.01)
    store.write("memory://bucket/a.png", b"other")  # of the same size
    after = store.find_one("memory://bucket/a.png")
    assert before is not None
    assert after is not None
    assert (before.size, after.size) == (5, 5)
    assert before.tag != after.tag
    assert store.find_one("memory://bucket/b") is None


def test_objects_side_by_side_are_looked_up_by_one_listing(memory, monkeypatch):
    names = ["a/1.tar", "a/2.tar", "b/3.tar"]
    for number, name in enumerate(names):
        store.write(f"memory://bucket/{name}", bytes(number + 1))
    store.write("memory://bucket/a/2.tar.d/4.tar", b"x")
    urls = [f"memory://bucket/{name}" for name in (*names, "a/9.tar", "c/1.tar")]
    found = store.look_up(urls)
    assert {url: one.size for url, one in found.items()} == dict(
        zip(urls[:3], (1, 2, 3), strict=True)
    )
    assert store.look_up(urls[:1]) == {urls[0]: found[urls[0]]}
    listings = []
    ls = type(memory).ls
    monkeypatch.setattr(
        type(memory), "ls", lambda self, path, **kw: listings.append(path) or ls(self, path, **kw)
    )
    store.look_up(urls[:2])
    assert len(listings) == 1


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (Selection(), ["a.png", "b/1.PNG", "b/c/2.jpg"]),
        (Selection(recursive=False), ["a.png"]),
        (Selection(include=("*.png",)), ["a.png"]),
        (Selection(exclude=("b/c",)), ["a.png", "b/1.PNG"]),
    ],
    ids=["all", "flat", "include", "exclude"],
)
def test_which_objects_are_images(memory, selection, names):
    hidden = [".hidden/3.png", "b/.4.png", "b/text.txt", "out/5.png", "../6.png", "b//7.png"]
    for name in ["a.png", "b/1.PNG", "b/c/2.jpg", *hidden]:
        memory.store[f"/bucket/{name}"] = fsspec.implementations.memory.MemoryFile(
            memory, f"/bucket/{name}", b"x"
        )
    found = RemoteInputs(["memory://bucket"], selection, ["memory://bucket/out"])
    sources = list(found.sources())
    assert [source.relative for source in sources] == names
    assert {source.root for source in sources} == {"memory://bucket/"}


def test_one_object_and_none(memory):
    store.write("memory://bucket/sub/a.png", b"x")
    (source,) = RemoteInputs(["memory://bucket/sub/a.png"], Selection()).sources()
    assert (source.root, source.relative) == ("memory://bucket/sub/", "a.png")
    with pytest.raises(UsageError, match="no such object, and nothing below it"):
        next(RemoteInputs(["memory://bucket/nothing"], Selection()).sources())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://me:secret@host/x", "a password in a URL would end in reports"),
        ("nosuchstore://x", "nosuchstore"),
    ],
)
def test_urls_that_are_refused(lgs, tmp_path, url, reason):
    image(tmp_path / "in" / "a.png")
    for words in ([url, "-o", "out"], ["in", "-o", url]):
        run = lgs("clean", *words)
        assert run.returncode == 2
        assert reason in run.stderr
        assert "secret" not in run.stderr


def test_file_urls_are_files(lgs, tmp_path):
    images(tmp_path / "in", 3)
    assert lgs("clean", "in", "-o", "expected").returncode == 0
    run = lgs("clean", f"file://{tmp_path}/in", "-o", f"file://{tmp_path}/out")
    assert run.returncode == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")


def test_without_fsspec(lgs, tmp_path):
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "fsspec.py").write_text("raise ImportError('not here')")
    paths = lgs.environment["PYTHONPATH"]
    lgs.environment["PYTHONPATH"] = f"{tmp_path / 'without'}{os.pathsep}{paths}"
    run = lgs("clean", "s3://bucket/in", "-o", "out")
    assert run.returncode == 2
    assert run.stderr == "lgs: s3:// needs fsspec: pip install 'lgs-cli[remote]'\n"


def test_from_bucket_to_bucket(lgs, tmp_path, bucket, photos):
    images(photos / "more", 4)
    bucket.put(photos, "in")
    url = f"s3://{bucket.name}"
    local = lgs("clean", "photos", "-o", "out", "--masks", "m", "--report", "r.jsonl")
    assert local.returncode == 0
    run = lgs(
        "clean", f"{url}/in", "-o", f"{url}/out", "--masks", f"{url}/m",
        "--report", f"{url}/r/r.jsonl",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "7 images: 7 done, 0 skipped, 0 failed" in run.stderr
    assert bucket.tree("out") == tree(tmp_path / "out")
    assert bucket.tree("m") == tree(tmp_path / "m")
    assert len(bucket.tree("out")) == len(bucket.tree("m")) == 7
    (tmp_path / "s3.jsonl").write_bytes(bucket.tree("r")["r.jsonl"])
    names = [line["source"].removeprefix("photos/") for line in report(tmp_path / "r.jsonl")]
    lines = report(tmp_path / "s3.jsonl")
    assert [line["source"] for line in lines] == [f"{url}/in/{name}" for name in names]
    assert [line["output"] for line in lines] == [f"{url}/out/{name}" for name in names]
    assert [line["mask"] for line in lines] == [
        f"{url}/m/{line['mask'].removeprefix('m/')}" for line in report(tmp_path / "r.jsonl")
    ]
    assert "testing" not in json.dumps(lines)  # which the credentials are


def test_an_image_takes_two_requests(lgs, tmp_path, bucket, photos):
    bucket.put(photos, "in")
    names = [path.name for path in photos.iterdir()]
    url = f"s3://{bucket.name}"
    Proxy.answers.clear()
    run = lgs("clean", f"{url}/in", "-o", f"{url}/out")
    assert run.returncode == 0, run.stderr
    # A set, because s3fs asks again on a slow machine.
    asked = {(method, path.rpartition("/")[2]) for method, path, _ in Proxy.answers}
    assert {request for request in asked if request[1] in names} == {
        (method, name) for method in ("GET", "PUT") for name in names
    }


@pytest.mark.parametrize("way", ["down", "up"])
def test_between_a_bucket_and_files(lgs, tmp_path, bucket, photos, way):
    assert lgs("clean", "photos", "-o", "expected").returncode == 0
    bucket.put(photos, "in")
    url = f"s3://{bucket.name}"
    words = [f"{url}/in", "-o", "out"] if way == "down" else ["photos", "-o", f"{url}/out"]
    assert lgs("clean", *words).returncode == 0
    found = bucket.tree("out") if way == "up" else tree(tmp_path / "out")
    expected = tree(tmp_path / "expected")
    assert {name: data for name, data in found.items() if ".lgs-" not in name} == expected
    assert len(expected) == 3
    again = lgs("clean", *words)
    assert again.stderr.startswith("3 images: 0 done, 3 skipped")
    assert leftovers(tmp_path) == []


def test_what_has_changed_is_done_again(lgs, tmp_path, bucket):
    images(tmp_path / "in", 4)
    bucket.put(tmp_path / "in", "in")
    words = [f"s3://{bucket.name}/in", "-o", f"s3://{bucket.name}/out"]
    assert lgs("clean", *words).returncode == 0
    assert "4 skipped" in lgs("clean", *words).stderr
    rehearsal = lgs("clean", *words, "-n").stdout.decode()
    assert rehearsal.count("up to date: ") == 4
    before = bucket.tree("out")
    old = (tmp_path / "in" / "01.png").read_bytes()
    image(tmp_path / "in" / "01.png", seed=77)
    new = (tmp_path / "in" / "01.png").read_bytes()
    size = max(len(old), len(new))  # the same size: only the etag tells
    for data in (old, new):
        (tmp_path / "in" / "01.png").write_bytes(data.ljust(size, b"\0"))
        bucket.put(tmp_path / "in", "in")
        lgs("clean", *words)
    assert bucket.tree("out")["01.png"] != before["01.png"]
    bucket.delete("out/02.png")
    run = lgs("clean", *words)
    assert "1 done, 3 skipped" in run.stderr
    assert bucket.tree("out")["02.png"] == before["02.png"]
    assert "4 done" in lgs("clean", *words, "--smoothing", "5").stderr
    assert "4 done" in lgs("clean", *words, "--smoothing", "5", "--force").stderr


def test_a_server_that_fails_for_a_while(lgs, tmp_path, bucket):
    images(tmp_path / "in", 3)
    assert lgs("clean", "in", "-o", "out").returncode == 0
    bucket.put(tmp_path / "in", "in")
    Proxy.faults = {
        ("GET", "in/01.png"): [500, 503],
        ("PUT", "out/02.png"): [500, 500],
        ("GET", "list-type"): [500],
    }
    run = lgs("clean", f"s3://{bucket.name}/in", "-o", f"s3://{bucket.name}/out")
    assert run.returncode == 0, run.stderr
    assert Proxy.faults == {key: [] for key in Proxy.faults}  # all of them were met
    assert bucket.tree("out") == tree(tmp_path / "out")


def test_a_server_that_is_slow(lgs, tmp_path, bucket):
    images(tmp_path / "in", 3)
    bucket.put(tmp_path / "in", "in")
    Proxy.delays = {("GET", "in/01.png"): 12.0}
    words = [f"s3://{bucket.name}/in", "-o", f"s3://{bucket.name}/out"]
    run = lgs("clean", *words, "--timeout", "8")
    assert run.returncode == 1
    assert "in/01.png: took longer than --timeout 8 s" in run.stderr
    assert sorted(bucket.tree("out")) == ["00.png", "02.png"]
    Proxy.delays = {}
    assert "1 done, 2 skipped" in lgs("clean", *words).stderr


def test_a_bucket_that_denies(lgs, tmp_path, bucket):
    images(tmp_path / "in", 3)
    bucket.put(tmp_path / "in", "in")
    url = f"s3://{bucket.name}"
    Proxy.faults = {("GET", "in/01.png"): [403]}
    run = lgs("clean", f"{url}/in", "-o", f"{url}/out")
    assert run.returncode == 1
    assert f"lgs: {url}/in/01.png: permission denied" in run.stderr
    assert sorted(bucket.tree("out")) == ["00.png", "02.png"]
    Proxy.faults = {("PUT", "denied/"): [403]}
    run = lgs("clean", f"{url}/in", "-o", f"{url}/denied", "-j1")
    assert run.returncode == 1
    assert f"lgs: stopped: cannot write into {url}/denied: permission denied" in run.stderr
    assert bucket.tree("denied") == {}
    Proxy.faults = {("GET", "list-type"): [403]}
    run = lgs("clean", f"{url}/in", "-o", "out")
    assert run.returncode == 1
    assert run.stderr == f"lgs: {url}/in: permission denied\n"
    Proxy.faults = {}
    run = lgs("clean", f"{url}/in", "-o", "s3://no-such-bucket-here/out", "-j1")
    assert run.returncode == 1
    assert "cannot write into s3://no-such-bucket-here/out" in run.stderr


def test_scan_a_bucket(lgs, tmp_path, bucket, photos):
    bucket.put(photos, "in")
    expected = lgs("scan", "photos").stdout.decode()
    run = lgs("scan", f"s3://{bucket.name}/in")
    assert run.returncode == 0
    assert run.stdout.decode() == expected.replace("photos/", f"s3://{bucket.name}/in/")
    assert len(expected.splitlines()) == 3


def test_what_is_refused(lgs, tmp_path, bucket):
    images(tmp_path / "in", 2)
    bucket.put(tmp_path / "in", "in")
    bucket.put(tmp_path / "in", "in/out")
    url = f"s3://{bucket.name}/in"
    before = bucket.tree("in")
    for words, reason in (
        ([url, "-o", url + "/"], "is both an input and where outputs go"),
        ([url, "-o", f"{url}/out"], "is there already, below an input, and not of lgs"),
        ([f"{url}/00.png", f"{url}/out/00.png", "-o", "out"], "would be written twice"),
        ([url, "-o", "out", "--delete"], "--delete is for files"),
    ):
        run = lgs("clean", *words)
        assert run.returncode == 2, run.stderr
        assert reason in run.stderr
    assert bucket.tree("in") == before


def test_many_runs_leave_few_objects(lgs, tmp_path, bucket):
    from lgs_cli.batch import remote

    for number in range(3):
        image(tmp_path / "in" / f"{number}.png", number)
        bucket.put(tmp_path / "in", "in")
        lgs("clean", f"s3://{bucket.name}/in", "-o", f"s3://{bucket.name}/out")
    assert remote.DIRECTORY == ".lgs-manifest"
    assert (
        "3 skipped"
        in lgs("clean", f"s3://{bucket.name}/in", "-o", f"s3://{bucket.name}/out").stderr
    )


def test_errors_say_which_kind(memory, monkeypatch):
    def refuse(error):
        def pipe_file(*words, **options):
            raise error

        monkeypatch.setattr(type(memory), "pipe_file", pipe_file)

    refuse(PermissionError("Access Denied"))
    with pytest.raises(StorageError, match="cannot write into memory://b: permission denied"):
        store.write("memory://b/a.png", b"x")
    refuse(OSError("Internal Error"))
    with pytest.raises(ImageError, match="cannot write: Internal Error"):
        store.write("memory://b/a.png", b"x")

    def get_file(*words, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(memory), "get_file", get_file)
    with pytest.raises(StorageError, match="cannot write into /here: no space left on device"):
        store.download("memory://b/a.tar", "/here/archive.tar")

    def ls(*words, **options):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(memory), "ls", ls)
    with pytest.raises(LgsError, match="memory://b/: permission denied"):
        list(store.find("memory://b/"))
