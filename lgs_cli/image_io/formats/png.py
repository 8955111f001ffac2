"""PNG and APNG: taken apart by chunks, so that metadata and frames go over as they are."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin
from PIL.PngImagePlugin import PngImageFile

from lgs_cli.errors import ImageError
from lgs_cli.image_io import opencv, pillow
from lgs_cli.image_io.channels import with_alpha, without_needless_alpha
from lgs_cli.image_io.limits import require_frames, require_parts, require_pixels
from lgs_cli.image_io.metadata import Carried, found_in
from lgs_cli.image_io.picture import Picture
from lgs_cli.image_io.png_samples import FEW_COLORS, FEW_GRAYS, PHOTOGRAPH, compress, packing_for

PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20  # 1 MB refuses files with large but real ICC profiles

_MAGIC = b"\x89PNG\r\n\x1a\n"

# How the pixels are stored; said anew when they are.
_STORAGE = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"hIST", b"acTL", b"fcTL", b"fdAT"}
)
_OF_THE_SAMPLES = frozenset({b"bKGD", b"sBIT"})  # true of samples of the same kind
# They stay true of the picture, though their names do not promise it.
_KEPT = frozenset(
    {b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI", b"sTER", b"oFFs", b"sCAL"}
    | {b"pCAL", b"sPLT", b"tIME", b"vpAg", b"caNv"}
)


class _Chunk(NamedTuple):
    kind: bytes
    body: memoryview


def _chunks(data: bytes) -> list[_Chunk]:
    chunks = []
    view = memoryview(data)
    at = len(_MAGIC)
    while True:
        if at + 12 > len(data):
            raise ImageError("truncated PNG")
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            raise ImageError("truncated PNG")
        chunks.append(_Chunk(kind, view[at + 8 : at + 8 + length]))
        require_parts(len(chunks), len(data))
        if kind == b"IEND":
            return chunks
        at += 12 + length


def _chunk(kind: bytes, *bodies: bytes | memoryview) -> bytes:
    length = sum(map(len, bodies))
    check = functools.reduce(lambda check, body: zlib.crc32(body, check), (kind, *bodies), 0)
    return b"".join((struct.pack(">I4s", length, kind), *bodies, struct.pack(">I", check)))


def _file(header: bytes, chunks: Iterable[bytes]) -> bytes:
    file = io.BytesIO()  # unlike join it needs no second copy of all chunks
    file.write(_MAGIC)
    file.write(_chunk(b"IHDR", header))
    file.writelines(chunks)
    file.write(_chunk(b"IEND"))
    return file.getvalue()


# ----------------------------------------------------------------------------------- decoding


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode a PNG, with all frames of an animated one.

    Raises
    ------
    ImageError
        If a chunk is cut short, a frame has no data or lies outside the picture.
    """
    chunks = _chunks(data)
    width, height = struct.unpack_from(">II", chunks[0].body)
    kinds = [chunk.kind for chunk in chunks]
    animated = b"acTL" in kinds and b"fcTL" in kinds and kinds.index(b"acTL") < kinds.index(b"IDAT")
    count = kinds.count(b"fcTL") if animated else 1
    require_pixels(width * height * count, max_pixels)
    require_frames(count)
    notes: list[str] = []
    image = PngImageFile(io.BytesIO(data))
    image.load()
    about = {"data": data, **found_in(image, notes)}
    if animated:
        return _decode_animation(chunks, about)
    pixels = _pixels(image, data, notes)
    lost = _split(chunks, _header(pixels))[1]
    return Picture((pixels,), "png", tuple(notes), recoded=lost, **about)


def _split(chunks: list[_Chunk], header: bytes) -> tuple[list[_Chunk], tuple[str, ...]]:
    """Part the chunks that stay true from those that do not, and name these."""
    same_samples = chunks[0].body[8:10] == header[8:10]
    kept, lost = [], []
    for chunk in chunks:
        if chunk.kind in _STORAGE:
            continue
        safe_to_copy = chunk.kind[3:4].islower()
        if safe_to_copy or chunk.kind in _KEPT or (chunk.kind in _OF_THE_SAMPLES and same_samples):
            kept.append(chunk)
        else:
            lost.append(f"chunk {chunk.kind.decode('latin-1')} dropped")
    return kept, tuple(dict.fromkeys(lost))


def _pixels(image: PngImageFile, data: bytes, notes: list[str]) -> NDArray[Any]:
    depth, color = data[24], data[25]
    if depth == 16 and color in (2, 4, 6):
        size = image.size
        image.close()  # Pillow's pixels, which only showed that the file is whole
        pixels = opencv.decode_deep(data, size)
        return np.ascontiguousarray(pixels[..., [0, 3]]) if color == 4 else pixels
    if color == 0 and depth in (2, 4):
        notes.append(f"{depth} bits became 8-bit gray")
        if "transparency" in image.info:  # Pillow scales the samples, but not this one
            image.info["transparency"] *= 255 // (2**depth - 1)
    return pillow.pixels_of(image, notes)


class _Control(NamedTuple):
    width: int
    height: int
    left: int
    top: int
    numerator: int
    denominator: int
    disposal: int
    blend: int


def _decode_animation(chunks: list[_Chunk], about: dict[str, Any]) -> Picture:
    """Composite the frames of an APNG, at any depth and by the specification's blending.

    Pillow blends half-transparent pixels otherwise than the specification, and at 8 bits.
    """
    header = bytes(chunks[0].body)
    width, height = struct.unpack_from(">II", header)
    shared = [_chunk(*chunk) for chunk in chunks if chunk.kind in (b"PLTE", b"tRNS")]
    still: list[memoryview] = []  # what lies before the first frame, and is none
    controls: list[_Control] = []
    parts: list[list[memoryview]] = []
    for kind, body in chunks:
        if kind == b"fcTL":
            controls.append(_Control(*struct.unpack_from(">4x4IHHBB", body)))
            parts.append([])
        elif kind == b"IDAT":
            (parts[-1] if parts else still).append(body)
        elif kind == b"fdAT" and parts:
            parts[-1].append(body[4:])
    notes: list[str] = []

    def decoded(width: int, height: int, part: list[memoryview]) -> NDArray[Any]:
        if not part:
            raise ImageError("truncated PNG: a frame has no data")
        head = struct.pack(">II", width, height) + header[8:]
        data = _file(head, [*shared, *(_chunk(b"IDAT", body) for body in part)])
        image = PngImageFile(io.BytesIO(data))
        image.load()
        return with_alpha(_pixels(image, data, notes))

    frames = []
    canvas: NDArray[Any] | None = None
    for control, part in zip(controls, parts, strict=True):
        if control.left + control.width > width or control.top + control.height > height:
            raise ImageError("broken PNG: a frame lies outside the picture")
        piece = decoded(control.width, control.height, part)
        if canvas is None:
            # Transparent black is what lies under the first frame and what disposal leaves.
            canvas = np.zeros((height, width, piece.shape[2]), piece.dtype)
        before = canvas.copy()
        region = canvas[
            control.top : control.top + control.height, control.left : control.left + control.width
        ]
        region[...] = _over(piece, region) if control.blend == 1 else piece
        frames.append(canvas.copy())
        if control.disposal == 1 or (control.disposal == 2 and len(frames) == 1):
            region[...] = 0
        elif control.disposal == 2:
            canvas = before
    stills = [decoded(width, height, still)] if still else []
    whole = (*stills, *frames)
    has_alpha = header[9] in (4, 6) or any(chunk.kind == b"tRNS" for chunk in chunks)
    return Picture(
        whole if has_alpha else without_needless_alpha(whole),
        "png",
        tuple(dict.fromkeys(notes)),
        durations=(
            *(0.0 for _ in stills),
            *(1000 * c.numerator / (c.denominator or 100) for c in controls),
        ),
        loop=next(int.from_bytes(body[4:8]) for kind, body in chunks if kind == b"acTL"),
        coding={"still": bool(stills)},
        recoded=_split(chunks, _header(whole[0]))[1],
        **about,
    )


def _over(front: NDArray[Any], back: NDArray[Any]) -> NDArray[Any]:
    """Blend as the APNG specification's APNG_BLEND_OP_OVER (PNG third edition, 13.16) says."""
    white = np.iinfo(front.dtype).max
    front_alpha = front[..., -1:] / white
    back_alpha = back[..., -1:] / white * (1 - front_alpha)
    alpha = front_alpha + back_alpha
    mixed = front[..., :-1] * front_alpha + back[..., :-1] * back_alpha
    colors = np.divide(mixed, alpha, out=np.zeros_like(mixed), where=alpha > 0)
    blended: NDArray[Any] = np.rint(np.dstack([colors, alpha * white])).astype(front.dtype)
    return blended


# ----------------------------------------------------------------------------------- encoding


def encode(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: Carried
) -> bytes:
    """Encode as PNG, animated if the picture is.

    Raises
    ------
    ImageError
        If a frame shows for more than 65,535 seconds.
    """
    return _file(_header(frames[0]), _chunks_of(picture, frames, carried))


def _chunks_of(
    picture: Picture, frames: Sequence[NDArray[Any]], carried: Carried
) -> Iterator[bytes]:
    """Make the chunks between the first and the last, one by one."""
    yield from _metadata(picture, carried, _header(frames[0]))
    if not picture.durations:
        yield from _samples(frames[0])
        return
    first = int(bool(picture.coding.get("still")))  # of the frames that move
    yield _chunk(b"acTL", struct.pack(">II", len(frames) - first, picture.loop))
    if first:
        yield from _samples(frames[0])
    sequence = 0
    for index in range(first, len(frames)):
        left, top, pixels = 0, 0, frames[index]
        if index > first:
            left, top, pixels = _changed(frames[index - 1], pixels)
        delay = Fraction(picture.durations[index] / 1000).limit_denominator(65535)
        if delay > 65535:
            raise ImageError("PNG holds no frame duration above 65,535 seconds")
        control = struct.pack(
            ">5IHHBB", sequence, pixels.shape[1], pixels.shape[0], left, top,
            delay.numerator, delay.denominator, 0, 0,
        )  # fmt: skip
        yield _chunk(b"fcTL", control)
        sequence += 1
        if index == 0:
            yield from _samples(pixels)
            continue
        for part in compress(pixels, packing_for(pixels)):
            yield _chunk(b"fdAT", struct.pack(">I", sequence), part)
            sequence += 1


def _samples(pixels: NDArray[Any]) -> Iterator[bytes]:
    for part in compress(pixels, packing_for(pixels)):
        yield _chunk(b"IDAT", part)


def encode_png(pixels: NDArray[Any], *, few_colors: bool = False) -> bytes:
    """Encode a picture of our own making as PNG, fast rather than small.

    Parameters
    ----------
    pixels : ndarray
        (H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB or (H, W, 4) RGBA; uint8 or uint16.
    few_colors : bool
        Whether it is made of a few colors, or holds the same part twice, as heatmaps do.

    Returns
    -------
    bytes
        The PNG file.
    """
    packing = PHOTOGRAPH
    if few_colors:
        packing = FEW_GRAYS if pixels.ndim == 2 else FEW_COLORS
    samples = (_chunk(b"IDAT", part) for part in compress(pixels, packing))
    return _file(_header(pixels), samples)


def _metadata(picture: Picture, carried: Carried, header: bytes) -> list[bytes]:
    if picture.format == "png":
        kept, _ = _split(_chunks(picture.data), header)
        return [_chunk(*chunk) for chunk in kept]
    chunks = []
    if carried.icc:
        chunks.append(_chunk(b"iCCP", b"ICC profile\0\0", zlib.compress(carried.icc)))
    if picture.dpi:
        x, y = (round(value / 0.0254) for value in picture.dpi)
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
    if carried.exif:
        chunks.append(_chunk(b"eXIf", carried.exif))
    if carried.xmp:
        chunks.append(_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0", carried.xmp))
    return chunks


def _header(pixels: NDArray[Any]) -> bytes:
    """Return the body of IHDR for an array."""
    height, width = pixels.shape[:2]
    color = {1: 0, 2: 4, 3: 2, 4: 6}[1 if pixels.ndim == 2 else pixels.shape[2]]
    return struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, color, 0, 0, 0)


def _changed(before: NDArray[Any], after: NDArray[Any]) -> tuple[int, int, NDArray[Any]]:
    """Return left, top and pixels of the smallest rectangle in which two frames differ."""
    differs = before != after
    if differs.ndim == 3:
        differs = differs.any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not rows.size:
        return 0, 0, after[:1, :1]
    left, top = int(columns[0]), int(rows[0])
    return left, top, after[top : rows[-1] + 1, left : columns[-1] + 1]
