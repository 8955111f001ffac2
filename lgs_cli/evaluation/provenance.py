"""Where a result is from: all that is needed to make it again, or to see why it differs."""

from __future__ import annotations

import hashlib
import platform
import shlex
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from lgs_cli import __version__
from lgs_cli.evaluation.dataset import Images
from lgs_cli.evaluation.specs import AttackSpec
from lgs_cli.evaluation.victim import Victim
from lgs_cli.lazy import cv2
from lgs_cli.wording import printable

_PACKAGES = ("numpy", "pillow", "torch", "onnxruntime")


class DataHash:
    """A digest of images: of their names, their labels and their pixels."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._count = 0

    def update(self, images: Images) -> None:
        """Add images."""
        self._count += len(images)
        for name, label, pixels in zip(images.names, images.labels, images.pixels, strict=True):
            shape = "×".join(map(str, pixels.shape))
            head = f"{name}\0{int(label)}\0{shape}\0".encode("utf-8", "surrogateescape")
            self._digest.update(head)
            self._digest.update(pixels.tobytes())

    def describe(self) -> dict[str, Any]:
        """Return how many images there were, and their digest."""
        return {"photographs": self._count, "sha256": self._digest.hexdigest()}


def settings(victim: Victim, data: DataHash) -> dict[str, Any]:
    """Return what decides the outcome of the same attacks and defenses, as plain values."""
    return {
        "lgs": __version__,
        "model": {"name": printable(victim.model.spec), "sha256": victim.model.digest()},
        "preprocessing": asdict(victim.model.preprocessing),
        "engine": victim.model.engine,
        "data": data.describe(),
        "backward": victim.backward,
    }


def describe(victim: Victim, data: DataHash, attacks: Iterable[AttackSpec] = ()) -> dict[str, Any]:
    """Say where a result is from, as plain values for JSON.

    Parameters
    ----------
    victim : Victim
        The model.
    data : DataHash
        Of the photographs.
    attacks : iterable of AttackSpec
        The attacks, whose seeds are named.
    """
    seeds = {spec.text: asdict(spec.params).get("seed") for spec in attacks}
    return {
        **settings(victim, data),
        **origin(),
        "device": victim.model.device_name,
        "batch_size": victim.batch_size,
        "seeds": seeds,
    }


def origin() -> dict[str, Any]:
    """Say what made a result, and when: the command line, the date, the libraries."""
    return {
        "command": printable(shlex.join(["lgs", *sys.argv[1:]])),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "libraries": _libraries(),
    }


def _libraries() -> dict[str, str]:
    found = {"python": platform.python_version(), "opencv": str(cv2.__version__)}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
