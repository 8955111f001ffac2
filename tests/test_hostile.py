from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import stat
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import fuzz
import pytest
from folders import image, images, leftovers, records, tree
from PIL import Image
from shell import Lgs, until

from lgs_cli.storage import temporary_path

# ------------------------------------------------------------------------------------- names

NAMES = [
    b"with space.png",
    b" leading space.png",
    b"new\nline.png",
    b"carriage\rreturn.png",
    b"\x1b[31mred\x1b[0m.png",
    b"\x07bell\x08.png",
    b"c1-\xc2\x9b31m.png",
    "right-to-left-\u202egnp.png".encode(),
    b"not-utf-8-\xff\xfe\xe9.png",
    b"-o.png",
    b"--force.png",
    b"quote'\"\\`$(touch x).png",
    b"glob*?[a].png",
    "ümläut-日本-😀.png".encode(),
    b"n" * 251 + b".png",
]


def test_any_name_is_a_name(lgs: Lgs, tmp_path: Path) -> None:
    """In the tree of outputs and masks, in the report, in the manifest, in a second run."""
    folder = os.fsencode(tmp_path / "in")
    os.mkdir(folder)
    data = image(tmp_path / "a.png").read_bytes()
    for name in NAMES:
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
        os.utime(os.path.join(folder, name), (1e9, 1e9))
    out, masks, report = tmp_path / "out", tmp_path / "masks", tmp_path / "report.jsonl"
    words = ("clean", tmp_path / "in", "-o", out, "--masks", masks, "--report", report, "-v")

    for status in ("done", "skipped"):
        run = lgs(*words)
        assert run.returncode == 0, run.stderr
        assert set(NAMES) <= set(os.listdir(os.fsencode(out)))
        found = {name for name in os.listdir(os.fsencode(masks)) if name[:1] != b"."}
        assert len(found) == len(NAMES)
        # The suffix of a mask does not fit behind the last of them.
        assert {name + b".png" for name in NAMES[:-1]} < found
        lines = [json.loads(line) for line in report.read_bytes().splitlines()]
        assert {line["status"] for line in lines} == {status}
        assert {os.fsencode(line["source"]) for line in lines} == {
            os.path.join(folder, name) for name in NAMES
        }
        assert report.read_bytes().isascii()
        # One line an image and one for the summary, with nothing in them that a terminal obeys.
        assert len(run.stderr.splitlines()) == len(NAMES) + 1
        assert all(line.isprintable() for line in run.stderr.splitlines())


def test_any_name_can_fail(lgs: Lgs, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "in")
    os.mkdir(folder)
    for name in NAMES:
        with open(os.path.join(folder, name), "wb") as file:
            file.write(b"no image")
    run = lgs("clean", tmp_path / "in", "-o", tmp_path / "out")
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == len(NAMES) + 1
    assert all(line.isprintable() for line in run.stderr.splitlines())


@pytest.mark.parametrize(
    "name", [b"-o.png", b"--force.png", b"\x1b[31m\n.png", b"\xff\xfe.png", b"n" * 251 + b".png"]
)
def test_any_name_can_be_said(lgs: Lgs, tmp_path: Path, name: bytes) -> None:
    """As the only INPUT, from the directory it lies in."""
    path = os.path.join(os.fsencode(tmp_path), name)
    os.rename(image(tmp_path / "a"), path)
    run = lgs("clean", "-o", "out", "--", name, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert name in os.listdir(os.fsencode(tmp_path / "out"))
    os.unlink(path)
    run = lgs("clean", "-o", "out", "--", name, cwd=tmp_path)
    assert run.returncode == 2
    assert "no such file or directory" in run.stderr
    assert run.stderr.removesuffix("\n").isprintable()


# ------------------------------------------------------------------------------------- links


def test_links_are_read_through_and_never_written_through(lgs: Lgs, tmp_path: Path) -> None:
    outside = image(tmp_path / "outside" / "secret.png")
    folder = tmp_path / "in"
    images(folder, 1)
    (folder / "file.png").symlink_to(outside)
    (folder / "folder").symlink_to(outside.parent)
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "round").symlink_to(folder)
    (folder / "broken.png").symlink_to("nowhere.png")
    out = tmp_path / "out"
    out.mkdir()
    (out / "file.png").symlink_to(tmp_path / "planted.png")
    before = tree(tmp_path / "outside")

    report = tmp_path / "report.jsonl"
    run = lgs("clean", folder, "-o", out, "--report", report)

    assert run.returncode == 1
    lines = records(report)
    assert {name: line["status"] for name, line in lines.items()} == {
        "00.png": "done", "file.png": "done", "loop.png": "failed", "broken.png": "failed",
    }  # fmt: skip
    assert lines["broken.png"]["error"] == "broken link"
    assert sorted(tree(out)) == ["00.png", "file.png"]
    assert not (out / "file.png").is_symlink()
    assert not (tmp_path / "planted.png").exists()
    assert tree(tmp_path / "outside") == before


def test_no_output_leaves_the_output_directory_through_a_link(lgs: Lgs, tmp_path: Path) -> None:
    image(tmp_path / "in" / "sub" / "a.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    run = lgs("clean", tmp_path / "in", "-o", tmp_path / "out")
    assert run.returncode == 2
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_links_that_come_and_go_while_a_run_writes_spare_the_inputs(
    lgs: Lgs, tmp_path: Path
) -> None:
    """Somebody who may write to the output directory puts a link there, to the inputs and back."""
    images(tmp_path / "in" / "sub", 60)
    (tmp_path / "out" / "sub").mkdir(parents=True)
    before = tree(tmp_path / "in")
    ended = threading.Event()
    swaps: list[None] = []

    def swap() -> None:
        place, aside = tmp_path / "out" / "sub", tmp_path / "out" / "aside"
        while not ended.is_set():
            with contextlib.suppress(OSError):  # a worker may make the directory at any step
                place.rename(aside)
                place.symlink_to(tmp_path / "in" / "sub")
                swaps.append(None)
            with contextlib.suppress(OSError):
                if place.is_symlink():
                    place.unlink()
                if place.exists():
                    shutil.rmtree(aside, ignore_errors=True)
                else:
                    aside.rename(place)

    swapper = threading.Thread(target=swap)
    with lgs.start("clean", tmp_path / "in", "-o", tmp_path / "out", "-j", 2, "--force") as run:
        until((tmp_path / "out" / ".lgs-manifest.jsonl").exists)
        swapper.start()
        try:
            run.end()
        finally:
            ended.set()
            swapper.join()
    assert swaps
    assert "Traceback" not in run.stderr
    assert tree(tmp_path / "in") == before


def test_a_hard_link_in_the_place_of_a_temporary_file_spares_the_input(
    lgs: Lgs, tmp_path: Path
) -> None:
    source = image(tmp_path / "in" / "a.png")
    before = source.read_bytes()
    (tmp_path / "out").mkdir()
    os.link(source, temporary_path(str(tmp_path / "out" / "a.png")))
    assert lgs("clean", tmp_path / "in", "-o", tmp_path / "out").returncode == 0
    assert source.read_bytes() == before
    assert leftovers(tmp_path / "out") == []


# ------------------------------------------------------------------------------- permissions


def test_outputs_are_as_private_as_their_inputs(lgs: Lgs, tmp_path: Path) -> None:
    secret = image(tmp_path / "in" / "private" / "secret.png")
    public = image(tmp_path / "in" / "public.png", 1)
    secret.chmod(0o600)
    secret.parent.chmod(0o700)
    public.chmod(0o664)
    (tmp_path / "in").chmod(0o750)

    lgs("clean", "in", "-o", "out", "--masks", "masks", preexec_fn=lambda: os.umask(0o022))

    modes = {
        str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode)
        for folder in (tmp_path / "out", tmp_path / "masks")
        for path in (folder, *folder.rglob("*"))
    }
    assert modes == {
        "out": 0o750,
        "out/.lgs-manifest.jsonl": 0o640,
        "out/private": 0o700,
        "out/private/secret.png": 0o600,
        "out/public.png": 0o644,
        "masks": 0o750,
        "masks/.lgs-manifest.jsonl": 0o640,
        "masks/private": 0o700,
        "masks/private/secret.png.png": 0o600,
        "masks/public.png.png": 0o644,
    }


def test_outputs_have_the_times_of_their_inputs_if_that_is_wanted(lgs: Lgs, tmp_path: Path) -> None:
    source = image(tmp_path / "in" / "a.png")
    os.utime(source, ns=(10**18 + 1, 10**18 + 3))
    output = tmp_path / "out" / "a.png"
    lgs("clean", "in", "-o", "out")
    assert output.stat().st_mtime_ns > 10**18 + 3
    lgs("clean", "in", "-o", "out", "--preserve-times", "--force")
    assert output.stat().st_mtime_ns == 10**18 + 3
    run = lgs("clean", "in", "-o", "out")
    assert run.stderr.startswith("1 image: 0 done, 1 skipped")


# ------------------------------------------------------------------------------------- bombs


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def header(width: int, height: int, depth: int = 8, color: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))


def large_png() -> bytes:
    """196 megapixels in 24 KB: one bit a pixel, all black."""
    rows = bytes(14_000 * (1 + 14_000 // 8))
    return png(header(14_000, 14_000, 1, 0), chunk(b"IDAT", zlib.compress(rows, 9)))


def huge_png() -> bytes:
    """Two thousand million pixels a side, and no data for them."""
    return png(header(2**31 - 1, 2**31 - 1), chunk(b"IDAT", zlib.compress(bytes(100))))


def text_png() -> bytes:
    """A compressed comment of a gigabyte."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    return png(
        header(1, 1), chunk(b"zTXt", b"a\0\0" + packed), chunk(b"IDAT", zlib.compress(bytes(4)))
    )


def profile_png() -> bytes:
    """A compressed color profile of a gigabyte."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    return png(
        header(1, 1), chunk(b"iCCP", b"a\0\0" + packed), chunk(b"IDAT", zlib.compress(bytes(4)))
    )


def animated_png() -> bytes:
    """A thousand frames of nine megapixels, each a few bytes."""
    data = zlib.compress(bytes(3000 * (1 + 3000 // 8)), 9)
    chunks = [header(3000, 3000, 1, 0), chunk(b"acTL", struct.pack(">II", 1000, 0))]
    for index in range(1000):
        control = struct.pack(">IIIIIHHBB", 2 * index, 3000, 3000, 0, 0, 1, 10, 0, 0)
        chunks.append(chunk(b"fcTL", control))
        body = struct.pack(">I", 2 * index + 1) + data
        chunks.append(chunk(b"fdAT", body) if index else chunk(b"IDAT", data))
    return png(*chunks)


def animated_gif() -> bytes:
    """Two thousand frames on a canvas of 16 megapixels."""
    file = io.BytesIO()
    Image.new("P", (4000, 4000)).save(file, "GIF")
    whole = file.getvalue()
    start = whole.index(b"\x2c")
    frame = whole[start:-1]
    return whole[:start] + frame * 2000 + b";"


def tiff_chain() -> bytes:
    """A hundred thousand directories, one after the other."""
    size = 2 + 12 * 2 + 4
    body = b"II*\0" + struct.pack("<I", 8)
    for index in range(100_000):
        entries = struct.pack("<HHIIHHII", 256, 4, 1, 4, 257, 4, 1, 4)
        body += struct.pack("<H", 2) + entries + struct.pack("<I", 8 + (index + 1) * size)
    return body


def tiff_loop() -> bytes:
    """A directory that is followed by itself."""
    file = io.BytesIO()
    fuzz.picture(1).save(file, "TIFF")
    data = bytearray(file.getvalue())
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    return bytes(data)


def tiff_strips() -> bytes:
    """Four thousand million bytes of strips, said to be in a file of a few."""
    file = io.BytesIO()
    fuzz.picture(1).save(file, "TIFF")
    data = bytearray(file.getvalue())
    (start,) = struct.unpack_from("<I", data, 4)
    for index in range(struct.unpack_from("<H", data, start)[0]):
        at = start + 2 + 12 * index
        if struct.unpack_from("<H", data, at)[0] in (278, 279):
            struct.pack_into("<HII", data, at + 2, 4, 1, 0xFFFFFFFF)
    return bytes(data)


def exif_jpeg() -> bytes:
    """Eight megabytes of Exif in 128 segments, the first with a directory that loops."""
    plain = fuzz.saved(fuzz.picture(1), "JPEG")
    loop = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIII", 1, 0x8769, 4, 1, 8, 8)
    segments = b""
    for _ in range(128):
        body = (b"Exif\0\0" + loop).ljust(65_000, b"\xff")
        segments += b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    return plain[:2] + segments + plain[2:]


def profile_jpeg() -> bytes:
    """A color profile of noise, in segments that are numbered wrongly."""
    plain = fuzz.saved(fuzz.picture(1), "JPEG")
    segments = b""
    for number in (3, 1, 1, 200):
        body = b"ICC_PROFILE\0" + bytes([number, 4]) + os.urandom(60_000)
        segments += b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body
    return plain[:2] + segments + plain[2:]


def scans_jpeg() -> bytes:
    """A progressive JPEG of 36 megapixels whose last scan comes two thousand times."""
    plain = fuzz.saved(Image.new("L", (6000, 6000)), "JPEG", progressive=True)
    last = plain.rindex(b"\xff\xda")
    return plain[:last] + plain[last:-2] * 2000 + plain[-2:]


def zeros_pnm() -> bytes:
    return b"P6 100000 100000 255 " + bytes(1000)


BOMBS: list[tuple[str, Callable[[], bytes]]] = [
    (".png", large_png), (".png", huge_png), (".png", text_png), (".png", profile_png),
    (".png", animated_png), (".gif", animated_gif), (".tiff", tiff_chain), (".tiff", tiff_loop),
    (".tiff", tiff_strips), (".jpg", exif_jpeg), (".jpg", profile_jpeg), (".jpg", scans_jpeg),
    (".ppm", zeros_pnm),
]  # fmt: skip


def test_a_bomb_of_12_kilobytes_holds_100_megapixels() -> None:
    assert len(large_png()) < 25_000


def test_bombs_between_healthy_images(lgs: Lgs, tmp_path: Path) -> None:
    """Each ends as done or failed, within time and memory; all around it are done."""
    healthy = images(tmp_path / "in", 6)
    for suffix, make in BOMBS:
        (tmp_path / "in" / f"{make.__name__}{suffix}").write_bytes(make())
    report, out = tmp_path / "report.jsonl", tmp_path / "out"
    run = lgs(
        "clean", tmp_path / "in", "-o", out, "-j", 2, "--report", report,
        "--timeout", 20, "--memory-limit", "300M",
    )  # fmt: skip
    assert run.returncode == 1
    lines = records(report)
    assert len(lines) == len(healthy) + len(BOMBS)
    assert {lines[path.name]["status"] for path in healthy} == {"done"}
    failed = [line for line in lines.values() if line["status"] == "failed"]
    assert all(line["error"].isprintable() and line["error"] for line in failed)
    # No word but a line a failure and the summary.
    assert len(run.stderr.splitlines()) == len(failed) + 1, run.stderr
    for line in lines.values():
        if line["status"] == "done":
            assert fuzz.readable(Path(line["output"])), line
    assert leftovers(out) == []
    assert lines["large_png.png"]["error"] == "not enough memory"
    for name in ("huge_png.png", "zeros_pnm.ppm"):
        assert "pixels are more than --max-pixels" in lines[name]["error"]


# ----------------------------------------------------------------------------------- mutants


def test_mutants(tmp_path: Path) -> None:
    """A small part of ``make fuzz``."""
    (tmp_path / "in").mkdir()
    for name, data in fuzz.mutants(400, seed=20):
        (tmp_path / "in" / name).write_bytes(data)
    ended = fuzz.check(tmp_path)
    assert ended["done"] > 40
    assert ended["failed"] > 100


def test_mutants_are_the_same_for_a_seed() -> None:
    assert list(fuzz.mutants(50, seed=3)) == list(fuzz.mutants(50, seed=3))
    assert dict(fuzz.mutants(50, seed=3)) != dict(fuzz.mutants(50, seed=4))


def test_all_formats_are_damaged() -> None:
    from lgs_cli.formats import FORMATS, HEIC_INSTALLED

    suffixes = {Path(name).suffix for name in fuzz.seeds()}
    for form in FORMATS.values():
        if form.name == "heic" and not HEIC_INSTALLED:
            continue
        assert suffixes & set(form.suffixes), form.name


def test_the_seeds_of_the_mutants_are_whole(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, data in fuzz.seeds().items():
        (tmp_path / "in" / name).write_bytes(data)
    ended = fuzz.check(tmp_path)
    assert ended["failed"] == 0
