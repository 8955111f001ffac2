"""Moves that something gets in the way of."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from folders import files_below

from lgs_cli.batch.quarantine import Quarantine
from lgs_cli.errors import ImageError
from lgs_cli.storage.inputs import Source


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(b"patched")
    return Quarantine(str(tmp_path / "q"), (str(tmp_path / "in"),))


def source(tmp_path: Path) -> Source:
    return Source(f"{tmp_path}/in/", "a.png")


def fails_with(number: int, of: str = "", call=None):
    """Stand in for a call of the system that refuses paths that hold `of`."""

    def refuse(path, *more, **options):
        if of in str(path):
            raise OSError(number, os.strerror(number))
        return call(path, *more, **options)

    return refuse


@pytest.fixture(params=["no links", "another file system", "neither"])
def system(request, monkeypatch):
    """File systems without hard links; another one, made up of the link that fails first."""
    link = os.link
    if request.param == "no links":
        monkeypatch.setattr(os, "link", fails_with(errno.EPERM))
    elif request.param == "another file system":
        monkeypatch.setattr(os, "link", fails_with(errno.EXDEV, "/in/", link))
    else:

        def refuse(path, *more, **options):
            number = errno.EXDEV if "/in/" in str(path) else errno.EOPNOTSUPP
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "link", refuse)


def test_a_file_is_moved_on_any_file_system(tmp_path, quarantine, system):
    assert quarantine.take(source(tmp_path)) == f"{tmp_path}/q/a.png"
    assert files_below(tmp_path) == {"q/a.png"}
    assert (tmp_path / "q/a.png").read_bytes() == b"patched"


def test_nothing_is_replaced_on_any_file_system(tmp_path, quarantine, system, monkeypatch):
    """Also what comes there in the last moment, when it was seen to be missing."""
    (tmp_path / "q").mkdir()
    (tmp_path / "q/a.png").write_bytes(b"older")
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    with pytest.raises(ImageError, match=r"q/a\.png is there already"):
        quarantine.take(source(tmp_path))
    assert files_below(tmp_path) == {"in/a.png", "q/a.png"}
    assert (tmp_path / "q/a.png").read_bytes() == b"older"
    assert (tmp_path / "in/a.png").read_bytes() == b"patched"


@pytest.mark.parametrize("first", [0, errno.EXDEV])
def test_a_file_that_cannot_be_removed_is_not_there_twice(tmp_path, quarantine, monkeypatch, first):
    link, unlink = os.link, os.unlink
    if first:
        monkeypatch.setattr(os, "link", fails_with(first, "/in/", link))
    monkeypatch.setattr(os, "unlink", fails_with(errno.EACCES, "/in/", unlink))
    with pytest.raises(ImageError, match=r"cannot move to .*q/a\.png: permission denied"):
        quarantine.take(source(tmp_path))
    assert files_below(tmp_path) == {"in/a.png"}


def test_a_full_disk_leaves_nothing_half_written(tmp_path, quarantine, monkeypatch):
    monkeypatch.setattr(os, "link", fails_with(errno.EXDEV))
    monkeypatch.setattr(os, "fsync", fails_with(errno.ENOSPC))
    with pytest.raises(ImageError, match=r"cannot move to .*: no space left on device"):
        quarantine.take(source(tmp_path))
    assert files_below(tmp_path) == {"in/a.png"}


def test_a_file_that_has_gone(tmp_path, quarantine):
    (tmp_path / "in/a.png").unlink()
    with pytest.raises(ImageError, match=r"cannot move to .*q/a\.png: no such file or directory"):
        quarantine.take(source(tmp_path))
    assert files_below(tmp_path) == set()
