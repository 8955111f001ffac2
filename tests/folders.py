"""Folders of images for a run, and what a run leaves in them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

MANIFEST = ".lgs-manifest.jsonl"


def image(path: Path, seed: int = 0, order: str = "", side: int = 24) -> Path:
    """Write a small noisy PNG, with an order for ``faults/sitecustomize.py`` at its end."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    fault = f"LGS-FAULT {order}".encode() if order else b""
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes() + fault)
    return path


def images(folder: Path, count: int, **options: Any) -> list[Path]:
    """Write images ``00.png``, ``01.png``, ..., each with its own pixels."""
    return [image(folder / f"{index:02}.png", index, **options) for index in range(count)]


def plain_image(path: Path, size: tuple[int, int] = (60, 40)) -> None:
    """Write an image in which there is nothing to smooth, in the format of its suffix."""
    Image.new("RGB", size, (90, 120, 30)).save(path)


def files_below(folder: Path) -> set[str]:
    """Name all files below a folder except the manifest."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if not path.is_dir() and path.name != MANIFEST
    }


def tree(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder except the manifest."""
    names = sorted(files_below(folder))
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def leftovers(*folders: Path) -> list[Path]:
    """List temporary files below folders."""
    return [path for folder in folders for path in folder.rglob("*.tmp")]


def snapshot(*folders: Path) -> dict[str, tuple[object, ...]]:
    """Record everything below some folders, so that any change shows."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            status = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found[str(path)] = status.st_mode, status.st_mtime_ns, content
    return found


def report(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a report in their order."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def records(path: Path) -> dict[str, dict[str, Any]]:
    """Read a report or a manifest, by the file names of its images."""
    return {os.path.basename(line.get("source") or line["output"]): line for line in report(path)}
