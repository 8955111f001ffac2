"""Fixtures that several tests share: pictures, image files, the command line."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import s3
from image_files import animation, pillow, png_by_hand, written_by_tifffile
from onnx_by_hand import channel_means
from PIL import Image
from shell import Lgs
from skimage import data as shipped


@pytest.fixture(scope="session", autouse=True)
def signals_are_heard():
    """Undo that nohup, or the `&` of a shell, ignores signals: lgs would ignore them too."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def lgs(tmp_path):
    """The command line, run in ``tmp_path``."""
    return Lgs(tmp_path)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A classifier of pictures of any size: red, green or blue, whichever there is most of."""
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    path.write_bytes(channel_means())
    return path


@pytest.fixture(scope="session")
def photographs():
    """Three photographs of 180 × 120, uint8 RGB, as pictures of Pillow."""
    corners = {"astronaut": (150, 0), "chelsea": (100, 60), "coffee": (200, 120)}
    return [
        Image.fromarray(getattr(shipped, name)()[top : top + 120, left : left + 180])
        for name, (left, top) in corners.items()
    ]


@pytest.fixture
def photos(tmp_path, photographs):
    """A folder of three photographs, as JPEG."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, picture in zip(("a.jpg", "b.jpg", "c.jpg"), photographs, strict=True):
        picture.save(folder / name, quality=90)
    return folder


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return shipped.astronaut()[40:160, 150:331].copy()


@pytest.fixture(scope="module")
def pixels(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """A photograph as every kind of array that a Picture can hold."""
    height, width = rgb.shape[:2]
    alpha = np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8)
    low_bits = np.random.default_rng(5).integers(0, 256, (height, width, 4), dtype=np.uint16)
    kinds = {
        "gray": rgb[..., 1],
        "gray-alpha": np.dstack([rgb[..., 1], alpha]),
        "rgb": rgb,
        "rgba": np.dstack([rgb, alpha]),
    }
    for name, array in list(kinds.items()):
        low = low_bits[..., 0] if array.ndim == 2 else low_bits[..., : array.shape[2]]
        kinds[f"{name}-16"] = array.astype(np.uint16) * 256 + low
    return {name: np.ascontiguousarray(array) for name, array in kinds.items()}


@pytest.fixture(scope="module")
def moving(pixels: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [np.roll(pixels["rgba"], 9 * shift, axis=1).copy() for shift in range(4)]


@pytest.fixture(scope="module")
def one_of_each(pixels: dict[str, np.ndarray], moving: list[np.ndarray]) -> dict[str, bytes]:
    rgb, deep = pixels["rgb"], pixels["rgb-16"]
    return {
        "jpeg": pillow(rgb, "JPEG", quality=85),
        "jpeg progressive": pillow(rgb, "JPEG", progressive=True),
        "png": pillow(rgb, "PNG"),
        "png 16": png_by_hand(deep),
        "apng": animation(moving, "PNG", duration=30),
        "webp": pillow(rgb, "WEBP"),
        "webp lossless": pillow(rgb, "WEBP", lossless=True),
        "webp animated": animation(moving, "WEBP", duration=30),
        "tiff": pillow(rgb, "TIFF"),
        "tiff lzw": pillow(rgb, "TIFF", compression="tiff_lzw"),
        "tiff tifffile": written_by_tifffile(rgb, compression="zlib"),
        "tiff 16": written_by_tifffile(deep),
        "bmp": pillow(rgb, "BMP"),
        "avif": pillow(rgb, "AVIF"),
        "jp2": pillow(rgb, "JPEG2000"),
        "j2k": pillow(rgb, "JPEG2000", no_jp2=True),
        "pnm": pillow(rgb, "PPM"),
        "pnm plain": b"P3 40 30 255\n" + b" ".join(b"%d" % v for v in rgb[:30, :40].ravel()),
        "gif": animation([f[..., :3] for f in moving], "GIF", duration=30),
    }


@pytest.fixture
def one_thread():
    """Small tensors are slower on several threads, and far slower on a busy machine."""
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'lgs-cli[eval]'")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """The URL of a server that speaks S3."""
    pytest.importorskip("moto", reason="needs moto[server]")
    pytest.importorskip("s3fs", reason="needs s3fs")
    with s3.server(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture
def bucket(s3_server, lgs, request):
    """A bucket of the test's own, which the command line finds too."""
    s3.Proxy.reset()
    lgs.environment.update(
        AWS_ACCESS_KEY_ID="testing",
        AWS_SECRET_ACCESS_KEY="testing",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_ENDPOINT_URL=s3_server,
        FSSPEC_S3_ENDPOINT_URL=s3_server,
    )
    yield s3.Bucket(s3_server, f"bucket-{abs(hash(request.node.nodeid)) % 10**9}")
    s3.Proxy.reset()
