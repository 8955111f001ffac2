"""Where the outputs of ``lgs clean`` go besides a directory: a file, stdout, the inputs."""

from __future__ import annotations

import os
import pty
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from folders import files_below, records, report, snapshot, tree
from PIL import Image
from shell import until

from lgs_cli.batch.in_place import InPlace, Records
from lgs_cli.batch.job import Job
from lgs_cli.defenses.chain import parse_chain
from lgs_cli.storage.inputs import Source


def expected(lgs, path: Path, *words: str) -> bytes:
    """Clean an image into a directory of its own, and return the file."""
    out = lgs.folder / "expected"
    assert lgs("clean", path, "-o", out, "--force", *words).returncode == 0
    (name,) = [name for name in files_below(out) if name.startswith(path.stem)]
    return (out / name).read_bytes()


def images_in(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder but the record."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


# One image to one file


def test_a_file_of_another_name(lgs, photos):
    assert lgs("clean", "photos/a.jpg", "-o", "new/b.jpg").returncode == 0
    assert (lgs.folder / "new/b.jpg").read_bytes() == expected(lgs, photos / "a.jpg")
    assert [path.name for path in (lgs.folder / "new").iterdir()] == ["b.jpg"]


@pytest.mark.parametrize("suffix", ["png", "webp", "TIF"])
def test_the_suffix_gives_the_format(lgs, photos, suffix):
    assert lgs("clean", "photos/a.jpg", "-o", f"b.{suffix}").returncode == 0
    form = {"png": "PNG", "webp": "WEBP", "TIF": "TIFF"}[suffix]
    with Image.open(lgs.folder / f"b.{suffix}") as picture:
        assert picture.format == form
    usual = expected(lgs, photos / "a.jpg", "--format", suffix.lower().replace("tif", "tiff"))
    assert (lgs.folder / f"b.{suffix}").read_bytes() == usual


def test_a_file_with_mask_and_report(lgs, photos):
    words = ["--masks", "m.png", "--report", "r.jsonl"]
    assert lgs("clean", "photos/a.jpg", "-o", "b.jpg", *words).returncode == 0
    (line,) = report(lgs.folder / "r.jsonl")
    assert (line["output"], line["mask"], line["status"]) == ("b.jpg", "m.png", "done")
    assert lgs("clean", "photos/a.jpg", "-o", "b.jpg", "--masks", "masks").returncode == 0
    (mask,) = files_below(lgs.folder / "masks")
    with Image.open(lgs.folder / "m.png") as one, Image.open(lgs.folder / "masks" / mask) as two:
        assert np.array_equal(np.asarray(one), np.asarray(two))


def test_a_file_is_written_whole_or_not_at_all(lgs, photos):
    (lgs.folder / "b.jpg").write_text("mine")
    (photos / "a.jpg").write_bytes((photos / "a.jpg").read_bytes()[:2000])
    run = lgs("clean", "photos/a.jpg", "-o", "b.jpg")
    assert run.returncode == 1
    assert (lgs.folder / "b.jpg").read_text() == "mine"


def test_a_dry_run_of_a_file(lgs, photos):
    before = snapshot(lgs.folder)
    run = lgs("clean", "photos/a.jpg", "-o", "b.jpg", "-n")
    assert (run.returncode, run.stdout) == (0, b"would clean: photos/a.jpg -> b.jpg\n")
    assert snapshot(lgs.folder) == before


def test_stdout_and_stdin(lgs, photos):
    usual = expected(lgs, photos / "a.jpg")
    assert lgs("clean", "photos/a.jpg", "-o", "-").stdout == usual
    data = (photos / "a.jpg").read_bytes()
    assert lgs("clean", "-", "-o", "-", input=data).stdout == usual
    run = lgs("clean", "-", "-o", "sub/b.png", input=data)
    assert (run.returncode, run.stdout) == (0, b"")
    assert lgs("clean", "photos/a.jpg", "-o", "png", "--format", "png").returncode == 0
    assert (lgs.folder / "sub/b.png").read_bytes() == (lgs.folder / "png/a.png").read_bytes()


def test_no_image_goes_to_a_terminal(lgs, photos):
    master, slave = pty.openpty()
    with lgs.start("clean", "photos/a.jpg", "-o", "-", stdout=slave) as run:
        os.close(slave)
        assert run.end() == 2
    os.close(master)
    assert run.stderr == (
        "lgs: the image would go to the terminal: write > b.jpg behind it, or -o b.jpg\n"
    )


# In place


def test_in_place_with_a_backup(lgs, photos):
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    usual = {name: expected(lgs, photos / name) for name in before}
    (photos / "a.jpg").chmod(0o640)
    assert lgs("clean", "photos", "--in-place", "--backup", "orig").returncode == 0
    for name, data in before.items():
        assert (photos / name).read_bytes() == usual[name] != data
        assert (photos / f"{name}.orig").read_bytes() == data
    assert (photos / "a.jpg").stat().st_mode & 0o777 == 0o640
    assert (photos / "a.jpg.orig").stat().st_mode & 0o777 == 0o640
    assert not list(photos.glob("*.tmp"))


def test_in_place_without_a_backup(lgs, photos):
    usual = expected(lgs, photos / "a.jpg")
    untouched = (photos / "b.jpg").read_bytes()
    assert lgs("clean", "photos/a.jpg", "--in-place", "--yes").returncode == 0
    assert (photos / "a.jpg").read_bytes() == usual
    assert (photos / "b.jpg").read_bytes() == untouched
    assert files_below(photos) - {".lgs-in-place.jsonl"} == {"a.jpg", "b.jpg", "c.jpg"}


def test_what_is_cleaned_in_place_is_up_to_date_until_it_changes(lgs, photos):
    words = ["clean", "photos", "--in-place", "--yes"]
    assert "3 done" in lgs(*words).stderr
    before = snapshot(photos)
    assert "0 done, 3 skipped" in lgs(*words).stderr
    assert b"up to date: photos/a.jpg" in lgs(*words, "-n").stdout
    assert snapshot(photos) == before
    Image.open(photos / "b.jpg").rotate(90).save(photos / "b.jpg", quality=92)
    assert "1 done, 2 skipped" in lgs(*words).stderr
    assert "3 done" in lgs(*words, "--threshold", "0.05").stderr
    assert "3 done" in lgs(*words, "--force").stderr


def test_a_run_that_fails_does_not_have_images_cleaned_twice(lgs, photos):
    words = ["clean", "photos", "--in-place", "--yes"]
    assert "3 done" in lgs(*words).stderr
    before = images_in(photos)
    assert "3 failed" in lgs(*words, "--method", "tvm", "--timeout", "0.01").stderr
    assert "0 done, 3 skipped" in lgs(*words).stderr
    assert images_in(photos) == before


@pytest.mark.parametrize("last", [["--yes"], ["--backup", ".orig"]])
def test_a_run_that_backups_stop_does_not_have_images_cleaned_twice(lgs, photos, last):
    words = ["clean", "photos", "--in-place"]
    assert "3 done" in lgs(*words, "--backup", ".orig").stderr
    before = images_in(photos)
    assert "3 failed" in lgs(*words, "--backup", ".orig", "--method", "median").stderr
    assert "0 done, 3 skipped" in lgs(*words, *last).stderr
    assert images_in(photos) == before


def test_what_turns_bad_after_it_was_cleaned_is_known_as_bad(lgs, photos):
    words = ["clean", "photos", "--in-place", "--yes", "--skip-unsupported"]
    assert "3 done" in lgs(*words).stderr
    (photos / "a.jpg").write_text("no image")
    os.utime(photos / "a.jpg", (1e9, 1e9))
    assert "2 skipped, 1 failed" in lgs(*words).stderr
    assert "2 skipped, 1 unsupported, 0 failed" in lgs(*words).stderr


def test_what_turns_bad_beside_its_backup_is_known_as_bad(lgs, photos):
    words = ["clean", "photos", "--in-place", "--backup", ".orig", "--skip-unsupported"]
    assert "3 done" in lgs(*words).stderr
    (photos / "a.jpg").write_text("no image")
    os.utime(photos / "a.jpg", (1e9, 1e9))
    run = lgs(*words)
    assert "photos/a.jpg: not an image" in run.stderr
    assert "2 skipped, 1 failed" in run.stderr
    assert "2 skipped, 1 unsupported, 0 failed" in lgs(*words).stderr


def test_force_does_not_clean_twice_what_has_a_backup(lgs, photos):
    words = ["clean", "photos", "--in-place", "--force"]
    assert "3 done, " in lgs(*words, "--backup", ".orig").stderr
    before = images_in(photos)
    assert "3 done (3 unchanged)" in lgs(*words, "--backup", ".orig").stderr
    assert images_in(photos) == before
    twice = expected(lgs, photos / "a.jpg")
    assert "3 done, " in lgs(*words, "--yes").stderr
    assert (photos / "a.jpg").read_bytes() == twice != before["a.jpg"]
    # This is no longer what cleaning the backup gives.
    assert "3 failed" in lgs(*words, "--backup", ".orig").stderr
    assert (photos / "a.jpg").read_bytes() == twice


def test_masks_show_what_cleaning_changed_in_the_original(lgs, photos):
    words = ["clean", "photos", "--in-place", "--backup", ".orig"]
    wanted = lgs("clean", "photos", "-o", "out", "--masks", "wanted", "--report", "wanted.jsonl")
    assert wanted.returncode == 0
    assert "3 done, " in lgs(*words).stderr
    before = images_in(photos)
    for more in ([], ["--force"]):  # to add what the first run did not make, and to make it again
        run = lgs(*words, *more, "--masks", "masks", "--report", "r.jsonl")
        assert "3 done (3 unchanged)" in run.stderr
        assert images_in(photos) == before
        assert tree(lgs.folder / "masks") == tree(lgs.folder / "wanted")
        found, there = (records(lgs.folder / name) for name in ("r.jsonl", "wanted.jsonl"))
        assert all(found[name]["coverage"] == line["coverage"] for name, line in there.items())
    # With other settings the image is not what cleaning the backup gives: the mask would not be of
    # anything that was done to it, and stays as it is.
    run = lgs(*words, "--force", "--masks", "masks", "--threshold", "0.3")
    assert "3 failed" in run.stderr
    assert "photos/a.jpg.orig is there already" in run.stderr
    assert tree(lgs.folder / "masks") == tree(lgs.folder / "wanted")


def test_an_image_in_which_nothing_changes_is_not_touched(lgs, photos):
    plain = photos / "plain.png"
    Image.new("RGB", (40, 40), (9, 99, 199)).save(plain)
    before = plain.stat()
    assert lgs("clean", "photos", "--in-place", "--backup", ".orig").returncode == 0
    assert plain.stat().st_mtime_ns == before.st_mtime_ns and plain.stat().st_ino == before.st_ino
    assert not (photos / "plain.png.orig").exists()
    assert (photos / "a.jpg.orig").exists()


def test_a_backup_is_never_overwritten(lgs, photos):
    (photos / "a.jpg.orig").write_text("mine")
    before = (photos / "a.jpg").read_bytes()
    run = lgs("clean", "photos", "--in-place", "--backup", ".orig")
    assert run.returncode == 1
    assert "photos/a.jpg: photos/a.jpg.orig is there already" in run.stderr
    assert "2 done, 0 skipped, 1 failed" in run.stderr
    assert (photos / "a.jpg.orig").read_text() == "mine"
    assert (photos / "a.jpg").read_bytes() == before


def test_a_backup_of_a_run_that_was_killed_is_taken(lgs, photos):
    data = (photos / "a.jpg").read_bytes()
    os.link(photos / "a.jpg", photos / "a.jpg.orig")
    assert lgs("clean", "photos/a.jpg", "--in-place", "--backup", ".orig").returncode == 0
    assert (photos / "a.jpg.orig").read_bytes() == data != (photos / "a.jpg").read_bytes()


def test_links_stay_and_so_does_what_they_lead_to(lgs, photos):
    (photos / "link.jpg").symlink_to("a.jpg")
    before = (photos / "a.jpg").read_bytes()
    run = lgs("clean", "photos/link.jpg", "--in-place", "--yes")
    assert run.returncode == 1
    assert "photos/link.jpg: a link; name the file that it leads to" in run.stderr
    assert (photos / "link.jpg").is_symlink()
    assert (photos / "a.jpg").read_bytes() == before


def test_what_is_typed_decides_between_elsewhere_and_in_place(lgs, photos):
    before = snapshot(photos)
    (lgs.folder / "lgs.toml").write_text('[clean]\nin-place = true\nbackup = ".orig"\n')
    assert lgs("clean", "photos", "-o", "out").returncode == 0
    assert files_below(lgs.folder / "out") == {"a.jpg", "b.jpg", "c.jpg"}
    assert snapshot(photos) == before
    (lgs.folder / "lgs.toml").write_text('[clean]\noutput = "out"\n')
    assert lgs("clean", "photos", "--in-place", "--yes").returncode == 0
    assert (photos / "a.jpg").read_bytes() == (lgs.folder / "out/a.jpg").read_bytes()


def test_bad_files_stay(lgs, photos):
    (photos / "bad.jpg").write_text("no image")
    run = lgs("clean", "photos", "--in-place", "--backup", ".orig")
    assert run.returncode == 1
    assert (photos / "bad.jpg").read_text() == "no image"
    assert not (photos / "bad.jpg.orig").exists()


def test_a_signal_leaves_each_image_old_or_new(lgs, photos):
    old = {path.name: path.read_bytes() for path in photos.iterdir()}
    words = ["--method", "tvm", "--param", "iterations=300", "-j2"]
    new = {name: expected(lgs, photos / name, *words) for name in old}
    with lgs.start("clean", "photos", "--in-place", "--backup", ".orig", *words) as run:
        until(lambda: list(photos.glob("*.orig")) or run.process.poll() is not None)
        run.process.send_signal(signal.SIGKILL)
        run.end()
        until(lambda: not run.processes())
    for name, data in old.items():
        found = (photos / name).read_bytes()
        assert found in (data, new[name])
        if found != data:
            assert (photos / f"{name}.orig").read_bytes() == data
    assert lgs("clean", "photos", "--in-place", "--backup", ".orig", *words).returncode == 0
    assert {name: (photos / name).read_bytes() for name in old} == new
    assert not list(photos.glob(".*.tmp"))


def test_a_disk_that_refuses_leaves_the_image_and_no_backup(photos, monkeypatch):
    """The copy is made, and then the write fails."""
    from lgs_cli.batch import in_place
    from lgs_cli.errors import StorageError

    def refuse(path: str, data: bytes, **options: object) -> None:
        raise StorageError("full")

    path = photos / "a.jpg"
    before = path.read_bytes()
    monkeypatch.setattr(in_place, "write", refuse)
    work = InPlace(parse_chain("lgs"), backup=".orig")
    result = work.do(Job(0, str(path), str(path)))
    assert (result.status, result.error) == ("failed", "full")
    assert path.read_bytes() == before
    assert not (photos / "a.jpg.orig").exists()


def test_files_in_very_many_directories_are_refused():
    from lgs_cli.errors import UsageError

    sources = [Source(f"d{index}/", "a.jpg") for index in range(101)]
    with pytest.raises(UsageError, match="lie in 101 directories"):
        Records(sources, InPlace(parse_chain("lgs")))


# Another format into the same directory


def test_delete_removes_outputs_of_another_format(lgs, photos):
    out, masks = lgs.folder / "out", lgs.folder / "masks"
    Image.open(photos / "a.jpg").save(photos / "a.png")
    (photos / "a.jpg").unlink()
    words = ["clean", "photos", "-o", "out", "--masks", "masks"]
    assert lgs(*words, "--format", "webp").returncode == 0
    (out / "b.webp").write_bytes(bytes((out / "b.webp").stat().st_size))
    before = snapshot(lgs.folder)
    rehearsed = lgs(*words, "--delete", "-n")
    assert sorted(rehearsed.stdout.decode().splitlines()) == [
        "would clean: photos/a.png -> out/a.png",
        "would clean: photos/b.jpg -> out/b.jpg",
        "would clean: photos/c.jpg -> out/c.jpg",
        "would remove: out/a.webp",
        "would remove: out/c.webp",
    ]
    assert "out/b.webp: changed by others, and stays" in rehearsed.stderr
    assert snapshot(lgs.folder) == before
    run = lgs(*words, "--delete")
    assert "out/b.webp: changed by others, and stays" in run.stderr
    assert run.stderr.splitlines()[-1] == "2 outdated files removed"
    assert files_below(out) - {".lgs-manifest.jsonl"} == {"a.png", "b.jpg", "b.webp", "c.jpg"}
    assert files_below(masks) - {".lgs-manifest.jsonl"} == {"a.png.png", "b.jpg.png", "c.jpg.png"}
    assert "removed" not in lgs(*words, "--delete").stderr


def test_delete_spares_outputs_if_the_other_format_is_not_written(lgs, photos):
    words = ["clean", "photos", "-o", "out"]
    assert lgs(*words, "--format", "png").returncode == 0
    (lgs.folder / "out/a.jpg").mkdir()
    assert "2 done, 0 skipped, 1 failed" in lgs(*words, "--delete", "--exclude", "x").stderr
    assert {path.name for path in (lgs.folder / "out").glob("*.png")} == {"a.png"}
    # What this run leaves out is none of its business.
    assert lgs(*words, "--format", "webp", "--delete", "--exclude", "b.jpg").returncode == 0
    assert {path.name for path in (lgs.folder / "out").glob("?.*")} == {
        "a.jpg", "a.webp", "b.jpg", "c.webp",
    }  # fmt: skip


# What arrives


def test_watch_cleans_what_is_there_and_what_arrives(lgs, photos):
    words = ["clean", "photos", "-o", "out", "--watch", "0.3", "--report", "r.jsonl"]
    out = lgs.folder / "out"
    with lgs.start(*words) as run:
        until(lambda: (out / "c.jpg").exists())
        (photos / "sub").mkdir()
        (photos / "sub/d.jpg").write_bytes((photos / "a.jpg").read_bytes())
        until(lambda: (out / "sub/d.jpg").exists())
        (photos / "bad.jpg").write_text("no image")
        until(lambda: "bad.jpg" in (lgs.folder / "r.jsonl").read_text())
        (photos / "b.jpg").write_bytes((photos / "c.jpg").read_bytes())
        until(lambda: (out / "b.jpg").read_bytes() == (out / "c.jpg").read_bytes())
        time.sleep(0.7)  # nothing more is to be done, and nothing is said
        run.process.send_signal(signal.SIGTERM)
        assert run.end() == 0
        until(lambda: not run.processes())
    assert run.stderr.count("lgs: photos/bad.jpg: not an image") == 1
    assert files_below(out) == {"a.jpg", "b.jpg", "c.jpg", "sub/d.jpg"}
    lines = report(lgs.folder / "r.jsonl")
    assert len(lines) == 6
    assert [line["source"] for line in lines[:3]] == [f"photos/{name}.jpg" for name in "abc"]


def test_watch_waits_for_the_end_of_a_file(lgs, photos):
    data = (photos / "a.jpg").read_bytes()
    (lgs.folder / "in").mkdir()
    with lgs.start("clean", "in", "-o", "out", "--watch", "0.5") as run:
        with open(lgs.folder / "in/slow.jpg", "wb", buffering=0) as file:
            for start in range(0, len(data), len(data) // 12):
                file.write(data[start : start + len(data) // 12])
                time.sleep(0.15)
        until(lambda: (lgs.folder / "out/slow.jpg").exists())
        run.process.send_signal(signal.SIGTERM)
        assert run.end() == 0
    assert "failed in" in run.stderr and " 0 failed" in run.stderr
    assert "lgs: in/slow.jpg" not in run.stderr


def test_watch_lets_no_output_replace_another(lgs, photos):
    """They come one after the other: none of the two runs sees both."""
    (lgs.folder / "in").mkdir()
    (lgs.folder / "in/a.jpg").write_bytes((photos / "a.jpg").read_bytes())
    with lgs.start("clean", "in", "-o", "out", "--format", "webp", "--watch", "0.2") as run:
        until(lambda: (lgs.folder / "out/a.webp").exists())
        first = (lgs.folder / "out/a.webp").read_bytes()
        Image.new("RGB", (20, 20)).save(lgs.folder / "in/a.png")
        assert run.process.stderr.readline() == b"watching, every 0.2 s\n"
        assert run.process.stderr.readline().startswith(b"1 image: 1 done")
        assert b"lgs: in/a.png: out/a.webp is the output of in/a.jpg" in (
            run.process.stderr.readline()
        )
        run.process.send_signal(signal.SIGTERM)
        assert run.end() == 0
    assert (lgs.folder / "out/a.webp").read_bytes() == first


def test_watch_replaces_no_photograph_of_the_user(lgs, photos):
    """A directory inside the input that no run has written to."""
    (photos / "mine").mkdir()
    (photos / "mine/a.jpg").write_text("mine")
    with lgs.start("clean", "photos", "-o", "photos/mine", "--watch", "0.2") as run:
        until(lambda: (photos / "mine/b.jpg").exists())
        run.process.send_signal(signal.SIGTERM)
        assert run.end() == 0
    assert "lgs: photos/a.jpg: photos/mine/a.jpg is there already" in run.stderr
    assert (photos / "mine/a.jpg").read_text() == "mine"


@pytest.mark.parametrize("words", [["-o", "b.jpg"], ["-o", "out", "-n"], ["--in-place", "--yes"]])
def test_watch_needs_a_directory(lgs, photos, words):
    run = lgs("clean", "photos/a.jpg", *words, "--watch")
    assert run.returncode == 2
    assert run.stderr.startswith("lgs: --watch ") and run.stderr.count("\n") == 1
