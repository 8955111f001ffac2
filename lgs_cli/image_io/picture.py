"""A decoded image file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


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
        Milliseconds each frame of an animation shows; empty if there is no animation.
    loop : int
        How often an animation plays; 0 is forever.
    coding : Mapping
        How the pixels were coded, as the writer of the same format takes it: JPEG's quantization
        tables and chroma subsampling, whether a WebP is lossless, a TIFF's compression and tags.
    recoded : tuple of str
        Where writing it in the same format will code it otherwise:
        ``"compression group4 became deflate"``.
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
    recoded: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Width of the first frame, in pixels."""
        return int(self.frames[0].shape[1])

    @property
    def height(self) -> int:
        """Height of the first frame, in pixels."""
        return int(self.frames[0].shape[0])
