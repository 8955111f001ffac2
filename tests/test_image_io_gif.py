"""GIF: frames, their timing, palettes, and a frame that lies outside the picture."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from image_files import animation, opened, pillow, timing
from PIL import Image

from lgs_cli.errors import ImageError
from lgs_cli.image_io import decode, encode, losses


@pytest.mark.parametrize("target", ["png", "webp", "avif"])
def test_gif_becomes_another_animation(target: str, rgb: np.ndarray) -> None:
    frames = [np.roll(rgb, 9 * shift, axis=1) for shift in range(3)]
    source = animation(frames, "GIF", duration=[50, 60, 70], loop=0)
    picture = decode(source)
    assert picture.frames[0].shape == rgb.shape
    found = encode(picture, picture.frames, format=target)
    assert timing(found)[0] == [50, 60, 70]
    assert losses(picture, target) == ()
    if target == "png":
        for index, frame in enumerate(decode(found).frames):
            image = Image.open(io.BytesIO(source))
            image.seek(index)
            np.testing.assert_array_equal(frame, np.asarray(image.convert("RGB")))


def test_gif_frame_outside_the_picture_is_refused(rgb: np.ndarray) -> None:
    """Pillow lets such a frame enlarge the picture: a bomb of a few hundred bytes."""
    frames = [rgb[:20, :20], rgb[20:40, 20:40]]
    data = bytearray(animation(frames, "GIF", duration=50))
    at = data.rindex(b"\x2c\0\0\0\0\x14\0\x14\0")
    data[at + 5 : at + 9] = struct.pack("<HH", 60_000, 60_000)
    with pytest.raises(ImageError, match="a frame lies outside the picture"):
        decode(bytes(data))


def played(data: bytes) -> list[tuple[bytes, float]]:
    """What is shown, and for how long, as Pillow plays it; the same shown twice is shown once."""
    image = Image.open(io.BytesIO(data))
    shown: list[tuple[bytes, float]] = []
    for index in range(getattr(image, "n_frames", 1)):
        image.seek(index)
        array = np.array(image.convert("RGBA"))
        array[array[..., 3] == 0] = 0  # nobody sees the colors there
        pixels, duration = array.tobytes(), image.info.get("duration", 0)
        if shown and shown[-1][0] == pixels:
            duration += shown.pop()[1]
        shown.append((pixels, duration))
    return shown


def few_colors(rgb: np.ndarray, clear: bool) -> list[Image.Image]:
    frames = []
    for shift in range(4):
        pixels = np.roll(rgb // 64 * 85, 9 * shift, axis=1)
        alpha = np.full(pixels.shape[:2], 255, np.uint8)
        if clear:
            alpha[:40, 9 * shift : 9 * shift + 40] = 0
        frames.append(Image.fromarray(np.dstack([pixels, alpha])))
    return frames


@pytest.mark.parametrize("loop", [{}, {"loop": 0}, {"loop": 3}])
@pytest.mark.parametrize("clear", [False, True])
def test_gif_of_few_colors_is_written_as_it_was(
    clear: bool, loop: dict[str, int], rgb: np.ndarray
) -> None:
    first, *others = few_colors(rgb, clear)
    source = pillow(
        first, "GIF", save_all=True, append_images=others, duration=[50, 60, 70, 1000],
        disposal=2 if clear else 0, comment=b"by hand", **loop,
    )  # fmt: skip
    picture = decode(source)
    found = encode(picture, picture.frames)
    assert [duration for _, duration in played(found)] == [50, 60, 70, 1000]
    assert played(found) == played(source)
    assert timing(found)[1] == timing(source)[1] == loop.get("loop")
    assert opened(found).info["comment"] == b"by hand"
    assert losses(picture) == ("256 colors a frame, chosen anew",)


def test_gif_of_many_colors_stays_close(rgb: np.ndarray) -> None:
    frames = [np.roll(rgb, 9 * shift, axis=1) for shift in range(3)]
    picture = decode(animation(frames, "GIF", duration=[50, 60, 70]))
    cleaned = [np.roll(rgb[::-1], 9 * shift, axis=1) for shift in range(3)]
    found = encode(picture, cleaned)
    for (shown, _), expected in zip(played(found), cleaned, strict=True):
        array = np.frombuffer(shown, np.uint8).reshape(*expected.shape[:2], 4)[..., :3]
        assert 10 * np.log10(255**2 / np.mean((array - expected.astype(float)) ** 2)) > 30


def test_other_formats_become_gif_with_a_word_about_it(rgb: np.ndarray) -> None:
    picture = decode(animation([rgb, rgb[::-1].copy()], "PNG", duration=[33, 40], loop=2))
    found = encode(picture, picture.frames, format="gif")
    assert timing(found) == ([30, 40], 2)
    assert losses(picture, "gif") == (
        "colors became 256 a frame", "frame durations were rounded to 10 ms",
    )  # fmt: skip


def test_gif_in_a_mixed_folder_no_longer_fails(lgs, photographs) -> None:
    folder = lgs.folder / "in"
    folder.mkdir()
    photographs[0].save(folder / "a.gif")
    photographs[1].save(folder / "b.jpg")
    run = lgs("clean", folder, "-o", "out", "--report", "report.jsonl")
    assert run.returncode == 0, run.stderr
    with Image.open(lgs.folder / "out" / "a.gif") as image:
        assert (image.format, image.size) == ("GIF", photographs[0].size)
    assert "256 colors a frame" in (lgs.folder / "report.jsonl").read_text()


def test_a_still_keeps_the_time_that_it_shows(rgb: np.ndarray) -> None:
    source = pillow(rgb, "GIF", duration=200)
    assert played(source)[0][1] == 200
    picture = decode(source)
    assert picture.durations == ()
    assert played(encode(picture, picture.frames))[0][1] == 200
