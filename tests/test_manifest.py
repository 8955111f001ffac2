"""The record of an output directory: what else may be there, and what older versions wrote."""

from __future__ import annotations

import json
import os
from pathlib import Path

import fuzz_manifest
import pytest
from folders import MANIFEST, image, images, records, tree
from shell import Lgs


@pytest.fixture
def done(lgs: Lgs) -> Path:
    """A folder with ``in`` of four old images, and with ``out`` and ``masks``, up to date."""
    for path in images(lgs.folder / "in", 4):
        os.utime(path, (1e9, 1e9))
    run = lgs("clean", "in", "-o", "out", "--masks", "masks")
    assert run.returncode == 0, run.stderr
    return lgs.folder


def again(lgs: Lgs, *options: object) -> tuple[dict[str, str], str]:
    """Run once more; say what became of each image, and what was said."""
    run = lgs("clean", "in", "-o", "out", "--masks", "masks", "--report", "again.jsonl", *options)
    assert run.returncode == 0, run.stderr
    lines = records(lgs.folder / "again.jsonl")
    return {name: line["status"] for name, line in lines.items()}, run.stderr


SKIPPED = {f"{index:02}.png": "skipped" for index in range(4)}


def test_mutants(tmp_path: Path) -> None:
    counts = fuzz_manifest.check(tmp_path, 500, 7)
    assert counts["records"] == 20
    assert counts["damaged"] > 300


@pytest.mark.parametrize(
    "change",
    [
        {"notes": 5}, {"notes": None}, {"coverage": "x"}, {"coverage": 1e400}, {"regions": [[1]]},
        {"output": "../in/00.png"}, {"mask": [1, 2]}, {"width": -1}, {"source_size": True},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_a_bad_line_costs_its_image_and_one_warning(
    lgs: Lgs, done: Path, change: dict[str, object]
) -> None:
    path = done / "out" / MANIFEST
    first, *others = path.read_text().splitlines()
    bad = json.dumps({**json.loads(first), **change})
    path.write_text("\n".join([bad, bad, *others, ""]))
    name = json.loads(first)["output"]
    statuses, said = again(lgs)
    assert statuses == {**SKIPPED, name: "done"}
    assert said.splitlines()[0] == f"lgs: out/{MANIFEST}: 2 lines not of lgs, passed over"
    assert len(said.splitlines()) == 2
    statuses, said = again(lgs)
    assert statuses == SKIPPED
    assert len(said.splitlines()) == 1


def test_a_line_of_a_gigabyte_is_not_read_into_memory(lgs: Lgs, done: Path) -> None:
    path = done / "out" / MANIFEST
    whole = path.read_bytes()
    with path.open("wb") as file:
        file.write(b'{"output": "')
        file.seek(1 << 30)  # a hole
        file.write(b"\n" + whole)
    limit = {"preexec_fn": lambda: _limit_memory(512 << 20)}
    run = lgs("clean", "in", "-o", "out", "-n", **limit)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count(b"up to date") == 4


def _limit_memory(size: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--shard", "1/2")], ids=str)
@pytest.mark.parametrize("kind", ["fifo", "link", "broken link", "directory", "device"])
def test_what_is_no_file_is_refused(
    lgs: Lgs, tmp_path: Path, kind: str, options: tuple[str, ...]
) -> None:
    source = image(tmp_path / "in" / "a.png")
    before = source.read_bytes()
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / MANIFEST
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to("../in/a.png" if kind == "link" else "../elsewhere")
    run = lgs("clean", "in", "-o", "out", *options)
    assert run.returncode == 1
    expected = f"lgs: out/{MANIFEST}: not a file, so not the record of a run; remove it\n"
    assert run.stderr == expected
    assert source.read_bytes() == before
    assert not (tmp_path / "elsewhere").exists()


def test_a_record_with_another_name_is_not_written_to(lgs: Lgs, done: Path) -> None:
    """A backup by hard links holds it too, and so may an input that somebody has linked there."""
    backup = done / "backup"
    os.link(done / "out" / MANIFEST, backup)
    before = backup.read_bytes()
    image(done / "in" / "new.png", 9)
    statuses, _ = again(lgs)
    assert statuses == {**SKIPPED, "new.png": "done"}
    assert backup.read_bytes() == before


# -------------------------------------------------------------------------------- version 0.1.0


def make_old(folder: Path) -> None:
    """Make of a record, and of masks, what version 0.1.0 wrote."""
    path = folder / "out" / MANIFEST
    new = ("source", "output_mtime_ns", "error", "stale", "removed", "page")
    lines = []
    for line in path.read_text().splitlines():
        values = {key: value for key, value in json.loads(line).items() if key not in new}
        values["mask"] = values["mask"][:2]
        values.update(score=None, regions=[], notes=[])
        lines.append(json.dumps(values))
    path.write_text("\n".join([*lines, ""]))
    for mask in (folder / "masks").rglob("*.png.png"):
        mask.rename(mask.with_suffix("").with_suffix(".png"))
    (folder / "masks" / MANIFEST).unlink()


def test_nothing_is_done_again_and_masks_are_renamed(lgs: Lgs, done: Path) -> None:
    masks = tree(done / "masks")
    make_old(done)
    assert set(tree(done / "masks")) == set(SKIPPED)
    rehearsed = lgs("clean", "in", "-o", "out", "--masks", "masks", "-n").stdout
    assert rehearsed.count(b"up to date") == 4
    assert set(tree(done / "masks")) == set(SKIPPED)
    for _ in range(2):
        assert again(lgs)[0] == SKIPPED
        assert tree(done / "masks") == masks
    assert (done / "masks" / MANIFEST).exists()


def test_the_old_mask_of_an_image_that_changed_does_not_stay(lgs: Lgs, done: Path) -> None:
    make_old(done)
    image(done / "in" / "02.png", 99)
    statuses, _ = again(lgs)
    assert statuses == {**SKIPPED, "02.png": "done"}
    assert set(tree(done / "masks")) == {f"{name}.png" for name in SKIPPED}


def test_an_old_record_is_completed(lgs: Lgs, done: Path) -> None:
    """So that a later run may remove what has lost its source."""
    make_old(done)
    again(lgs)
    (done / "in" / "01.png").unlink()
    again(lgs, "--delete")
    assert set(tree(done / "out")) == set(SKIPPED) - {"01.png"}
    assert set(tree(done / "masks")) == {f"{name}.png" for name in set(SKIPPED) - {"01.png"}}
