"""HEIC: with the extra, and without."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from image_files import EXIF, ICC, XMP, exif_values, some_exif

from lgs_cli.errors import ImageError, MissingExtraError
from lgs_cli.image_io import decode, encode, losses, orientation

HEADER = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture
def heif() -> Any:
    return pytest.importorskip("pillow_heif", reason="the extra heif is not installed")


def written(heif: Any, pixels: np.ndarray, **options: Any) -> bytes:
    image = heif.from_bytes(
        {2: "L", 3: "RGB"}[pixels.ndim] + (";16" if pixels.itemsize == 2 else ""),
        pixels.shape[1::-1],
        pixels.tobytes(),
    )
    import io

    out = io.BytesIO()
    image.save(out, quality=-1, **options)
    return out.getvalue()


def test_without_the_extra_the_line_names_it(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtraError) as caught:
        decode(HEADER + bytes(40))
    assert str(caught.value) == "HEIC needs pillow-heif: pip install 'lgs-cli[heif]'"


def test_heic_keeps_pixels_and_metadata(heif: Any, rgb: np.ndarray) -> None:
    upright = some_exif(1)
    source = written(heif, rgb, exif=b"Exif\0\0" + upright, xmp=XMP, icc_profile=ICC, chroma=444)
    picture = decode(source)
    assert np.abs(picture.frames[0].astype(int) - rgb).mean() < 2
    assert (picture.format, picture.xmp, picture.icc) == ("heic", XMP, ICC)
    found = decode(encode(picture, [255 - frame for frame in picture.frames]))
    assert exif_values(found.exif) == exif_values(upright)
    assert (found.xmp, found.icc) == (XMP, ICC)
    assert np.abs(found.frames[0].astype(int) - (255 - picture.frames[0])).mean() < 3
    png = decode(encode(picture, picture.frames, format="png"))
    assert exif_values(png.exif) == exif_values(upright)
    assert losses(picture) == losses(picture, "png") == ()


def test_heic_is_turned_upright(heif: Any, rgb: np.ndarray) -> None:
    picture = decode(written(heif, rgb, exif=b"Exif\0\0" + EXIF, chroma=444))
    turned = np.rot90(rgb, -1)
    assert picture.frames[0].shape == turned.shape
    assert np.abs(picture.frames[0].astype(int) - turned).mean() < 2
    assert orientation(picture) == 1
    assert "turned upright" in picture.notes
    again = decode(encode(picture, picture.frames))
    assert again.frames[0].shape == turned.shape
    assert orientation(again) == 1


def test_deep_heic_keeps_its_depth(heif: Any, pixels: dict[str, np.ndarray]) -> None:
    picture = decode(written(heif, pixels["rgb-16"], chroma=444))
    assert picture.frames[0].dtype == np.uint16
    assert np.abs(picture.frames[0].astype(int) - pixels["rgb-16"]).mean() < 500
    assert decode(encode(picture, picture.frames)).frames[0].dtype == np.uint16


def test_heic_cut_short_is_refused(heif: Any, rgb: np.ndarray) -> None:
    data = written(heif, rgb)
    for sixteenths in range(1, 16):
        with pytest.raises(ImageError):
            decode(data[: len(data) * sixteenths // 16])
    with pytest.raises(ImageError, match="more than --max-pixels"):
        decode(data, max_pixels=100)
