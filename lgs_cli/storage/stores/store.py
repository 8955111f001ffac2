"""Objects by URL, or files by path: list, read, and write whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib import import_module
from typing import IO, Any, NamedTuple

from lgs_cli.errors import ImageError, LgsError, MissingExtraError, StorageError, UsageError
from lgs_cli.storage import write as write_file
from lgs_cli.storage import write_error
from lgs_cli.wording import printable

# Where stores of several kinds keep what tells two versions of an object apart.
_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "generation")
_TIMES = ("LastModified", "last_modified", "mtime", "modified", "created", "updated")
# Objects of a listing in S3 that come at a time: the most that it gives.
_PAGE = 1000
# Errors of the disk, and of no store.
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Found(NamedTuple):
    """An object in a listing.

    Attributes
    ----------
    relative : str
        Its path below the URL that was listed.
    size : int
        In bytes.
    tag : int
        Differs from version to version of it.
    """

    relative: str
    size: int
    tag: int


def is_remote(path: str) -> bool:
    """Say whether a path is a URL of an object store, which the web is not."""
    scheme, separator, _ = path.partition("://")
    if not separator or scheme.lower() in ("http", "https") or os.path.lexists(path):
        return False
    return scheme.replace("+", "").isalnum()


def any_remote(*paths: str | None) -> bool:
    """Say whether one of some paths is a URL of an object store."""
    return any(path is not None and is_remote(path) for path in paths)


def as_local(path: str) -> str:
    """Turn a ``file://`` URL into a path; others stay as they are."""
    return path.removeprefix("file://") if path.startswith("file:///") else path


def require(url: str) -> None:
    """Refuse a URL that nothing here can open, or that holds a password.

    Raises
    ------
    MissingExtraError
        If fsspec is not installed.
    UsageError
        If the store needs another package, or is not known; or if there is a password in the URL.
    """
    from urllib.parse import urlsplit  # every run asks what is remote, and few have a URL

    if urlsplit(url).password is not None:
        raise UsageError(
            "a password in a URL would end in reports: give it to the store's own configuration"
        )
    _open(url)


def _open(url: str) -> tuple[Any, str]:
    """Give the file system of a URL, and the path there."""
    try:
        core = import_module("fsspec.core")
    except ImportError:
        scheme = url.partition("://")[0]
        raise MissingExtraError(f"{scheme}://", "fsspec", "remote") from None
    try:
        system, path = core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{printable(url)}: {_reason(error)}") from error
    except OSError as error:  # it connects at once
        raise LgsError(f"{printable(url)}: {_reason(error)}") from error
    return system, path


def find(url: str) -> Iterator[Found]:
    """List all objects below a URL, or files below a directory, sorted; some at a time.

    Parameters
    ----------
    url : str
        A prefix that ends where a path does, or a directory.

    Yields
    ------
    Found
        None if nothing is there.

    Raises
    ------
    LgsError
        If the store refuses.
    """
    system, path = _open(url)
    root = path.rstrip("/") + "/"
    listed = _pages(system, root) if hasattr(system, "call_s3") else _folders(system, root)
    try:
        for name, size, info in listed:
            if name.startswith(root):
                yield Found(name[len(root) :], size or 0, _tag(info))
    except FileNotFoundError:
        return
    except Exception as error:
        raise LgsError(f"{printable(url)}: {_reason(error)}") from error


_Listed = Iterator[tuple[str, int, dict[str, Any]]]


def _pages(system: Any, root: str) -> _Listed:
    """List what is below a path in S3: name, size, and the rest."""
    bucket, key, *_ = system.split_path(root)
    prefix = f"{key.rstrip('/')}/" if key else ""
    request = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": _PAGE}
    while True:
        page = system.call_s3("list_objects_v2", **request)
        for info in page.get("Contents", ()):
            yield f"{bucket}/{info['Key']}", info["Size"], info
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def _folders(system: Any, folder: str) -> _Listed:
    """List what is below a path in another store, one folder after the other."""
    system.invalidate_cache()  # which would also keep what was listed before

    def rank(info: dict[str, Any]) -> str:
        return f"{info['name'].rstrip('/')}/" if info["type"] == "directory" else info["name"]

    for info in sorted(system.ls(folder, detail=True), key=rank):
        if info["type"] != "directory":
            yield info["name"], info["size"], info
        elif info["name"].rstrip("/") != folder.rstrip("/"):
            yield from _folders(system, info["name"])


def find_one(url: str) -> Found | None:
    """Look an object up; None if there is none of that very name.

    Raises
    ------
    LgsError
        If the store refuses.
    """
    system, path = _open(url)
    try:
        info = system.info(path)
    except FileNotFoundError:
        return None
    except Exception as error:
        raise LgsError(f"{printable(url)}: {_reason(error)}") from error
    if info["type"] != "file":
        return None
    return Found(url.rpartition("/")[2], info["size"] or 0, _tag(info))


def look_up(urls: Iterable[str]) -> dict[str, Found]:
    """Look several objects up, by one listing for all that lie side by side.

    Parameters
    ----------
    urls : iterable of str
        The objects.

    Returns
    -------
    dict
        URL to object; those that are not there are left out.

    Raises
    ------
    LgsError
        If the store refuses.
    """
    folders: dict[str, list[str]] = {}
    for url in urls:
        folders.setdefault(url.rpartition("/")[0], []).append(url)
    found: dict[str, Found] = {}
    for folder, wanted in folders.items():
        if len(wanted) == 1:
            one = find_one(wanted[0])
            found.update({} if one is None else {wanted[0]: one})
        else:
            there = {one.relative: one for one in _children(folder)}
            names = {url: url.rpartition("/")[2] for url in wanted}
            found.update({url: there[name] for url, name in names.items() if name in there})
    return found


def _children(url: str) -> Iterator[Found]:
    """List the objects right below a URL."""
    system, path = _open(url)
    try:
        system.invalidate_cache()
        found = system.ls(path, detail=True)
    except FileNotFoundError:
        return
    except Exception as error:
        raise LgsError(f"{printable(url)}: {_reason(error)}") from error
    for info in found:
        if info["type"] == "file":
            yield Found(info["name"].rpartition("/")[2], info["size"] or 0, _tag(info))


def _tag(info: dict[str, Any]) -> int:
    value = next((info[name] for name in (*_TAGS, *_TIMES) if info.get(name) is not None), "")
    # One answer has quotes around it and another has not, or a time in one form or another.
    plain = value.timestamp() if isinstance(value, datetime) else value
    text = str(plain).strip('"')
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")


def read(url: str) -> bytes:
    """Read an object, or a file, whole.

    Raises
    ------
    ImageError
        With the reason, without the URL.
    """
    system, path = _open(url)
    with _reading(), _at_once(system):
        data: bytes = system.cat_file(path)
    return data


@contextlib.contextmanager
def _at_once(system: Any) -> Iterator[None]:
    """Have an object read by one request: s3fs asks for its size first, to read it in parts."""
    before = getattr(system, "max_concurrency", None)
    if before is None:
        yield
        return
    system.max_concurrency = 1
    try:
        yield
    finally:
        system.max_concurrency = before


def open_ranges(url: str) -> IO[bytes]:
    """Open an object to read parts of it: each read is a request for these bytes and no others.

    Raises
    ------
    ImageError
        With the reason, without the URL.
    """
    system, path = _open(url)
    with _reading():
        file: IO[bytes] = system.open(path, "rb", cache_type="none")
    return file


def download(url: str, path: str) -> None:
    """Copy an object into a file.

    Raises
    ------
    StorageError
        If the disk is full.
    ImageError
        If the object cannot be read: with the reason, without the URL.
    """
    system, remote = _open(url)
    with _reading():
        try:
            system.get_file(remote, path)
        except OSError as error:
            if error.errno in _FULL:
                raise write_error(error, path) from error
            raise


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Make what a store raises an ImageError."""
    try:
        yield
    except LgsError:
        raise
    except FileNotFoundError as error:
        raise ImageError("no such object") from error
    except PermissionError as error:
        raise ImageError("permission denied") from error
    except Exception as error:
        raise ImageError(f"cannot read: {_reason(error)}") from error


def write(url: str, data: bytes) -> None:
    """Write an object, or a file, whole: it is there as before or as it should be, at any moment.

    Raises
    ------
    StorageError
        If the store refuses all that is written there, or has no such bucket.
    ImageError
        If this object cannot be written.
    """
    if not is_remote(url):
        write_file(url, data)
        return
    system, path = _open(url)
    with _writing(url):
        system.pipe_file(path, data)


def upload(path: str, url: str) -> None:
    """Copy a file into an object, whole or not at all; errors as of :func:`write`."""
    system, remote = _open(url)
    with _writing(url):
        system.put_file(path, remote)


@contextlib.contextmanager
def _writing(url: str) -> Iterator[None]:
    """Make what a store raises an error that says whether it refuses all or this object."""
    try:
        yield
    except (PermissionError, FileNotFoundError) as error:
        parent = printable(url.rpartition("/")[0])
        raise StorageError(f"cannot write into {parent}: {_reason(error)}") from error
    except Exception as error:
        raise ImageError(f"cannot write: {_reason(error)}") from error


def remove(urls: list[str]) -> None:
    """Remove objects; those that are gone already, or may not be removed, do no harm."""
    for url in urls:
        system, path = _open(url)
        try:
            system.rm_file(path)
        except Exception:
            continue


def _reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, FileNotFoundError):
        return os.strerror(errno.ENOENT).lower()
    return " ".join(str(error).split()) or type(error).__name__
