"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lgs_cli import storage
from lgs_cli.errors import ImageError, StorageError
from lgs_cli.storage import write


def test_write_makes_directories_and_honors_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.png"
    before = os.umask(0o027)
    try:
        write(str(path), b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(path.parent) == ["x.png"]


def test_write_to_the_working_directory(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write("x.png", b"here")
    assert (tmp_path / "x.png").read_bytes() == b"here"


def test_write_replaces_a_link_and_spares_its_target(tmp_path: Path) -> None:
    (tmp_path / "original").write_bytes(b"precious")
    (tmp_path / "x.png").symlink_to("original")
    write(str(tmp_path / "x.png"), b"new")
    assert (tmp_path / "original").read_bytes() == b"precious"
    assert not (tmp_path / "x.png").is_symlink()
    assert (tmp_path / "x.png").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["n" * 251 + ".png", "-x.png", "new\nline.png", "\udcff.png"])
def test_write_to_strange_names(name: str, tmp_path: Path) -> None:
    write(str(tmp_path / name), b"new")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("failing", ["replace", "write"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), StorageError),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), StorageError),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), StorageError),
        (OSError(errno.EIO, os.strerror(errno.EIO)), StorageError),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), StorageError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["full", "quota", "read-only", "failing", "permission", "interrupt"],
)
def test_failed_writes_leave_the_old_file_and_nothing_else(
    failing: str, error: BaseException, kind: type, tmp_path: Path, monkeypatch: Any
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"old")

    class Failing(io.FileIO):
        def write(self, _: Any) -> int:
            super().write(b"half")
            raise error

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    if failing == "replace":
        monkeypatch.setattr(os, "replace", fail)
    else:
        monkeypatch.setattr(
            storage, "open", lambda path, *_, **__: Failing(path, "wb"), raising=False
        )
    with pytest.raises(kind) as caught:
        write(str(path), b"new")
    if kind is StorageError:
        assert os.strerror(error.errno).lower() in str(caught.value)  # type: ignore[attr-defined]
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["x.png"]
    assert path.read_bytes() == b"old"


def test_write_over_a_directory_or_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    with pytest.raises(ImageError, match="cannot write: is a directory"):
        write(str(tmp_path / "x.png"), b"new")
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(ImageError, match="cannot write"):
        write(str(tmp_path / "file" / "x.png"), b"new")
    with pytest.raises(ImageError, match="cannot write: file name too long"):
        write(str(tmp_path / ("n" * 256)), b"new")
    assert sorted(os.listdir(tmp_path)) == ["file", "x.png"]


def test_full_disk_for_real(tmp_path: Path) -> None:
    """A limit on file size fails in the kernel's write, as a full disk does."""
    (tmp_path / "x.png").write_bytes(b"old")
    code = (
        "import resource, signal, sys\n"
        "from lgs_cli.errors import StorageError\n"
        "from lgs_cli.storage import write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n    write(sys.argv[1], bytes(200_000))\n"
        "except StorageError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.png")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "file too large" in done.stdout
    assert os.listdir(tmp_path) == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == b"old"


def test_write_is_not_led_astray_by_its_temporary_name(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path = str(tmp_path / "a.png")
    os.symlink(victim, storage.temporary_path(path))
    with pytest.raises(ImageError):
        storage.write(path, b"new")
    assert victim.read_bytes() == b"precious"
    storage.write(path, b"new")
    assert sorted(os.listdir(tmp_path)) == ["a.png", "victim"]
