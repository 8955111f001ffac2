"""Clean a folder of files that nobody here made, and judge from outside what was lost.

``python tests/corpus.py FOLDER`` cleans it with ``--smoothing 0`` and with defaults, and compares
every output with its source by Pillow, OpenCV and, if it is installed, exiftool: size, depth,
alpha, frames, durations, metadata, file mode, and the bytes of what is said to be unchanged. It
prints what was lost, by kind, and what of that nobody was told. ``test_corpus.py`` runs it on a
small folder.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageSequence, TiffImagePlugin, TiffTags

with contextlib.suppress(ImportError):
    import pillow_heif

    pillow_heif.register_heif_opener()

ROOT = Path(__file__).resolve().parent.parent
RUNS = {"--smoothing 0": ("--smoothing", "0"), "defaults": ()}

# Pillow's modes, by the channels that a person sees: palettes and bits may become these.
CHANNELS = {
    "1": "gray", "L": "gray", "I;16": "gray", "I;16B": "gray", "I": "gray", "LA": "gray alpha",
    "La": "gray alpha", "P": "color", "RGB": "color", "YCbCr": "color", "RGBA": "color alpha",
    "RGBa": "color alpha", "PA": "color alpha",
}  # fmt: skip

# How pixels are stored, in the words of exiftool and Pillow; said anew when they are.
STORAGE = re.compile(
    r"""^(File:|Composite:|ExifTool:|System:|PNG:(Bit|Color|Compression|Filter|Interlace|Palette|
    Trans|Significant|Background|Animation|.*Hist)|.*:(Image(Width|Height|Size)|BitsPerSample|Compression|
    PhotometricInterpretation|StripOffsets|SamplesPerPixel|RowsPerStrip|StripByteCounts|
    PlanarConfig\w*|Predictor|Tile(Width|Length|Offsets|ByteCounts)|ExtraSamples|SampleFormat|
    JPEGTables|YCbCr\w+|ReferenceBlackWhite|ColorMap|FillOrder|T4Options|T6Options|SubfileType|
    Jpg\w+|JPEG\w+|Old\w+|FreeOffsets|FreeByteCounts|Thresholding|CellWidth|CellLength|
    (Thumbnail|Preview|Other|Jpg|Mp)\w*(Offset|Start)|BinaryFilter|NumColors|NumImportantColors|
    ImageLength|ImageDepth|TileDepth|BMPVersion|BitDepth|Planes|.*Colou?rComponents|ProfileDataOffset|ProfileSize|
    RedMask|GreenMask|BlueMask|AlphaMask|BitMask|ColorSpace|RenderingIntent)$
    |(RIFF|QuickTime|Adobe|Jpeg2000|GIF|APP14|Meta|AVIF|HEIF|MPF\d|MPImage\d*):)""",
    re.VERBOSE,
)


@dataclass
class Judgment:
    """What became of a corpus in one run."""

    files: int = 0
    done: int = 0
    unchanged: int = 0
    kinds: collections.Counter[str] = field(default_factory=collections.Counter)
    refused: collections.Counter[str] = field(default_factory=collections.Counter)
    told: collections.Counter[str] = field(default_factory=collections.Counter)
    lost: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))
    wrong: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))
    tracebacks: int = 0


def judge(folder: Path, scratch: Path, options: tuple[str, ...]) -> Judgment:
    """Clean a folder, and compare all outputs with their sources."""
    found = Judgment()
    report, out = scratch / "report.jsonl", scratch / "out"
    command = [
        sys.executable, "-m", "lgs_cli", "clean", folder, "-o", out, "--report", report,
        "--timeout", "600", "--memory-limit", "2G", "--max-pixels", "100000000", *options,
    ]  # fmt: skip
    run = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    found.tracebacks = run.stderr.count("Traceback")
    assert report.exists(), run.stderr
    records = [json.loads(line) for line in report.read_text().splitlines()]
    for record in records:
        if record["status"] not in ("done", "failed"):  # no image by its name
            found.refused[f"{record['status']}: {Path(record['source']).suffix}"] += 1
            continue
        found.files += 1
        judge_one(record, found)
    return found


def judge_one(record: dict[str, Any], found: Judgment) -> None:
    """Compare one output with its source."""
    source = Path(record["source"])
    said = " ".join(record.get("notes") or ()).lower()
    if record["status"] == "failed":
        error = record["error"]
        found.refused[re.sub(r"[\d,]{3,}", "N", error)] += 1
        if not error or "died" in error or "longer" in error or "Error:" in error:
            found.wrong[error].append(str(source))
        return
    found.done += 1
    found.kinds[record["format"]] += 1
    output = Path(record["output"])
    if record["unchanged"] and source.read_bytes() == output.read_bytes():
        found.unchanged += 1
        return
    if record["unchanged"]:
        found.wrong["said to be unchanged, and is not"].append(str(source))
    before = facts(source)
    if before is None:
        found.wrong["done, though Pillow cannot read it"].append(str(source))
        return
    after = facts(output)
    if after is None:
        found.wrong["the output cannot be read"].append(str(source))
        return
    for kind, what in differences(before, after):
        if is_told(kind, what, said):
            found.told[f"{record['format']}: {kind}"] += 1
        else:
            found.lost[f"{record['format']}: {kind} {what}"].append(str(source))


def facts(path: Path) -> dict[str, Any] | None:
    """Take down what a file holds, as others read it; None if Pillow cannot."""
    with warnings.catch_warnings(), hushed(), limited():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                image.load()
                durations, sizes, clear = [], [], False
                several = image.format in ("GIF", "PNG", "WEBP", "AVIF", "TIFF")
                for frame in ImageSequence.Iterator(image) if several else (image,):
                    durations.append(float(frame.info.get("duration", 0)))
                    sizes.append(frame.size)
                    # Pillow blends the later frames of an APNG otherwise than its specification.
                    if len(sizes) == 1 and frame.has_transparency_data:
                        lowest, _ = frame.convert("RGBA").getchannel("A").getextrema()
                        clear = clear or lowest < 255
                image.seek(0)
                tags = set(pillow_tags(image))
                mode = image.mode
                if image.format == "PNG":  # Pillow shows 16-bit gray with alpha as color
                    color = path.read_bytes()[25]
                    mode = mode if color in (2, 3, 6) else {"RGBA": "LA"}.get(mode, mode)
                loop = image.info.get("loop")
        except Exception:
            return None
        deep = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    channels = CHANNELS.get(mode, mode)
    is_deep = mode.startswith("I") or (deep is not None and deep.dtype == np.uint16)
    return {
        "size": tuple(sizes), "channels": channels.removesuffix(" alpha"),
        "alpha": clear,
        "depth": 16 if is_deep else 8,
        "duration": sum(durations), "loop": loop, "mode": path.stat().st_mode & 0o777,
        "tags": tags | set(exiftool_tags(str(path))),
    }  # fmt: skip


def pillow_tags(image: Image.Image) -> Iterator[str]:
    """Name the metadata that Pillow finds."""
    for key in ("icc_profile", "xmp", "comment", "photoshop"):
        if image.info.get(key):
            yield f"Pillow:{key}"
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        for tag in image.tag_v2:
            name = f"TIFF:{TiffTags.lookup(tag).name if tag in TiffTags.TAGS_V2 else tag}"
            yield name if not STORAGE.match(name) else ""
    try:
        exif = image.getexif()
        for base, tags in (("IFD0", exif), *((hex(n), exif.get_ifd(n)) for n in (34665, 34853))):
            for tag in tags:
                name = (
                    f"EXIF {base}:{TiffTags.lookup(tag).name if tag in TiffTags.TAGS_V2 else tag}"
                )
                yield name if not STORAGE.match(name) else ""
    except Exception:
        yield "EXIF is broken"
    if image.format == "PNG":
        for key in getattr(image, "text", {}):
            yield f"PNG text:{key}"
    for marker, body in getattr(image, "applist", []):
        yield f"JPEG {marker}" if not body.startswith((b"MPF", b"Adobe", b"JFIF")) else ""


@functools.cache
def exiftool_tags(path: str) -> frozenset[str]:
    """Name the metadata that exiftool finds."""
    if shutil.which("exiftool") is None:
        return frozenset()
    done = subprocess.run(
        ["exiftool", "-j", "-G1", "-u", "-n", "-q", path], capture_output=True, check=False
    )
    try:
        (read,) = json.loads(done.stdout.decode("utf-8", "replace"))
    except ValueError:
        return frozenset()
    return frozenset(name for name in read if name != "SourceFile" and not STORAGE.match(name))


def differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name what a file has and its output has not."""
    for key in ("size", "channels", "alpha", "depth", "duration", "loop", "mode"):
        if before[key] != after[key]:
            yield key, f"{before[key]} became {after[key]}"[:80]
    for tag in sorted(before["tags"] - after["tags"] - {""}):
        yield "tag", tag


_TELLS = {
    "channels": "became|turned|dropped|chosen", "alpha": "became|dropped", "depth": "became",
    "size": "turned|first picture|dropped", "loop": "", "mode": "", "duration": "rounded",
}  # fmt: skip


def is_told(kind: str, what: str, said: str) -> bool:
    """Tell whether the notes of a file name what it lost."""
    if kind != "tag":
        return bool(_TELLS[kind]) and bool(re.search(_TELLS[kind], said))
    name = what.rpartition(":")[2].lower()
    group = what.partition(":")[0].lower()
    words = {
        name,
        *(
            word
            for word in ("icc", "exif", "xmp", "xml", "subifd", "profile", "gps")
            if word in group + name
        ),
    }
    others = "only the|(thumbnail|sequence|depth image|auxiliary images) dropped"
    if re.search(others, said) and group != "exif ifd0":
        return True  # it belonged to a picture that is not kept, and the notes say so
    return any(word and word in said for word in words) or "is broken" in said


@functools.cache
def _null() -> int:
    return os.open(os.devnull, os.O_WRONLY)


class limited:  # noqa: N801 - a context manager
    """Have Pillow refuse bombs, which lgs has refused before."""

    def __enter__(self) -> None:
        self._saved = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = 100_000_000

    def __exit__(self, *_: object) -> None:
        Image.MAX_IMAGE_PIXELS = self._saved


class hushed:  # noqa: N801 - a context manager
    """Keep what C libraries print from the terminal."""

    def __enter__(self) -> None:
        self._saved = os.dup(2)
        os.dup2(_null(), 2)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._saved, 2)
        os.close(self._saved)


def table(name: str, found: Judgment) -> str:
    """Write down what was found."""
    lines = [
        f"== {name}: {found.files:,} files, {found.done:,} done "
        f"({found.unchanged:,} the same bytes), "
        f"{sum(found.refused.values()):,} refused, {found.tracebacks} tracebacks",
        "kinds: " + ", ".join(f"{kind} {count}" for kind, count in found.kinds.most_common()),
        f"lost and told: {sum(found.told.values()):,}",
        *(f"  {count:6,}  {what}" for what, count in found.told.most_common(30)),
        f"lost in silence: {sum(map(len, found.lost.values())):,}",
    ]
    for what, paths in sorted(found.lost.items(), key=lambda item: -len(item[1]))[:60]:
        lines.append(f"  {len(paths):6,}  {what}  ({paths[0]})")
    lines.append(f"wrong verdicts: {sum(map(len, found.wrong.values())):,}")
    for what, paths in found.wrong.items():
        lines.append(f"  {len(paths):6,}  {what}  ({paths[0]})")
    lines.append("refused:")
    lines += [f"  {count:6,}  {why}" for why, count in found.refused.most_common(40)]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    bad = 0
    for name, arguments in RUNS.items():
        with tempfile.TemporaryDirectory() as scratch:
            found = judge(options.folder, Path(scratch), arguments)
        print(table(name, found), flush=True)
        bad += len(found.lost) + len(found.wrong) + found.tracebacks
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
