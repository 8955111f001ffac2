"""Image files made and read by others than the code under test."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image


def pillow(array: np.ndarray | Image.Image, format: str, **options: Any) -> bytes:
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def of_opencv(array: np.ndarray) -> np.ndarray:
    """BGR to RGB or back."""
    return array if array.ndim == 2 else array[..., [2, 1, 0, 3][: array.shape[2]]]


def by_opencv(data: bytes) -> np.ndarray:
    return of_opencv(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


def encoded_by_opencv(array: np.ndarray, suffix: str, *options: int) -> bytes:
    done, out = cv2.imencode(suffix, np.ascontiguousarray(of_opencv(array)), options)
    assert done
    return out.tobytes()


def by_tifffile(data: bytes) -> np.ndarray:
    return tifffile.imread(io.BytesIO(data))


def written_by_tifffile(array: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    color = array.ndim == 3 and array.shape[2] >= 3
    if array.ndim == 3 and array.shape[2] in (2, 4):
        options["extrasamples"] = ["unassalpha"]
    tifffile.imwrite(out, array, photometric="rgb" if color else "minisblack", **options)
    return out.getvalue()


def bmp_by_hand(array: np.ndarray) -> bytes:
    """RGBA with a BITMAPV4HEADER (wingdi.h), whose masks say that red comes first."""
    height, width = array.shape[:2]
    masks = (0xFF, 0xFF00, 0xFF0000, 0xFF000000)
    header = struct.pack("<IiiHHI5I4I52x", 108, width, height, 1, 32, 3, 0, 0, 0, 0, 0, *masks)
    size = 14 + len(header) + array.nbytes
    file = struct.pack("<2sIII", b"BM", size, 0, 14 + len(header))
    return file + header + array[::-1].tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def samples_of(array: np.ndarray) -> bytes:
    """PNG's unfiltered, compressed rows."""
    rows = array.astype(">u2" if array.dtype == np.uint16 else np.uint8).reshape(len(array), -1)
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))


def png_by_hand(array: np.ndarray, *before: bytes, after: bytes = b"") -> bytes:
    channels = 1 if array.ndim == 2 else array.shape[2]
    header = struct.pack(
        ">IIBBBBB", array.shape[1], array.shape[0], 8 * array.itemsize,
        {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0,
    )  # fmt: skip
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(before)
        + chunk(b"IDAT", samples_of(array)) + after + chunk(b"IEND", b"")
    )  # fmt: skip


def png_read_by_hand(data: bytes) -> np.ndarray:
    """Decode a PNG of gray or color as its specification says, byte by byte."""
    chunks = png_chunks(data)
    width, height, depth, color = struct.unpack_from(">IIBB", chunks[0][1])
    channels, size = {0: 1, 4: 2, 2: 3, 6: 4}[color], depth // 8
    raw = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    rows = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * channels * size)
    pixel = channels * size
    above = [0] * (pixel + width * pixel)  # a pixel of zeros to the left of each row
    out = []
    for kind, *row in rows.tolist():
        line = [0] * pixel
        for at, byte in enumerate(row):
            a, b, c = line[at], above[at + pixel], above[at]
            paeth = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            line.append((byte + (0, a, b, (a + b) // 2, paeth)[kind]) % 256)
        out.append(line[pixel:])
        above = line
    array = np.array(out, np.uint8)
    if depth == 16:
        array = array.view(">u2").astype(np.uint16)
    return array.reshape((height, width) if channels == 1 else (height, width, channels))


def some_exif(orientation: int = 6) -> bytes:
    """An EXIF block with main, Exif and GPS directories, as cameras lay it out."""
    exif = Image.Exif()
    exif[271], exif[272], exif[306] = "Maker", "Model 7", "2024:05:06 07:08:09"
    exif[274] = orientation
    exif.get_ifd(34665).update({33434: (1, 250), 36867: "2024:05:06 07:08:09", 37500: b"\1\0\2"})
    exif.get_ifd(34853).update({1: "N", 2: (51.0, 30.0, 12.0)})
    return exif.tobytes().removeprefix(b"Exif\0\0")


def exif_with_thumbnail(orientation: int, thumbnail: bytes) -> bytes:
    """An EXIF block with an orientation, and a JPEG in its second directory."""

    def entry(tag: int, kind: int, value: int) -> bytes:
        return struct.pack("<HHII", tag, kind, 1, value)

    second = 8 + 2 + 12 + 4
    return (
        struct.pack("<2sHIH", b"II", 42, 8, 1) + entry(274, 3, orientation)
        + struct.pack("<IH", second, 2)
        + entry(513, 4, second + 2 + 24 + 4) + entry(514, 4, len(thumbnail))
        + bytes(4) + thumbnail
    )  # fmt: skip


EXIF = some_exif()
ICC = b"\0" * 12 + b"mntrRGB XYZ " + random.Random(3).randbytes(150_000)  # three JPEG segments
XMP = b'<?xpacket begin="\xef\xbb\xbf"?><x:xmpmeta xmlns:x="adobe:ns:meta/"/><?xpacket end="w"?>'


def exif_values(block: bytes | None) -> dict[str, dict[int, Any]]:
    exif = Image.Exif()
    exif.load(block or b"")
    pointers = {34665, 34853}
    return {
        "main": {tag: value for tag, value in exif.items() if tag not in pointers},
        "exif": dict(exif.get_ifd(34665)),
        "gps": dict(exif.get_ifd(34853)),
    }


def with_metadata(rgb: np.ndarray, name: str, exif: bytes = EXIF) -> bytes:
    everything = {"exif": b"Exif\0\0" + exif, "icc_profile": ICC, "xmp": XMP}
    if name == "png":
        itxt = b"XML:com.adobe.xmp\0\0\0\0\0" + XMP
        return png_by_hand(
            rgb,
            chunk(b"iCCP", b"a name\0\0" + zlib.compress(ICC)),
            chunk(b"eXIf", exif),
            chunk(b"tEXt", b"Author\0somebody"),
            after=chunk(b"iTXt", itxt),
        )
    if name == "tiff":
        out = Image.Exif()
        out.load(exif)
        out[700] = XMP
        return pillow(rgb, "TIFF", exif=out, icc_profile=ICC, compression="raw")
    return pillow(rgb, {"jpeg": "JPEG", "webp": "WEBP", "avif": "AVIF"}[name], **everything)


def animation(frames: list[np.ndarray], format: str, **options: Any) -> bytes:
    images = [Image.fromarray(frame) for frame in frames]
    return pillow(images[0], format, save_all=True, append_images=images[1:], **options)


def timing(data: bytes) -> tuple[list[float], int | None]:
    image = Image.open(io.BytesIO(data))
    durations = []
    for index in range(image.n_frames):
        image.seek(index)
        image.load()
        durations.append(image.info["duration"])
    return durations, image.info.get("loop")
