"""What codecs raise, warn of and print, turned into reasons and notes."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

from lgs_cli.errors import ImageError, LgsError, OutOfMemoryError, is_out_of_memory
from lgs_cli.image_io.magic import title

# Without a handler of its own, what Pillow logs as an error ends up on stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# The rest keep silent by themselves, or catch what they say if they might say something:
# catching file descriptor 2 is not free.
_NOISY = frozenset({"tiff", "jp2", "avif"})

# What libtiff and OpenCV put in front: where in their code they are, no file of the user's.
_ORIGIN = re.compile(r"^\s*(tempfile\.tif: |\[[^]]*\] global \S+ \S+ )")

_CUT_SHORT = re.compile(
    r"truncated|not processed|unexpected end|incomplete|not enough (image )?data|read error|"
    r"beyond end|end of (file|data|stream)|unrecognized data stream|buffer is not large enough|"
    r"cannot load this image|requires a buffer of",
    re.IGNORECASE,
)


@contextlib.contextmanager
def guarded(name: str) -> Iterator[list[str]]:
    """Run code of a format's codec: failures become ImageError, warnings fill the list yielded.

    Whatever garbage makes a codec raise (SyntaxError, struct.error, OverflowError, ...) means the
    same here: this image cannot be had.

    Parameters
    ----------
    name : str
        The format's, as :func:`lgs_cli.image_io.magic.title` takes it.

    Yields
    ------
    list of str
        Empty at first; once the body has ended well, the warnings it gave, one line of ASCII
        each.

    Raises
    ------
    ImageError
        For every Exception of the body: its own ImageError as it is, ``"not enough memory"``,
        ``"truncated JPEG"`` if the text says as much, else ``"broken JPEG: "`` and the text.
    ImportError
        As the body raised it: a library that is missing is no fault of the image.
    """
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with hushed() if name in _NOISY else contextlib.nullcontext():
                yield said
        except (LgsError, ImportError):  # a library that is missing is no fault of the image
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise OutOfMemoryError from error
            raise ImageError(_reason(name, error)) from error
    said.extend(_one_line(str(warning.message)) for warning in caught)


class _Noise(Exception):  # noqa: N818 - it carries what a codec printed, to become the reason
    pass


@contextlib.contextmanager
def hushed() -> Iterator[list[str]]:
    """Catch what C code prints on stderr; if the body fails, that is the reason.

    What is printed is lost if the body raises ImageError or ImportError, or lacks memory. The
    descriptor is the process's: threads that print meanwhile are not heard either, and one that
    wants to catch something too waits.

    Yields
    ------
    list of str
        Empty at first; once the body has ended well, the lines that were printed.

    Raises
    ------
    Exception
        With the first line that was printed as its text, in place of what the body raised; that
        itself if nothing was printed.
    """
    said: list[str] = []
    with _only_one_at_a_time, _stderr_caught() as printed:
        try:
            yield said
        except (LgsError, ImportError):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            said.extend(_lines(printed()))
            if said:
                raise _Noise(said[0]) from error
            raise
        said.extend(_lines(printed()))


_only_one_at_a_time = threading.RLock()
_PIPE_SIZE = 1 << 16


@contextlib.contextmanager
def _stderr_caught() -> Iterator[Callable[[], bytes]]:
    """Let file descriptor 2 be the end of a pipe, and then what it was."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        # It was closed. Something must have its number, or the pipe would get it.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        if null != 2:
            os.close(null)
        saved = os.dup(2)
    try:
        source, sink = _pipe(os.getpid())
        os.dup2(sink, 2)
        try:
            yield lambda: _read(source)
        finally:
            _read(source)  # what nobody asked for is not for the next one
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@functools.cache
def _pipe(process: int) -> tuple[int, int]:
    """Make the pipe of a process: it needs no disk. What it cannot take is lost."""
    source, sink = os.pipe()
    os.set_blocking(source, False)
    os.set_blocking(sink, False)
    return source, sink


def _read(source: int) -> bytes:
    try:
        return os.read(source, _PIPE_SIZE)
    except BlockingIOError:
        return b""


def _lines(printed: bytes) -> list[str]:
    return _ORIGIN.sub("", printed.decode("utf-8", "replace")).strip().splitlines()


def _reason(name: str, error: Exception) -> str:
    text = _one_line(str(error))
    if text == "unknown pixel mode":  # Pillow's word for it
        return f"{title(name)} of this kind of samples is not supported"
    if _CUT_SHORT.search(text) or isinstance(error, EOFError):
        return f"truncated {title(name)}"
    return f"broken {title(name)}: {text or type(error).__name__}"


def _one_line(text: str) -> str:
    return " ".join(re.sub(r"[^\x20-\x7e]+", " ", text).split())[:160]
