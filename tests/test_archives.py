"""Archives of images: what is in them stays, in order and byte for byte, but for the images."""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import subprocess
import tarfile
import time
import warnings

import numpy as np
import pytest
from folders import files_below, image, images, leftovers, report, tree
from PIL import Image
from shell import until

from lgs_cli.storage.archives.archive import expand


def scratch(folder):
    return [path for path in folder.rglob(".lgs-*") if path.name.endswith((".members", ".tmp"))]


@pytest.fixture
def cleaned(lgs, tmp_path):
    """Clean bytes of image files as files, the way that is tested elsewhere."""

    def clean(files, *options):
        folder = tmp_path / "as-files"
        folder.mkdir(exist_ok=True)
        for number, (name, data) in enumerate(files.items()):
            (folder / f"{number}{os.path.splitext(name)[1]}").write_bytes(data)
        run = lgs("clean", folder, "-o", tmp_path / "as-files-cleaned", *options)
        assert run.returncode == 0, run.stderr
        found = tmp_path / "as-files-cleaned"
        return {
            name: next(found.glob(f"{number}.*")).read_bytes() for number, name in enumerate(files)
        }

    return clean


def jpeg(picture, **options):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90, **options)
    return file.getvalue()


@pytest.fixture
def samples(photographs):
    """What a data set has: images with labels and texts, of odd sizes; keys with directories."""
    return [
        {
            "__key__": f"train/{number:06}",
            "jpg": jpeg(photographs[number % 3].rotate(7 * number)),
            "cls": str(number % 10).encode(),
            "json": json.dumps({"caption": "ü" * (200 * number)}).encode(),
        }
        for number in range(4)
    ]


def write_samples(path, samples, **options):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(path), encoder=False, **options) as writer:
        for sample in samples:
            writer.write(sample)


def read_samples(path):
    """Read an archive as WebDataset's own loader does, metadata left out."""
    webdataset = pytest.importorskip("webdataset")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the file to the collector
        samples = list(webdataset.WebDataset(str(path), shardshuffle=False))
        gc.collect()
    return [
        {
            key: value
            for key, value in sample.items()
            if not key.startswith("__") or key == "__key__"
        }
        for sample in samples
    ]


def raw_members(path):
    """Cut a tar file into its members: name to (headers, data), each byte of them."""
    data = path.read_bytes()
    found = []
    with tarfile.open(path) as tar:
        for info in tar:
            headers = data[info.offset : info.offset_data]
            found.append((info.name, headers, data[info.offset_data :][: info.size]))
    return found


def test_webdataset_reads_back_what_it_wrote(lgs, tmp_path, samples, cleaned):
    write_samples(tmp_path / "a.tar", samples)
    run = lgs("clean", "a.tar", "-o", "out", "--report", "r.jsonl")
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("4 images: 4 done, 0 skipped, 0 failed")
    expected = cleaned({sample["__key__"] + ".jpg": sample["jpg"] for sample in samples})
    back = read_samples(tmp_path / "out" / "a.tar")
    assert back == [sample | {"jpg": expected[sample["__key__"] + ".jpg"]} for sample in samples]
    assert all(new["jpg"] != old["jpg"] for new, old in zip(back, samples, strict=True))
    before, after = raw_members(tmp_path / "a.tar"), raw_members(tmp_path / "out" / "a.tar")
    assert [name for name, *_ in after] == [name for name, *_ in before]
    kept = [(old, new) for old, new in zip(before, after, strict=True) if ".jpg" not in old[0]]
    assert all(old == new for old, new in kept)
    assert len(kept) == 8
    lines = report(tmp_path / "r.jsonl")
    assert [line["source"] for line in lines] == [f"a.tar/train/{n:06}.jpg" for n in range(4)]
    assert [line["output"] for line in lines] == [f"out/a.tar/train/{n:06}.jpg" for n in range(4)]
    assert {line["status"] for line in lines} == {"done"}
    assert scratch(tmp_path) == []


@pytest.mark.parametrize(
    "format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids="ugp".__getitem__
)
def test_headers_keep_all_but_the_size(lgs, tmp_path, photographs, format, cleaned):
    """Long names, owners, modes and times; other tools agree on the header's sum."""
    data = jpeg(photographs[0])
    name = "d" * 60 + "/" + "ü" * 30 + ".jpg"
    with tarfile.open(tmp_path / "a.tar", "w", format=format) as tar:
        for member in ("readme.txt", name, "last.bin"):
            info = tarfile.TarInfo(member)
            info.mode, info.uid, info.gid, info.mtime = 0o640, 12, 34, 1_700_000_000
            info.uname, info.gname, info.size = "somebody", "people", len(data)
            tar.addfile(info, io.BytesIO(data))
    assert lgs("clean", "a.tar", "-o", "out").returncode == 0
    before, after = raw_members(tmp_path / "a.tar"), raw_members(tmp_path / "out" / "a.tar")
    assert [after[0], after[2]] == [before[0], before[2]]
    assert after[1][2] == cleaned({"a.jpg": data})["a.jpg"] != data
    with tarfile.open(tmp_path / "out" / "a.tar") as tar:
        info = tar.getmember(name)
    assert (info.mode, info.uid, info.gid, info.mtime) == (0o640, 12, 34, 1_700_000_000)
    assert (info.uname, info.gname) == ("somebody", "people")
    differing = [
        n for n, (a, b) in enumerate(zip(before[1][1], after[1][1], strict=True)) if a != b
    ]
    start = len(after[1][1]) - 512
    fields = {*range(start + 124, start + 136), *range(start + 148, start + 156)}
    assert set(differing) <= fields  # the size, and the sum over the header


def test_the_system_tar_takes_it(lgs, tmp_path, samples):
    import shutil
    import subprocess

    if shutil.which("tar") is None:
        pytest.skip("needs tar")
    write_samples(tmp_path / "a.tar", samples)
    lgs("clean", "a.tar", "-o", "out")
    listed = subprocess.run(
        ["tar", "-tf", tmp_path / "out" / "a.tar"], capture_output=True, check=True, text=True
    )
    assert listed.stderr == ""
    assert len(listed.stdout.splitlines()) == 12
    assert (tmp_path / "out" / "a.tar").stat().st_size % 10240 == 0


def tar_of(path, files):
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def noise(tmp_path):
    """Eight small PNG files as bytes, the third of which takes an order."""

    def make(order=""):
        files = {}
        for number in range(8):
            at = image(tmp_path / "made" / "x.png", number, order if number == 2 else "")
            files[f"{number}.png"] = at.read_bytes()
            files[f"{number}.txt"] = f"text {number}".encode()
        return files

    return make


@pytest.mark.parametrize("order", ["segfault", "hang", "broken"])
def test_a_broken_member_costs_that_member(lgs, tmp_path, noise, order):
    files = noise(order if order != "broken" else "")
    if order == "broken":
        files["2.png"] = files["2.png"][:40]
    tar_of(tmp_path / "a.tar", files)
    run = lgs("clean", "a.tar", "-o", "out", "--timeout", "3", "--report", "r.jsonl")
    assert run.returncode == 1
    assert "lgs: a.tar/2.png: " in run.stderr
    assert run.stderr.count("lgs:") == 1
    names = [name for name, *_ in raw_members(tmp_path / "out" / "a.tar")]
    assert names == [name for name in files if name != "2.png"]
    statuses = {line["source"]: line["status"] for line in report(tmp_path / "r.jsonl")}
    assert statuses == {f"a.tar/{n}.png": "failed" if n == 2 else "done" for n in range(8)}
    assert list(statuses) == [f"a.tar/{n}.png" for n in range(8)]
    # It is tried again, all of it: an archive is done or not.
    again = lgs("clean", "a.tar", "-o", "out", "--timeout", "3")
    assert again.stderr.splitlines()[-1].startswith("8 images: 7 done, 0 skipped, 1 failed")
    assert scratch(tmp_path) == []


def test_what_can_never_be_cleaned_is_passed_over(lgs, tmp_path, noise):
    files = noise()
    files["2.png"] = files["2.png"][:40]
    tar_of(tmp_path / "a.tar", files)
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "0.png"
        tar.addfile(link)
    time.sleep(0.05)  # until the time of change says something
    words = ("clean", "a.tar", "-o", "out", "--masks", "m")
    assert lgs(*words).returncode == 1
    before = (tmp_path / "out/a.tar").stat()
    night = (*words, "--skip-unsupported")
    run = lgs(*night, "--report", "r.jsonl")
    assert run.returncode == 0
    assert run.stderr.startswith("9 images: 0 done, 7 skipped, 2 unsupported, 0 failed")
    found = {
        line["source"]: (line["status"], line["error"]) for line in report(tmp_path / "r.jsonl")
    }
    assert found["a.tar/0.png"] == ("skipped", None)
    assert found["a.tar/2.png"] == ("unsupported", "truncated PNG")
    assert found["a.tar/link.png"][0] == "unsupported"
    assert lgs(*night, "-n").stdout.decode() == "up to date: a.tar -> out/a.tar\n"
    after = (tmp_path / "out/a.tar").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    # With other images, settings or outputs it is done again.
    for done, *changed in (
        (6, "--exclude", "3.png"), (7, "--threshold", "0.3"), (7, "--mask-style", "overlay"),
    ):  # fmt: skip
        assert f"{done} done" in lgs(*night, *changed).stderr
    assert "7 done" in lgs(*night).stderr
    (tmp_path / "m/a.tar").unlink()
    assert "7 done" in lgs(*night).stderr
    assert "7 skipped" in lgs(*night).stderr
    assert "7 done" in lgs(*night, "--force").stderr
    tar_of(tmp_path / "a.tar", files | {"2.png": files["3.png"]})
    assert lgs(*night).stderr.startswith("8 images: 8 done")


def test_what_may_do_better_is_tried_again(lgs, tmp_path, noise):
    tar_of(tmp_path / "a.tar", noise("hang"))
    time.sleep(0.05)
    words = ("clean", "a.tar", "-o", "out", "--timeout", "2", "--skip-unsupported")
    for _ in range(2):
        assert "8 images: 7 done, 0 skipped, 1 failed" in lgs(*words).stderr


def test_an_archive_without_images(lgs, tmp_path, noise):
    tar_of(tmp_path / "a.tar", {"a.txt": b"text"})
    tar_of(tmp_path / "b.tar", noise())
    for words in (["clean", "a.tar", "-o", "out"], ["scan", "a.tar"]):
        run = lgs(*words)
        assert run.returncode == 3
        assert "lgs: no image found in a.tar" in run.stderr
    assert lgs("clean", "a.tar", "b.tar", "-o", "out").returncode == 0
    assert lgs("clean", "b.tar", "-o", "out", "--include", "none").returncode == 3


def test_archives_in_a_directory_have_to_be_named(lgs, tmp_path, noise):
    (tmp_path / "set").mkdir()
    tar_of(tmp_path / "set/a.tar", noise())
    run = lgs("clean", "set", "-o", "out")
    assert run.returncode == 3
    assert run.stderr == "lgs: no image found in set; name archives as INPUT: set/a.tar\n"


def test_a_directory_is_no_archive(lgs, tmp_path):
    images(tmp_path / "data.tar", 2)
    run = lgs("clean", "data.tar", "-o", "out")
    assert run.returncode == 0
    assert run.stderr.startswith("2 images: 2 done")
    os.mkfifo(tmp_path / "b.tar")
    run = lgs("clean", "b.tar", "-o", "out")
    assert run.returncode == 2
    assert run.stderr == "lgs: b.tar: neither a file nor a directory\n"


def test_archives_in_lists_and_places_of_images(lgs, tmp_path, noise):
    tar_of(tmp_path / "a.tar", noise())
    (tmp_path / "list").write_text("a.tar\ns3://bucket/x.jpg\n")
    for command in ("clean", "scan"):
        run = lgs(command, "--files-from", "list", *(["-o", "out"] if command == "clean" else []))
        assert run.returncode == 1
        assert "lgs: a.tar: a tar archive among images is not supported\n" in run.stderr
        assert "lgs: s3://bucket/x.jpg: a URL: give it as INPUT, and not in a list" in run.stderr
    run = lgs("clean", "a.tar", "--in-place", "--yes")
    assert run.returncode == 2
    assert "--in-place is for images, and not for archives as a.tar" in run.stderr
    run = lgs("clean", "a.tar", "-o", "out", "--preserve-times")
    assert run.returncode == 2
    assert "--preserve-times is for images, not for archives" in run.stderr
    run = lgs("clean", "*.tar", "-o", "out")
    assert run.returncode == 2
    assert "write the pattern without quotes" in run.stderr


def test_an_archive_is_the_unit_of_resume(lgs, tmp_path, noise):
    files = noise()
    for name in ("a.tar", "b.tar"):
        tar_of(tmp_path / name, files)
    time.sleep(0.05)  # until the time of change says something
    assert lgs("clean", "a.tar", "-o", "out").returncode == 0
    stamp = (tmp_path / "out" / "a.tar").stat().st_mtime_ns
    assert lgs("clean", "a.tar", "b.tar", "-o", "out", "-n").stdout.decode() == (
        "up to date: a.tar -> out/a.tar\nwould clean: b.tar -> out/b.tar\n"
    )
    run = lgs("clean", "a.tar", "b.tar", "-o", "out")
    assert run.stderr.startswith("16 images: 8 done, 8 skipped, 0 failed")
    assert (tmp_path / "out" / "a.tar").stat().st_mtime_ns == stamp
    assert (tmp_path / "out" / "a.tar").read_bytes() == (tmp_path / "out" / "b.tar").read_bytes()
    # Another choice of members is another job, and so is another version of the archive.
    run = lgs("clean", "a.tar", "-o", "out", "--exclude", "3.png")
    assert run.stderr.startswith("7 images: 7 done")
    kept = {name: data for name, _, data in raw_members(tmp_path / "out" / "a.tar")}
    assert kept["3.png"] == files["3.png"]
    assert lgs("clean", "a.tar", "-o", "out").stderr.startswith("8 images: 8 done")
    tar_of(tmp_path / "b.tar", files | {"4.txt": b"another text"})
    assert lgs("clean", "b.tar", "-o", "out").stderr.startswith("8 images: 8 done")
    assert lgs("clean", "b.tar", "-o", "out", "--force").stderr.startswith("8 images: 8 done")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_what_is_ended_midway_leaves_no_half_archive(lgs, tmp_path, noise, number):
    met, go = tmp_path / "met", tmp_path / "go"
    tar_of(tmp_path / "a.tar", noise(f"meet {met} {go}"))
    with lgs.start("clean", "a.tar", "-o", "out") as run:
        until(met.exists)
        os.kill(run.process.pid, number)
        assert run.end() == (143 if number == signal.SIGTERM else -9)
    assert not (tmp_path / "out" / "a.tar").exists()
    if number == signal.SIGTERM:
        assert scratch(tmp_path) == []
    go.touch()
    assert lgs("clean", "a.tar", "-o", "out").stderr.startswith("8 images: 8 done")
    assert scratch(tmp_path) == []


@pytest.mark.parametrize("damage", ["cut in a member", "cut in a header", "header", "two in one"])
def test_a_damaged_archive_fails_as_a_whole(lgs, tmp_path, noise, damage):
    """Members after the damage would be lost without a word: no archive is better than that."""
    tar_of(tmp_path / "a.tar", noise())
    tar_of(tmp_path / "b.tar", noise())
    data = (tmp_path / "a.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        fifth = tar.getmembers()[4]
    changed = {
        "cut in a member": data[: fifth.offset_data + 100],
        "cut in a header": data[: fifth.offset + 100],
        "header": data[: fifth.offset] + b"\xff" * 100 + data[fifth.offset + 100 :],
        "two in one": data + data,
    }[damage]
    (tmp_path / "a.tar").write_bytes(changed)
    run = lgs("clean", "a.tar", "b.tar", "-o", "out")
    assert run.returncode == 1
    assert run.stderr.startswith("lgs: a.tar: a damaged tar archive")
    assert files_below(tmp_path / "out") == {"b.tar"}
    assert run.stderr.splitlines()[-1].startswith("9 images: 8 done, 0 skipped, 1 failed")


def test_other_format_other_suffix(lgs, tmp_path, samples, cleaned):
    write_samples(tmp_path / "a.tar", samples)
    assert lgs("clean", "a.tar", "-o", "out", "--format", "png").returncode == 0
    expected = cleaned(
        {sample["__key__"] + ".jpg": sample["jpg"] for sample in samples}, "--format", "png"
    )
    for sample, back in zip(samples, read_samples(tmp_path / "out" / "a.tar"), strict=True):
        assert back == {
            **{key: value for key, value in sample.items() if key != "jpg"},
            "png": expected[sample["__key__"] + ".jpg"],
        }


def test_two_members_never_get_one_name(lgs, tmp_path, photographs, noise):
    tar_of(tmp_path / "a.tar", {"0.jpg": jpeg(photographs[0]), "0.png": noise()["0.png"]})
    run = lgs("clean", "a.tar", "-o", "out", "--format", "png")
    assert run.returncode == 1
    assert "lgs: a.tar/0.jpg: the archive holds another 0.png" in run.stderr
    assert [name for name, *_ in raw_members(tmp_path / "out" / "a.tar")] == ["0.png"]


@pytest.mark.parametrize("format", ["gnu", "posix", "ustar"])
def test_a_hard_link_is_the_image_that_it_names(lgs, tmp_path, photographs, cleaned, format):
    (tmp_path / "set").mkdir()
    first, second = (tmp_path / "set" / name for name in ("a.jpg", "b.jpg"))
    first.write_bytes(jpeg(photographs[0]))
    os.link(first, second)
    os.link(first, tmp_path / "set/c.txt")
    words = ["tar", "cf", "a.tar", f"--format={format}", "--sort=name", "set"]
    subprocess.run(words, cwd=tmp_path, check=True)
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert [info.type for info in tar] == [
            tarfile.DIRTYPE,
            tarfile.REGTYPE,
            *2 * [tarfile.LNKTYPE],
        ]
    expected = cleaned({"a.jpg": first.read_bytes()})["a.jpg"]
    for options in ([], ["--exclude", "a.jpg"]):
        run = lgs("clean", "a.tar", "-o", "out", "--force", *options)
        assert run.returncode == 0, run.stderr
        subprocess.run(["tar", "xf", "out/a.tar"], cwd=tmp_path, check=True)
        assert second.read_bytes() == expected
        assert (first.read_bytes() == expected) == (not options)


def test_links_are_no_images(lgs, tmp_path, noise):
    files = noise()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("0.png", tarfile.REGTYPE), ("link.png", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "0.png" if kind == tarfile.SYMTYPE else ""
            info.size = len(files["0.png"]) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(files["0.png"]))
    run = lgs("clean", "a.tar", "-o", "out")
    assert run.returncode == 1
    assert "lgs: a.tar/link.png: a link or a sparse file in the archive: left out" in run.stderr
    assert [name for name, *_ in raw_members(tmp_path / "out" / "a.tar")] == ["0.png"]


def test_masks_are_an_archive_as_well(lgs, tmp_path, samples):
    write_samples(tmp_path / "a.tar", samples)
    assert lgs("clean", "a.tar", "-o", "out", "--masks", "masks").returncode == 0
    (tmp_path / "files").mkdir()
    for number, sample in enumerate(samples):
        (tmp_path / "files" / f"{number}.jpg").write_bytes(sample["jpg"])
    lgs("clean", "files", "-o", "files-out", "--masks", "files-masks")
    found = read_samples(tmp_path / "masks" / "a.tar")
    assert [sample["__key__"] for sample in found] == [sample["__key__"] for sample in samples]
    expected = sorted((tmp_path / "files-masks").rglob("*.png"))
    assert [sample["png"] for sample in found] == [path.read_bytes() for path in expected]
    assert lgs("clean", "a.tar", "-o", "out", "--masks", "masks").stderr.startswith(
        "4 images: 0 done, 4 skipped"
    )


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("s-{008..011}.tar", ["s-008.tar", "s-009.tar", "s-010.tar", "s-011.tar"]),
        ("s-{8..10}.tar", ["s-8.tar", "s-9.tar", "s-10.tar"]),
        ("{train,val}-{0..1}.tar", ["train-0.tar", "train-1.tar", "val-0.tar", "val-1.tar"]),
        ("a{b}.tar", ["a{b}.tar"]),
        ("a.tar", ["a.tar"]),
    ],
)
def test_patterns(pattern, paths):
    assert expand(pattern) == paths
    braceexpand = pytest.importorskip("braceexpand")  # what WebDataset uses
    assert list(braceexpand.braceexpand(pattern)) == paths


def test_shards_by_a_pattern_and_in_parts(lgs, tmp_path, noise):
    for number in range(4):
        tar_of(tmp_path / f"s-{number:02}.tar", noise())
    assert lgs("clean", "s-{00..03}.tar", "-o", "whole").returncode == 0
    for part in ("1/2", "2/2"):
        assert lgs("clean", "s-{00..03}.tar", "-o", "out", "--shard", part).returncode == 0
    found = {name: data for name, data in tree(tmp_path / "out").items() if ".tar" in name}
    assert found == tree(tmp_path / "whole")
    assert len(found) == 4
    run = lgs("clean", "s-{00..04}.tar", "-o", "out")
    assert run.returncode == 2
    assert run.stderr.startswith("lgs: s-04.tar: no such file")


def test_what_is_refused(lgs, tmp_path, noise):
    tar_of(tmp_path / "a.tar", noise())
    (tmp_path / "sub").mkdir()
    tar_of(tmp_path / "sub" / "a.tar", noise())
    images(tmp_path / "in", 1)
    for words, reason in (
        (["a.tar", "in", "-o", "out"], "archives go in a run of their own, and in is none"),
        (["a.tar", "-o", "."], "a.tar"),
        (["a.tar", "sub/a.tar", "-o", "out"], "a.tar"),
        (["a.tar", "-o", "out", "--report", "a.tar"], "a.tar"),
    ):
        run = lgs("clean", *words)
        assert run.returncode == 2
        assert reason in run.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture
def arrow():
    pytest.importorskip("pyarrow.parquet")
    import pyarrow

    return pyarrow


def table_of(arrow, samples, nested):
    """Make a table as Hugging Face does it, with rows that have no image."""
    images = [sample["jpg"] for sample in samples] * 2
    images[5] = None
    kind = arrow.binary()
    column = arrow.array(images, kind)
    if nested:
        rows = [
            None if data is None else {"bytes": data, "path": f"{n}.jpg"}
            for n, data in enumerate(images)
        ]
        column = arrow.array(rows, arrow.struct([("bytes", kind), ("path", arrow.string())]))
    columns = {
        "image": column,
        "label": arrow.array(np.arange(8), arrow.int16()),
        "caption": arrow.array(["ü" * n for n in range(8)]).dictionary_encode(),
        "boxes": arrow.array([[1.5] * n if n else None for n in range(8)]),
        "extra": arrow.array([b"\0" * n for n in range(8)], arrow.large_binary()),
    }
    table = arrow.table(columns)
    return table.replace_schema_metadata({"huggingface": '{"info": 1}'})


@pytest.mark.parametrize("nested", [False, True], ids=["binary", "struct"])
def test_parquet(lgs, tmp_path, arrow, samples, nested, cleaned):
    import pyarrow.parquet as pq

    table = table_of(arrow, samples, nested)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3, compression="zstd")
    run = lgs("clean", "a.parquet", "-o", "out", "--report", "r.jsonl")
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("7 images: 7 done")
    expected = cleaned({f"{n}.jpg": sample["jpg"] for n, sample in enumerate(samples)})
    before, after = pq.ParquetFile(tmp_path / "a.parquet"), pq.ParquetFile(
        tmp_path / "out" / "a.parquet"
    )  # fmt: skip
    assert after.schema_arrow.equals(before.schema_arrow, check_metadata=True)
    groups = [after.metadata.row_group(n) for n in range(after.num_row_groups)]
    assert [group.num_rows for group in groups] == [3, 3, 2]
    assert {group.column(0).compression for group in groups} == {"ZSTD"}
    new = after.read()
    for name in ("label", "caption", "boxes", "extra"):
        assert new[name].equals(table[name])
    images = [expected[f"{n % 4}.jpg"] for n in range(8)]
    images[5] = None
    if nested:
        assert new["image"].to_pylist() == [
            None if data is None else {"bytes": data, "path": f"{n}.jpg"}
            for n, data in enumerate(images)
        ]
    else:
        assert new["image"].to_pylist() == images
    sources = [line["source"] for line in report(tmp_path / "r.jsonl")]
    assert sources == [f"a.parquet/row {n}" for n in range(8) if n != 5]
    assert scratch(tmp_path) == leftovers(tmp_path) == []


def test_a_broken_row_loses_its_image_and_nothing_else(lgs, tmp_path, arrow, samples):
    import pyarrow.parquet as pq

    images = [samples[0]["jpg"], samples[1]["jpg"][:50], samples[2]["jpg"]]
    schema = arrow.schema([("photo", arrow.binary()), ("label", arrow.int8())])
    pq.write_table(
        arrow.table({"photo": images, "label": [1, 2, 3]}, schema), tmp_path / "a.parquet"
    )
    run = lgs("clean", "a.parquet", "-o", "out")
    assert run.returncode == 1
    assert "lgs: a.parquet/row 1: " in run.stderr
    rows = pq.read_table(tmp_path / "out" / "a.parquet").to_pylist()
    assert [row["label"] for row in rows] == [1, 2, 3]
    assert rows[1]["photo"] is None
    with Image.open(io.BytesIO(rows[2]["photo"])) as picture:
        assert picture.size == (180, 120)


def test_a_path_in_the_place_of_an_image_is_a_failure(lgs, tmp_path, arrow, samples):
    import pyarrow.parquet as pq

    rows = [
        {"bytes": samples[0]["jpg"], "path": "a.jpg"},
        {"bytes": None, "path": "b.jpg"},
        {"bytes": None, "path": None},
        None,
    ]
    pq.write_table(arrow.table({"image": rows}), tmp_path / "a.parquet")
    run = lgs("clean", "a.parquet", "-o", "out")
    assert run.returncode == 1
    assert "lgs: a.parquet/row 1: the table has its path only, and not its bytes" in run.stderr
    assert "2 images: 1 done, 0 skipped, 1 failed" in run.stderr
    found = pq.read_table(tmp_path / "out/a.parquet").to_pylist()
    assert [row["image"] for row in found[1:]] == rows[1:]
    assert found[0]["image"]["bytes"] != rows[0]["bytes"]


def test_the_column_of_images(lgs, tmp_path, arrow, samples):
    import pyarrow.parquet as pq

    data = [samples[0]["jpg"]]
    pq.write_table(arrow.table({"a": data, "b": data}), tmp_path / "a.parquet")
    run = lgs("clean", "a.parquet", "-o", "out")
    assert run.returncode == 1
    assert "--image-column NAME of ['a', 'b']" in run.stderr
    run = lgs("clean", "a.parquet", "-o", "out", "--image-column", "b")
    assert run.returncode == 0
    row = pq.read_table(tmp_path / "out" / "a.parquet").to_pylist()[0]
    assert row["a"] == data[0] != row["b"]
    run = lgs("clean", "a.parquet", "-o", "out", "--image-column", "c")
    assert "no column 'c' of images; there are ['a', 'b']" in run.stderr


def test_without_pyarrow(lgs, tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    (tmp_path / "without").mkdir()
    paths = lgs.environment["PYTHONPATH"]
    (tmp_path / "without" / "pyarrow.py").write_text("raise ImportError('not here')")
    lgs.environment["PYTHONPATH"] = f"{tmp_path / 'without'}{os.pathsep}{paths}"
    run = lgs("clean", "a.parquet", "-o", "out")
    assert run.returncode == 2
    assert run.stderr == "lgs: a Parquet file needs pyarrow: pip install 'lgs-cli[parquet]'\n"
