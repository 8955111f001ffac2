"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lgs_cli import storage
from lgs_cli.errors import ImageError, StorageError
from lgs_cli.storage import Like, write


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
        "from lgs_cli.storage import Like, write\n"
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


@pytest.mark.parametrize("plant", [os.symlink, os.link])
def test_a_link_in_place_of_the_temporary_file_is_not_written_to(
    tmp_path: Path, plant: Callable[[object, object], None]
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path = str(tmp_path / "a.png")
    plant(victim, storage.temporary_path(path))
    write(path, b"new")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "a.png").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["a.png", "victim"]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("model", "umask", "wanted"),
    [(0o600, 0o022, 0o600), (0o664, 0o022, 0o644), (0o666, 0o077, 0o600), (0o440, 0o022, 0o440)],
)
def test_a_file_is_no_more_open_than_its_model(
    tmp_path: Path, model: int, umask: int, wanted: int
) -> None:
    source = tmp_path / "source.png"
    source.touch()
    source.chmod(model)
    before = os.umask(umask)
    try:
        write(str(tmp_path / "a.png"), b"new", like=Like(str(source)))
        write(str(tmp_path / "a.png"), b"newer", like=Like(str(source)))
    finally:
        os.umask(before)
    assert mode(tmp_path / "a.png") == wanted
    assert (tmp_path / "a.png").read_bytes() == b"newer"


def test_new_directories_are_no_more_open_than_their_models(tmp_path: Path) -> None:
    source = tmp_path / "in/a/b/x.png"
    source.parent.mkdir(parents=True)
    source.touch()
    (tmp_path / "in").chmod(0o755)
    (tmp_path / "in/a").chmod(0o700)
    (tmp_path / "in/a/b").chmod(0o550)
    (tmp_path / "out").mkdir()
    before = os.umask(0o027)
    try:
        write(
            str(tmp_path / "out/a/b/x.png"), b"new", like=Like(str(source), str(tmp_path / "out"))
        )
    finally:
        os.umask(before)
    assert mode(tmp_path / "out/a") == 0o700
    assert mode(tmp_path / "out/a/b") == 0o750


def test_times_are_those_of_the_model_if_that_is_wanted(tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    source.touch()
    os.utime(source, ns=(10**18 + 7, 10**18 + 9))
    write(str(tmp_path / "a.png"), b"new", like=Like(str(source), times=True))
    found = (tmp_path / "a.png").stat()
    assert (found.st_atime_ns, found.st_mtime_ns) == (10**18 + 7, 10**18 + 9)
    write(str(tmp_path / "a.png"), b"new", like=Like(str(source)))
    assert (tmp_path / "a.png").stat().st_mtime_ns > 10**18 + 9


def test_nothing_is_written_through_a_link_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.png").write_bytes(b"precious")
    (tmp_path / "out/sub").symlink_to(tmp_path / "in")
    like = Like(str(tmp_path / "in/x.png"), str(tmp_path / "out"))
    with pytest.raises(ImageError, match="cannot write: not a directory"):
        write(str(tmp_path / "out/sub/x.png"), b"new", like=like)
    assert (tmp_path / "in/x.png").read_bytes() == b"precious"
    # The root itself may be one: the user has named it.
    (tmp_path / "link").symlink_to("out")
    write(str(tmp_path / "link/x.png"), b"new", like=Like(like.source, str(tmp_path / "link")))
    assert (tmp_path / "out/x.png").read_bytes() == b"new"
