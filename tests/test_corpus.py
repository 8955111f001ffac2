"""The corpus test on a small folder: what scikit-image brings, and what the makers here make."""

from __future__ import annotations

import shutil
from pathlib import Path

import corpus
import numpy as np
import pytest
import skimage
from image_files import animation, exif_with_thumbnail, pillow, with_metadata, written_by_tifffile

SHIPPED = Path(skimage.__file__).parent / "data"


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    rgb: np.ndarray,
    pixels: dict[str, np.ndarray],
    moving: list[np.ndarray],
    one_of_each: dict[str, bytes],
) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for path in SHIPPED.iterdir():
        if path.suffix in (".png", ".jpg", ".tif", ".gif") and path.stat().st_size < 200_000:
            shutil.copy(path, folder)
    suffixes = {"apng": "png", "pnm": "ppm", "jpeg": "jpg"}
    files = {
        f"{name.replace(' ', '-')}.{suffixes.get(name.split()[0], name.split()[0])}": data
        for name, data in one_of_each.items()
    }
    files |= {
        f"metadata.{name}": with_metadata(rgb, name) for name in ("png", "webp", "avif", "tiff")
    }
    files["thumbnail.jpg"] = pillow(
        rgb, "JPEG", exif=b"Exif\0\0" + exif_with_thumbnail(6, pillow(rgb[::4, ::4], "JPEG"))
    )
    files["tiles.tif"] = written_by_tifffile(
        pixels["gray-16"], tile=(32, 32), extratags=[(318, 5, 2, (31, 100, 32, 100), True)]
    )
    files["moving.gif"] = animation(
        [frame[..., :3] for frame in moving], "GIF", duration=40, loop=2
    )
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("name", corpus.RUNS)
def test_nothing_is_lost_in_silence(name: str, folder: Path, tmp_path: Path) -> None:
    found = corpus.judge(folder, tmp_path, corpus.RUNS[name])
    assert found.files > 35
    assert found.done > 0.9 * found.files
    assert dict(found.lost) == {}
    assert dict(found.wrong) == {}
    assert found.tracebacks == 0
    if name == "--smoothing 0":
        assert found.unchanged == found.done
    else:
        assert found.unchanged < 0.2 * found.done


def test_the_judge_sees_what_is_lost(rgb: np.ndarray, tmp_path: Path) -> None:
    before, after = tmp_path / "before.jpg", tmp_path / "after.jpg"
    before.write_bytes(with_metadata(rgb, "jpeg"))
    after.write_bytes(pillow(rgb[:-1], "JPEG"))
    facts = [corpus.facts(path) for path in (before, after)]
    assert facts[0] is not None
    assert facts[1] is not None
    lost = {what for _, what in corpus.differences(*facts)}
    assert {"Pillow:icc_profile", "Pillow:xmp", "EXIF IFD0:Make", "EXIF IFD0:Orientation"} <= lost
    assert any("181, 120" in what for what in lost)
    assert corpus.is_told("tag", "Pillow:icc_profile", "cmyk icc profile dropped")
    assert not corpus.is_told("tag", "EXIF IFD0:Make", "tiles became strips")
    after.write_bytes(b"\xff\xd8\xff")
    assert corpus.facts(after) is None
