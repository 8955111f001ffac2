"""AVIF: depth and subsampling."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from image_files import encoded_by_opencv, pillow

from lgs_cli.errors import ImageError
from lgs_cli.image_io import decode, encode


def test_deep_avif_is_refused(pixels: dict[str, np.ndarray]) -> None:
    deep = encoded_by_opencv(pixels["rgb-16"] >> 6, ".avif", cv2.IMWRITE_AVIF_DEPTH, 10)
    with pytest.raises(ImageError, match="10-bit AVIF"):
        decode(deep)


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
def test_avif_keeps_its_subsampling(subsampling: str, rgb: np.ndarray) -> None:
    def flags(data: bytes) -> int:
        return data[data.index(b"av1C") + 6] & 0x0C

    source = pillow(rgb, "AVIF", subsampling=subsampling)
    picture = decode(source)
    assert flags(encode(picture, picture.frames)) == flags(source)
