"""Bytes to pixels and back, metadata and all, and atomic writes. Knows no path policy.

Pillow reads and writes nearly everything. OpenCV does what Pillow cannot, which is 16-bit color
(Pillow reads it as 8 bits), and Pillow has still to accept the file first, because OpenCV takes
some that are cut short. Containers are taken apart by hand only where neither gives what is in
them byte for byte: metadata of JPEG and PNG, frames of APNG, samples of PNM.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import re
import stat
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, PngImagePlugin
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from lgs_cli.errors import ImageError, StorageError
from lgs_cli.formats import FORMATS

DEFAULT_MAX_PIXELS = 500_000_000

MAX_FRAMES = 10_000

Image.MAX_IMAGE_PIXELS = None  # the limit is --max-pixels, checked here
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20  # 1 MB refuses files with large but real ICC profiles

# Without a handler of its own, what Pillow logs as an error ends up on stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image file, with all that is needed to write it back the way it came.

    Attributes
    ----------
    frames : tuple of ndarray
        One array a frame or page, as stored (never rotated): (H, W) gray, (H, W, 2) gray and
        alpha, (H, W, 3) RGB or (H, W, 4) RGBA; uint8 or uint16. Frames of an animation are whole
        (composited) and of one shape; pages of a TIFF may differ. Not to be changed.
    format : str
        A name in :data:`lgs_cli.formats.FORMATS`, by content, not by suffix.
    notes : tuple of str
        What reading changed: ``"palette became RGB"``, ``"CMYK became RGB"``.
    data : bytes
        The file as it was.
    exif, icc, xmp : bytes or None
        EXIF as a TIFF structure (no ``Exif`` prefix), ICC profile, XMP packet.
    dpi : tuple of float or None
        Horizontal and vertical resolution, in pixels an inch.
    durations : tuple of float
        Milliseconds each frame of an animation shows; empty where there is no animation.
    loop : int
        How often an animation plays; 0 is forever.
    coding : Mapping
        How the pixels were coded, as the writer of the same format takes it: JPEG's quantization
        tables and chroma subsampling, whether a WebP is lossless, a TIFF's compression and tags.
    """

    frames: tuple[NDArray[Any], ...]
    format: str
    notes: tuple[str, ...] = ()
    data: bytes = field(default=b"", repr=False)
    exif: bytes | None = field(default=None, repr=False)
    icc: bytes | None = field(default=None, repr=False)
    xmp: bytes | None = field(default=None, repr=False)
    dpi: tuple[float, float] | None = None
    durations: tuple[float, ...] = ()
    loop: int = 0
    coding: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def width(self) -> int:
        """Width of the first frame, in pixels."""
        return int(self.frames[0].shape[1])

    @property
    def height(self) -> int:
        """Height of the first frame, in pixels."""
        return int(self.frames[0].shape[0])


# ------------------------------------------------------------------------------ reading a file


def read(path: str, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read and decode an image file.

    Parameters
    ----------
    path : str
        The file; a symbolic link is followed. Anything but a regular file is refused, unopened.
    max_pixels : int
        Most pixels that are decoded, over all frames together.

    Returns
    -------
    Picture
        See there.

    Raises
    ------
    ImageError
        With the reason, without the path.
    """
    return decode(_read_bytes(path), max_pixels=max_pixels)


def _read_bytes(path: str) -> bytes:
    try:
        # stat before open: opening a FIFO or a device can block, or do things.
        _require_regular(os.stat(path).st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:
            _require_regular(os.fstat(descriptor).st_mode)
            head = file.read(4096)
            if head and _sniff(head) is None:
                raise ImageError(_unknown(head))
            return head + file.read()
    except FileNotFoundError as error:
        reason = "broken link" if os.path.islink(path) else "no such file"
        raise ImageError(reason) from error
    except OSError as error:
        raise ImageError(_os_reason(error)) from error
    except ValueError as error:  # a NUL in the path
        raise ImageError("not a valid path") from error
    except MemoryError as error:
        raise ImageError("not enough memory") from error


_KINDS: dict[int, str] = {
    stat.S_IFDIR: "is a directory",
    stat.S_IFIFO: "is a FIFO",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


def _require_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ImageError(_KINDS.get(stat.S_IFMT(mode), "not a regular file"))


def _os_reason(error: OSError) -> str:
    text = error.strerror or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]


# ----------------------------------------------------------------------------------- decoding


def decode(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Decode the bytes of an image file.

    Parameters
    ----------
    data : bytes
        The whole file.
    max_pixels : int
        Most pixels that are decoded, over all frames together; checked from the headers, before
        any pixel is decoded.

    Returns
    -------
    Picture
        See there.

    Raises
    ------
    ImageError
        For whatever keeps these bytes from being decoded in full and at their full depth; the
        message is the reason: ``"truncated"``, ``"not an image"``.
    """
    if not data:
        raise ImageError("empty file")
    name = _sniff(data)
    if name is None:
        raise ImageError(_unknown(data))
    with _codec(name) as said:
        picture = _DECODERS[name](data, max_pixels)
    return replace(picture, notes=_distinct((*picture.notes, *said))) if said else picture


_MAGIC: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("jpeg", re.compile(rb"\xff\xd8\xff")),
    ("png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("webp", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    ("tiff", re.compile(rb"II\*\0|MM\0\*|II\+\0\x08\0\0\0|MM\0\+\0\x08\0\0")),
    ("bmp", re.compile(rb"BM.{8}", re.DOTALL)),
    ("gif", re.compile(rb"GIF8[79]a")),
    ("avif", re.compile(rb".{4}ftyp(avif|avis)", re.DOTALL)),
    ("avif", re.compile(rb".{4}ftyp(mif1|msf1|miaf).{0,64}avi[fs]", re.DOTALL)),
    ("jp2", re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51")),
    ("pnm", re.compile(rb"P[1-6][\s#]")),
)

# Seen in photo folders, and worth a better word than "not an image".
_FOREIGN: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("HEIC", re.compile(rb".{4}ftyp(heic|heix|hevc|heim|heis|mif1|msf1)", re.DOTALL)),
    ("JPEG XL", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL ")),
    ("Photoshop", re.compile(rb"8BPS")),
    ("PDF", re.compile(rb"%PDF")),
    ("SVG", re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg", re.DOTALL)),
    ("PFM", re.compile(rb"P[fF][\s#]")),
    ("PAM", re.compile(rb"P7[\s#]")),
)


def _sniff(data: bytes) -> str | None:
    return next((name for name, magic in _MAGIC if magic.match(data)), None)


def _unknown(data: bytes) -> str:
    for name, magic in _FOREIGN:
        if magic.match(data[:4096]):
            return f"{name} is not supported"
    return "not an image"


_TITLES = {"jp2": "JPEG 2000", "webp": "WebP"}


def _title(name: str) -> str:
    return _TITLES.get(name, name.upper())


# The rest keep silent by themselves; catching file descriptor 2 is not free.
_NOISY = frozenset({"tiff", "jp2", "avif"})


@contextlib.contextmanager
def _codec(name: str) -> Iterator[list[str]]:
    """Run codec code: its failures become ImageError, its warnings are yielded, stderr is spared.

    Whatever garbage makes a codec raise (SyntaxError, struct.error, OverflowError, ...) means the
    same here: this image cannot be had.
    """
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with _hushed() if name in _NOISY else contextlib.nullcontext():
                yield said
        except ImageError:
            raise
        except MemoryError as error:
            raise ImageError("not enough memory") from error
        except Exception as error:
            raise ImageError(_reason(name, error)) from error
    said.extend(_distinct(tuple(_one_line(str(warning.message)) for warning in caught)))


class _Noise(Exception):  # noqa: N818 - it carries what a codec printed, to become the reason
    pass


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Catch what C code prints on stderr; where the body fails, that is the reason."""
    try:
        saved = os.dup(2)
    except OSError:  # stderr is closed: nothing to spare
        yield
        return
    try:
        # A pipe needs no disk; it does not block, so what it cannot take is lost.
        source, sink = os.pipe()
        os.set_blocking(source, False)
        os.set_blocking(sink, False)
        with open(source, "rb", buffering=0) as caught:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(sink, 2)
            os.close(sink)
            try:
                yield
            except ImageError:
                raise
            except Exception as error:
                printed = _ORIGIN.sub("", (caught.read(4096) or b"").decode("utf-8", "replace"))
                if printed.strip():
                    raise _Noise(printed.strip().splitlines()[0]) from error
                raise
            finally:
                os.dup2(saved, 2)
    finally:
        os.close(saved)


# What libtiff and OpenCV put in front: where in their code they are, no file of the user's.
_ORIGIN = re.compile(r"^\s*(tempfile\.tif: |\[[^]]*\] global \S+ \S+ )")


_CUT_SHORT = re.compile(
    r"truncated|not processed|unexpected end|incomplete|not enough (image )?data|read error|"
    r"beyond end|end of (file|data|stream)|unrecognized data stream|buffer is not large enough|"
    r"cannot load this image",
    re.IGNORECASE,
)


def _reason(name: str, error: Exception) -> str:
    text = _one_line(str(error))
    if text == "unknown pixel mode":  # Pillow's word for it
        return f"{_title(name)} of this kind of samples is not supported"
    if _CUT_SHORT.search(text) or isinstance(error, EOFError):
        return f"truncated {_title(name)}"
    return f"broken {_title(name)}: {text or type(error).__name__}"


def _one_line(text: str) -> str:
    return " ".join(re.sub(r"[^\x20-\x7e]+", " ", text).split())[:160]


def _distinct(notes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(notes))


def _require(sizes: int, frames: int, max_pixels: int) -> None:
    if sizes > max_pixels:
        raise ImageError(f"{sizes:,} pixels are more than --max-pixels {max_pixels:,}")
    if frames > MAX_FRAMES:
        raise ImageError(f"{frames:,} frames are more than {MAX_FRAMES:,}")


_SAME_MODES = frozenset({"L", "LA", "RGB", "RGBA"})

_CONVERSIONS = {
    "1": ("L", "1 bit became 8-bit gray"),
    "P": ("RGB", "palette became RGB"),
    "PA": ("RGBA", "palette became RGB"),
    "CMYK": ("RGB", "CMYK became RGB"),
    "YCbCr": ("RGB", None),
    "La": ("LA", None),
    "RGBa": ("RGBA", None),
    "RGBX": ("RGB", None),
}


def _pixels(image: Image.Image, notes: list[str]) -> NDArray[Any]:
    """Turn a loaded Pillow image into an array of the kinds that :class:`Picture` knows."""
    mode = image.mode
    transparent = "transparency" in image.info
    if mode in _SAME_MODES and not transparent:
        return np.asarray(image)
    if mode in ("I;16", "I;16L", "I;16B", "I;16N"):
        gray = np.asarray(image)
        gray = gray.astype(np.uint16, copy=False)
        if not transparent:
            return gray
        clear = gray == image.info["transparency"]
        return np.dstack([gray, np.where(clear, 0, 65535).astype(np.uint16)])
    if mode in ("I", "F"):
        kind = "32-bit integer" if mode == "I" else "floating-point"
        raise ImageError(f"{kind} samples are not supported")
    if mode in _SAME_MODES:
        target, note = {"L": "LA", "RGB": "RGBA"}.get(mode, mode), None
    elif mode in _CONVERSIONS:
        target, note = _CONVERSIONS[mode]
        if transparent and mode in ("1", "P"):
            target = {"L": "LA", "RGB": "RGBA"}[target]
            image = image.convert("L") if mode == "1" else image
    else:
        raise ImageError(f"{mode} colors are not supported")
    if note:
        notes.append(note)
    return np.asarray(image.convert(target))


def _opencv(data: bytes) -> NDArray[Any]:
    """Decode a 16-bit color image, which Pillow would cut to 8 bits."""
    import cv2

    with _hushed():
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise OSError("cannot be decoded")
    if image.dtype != np.uint16 or image.ndim != 3 or image.shape[2] not in (3, 4):
        raise ImageError(f"{image.dtype} samples, {image.shape} are not supported")
    return np.ascontiguousarray(image[..., [2, 1, 0, 3][: image.shape[2]]])


def _profile(image: Image.Image, notes: list[str]) -> bytes | None:
    icc = image.info.get("icc_profile")
    if icc and image.mode == "CMYK":
        notes.append("CMYK profile dropped")
        return None
    return icc or None


def _exif_bytes(image: Image.Image) -> bytes | None:
    exif = image.info.get("exif")
    return exif.removeprefix(b"Exif\0\0") or None if exif else None


def _as_bytes(xmp: Any) -> bytes | None:
    return (xmp.encode() if isinstance(xmp, str) else bytes(xmp)) if xmp else None


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    try:
        x, y = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 0 < x < 65536 and 0 < y < 65536 else None


# --------------------------------------------------------------------------------------- JPEG


def _decode_jpeg(data: bytes, max_pixels: int) -> Picture:
    notes: list[str] = []
    image = JpegImageFile(io.BytesIO(data))
    _require(image.width * image.height, 1, max_pixels)
    image.decodermaxblock = max(len(data), image.decodermaxblock)  # one pass, not 64 KB a time
    pixels = _pixels(image, notes)
    if "mp" in image.info:
        notes.append("only the first picture of several was kept")
    return Picture(
        frames=(pixels,),
        format="jpeg",
        data=data,
        exif=_exif_bytes(image),
        icc=_profile(image, notes),
        xmp=_as_bytes(image.info.get("xmp")),
        dpi=_dpi(image),
        coding=_jpeg_coding(image, data),
        notes=tuple(notes),
    )


def _jpeg_coding(image: JpegImageFile, data: bytes) -> dict[str, Any]:
    """Say in Pillow's words how a JPEG was coded, so that its like can be written."""
    layers = image.layer[:3]
    tables = [image.quantization[layer[3]] for layer in layers if layer[3] in image.quantization]
    while len(tables) > 1 and tables[-1] == tables[-2]:
        tables.pop()  # Pillow gives the last table to all components that are left
    coding: dict[str, Any] = {"qtables": tables} if tables else {"quality": 95}
    if len(layers) == 3:
        # The coarsest of libjpeg's usual samplings that loses nothing of the input's chroma.
        wide = layers[0][1] // max(layers[1][1], layers[2][1], 1)
        high = layers[0][2] // max(layers[1][2], layers[2][2], 1)
        coding["subsampling"] = (2 if high >= 2 else 1) if wide >= 2 else 0
        coding["sampling"] = tuple(layer[1:3] for layer in layers)
        if image.mode == "RGB" and _stored_as_rgb(image):
            coding["keep_rgb"] = True
    coding["progressive"] = bool(image.info.get("progressive"))
    coding["optimize"] = _has_own_huffman_tables(data)
    return coding


def _stored_as_rgb(image: JpegImageFile) -> bool:
    """Tell an RGB JPEG from the usual YCbCr by libjpeg's own rule."""
    if "jfif" in image.info:
        return False
    if "adobe_transform" in image.info:
        return bool(image.info["adobe_transform"] == 0)
    return bytes(layer[0] for layer in image.layer) == b"RGB"


# DC and AC tables of the standard's annex K, for luma and for luma and chroma: 16 counts and the
# symbols. A file with others was optimized, and would grow by some 5 % if coded with these.
_STANDARD_HUFFMAN = (2 * 17 + 12 + 162, 2 * (2 * 17 + 12 + 162))


def _has_own_huffman_tables(data: bytes) -> bool:
    sizes = [len(body) for marker, body in _jpeg_segments(data) if marker == 0xC4]
    return bool(sizes) and sum(sizes) not in _STANDARD_HUFFMAN


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and body of each segment before the first scan."""
    at = 2
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            return
        marker = data[at + 1]
        if marker in (0x00, 0xFF):
            at += 1 if marker else 2
            continue
        if marker in (0xDA, 0xD9):
            return
        if 0xD0 <= marker <= 0xD8 or marker == 0x01:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4])
        if length < 2 or at + 2 + length > len(data):
            return
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_BODY = 65533
_ICC_PIECE = _JPEG_BODY - 14


def _jpeg_metadata(picture: Picture, carried: _Carried) -> list[bytes]:
    if picture.format == "jpeg":
        return [
            _segment(marker, body)
            for marker, body in _jpeg_segments(picture.data)
            if marker in (0xE1, 0xED, 0xFE)
            or (marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and carried.icc)
        ]
    segments = []
    if carried.exif:
        segments.append(_segment(0xE1, b"Exif\0\0" + carried.exif))
    if carried.xmp:
        segments.append(_segment(0xE1, _XMP_HEADER + carried.xmp))
    if carried.icc:
        pieces = [
            carried.icc[at : at + _ICC_PIECE] for at in range(0, len(carried.icc), _ICC_PIECE)
        ]
        for number, piece in enumerate(pieces, 1):
            head = b"ICC_PROFILE\0" + bytes((number, len(pieces)))
            segments.append(_segment(0xE2, head + piece))
    return segments


def _encode_jpeg(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: _Carried
) -> bytes:
    if picture.format == "jpeg":
        options = {key: value for key, value in picture.coding.items() if key != "sampling"}
    else:
        options = {"quality": 95, "subsampling": 0, **_dpi_option(picture)}
    if quality is not None:
        options.pop("qtables", None)
        options["quality"] = quality
    plain = _pillow_save(frames[0], "JPEG", **options)
    start = 2
    header = b""
    if picture.format == "jpeg":
        jfif = next(
            (b for m, b in _jpeg_segments(picture.data) if m == 0xE0 and b[:5] == b"JFIF\0"), None
        )
        if jfif is not None:
            header = _segment(0xE0, jfif)
            if plain[2:4] == b"\xff\xe0":
                start = 4 + int.from_bytes(plain[4:6])
    elif plain[2:4] == b"\xff\xe0":
        start = 4 + int.from_bytes(plain[4:6])
        header = plain[2:start]
    return b"".join(
        (plain[:2], header, *_jpeg_metadata(picture, carried), memoryview(plain)[start:])
    )


def _dpi_option(picture: Picture) -> dict[str, Any]:
    return {"dpi": picture.dpi} if picture.dpi else {}


def _pillow_save(pixels: NDArray[Any], format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    _image(pixels).save(out, format, **options)
    return out.getvalue()


def _image(pixels: NDArray[Any]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels))


# ---------------------------------------------------------------------------------------- PNG

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

# Chunks that say something about the picture whatever its color type, and stay true of it.
_PNG_KEPT = frozenset(
    {b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI", b"pHYs", b"eXIf"}
    | {b"tEXt", b"zTXt", b"iTXt"}
)


class _Chunk(NamedTuple):
    kind: bytes
    body: memoryview


def _png_chunks(data: bytes) -> list[_Chunk]:
    chunks = []
    view = memoryview(data)
    at = len(_PNG_MAGIC)
    while True:
        if at + 12 > len(data):
            raise ImageError("truncated PNG")
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            raise ImageError("truncated PNG")
        chunks.append(_Chunk(kind, view[at + 8 : at + 8 + length]))
        if kind == b"IEND":
            return chunks
        at += 12 + length


def _png_chunk(kind: bytes, *bodies: bytes | memoryview) -> bytes:
    body = b"".join(bodies)
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(header: bytes, *chunks: bytes) -> bytes:
    return b"".join((_PNG_MAGIC, _png_chunk(b"IHDR", header), *chunks, _png_chunk(b"IEND")))


def _decode_png(data: bytes, max_pixels: int) -> Picture:
    chunks = _png_chunks(data)
    width, height = struct.unpack_from(">II", chunks[0].body)
    kinds = [chunk.kind for chunk in chunks]
    animated = b"acTL" in kinds and b"fcTL" in kinds and kinds.index(b"acTL") < kinds.index(b"IDAT")
    count = kinds.count(b"fcTL") if animated else 1
    _require(width * height * count, count, max_pixels)
    notes: list[str] = []
    image = PngImageFile(io.BytesIO(data))
    image.load()
    picture = Picture(
        frames=(),
        format="png",
        data=data,
        exif=_exif_bytes(image),
        icc=_profile(image, notes),
        xmp=_as_bytes(image.info.get("xmp")),
        dpi=_dpi(image),
    )
    if animated:
        return _decode_apng(picture, chunks)
    return replace(picture, frames=(_png_pixels(image, data, notes),), notes=tuple(notes))


def _png_pixels(image: PngImageFile, data: bytes, notes: list[str]) -> NDArray[Any]:
    depth, color = data[24], data[25]
    if depth == 16 and color in (2, 4, 6):
        pixels = _opencv(data)
        return np.ascontiguousarray(pixels[..., [0, 3]]) if color == 4 else pixels
    if color == 0 and depth in (2, 4):
        notes.append(f"{depth} bits became 8-bit gray")
        if "transparency" in image.info:
            image.info["transparency"] *= 255 // (2**depth - 1)
    return _pixels(image, notes)


class _Control(NamedTuple):
    width: int
    height: int
    left: int
    top: int
    numerator: int
    denominator: int
    disposal: int
    blend: int


def _decode_apng(picture: Picture, chunks: list[_Chunk]) -> Picture:
    """Composite the frames of an APNG, at any depth and by the specification's blending.

    Pillow blends half-transparent pixels otherwise than the specification, and at 8 bits.
    """
    header = bytes(chunks[0].body)
    shared = [_png_chunk(*chunk) for chunk in chunks if chunk.kind in (b"PLTE", b"tRNS")]
    still: list[memoryview] = []
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
        data = _png(head, *shared, *(_png_chunk(b"IDAT", body) for body in part))
        image = PngImageFile(io.BytesIO(data))
        image.load()
        return _png_pixels(image, data, notes)

    width, height = struct.unpack_from(">II", header)
    frames = []
    canvas: NDArray[Any] | None = None
    for control, part in zip(controls, parts, strict=True):
        if control.left + control.width > width or control.top + control.height > height:
            raise ImageError("broken PNG: a frame lies outside the picture")
        # Transparent black is what lies under the first frame and what disposal leaves.
        piece = _with_alpha(decoded(control.width, control.height, part))
        if canvas is None:
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
    stills = [_with_alpha(decoded(width, height, still))] if still and not _first(chunks) else []
    return replace(
        picture,
        frames=_without_alpha_if_opaque([*stills, *frames], keep=_png_has_alpha(chunks)),
        notes=_distinct(tuple(notes)),
        durations=(
            *(0.0 for _ in stills),
            *(1000 * c.numerator / (c.denominator or 100) for c in controls),
        ),
        loop=next(int.from_bytes(body[4:8]) for kind, body in chunks if kind == b"acTL"),
        coding={"still": bool(stills)},
    )


def _first(chunks: list[_Chunk]) -> bool:
    """Tell whether the default image is the animation's first frame."""
    kinds = [chunk.kind for chunk in chunks]
    return kinds.index(b"fcTL") < kinds.index(b"IDAT")


def _png_has_alpha(chunks: list[_Chunk]) -> bool:
    return chunks[0].body[9] in (4, 6) or any(chunk.kind == b"tRNS" for chunk in chunks)


def _with_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        return pixels
    return np.dstack([pixels, np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)])


def _without_alpha_if_opaque(frames: list[NDArray[Any]], *, keep: bool) -> tuple[NDArray[Any], ...]:
    if keep or not all(_is_opaque(frame) for frame in frames):
        return tuple(frames)
    return tuple(_colors(frame) for frame in frames)


def _is_opaque(pixels: NDArray[Any]) -> bool:
    return bool((pixels[..., -1] == np.iinfo(pixels.dtype).max).all())


def _colors(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return gray or RGB without alpha."""
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3])


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


def _png_metadata(picture: Picture, carried: _Carried) -> list[bytes]:
    if picture.format == "png":
        return [
            _png_chunk(*chunk)
            for chunk in _png_chunks(picture.data)
            if chunk.kind in _PNG_KEPT and (chunk.kind != b"iCCP" or carried.icc)
        ]
    chunks = []
    if carried.icc:
        chunks.append(_png_chunk(b"iCCP", b"ICC profile\0\0", zlib.compress(carried.icc)))
    if picture.dpi:
        x, y = (round(value / 0.0254) for value in picture.dpi)
        chunks.append(_png_chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
    if carried.exif:
        chunks.append(_png_chunk(b"eXIf", carried.exif))
    if carried.xmp:
        chunks.append(_png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0", carried.xmp))
    return chunks


def _png_parts(pixels: NDArray[Any], level: int) -> tuple[bytes, bytes]:
    """Return the header and the compressed samples of an array as PNG stores them."""
    if pixels.dtype == np.uint8 or pixels.ndim == 2:
        chunks = _png_chunks(_pillow_save(pixels, "PNG", compress_level=level))
        samples = b"".join(chunk.body for chunk in chunks if chunk.kind == b"IDAT")
        return bytes(chunks[0].body), samples
    height, width, channels = pixels.shape
    rows = np.ascontiguousarray(pixels, ">u2").reshape(height, -1).view(np.uint8)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2  # the filter "Up": what the row above leaves
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    color = {2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    return header, zlib.compress(filtered.tobytes(), level)


def _encode_png(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: _Carried
) -> bytes:
    metadata = _png_metadata(picture, carried)
    if len(frames) == 1 and not picture.durations:
        header, samples = _png_parts(frames[0], 6)
        return _png(header, *metadata, _png_chunk(b"IDAT", samples))
    still = bool(picture.coding.get("still"))
    count = len(frames) - still
    chunks = [*metadata, _png_chunk(b"acTL", struct.pack(">II", count, picture.loop))]
    header, samples = _png_parts(frames[0], 6)
    if still:
        chunks.append(_png_chunk(b"IDAT", samples))
    sequence = 0
    for index in range(int(still), len(frames)):
        left, top, pixels = 0, 0, frames[index]
        if index > int(still):
            left, top, pixels = _changed(frames[index - 1], pixels)
        delay = Fraction(picture.durations[index] / 1000).limit_denominator(65535)
        if delay > 65535:
            raise ImageError("PNG holds no frame duration above 65,535 seconds")
        control = struct.pack(
            ">5IHHBB", sequence, pixels.shape[1], pixels.shape[0], left, top,
            delay.numerator, delay.denominator, 0, 0,
        )  # fmt: skip
        chunks.append(_png_chunk(b"fcTL", control))
        sequence += 1
        if index > 0:
            samples = _png_parts(pixels, 6)[1]
            chunks.append(_png_chunk(b"fdAT", struct.pack(">I", sequence), samples))
            sequence += 1
        else:
            chunks.append(_png_chunk(b"IDAT", samples))
    return _png(header, *chunks)


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


def encode_png(pixels: NDArray[Any]) -> bytes:
    """Encode a picture of our own making as PNG, fast rather than small.

    Parameters
    ----------
    pixels : ndarray
        (H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB or (H, W, 4) RGBA; uint8 or uint16.

    Returns
    -------
    bytes
        The PNG file.
    """
    header, samples = _png_parts(pixels, 1)
    return _png(header, _png_chunk(b"IDAT", samples))


# --------------------------------------------------------------------------------------- WebP


def _riff_chunks(view: memoryview, at: int) -> list[_Chunk]:
    chunks = []
    while at + 8 <= len(view):
        kind, length = struct.unpack_from("<4sI", view, at)
        chunks.append(_Chunk(kind, view[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return chunks


def _webp_size(chunk: _Chunk) -> tuple[int, int]:
    kind, body = chunk
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise ImageError("broken WebP: no picture in it")


def _decode_webp(data: bytes, max_pixels: int) -> Picture:
    from PIL.WebPImagePlugin import WebPImageFile

    length = int.from_bytes(data[4:8], "little") + 8
    if length > len(data):
        raise ImageError("truncated WebP")
    chunks = _riff_chunks(memoryview(data)[:length], 12)
    if not chunks:
        raise ImageError("truncated WebP")
    width, height = _webp_size(chunks[0])
    moving = [chunk for chunk in chunks if chunk.kind == b"ANMF"]
    count = max(len(moving), 1)
    _require(width * height * count, count, max_pixels)
    coded = chunks + [part for chunk in moving for part in _riff_chunks(chunk.body, 16)]
    lossless = not any(chunk.kind == b"VP8 " for chunk in coded)
    image = WebPImageFile(io.BytesIO(data))
    notes: list[str] = []
    frames, durations = _frames(image, notes)
    return Picture(
        frames=frames,
        format="webp",
        data=data,
        notes=tuple(notes),
        exif=_exif_bytes(image),
        icc=_profile(image, notes),
        xmp=_as_bytes(image.info.get("xmp")),
        durations=durations,
        loop=int(image.info.get("loop", 0)),
        coding={"lossless": lossless},
    )


def _frames(
    image: ImageFile.ImageFile, notes: list[str]
) -> tuple[tuple[NDArray[Any], ...], tuple[float, ...]]:
    """Load every frame; durations are empty where there is but one."""
    count = getattr(image, "n_frames", 1)
    frames, durations = [], []
    for index in range(count):
        image.seek(index)
        image.load()
        frames.append(_pixels(image, notes))
        durations.append(float(image.info.get("duration", 0)))
    return tuple(frames), tuple(durations) if count > 1 else ()


def _animation(picture: Picture, frames: Sequence[NDArray[Any]]) -> dict[str, Any]:
    if not picture.durations:
        return {}
    return {
        "save_all": True,
        "append_images": [_image(frame) for frame in frames[1:]],
        "duration": [round(duration) for duration in picture.durations],
        "loop": picture.loop,
    }


def _present(**options: Any) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value}


def _encode_webp(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: _Carried
) -> bytes:
    import PIL.WebPImagePlugin  # noqa: F401 - registers the writer, else Pillow loads all of them

    if max(frames[0].shape[:2]) > 16383:
        raise ImageError("WebP holds at most 16,383 pixels a side; use --format png")
    options: dict[str, Any]
    if quality is None and picture.format == "webp" and picture.coding["lossless"]:
        options = {"lossless": True, "exact": True, "quality": 75}
    else:
        options = {"quality": 90 if quality is None else quality}
    return _pillow_save(
        _expanded(frames[0]),
        "WEBP",
        **options,
        **_present(exif=carried.exif, icc_profile=carried.icc, xmp=carried.xmp),
        **_animation(picture, [_expanded(frame) for frame in frames]),
    )


def _expanded(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return RGB or RGBA, for formats that know no gray."""
    if pixels.ndim == 2:
        return np.dstack([pixels] * 3)
    return pixels[..., [0, 0, 0, 1]] if pixels.shape[2] == 2 else pixels


# -------------------------------------------------------------------------------- AVIF and JP2


def _boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and stop of the body of each box (ISO 14496-12, 4.2)."""
    at = start
    while at < stop:
        if at + 8 > stop:
            raise EOFError
        length, kind = struct.unpack_from(">I4s", data, at)
        body = at + 8
        if length == 1:
            length, body = int.from_bytes(data[at + 8 : at + 16]), at + 16
        elif length == 0:
            length = stop - at
        if length < body - at or at + length > stop:
            raise EOFError
        yield kind, body, at + length
        at += length


def _decode_avif(data: bytes, max_pixels: int) -> Picture:
    from PIL.AvifImagePlugin import AvifImageFile

    headers = [
        data[start:stop]
        for kind, start, stop in _boxes(data, 0, len(data))
        if kind in (b"meta", b"moov")
    ]
    configurations = [
        header[at.end() : at.end() + 4]
        for header in headers
        for at in re.finditer(rb"av1C", header)
        if len(header) >= at.end() + 4
    ]
    for flags in (configuration[2] for configuration in configurations):
        if flags & 0x40:
            depth = 12 if flags & 0x20 else 10
            raise ImageError(f"{depth}-bit AVIF is not supported; it would lose its depth")
    image = AvifImageFile(io.BytesIO(data))
    _require(image.width * image.height * image.n_frames, image.n_frames, max_pixels)
    notes: list[str] = []
    frames, durations = _frames(image, notes)
    coding = {}
    if configurations:
        flags = configurations[0][2]
        coding["subsampling"] = (
            "4:0:0" if flags & 0x10 else {0: "4:4:4", 8: "4:2:2"}.get(flags & 0x0C, "4:2:0")
        )
    return Picture(
        frames=frames,
        format="avif",
        data=data,
        notes=tuple(notes),
        exif=_exif_bytes(image),
        icc=_profile(image, notes),
        xmp=_as_bytes(image.info.get("xmp")),
        durations=durations,
        coding=coding,
    )


def _encode_avif(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: _Carried
) -> bytes:
    import PIL.AvifImagePlugin  # noqa: F401

    options: dict[str, Any] = {"quality": 90 if quality is None else quality}
    gray = frames[0].ndim == 2
    if not gray and picture.format == "avif":
        options.update(picture.coding)
        if options.get("subsampling") == "4:0:0":
            del options["subsampling"]
    elif not gray:
        options["subsampling"] = "4:4:4"
    arrays = [frame if frame.ndim == 2 else _expanded(frame) for frame in frames]
    return _pillow_save(
        arrays[0],
        "AVIF",
        **options,
        **_present(exif=carried.exif, icc_profile=carried.icc, xmp=carried.xmp),
        **_animation(picture, arrays),
    )


def _decode_jp2(data: bytes, max_pixels: int) -> Picture:
    from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

    stream = 0
    held = []
    raw = data.startswith(b"\xff\x4f")
    if not raw:
        for kind, start, stop in _boxes(data, 0, len(data)):
            if kind == b"jp2c" and not stream:
                stream = start
            elif kind == b"jp2h":
                held += ["ICC"] * any(
                    kind == b"colr" and data[at] == 2 for kind, at, _ in _boxes(data, start, stop)
                )
            elif kind == b"uuid":
                held += [_JP2_UUIDS.get(data[start : start + 16], "other metadata")]
            elif kind == b"xml ":
                held.append("XML")
    count = int.from_bytes(data[stream + 40 : stream + 42])
    depths = {(data[stream + 42 + 3 * i] & 0x7F) + 1 for i in range(count)}
    image = Jpeg2KImageFile(io.BytesIO(data))
    _require(image.width * image.height, 1, max_pixels)
    right, bottom, left, top = struct.unpack_from(">IIII", data, stream + 8)
    _require((right - left) * (bottom - top), 1, max_pixels)  # the box may say otherwise
    wanting = {depth for depth in depths if 8 < depth != 16}
    if wanting:
        raise ImageError(f"{max(wanting)}-bit JPEG 2000 is not supported")
    notes: list[str] = []
    image.load()
    deep = max(depths) == 16 and count > 1
    return Picture(
        frames=(_opencv(data) if deep else _pixels(image, notes),),
        format="jp2",
        data=data,
        notes=tuple(notes),
        dpi=_dpi(image),
        coding={"no_jp2": raw, "held": _distinct(tuple(held))},
    )


_JP2_UUIDS = {
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "XMP",
    b"JpgTiffExif->JP2": "EXIF",
}


def _encode_jp2(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: _Carried
) -> bytes:
    pixels = frames[0]
    raw = bool(picture.coding.get("no_jp2"))
    if pixels.dtype == np.uint16 and pixels.ndim == 3:
        if pixels.shape[2] == 2:
            raise ImageError("16-bit gray with alpha cannot be written as JPEG 2000")
        import cv2

        with _hushed():
            done, out = cv2.imencode(
                ".j2k" if raw else ".jp2",
                np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]),
                [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000],
            )
            if not done:
                raise OSError("cannot be encoded")
        return bytes(out)
    import PIL.Jpeg2KImagePlugin  # noqa: F401

    color = pixels.ndim == 3 and pixels.shape[2] >= 3
    return _pillow_save(pixels, "JPEG2000", irreversible=False, mct=int(color), no_jp2=raw)


# --------------------------------------------------------------------------------------- TIFF

_ORIENTATION = 274
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 34665, 34853, 40965
_XMP, _ICC = 700, 34675

# Tags that describe the picture, not how its samples lie in the file; EXIF knows them too.
_DESCRIPTIVE = frozenset(
    {269, 270, 271, 272, _ORIENTATION, 282, 283, 285, 296, 297, 305, 306, 315, 316, 18246, 18249}
    | {33432, _EXIF_IFD, _GPS_IFD, *range(40091, 40096)}
)
# Those that only a TIFF takes: IPTC, Photoshop, GeoTIFF and GDAL.
_TIFF_ONLY = frozenset(
    {33723, 34377, 33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113} | {_XMP, _ICC}
)
_COMPRESSIONS = frozenset(
    {"raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd", "jpeg"}
)


def _upright(data: bytes) -> bytes:
    """Return the file with every page's orientation set to 1.

    Pillow rotates a TIFF's pixels by its orientation, and OpenCV fails on some; here pixels are
    wanted as they are stored. The walk also bounds the chain of pages before Pillow follows it.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    count_format, entry_size, offset_format = ("Q", 20, "Q") if big else ("H", 12, "I")
    turned = bytearray()
    seen: set[int] = set()
    (at,) = struct.unpack_from(order + offset_format, data, 8 if big else 4)
    while at and at not in seen:
        seen.add(at)
        _require(0, len(seen), 0)
        try:
            (count,) = struct.unpack_from(order + count_format, data, at)
            first = at + struct.calcsize(count_format)
            (after,) = struct.unpack_from(order + offset_format, data, first + count * entry_size)
        except (struct.error, OverflowError):
            raise ImageError("truncated TIFF") from None
        for entry in range(first, first + count * entry_size, entry_size):
            tag, kind = struct.unpack_from(order + "HH", data, entry)
            value_at = entry + (12 if big else 8)
            size = {1: "B", 3: "H", 4: "I"}.get(kind)
            if tag == _ORIENTATION and size:
                turned = turned or bytearray(data)
                struct.pack_into(order + size, turned, value_at, 1)
        at = after
    return bytes(turned) or data


class _Page(NamedTuple):
    tags: Any
    compression: str


def _decode_tiff(data: bytes, max_pixels: int) -> Picture:
    from PIL.TiffImagePlugin import TiffImageFile

    upright = _upright(data)
    # Tags are read from the file as it is, pixels from its upright copy.
    described = TiffImageFile(io.BytesIO(data))
    image = TiffImageFile(io.BytesIO(upright))
    sizes = 0
    for index in range(image.n_frames):
        image.seek(index)
        sizes += image.width * image.height
        _require(sizes, index + 1, max_pixels)
    notes: list[str] = []
    frames, pages = [], []
    for index in range(image.n_frames):
        described.seek(index)
        tags, compression = _tiff_tags(described), described.info.get("compression", "raw")
        image.seek(index)
        page_notes: list[str] = []
        frames.append(_tiff_pixels(image, upright, index, page_notes))
        if tags.get(_ICC) and "CMYK became RGB" in page_notes:
            del tags[_ICC]
            page_notes.append("CMYK profile dropped")
        notes += page_notes
        pages.append(_Page(tags, compression))
    tags = pages[0].tags
    return Picture(
        frames=tuple(frames),
        format="tiff",
        data=data,
        notes=_distinct(tuple(notes)),
        exif=_tiff_exif(tags),
        icc=_as_bytes(tags.get(_ICC)),
        xmp=_as_bytes(tags.get(_XMP)),
        dpi=_dpi(described),
        coding={"pages": tuple(pages)},
    )


def _tiff_pixels(image: Any, data: bytes, index: int, notes: list[str]) -> NDArray[Any]:
    tags = image.tag_v2
    bits = tags.get(258, (1,))
    samples = tags.get(277, 1)
    if max(tags.get(339, (1,))) == 3 or image.mode == "F":
        raise ImageError("floating-point samples are not supported")
    if max(bits) > 16:
        raise ImageError(f"{max(bits)}-bit samples are not supported")
    deep_color = max(bits) == 16 and samples > 1
    if deep_color and (tags.get(262) != 2 or tags.get(284, 1) != 1 or samples > 4):
        raise ImageError("16-bit TIFF is supported as gray, RGB and RGBA, not in planes")
    photometric = tags.get(262, 0)
    image.load()
    if not deep_color:
        pixels = _pixels(image, notes)
        if pixels.dtype == np.uint16:
            if bits[0] == 12:
                notes.append("12 bits became 16 bits")
                pixels = pixels << 4 | pixels >> 8
            if photometric == 0:
                pixels = 65535 - pixels
        elif bits[0] in (2, 4) and image.mode == "L":
            notes.append(f"{bits[0]} bits became 8-bit gray")
        return pixels
    import cv2

    with _hushed():
        done, found = cv2.imdecodemulti(
            np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED, range=(index, index + 1)
        )
        if not done or len(found) != 1:
            raise OSError("cannot be decoded")
    return _from_bgr(found[0], image.size)


def _from_bgr(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    if pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[1::-1] != size:
        raise ImageError("this kind of 16-bit color is not supported")
    return np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])


def _tiff_tags(image: Any) -> Any:
    """Copy the descriptive tags of a TIFF page, of which none says where or how samples lie."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    tags = ImageFileDirectory_v2()
    exif = image.getexif()
    for tag in sorted((_DESCRIPTIVE | _TIFF_ONLY) & set(image.tag_v2)):
        _set_tag(tags, tag, exif.get_ifd(tag) if tag in _SUB_IFDS else image.tag_v2[tag], exif)
        if tag in tags and tag not in _SUB_IFDS:
            tags.tagtype[tag] = image.tag_v2.tagtype[tag]
    return tags


_SUB_IFDS = frozenset({_EXIF_IFD, _GPS_IFD})


def _set_tag(tags: Any, tag: int, value: Any, exif: Image.Exif) -> None:
    if tag in _SUB_IFDS:
        value = dict(value)
        if _INTEROP_IFD in value:
            value[_INTEROP_IFD] = dict(exif.get_ifd(_INTEROP_IFD))
            if not value[_INTEROP_IFD]:
                del value[_INTEROP_IFD]
        if not value:
            return
    tags[tag] = value


def _tiff_exif(tags: Any) -> bytes | None:
    """Turn a page's descriptive tags into an EXIF block, for formats other than TIFF."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    exif = ImageFileDirectory_v2()
    for tag in set(tags) & _DESCRIPTIVE - _OF_THE_PAGE:
        exif[tag] = tags[tag]
        if tag not in _SUB_IFDS:
            exif.tagtype[tag] = tags.tagtype[tag]
    if not len(exif):
        return None
    out = io.BytesIO()
    exif.save(out)
    return out.getvalue()


# Resolution travels as Picture.dpi; names and numbers of pages mean nothing elsewhere.
_OF_THE_PAGE = frozenset({269, 282, 283, 285, 296, 297})


def _tags_from(picture: Picture, carried: _Carried) -> Any:
    """Turn another format's metadata into TIFF tags."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    tags = ImageFileDirectory_v2()
    if carried.exif:
        exif = Image.Exif()
        exif.load(carried.exif)
        for tag in _DESCRIPTIVE & set(exif):
            _set_tag(tags, tag, exif.get_ifd(tag) if tag in _SUB_IFDS else exif[tag], exif)
    if picture.dpi:
        tags[282], tags[283], tags[296] = picture.dpi[0], picture.dpi[1], 2
    if carried.icc:
        tags[_ICC], tags.tagtype[_ICC] = carried.icc, 7
    if carried.xmp:
        tags[_XMP], tags.tagtype[_XMP] = carried.xmp, 1
    return tags


def _encode_tiff(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: _Carried
) -> bytes:
    from PIL.TiffImagePlugin import AppendingTiffWriter

    if picture.format == "tiff":
        pages = picture.coding["pages"]
    else:
        pages = [_Page(_tags_from(picture, carried), "tiff_adobe_deflate")]
    out = io.BytesIO()
    with AppendingTiffWriter(out) as writer:
        for pixels, page in zip(frames, pages, strict=True):
            tags, strips = _tiff_strips(pixels, _writable_compression(page, pixels), quality)
            for tag, value in page.tags.items():
                tags[tag] = value
                if tag in page.tags.tagtype:
                    tags.tagtype[tag] = page.tags.tagtype[tag]
            tags.save(writer)
            writer.write(strips)
            writer.newFrame()
    return out.getvalue()


def _writable_compression(page: _Page, pixels: NDArray[Any]) -> str:
    jpeg_can = pixels.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2] == 3)
    if page.compression not in _COMPRESSIONS or (page.compression == "jpeg" and not jpeg_can):
        return "tiff_adobe_deflate"
    return page.compression


def _tiff_strips(pixels: NDArray[Any], compression: str, quality: int | None) -> tuple[Any, bytes]:
    """Compress an array; return the tags that say how, and the strips one after the other.

    Pillow cannot write 16-bit color, nor an Exif directory in a compressed TIFF. So it only
    compresses here: 16-bit color as one gray sample after the other, told from color by the tags
    alone.
    """
    from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

    options: dict[str, Any] = {"compression": compression}
    if compression == "jpeg":
        options["quality"] = 95 if quality is None else quality
    plain = pixels
    predicted = False
    if pixels.dtype == np.uint16 and pixels.ndim == 3:
        height, width, channels = pixels.shape
        predicted = compression in ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate")
        if predicted:  # TIFF 6.0, section 14: horizontal differencing
            plain = pixels.copy()
            plain[:, 1:] -= pixels[:, :-1]
        plain = plain.reshape(height, width * channels)
    elif compression in ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate"):
        options["tiffinfo"] = {317: 2}
    data = _pillow_save(plain, "TIFF", **options)
    written = TiffImageFile(io.BytesIO(data)).tag_v2
    tags = ImageFileDirectory_v2()
    for tag, value in written.items():
        tags[tag] = value
        tags.tagtype[tag] = written.tagtype[tag]
    if plain is not pixels or plain.ndim != pixels.ndim:
        tags[256], tags[258], tags[277] = width, (16,) * channels, channels
        tags[262] = 2 if channels >= 3 else 1
        if channels in (2, 4):
            tags[338] = 2
        if predicted:
            tags[317] = 2
    strips = [data[at : at + size] for at, size in zip(written[273], written[279], strict=True)]
    ends = np.cumsum([0, *(len(strip) for strip in strips)]).tolist()
    tags[273] = tuple(ends[:-1])
    tags.tagtype[273] = 4
    return tags, b"".join(strips)


# ------------------------------------------------------------------------- BMP, GIF and PNM


def _decode_bmp(data: bytes, max_pixels: int) -> Picture:
    from PIL.BmpImagePlugin import BmpImageFile

    image = BmpImageFile(io.BytesIO(data))
    _require(image.width * image.height, 1, max_pixels)
    notes: list[str] = []
    image.load()
    pixels = _pixels(image, notes)
    return Picture((pixels,), "bmp", data=data, notes=tuple(notes), dpi=_dpi(image))


def _encode_bmp(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: _Carried
) -> bytes:
    pixels = frames[0]
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return _pillow_save(pixels, "BMP", **_dpi_option(picture))
    # Pillow's 32-bit BMP does not say that its fourth byte is alpha; OpenCV's does.
    import cv2

    with _hushed():
        done, out = cv2.imencode(".bmp", np.ascontiguousarray(_expanded(pixels)[..., [2, 1, 0, 3]]))
        if not done:
            raise OSError("cannot be encoded")
    return bytes(out)


def _decode_gif(data: bytes, max_pixels: int) -> Picture:
    from PIL.GifImagePlugin import GifImageFile

    image = GifImageFile(io.BytesIO(data))
    _require(image.width * image.height, 1, max_pixels)
    _require(image.width * image.height * image.n_frames, image.n_frames, max_pixels)
    frames, durations = [], []
    size = image.size
    for index in range(image.n_frames):
        image.seek(index)
        if image.size != size:  # Pillow lets the picture grow, to any size
            raise ImageError("broken GIF: a frame lies outside the picture")
        image.load()
        frames.append(np.asarray(image.convert("RGBA")))
        durations.append(float(image.info.get("duration", 0)))
    return Picture(
        frames=_without_alpha_if_opaque(frames, keep=False),
        format="gif",
        data=data,
        notes=("palette became RGB",),
        icc=image.info.get("icc_profile"),
        xmp=_as_bytes(image.info.get("xmp")),
        durations=tuple(durations) if len(frames) > 1 else (),
        loop=int(image.info.get("loop", 1)),
    )


_PNM_HEADER = re.compile(
    rb"P([1-6])(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})"
)
_PNM_MAXIMUM = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})")


def _decode_pnm(data: bytes, max_pixels: int) -> Picture:
    """Decode PBM, PGM and PPM, plain and binary, at 8 and 16 bits (Pillow cuts color to 8)."""
    header = _PNM_HEADER.match(data)
    if header is None:
        raise ImageError("broken PNM: no size in its header")
    kind, width, height = (int(value) for value in header.groups())
    _require(width * height, 1, max_pixels)
    if not width * height:
        raise ImageError("broken PNM: no pixels")
    at, maximum = header.end(), 1
    if kind not in (1, 4):
        field = _PNM_MAXIMUM.match(data, at)
        if field is None or not 0 < int(field[1]) < 65536:
            raise ImageError("broken PNM: its maximum is not 1 to 65,535")
        at, maximum = field.end(), int(field[1])
    shape = (height, width, 3) if kind in (3, 6) else (height, width)
    count = int(np.prod(shape))
    notes = []
    samples: NDArray[Any]
    if kind <= 3:
        notes.append("plain PNM became binary")
        body = re.sub(rb"#[^\r\n]*", b"", data[at:])
        if kind == 1:
            samples = np.frombuffer(b"".join(body.split()), np.uint8)[:count] - ord("0")
        else:
            tokens = np.array(body.split(maxsplit=count)[:count], dtype="S10")
            if not np.char.isdigit(tokens).all():
                raise ImageError("broken PNM: a sample is not a number")
            samples = tokens.astype(np.int64)
    elif kind == 4:
        stride = (width + 7) // 8
        packed = np.frombuffer(data, np.uint8, offset=at + 1)[: stride * height]
        if packed.size < stride * height:
            raise ImageError("truncated PNM")
        samples = np.unpackbits(packed.reshape(height, stride), axis=1)[:, :width].ravel()
    else:
        size = 2 if maximum > 255 else 1
        body = data[at + 1 : at + 1 + count * size]
        samples = np.frombuffer(body[: len(body) - len(body) % size], f">u{size}")
    if samples.size < count:
        raise ImageError("truncated PNM")
    if samples.min() < 0 or samples.max() > maximum:
        raise ImageError(f"broken PNM: a sample lies outside 0 to {maximum}")
    dtype = np.uint16 if maximum > 255 else np.uint8
    white = int(np.iinfo(dtype).max)
    if kind in (1, 4):
        notes.append("1 bit became 8-bit gray")
        samples = (1 - samples) * np.uint8(255)
    elif maximum != white:
        notes.append(f"maximum {maximum} became {white}")
        samples = (samples.astype(np.int64) * white + maximum // 2) // maximum
    pixels = samples.astype(dtype, copy=False).reshape(shape)
    return Picture((pixels,), "pnm", notes=tuple(notes), data=data)


def _encode_pnm(
    picture: Picture, frames: Sequence[NDArray[Any]], quality: int | None, carried: _Carried
) -> bytes:
    pixels = frames[0]
    kind = 5 if pixels.ndim == 2 else 6
    head = f"P{kind}\n{pixels.shape[1]} {pixels.shape[0]}\n{np.iinfo(pixels.dtype).max}\n"
    return head.encode() + pixels.astype(pixels.dtype.newbyteorder(">"), copy=False).tobytes()


# ----------------------------------------------------------------------------------- encoding


class _Carried(NamedTuple):
    """The metadata that a format takes over, and what it does not."""

    exif: bytes | None
    icc: bytes | None
    xmp: bytes | None
    losses: tuple[str, ...]


_NO_METADATA = frozenset({"bmp", "pnm", "jp2"})
_ANIMATED = frozenset({"png", "webp", "avif"})


def _carry(picture: Picture, name: str) -> _Carried:
    held = {"EXIF": picture.exif, "ICC profile": picture.icc, "XMP": picture.xmp}
    losses = []
    title = _title(name)
    for what, value in held.items():
        if value and name in _NO_METADATA:
            held[what] = None
            losses.append(f"{title} has no room for {what}")
    if name == "jpeg" and picture.format != "jpeg":
        for what, room in (
            ("EXIF", _JPEG_BODY - 6),
            ("XMP", _JPEG_BODY - len(_XMP_HEADER)),
            ("ICC profile", 255 * _ICC_PIECE),
        ):
            if len(held[what] or b"") > room:
                held[what] = None
                losses.append(f"{title} has no room for {what} of this size")
    icc = held["ICC profile"]
    gray = picture.frames[0].ndim == 2 or picture.frames[0].shape[2] == 2
    becomes_color = gray and (
        name == "webp" or (name in ("avif", "bmp") and picture.frames[0].ndim == 3)
    )
    if becomes_color:
        losses.append("gray became RGB")
        if icc and icc[16:20] == b"GRAY":
            held["ICC profile"] = None
            losses.append("gray profile dropped")
    return _Carried(held["EXIF"], held["ICC profile"], held["XMP"], tuple(losses))


def losses(picture: Picture, format: str | None = None) -> tuple[str, ...]:
    """Say what of a picture does not go over into a format.

    Parameters
    ----------
    picture : Picture
        As it was decoded.
    format : str, optional
        A name in :data:`lgs_cli.formats.FORMATS`; the picture's own by default.

    Returns
    -------
    tuple of str
        Such as ``"BMP has no room for EXIF"``. Empty where all goes over.
    """
    name = format or picture.format
    lost = list(_carry(picture, name).losses)
    if name == picture.format == "jpeg":
        sampling = picture.coding.get("sampling", ())
        kept = {0: (1, 1), 1: (2, 1), 2: (2, 2)}.get(picture.coding.get("subsampling", 0))
        if sampling and (kept, (1, 1), (1, 1)) != tuple(sampling) and "qtables" in picture.coding:
            names = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
            lost.append(f"chroma subsampling became {names[picture.coding['subsampling']]}")
    if picture.coding.get("still") and name != "png":
        lost.append(f"{_title(name)} has no room for a still beside the animation")
    if picture.format == "jp2":
        lost += [f"{what} of JPEG 2000 is not carried over" for what in picture.coding["held"]]
    if name == picture.format == "tiff":
        for pixels, page in zip(picture.frames, picture.coding["pages"], strict=True):
            compression = _writable_compression(page, pixels)
            if compression != page.compression:
                lost.append(f"compression {page.compression} became deflate")
    return _distinct(tuple(lost))


def encode(
    picture: Picture,
    frames: Sequence[NDArray[Any]],
    *,
    format: str | None = None,
    quality: int | None = None,
) -> bytes:
    """Encode cleaned frames as the picture they came from was, or in another format.

    Without a quality, JPEG to JPEG keeps the quantization tables, the chroma subsampling and the
    way of coding, a lossless WebP stays lossless, and a TIFF keeps its compression. Where there is
    nothing to keep, JPEG is written at quality 95 without chroma subsampling, WebP and AVIF at 90,
    TIFF deflated. JPEG 2000 is always lossless.

    Parameters
    ----------
    picture : Picture
        As it was decoded.
    frames : sequence of ndarray
        One for each of ``picture.frames``, of the same shape and dtype.
    format : str, optional
        A name in :data:`lgs_cli.formats.FORMATS`; the picture's own by default.
    quality : int, optional
        1 to 100, for the formats that are lossy; the others pass it over.

    Returns
    -------
    bytes
        The whole file.

    Raises
    ------
    ImageError
        Where the format cannot hold the picture: its alpha (unless it is opaque everywhere), its
        16 bits, its frames, its size.
    ValueError
        Where `frames` are not like the picture's, the format is none, or the quality is out of
        range.
    """
    name = format or picture.format
    if name not in FORMATS:
        raise ValueError(f"format is {name!r}; valid is one of {', '.join(FORMATS)}")
    if quality is not None and not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; valid is 1 to 100")
    if [(f.shape, f.dtype) for f in frames] != [(f.shape, f.dtype) for f in picture.frames]:
        raise ValueError("frames differ from the picture's in number, shape or dtype")
    if not FORMATS[name].writable:
        raise ImageError(f"{_title(name)} cannot be written; use --format png")
    _require_room_for_frames(picture, name)
    if picture.coding.get("still") and name != "png":
        picture, frames = replace(picture, durations=picture.durations[1:]), frames[1:]
    fitted = [_fitted(frame, name) for frame in frames]
    with _codec(name):
        return _ENCODERS[name](picture, fitted, quality, _carry(picture, name))


def _require_room_for_frames(picture: Picture, name: str) -> None:
    count = len(picture.frames)
    if count == 1 or (picture.format == name == "tiff"):
        return
    if not picture.durations:
        raise ImageError(f"{count} pages cannot be written as {_title(name)}; use --format tiff")
    if name not in _ANIMATED:
        raise ImageError(
            f"an animation of {count} frames cannot be written as {_title(name)}; "
            "use --format png or webp"
        )


def _fitted(pixels: NDArray[Any], name: str) -> NDArray[Any]:
    """Return the pixels as a format can hold them without any loss."""
    form = FORMATS[name]
    if pixels.dtype == np.uint16 and not form.deep:
        raise ImageError(f"{_title(name)} has no 16 bits a channel; use --format png")
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4) and not form.alpha:
        if not _is_opaque(pixels):
            raise ImageError(f"{_title(name)} has no alpha channel; use --format png")
        return _colors(pixels)
    return pixels


_Decoder = Callable[[bytes, int], Picture]
_Encoder = Callable[[Picture, Sequence[NDArray[Any]], int | None, _Carried], bytes]

_DECODERS: dict[str, _Decoder] = {
    "jpeg": _decode_jpeg,
    "png": _decode_png,
    "webp": _decode_webp,
    "tiff": _decode_tiff,
    "bmp": _decode_bmp,
    "avif": _decode_avif,
    "jp2": _decode_jp2,
    "pnm": _decode_pnm,
    "gif": _decode_gif,
}

_ENCODERS: dict[str, _Encoder] = {
    "jpeg": _encode_jpeg,
    "png": _encode_png,
    "webp": _encode_webp,
    "tiff": _encode_tiff,
    "bmp": _encode_bmp,
    "avif": _encode_avif,
    "jp2": _encode_jp2,
    "pnm": _encode_pnm,
}


# ------------------------------------------------------------------------------ writing a file

_STORAGE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.ENODEV, errno.ESTALE}
)


def write(path: str, data: bytes) -> None:
    """Write a file all or nothing: a reader, or a crash, sees the old file or the new one.

    The data goes to a hidden temporary file in the target's directory, which then takes the
    target's name. It is not synced to the disk first: that costs a batch of small files most of
    its time, and after a power cut the next run redoes what is missing or of another size.

    Parameters
    ----------
    path : str
        The target; its directories are made. Where it is a symbolic link, the link is replaced.
    data : bytes
        What it will hold.

    Raises
    ------
    StorageError
        Where the disk itself refuses: full, over quota, read-only, failing.
    ImageError
        Where this one file cannot be written.
    """
    directory = os.path.dirname(path) or "."
    temporary = os.path.join(directory, f".lgs-{os.urandom(8).hex()}.tmp")
    try:
        os.makedirs(directory, exist_ok=True)
        # 0o666 less the umask, as any new file; O_EXCL so that nobody's file or link is hit.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            with open(os.open(temporary, flags, 0o666), "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        if error.errno in _STORAGE_ERRORS:
            raise StorageError(f"cannot write {directory}: {error.strerror}") from error
        raise ImageError(f"cannot write: {_os_reason(error)}") from error
    except ValueError as error:
        raise ImageError("cannot write: not a valid path") from error
