"""What the tests of whole runs share: small real photographs, and the command line itself."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


class Lgs:
    """The real command line, in a directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "PYTHONUTF8": "1",
        }  # fmt: skip

    def command(self, *arguments: object) -> list[str]:
        return [
            sys.executable,
            "-W",
            "error",
            "-m",
            "lgs_cli",
            *map(os.fspath, map(str, arguments)),
        ]

    def start(self, *arguments: object, **options) -> subprocess.Popen:
        """Start it without waiting, as the leader of a session."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            start_new_session=True,
            **options,
        )

    def __call__(
        self, *arguments: object, input: bytes | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess:
        """Run it to its end; stdout stays bytes, stderr becomes text."""
        run = subprocess.run(
            self.command(*arguments),
            cwd=cwd or self.folder,
            env=self.environment,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            timeout=120,
        )
        run.stderr = run.stderr.decode()
        assert "Traceback" not in run.stderr, run.stderr
        return run


@pytest.fixture
def lgs(tmp_path):
    return Lgs(tmp_path)


@pytest.fixture(scope="session")
def photographs():
    """Three photographs of 180 × 120, uint8 RGB, as pictures of Pillow."""
    data = pytest.importorskip("skimage.data")
    corners = {"astronaut": (150, 0), "chelsea": (100, 60), "coffee": (200, 120)}
    return [
        Image.fromarray(getattr(data, name)()[top : top + 120, left : left + 180])
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


def snapshot(*folders: Path) -> dict[str, tuple[object, ...]]:
    """Take down all there is below some folders, so that any change shows."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            status = path.lstat()
            content = ""
            if path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path)] = status.st_mode, status.st_mtime_ns, content
    return found


def files_below(folder: Path) -> set[str]:
    """Name all files below a folder but the manifest of lgs."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if not path.is_dir() and path.name != ".lgs-manifest.jsonl"
    }
