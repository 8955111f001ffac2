"""SIGINT, SIGTERM and SIGHUP end a run: at the next safe moment, in order, and in time."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Seconds from the signal to the end of the process, whatever it is doing.
_PATIENCE = 5
# Seconds until a deferred signal is tried again.
_RETRY = 0.01

_deferrals = 0
# A signal that has yet to be raised, and when it came.
_waiting: tuple[int, float] | None = None


class Stopped(BaseException):
    """A signal asked the run to end.

    Attributes
    ----------
    exit_code : int
        As shells have it: 128 plus the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def listen() -> None:
    """Have SIGINT, SIGTERM and SIGHUP raise :class:`Stopped`, unless they are ignored.

    Only the first signal counts: what follows it is the clean-up. If the clean-up takes too long,
    for instance because nobody reads our output, the process ends without it.
    """
    for number in _ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _receive)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Keep signals from interrupting what must not stay half done."""
    global _deferrals
    _deferrals += 1
    try:
        yield
    finally:
        _deferrals -= 1
        if _waiting is not None:
            signal.raise_signal(signal.SIGALRM)


def ignore() -> None:
    """Leave signals to the parent process; for a child, right after it was forked."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _receive(number: int, frame: FrameType | None) -> None:
    global _waiting
    for other in _ENDING:
        signal.signal(other, signal.SIG_IGN)
    _waiting = number, time.monotonic()
    signal.signal(signal.SIGALRM, _raise_or_wait)
    _raise_or_wait(signal.SIGALRM, frame)


def _raise_or_wait(_: int, frame: FrameType | None) -> None:
    global _waiting
    if _waiting is None:  # a retry that came due while the signal was being raised
        return
    number, since = _waiting
    patience = since + _PATIENCE - time.monotonic()
    if patience <= 0:
        os._exit(128 + number)
    if _deferrals or _is_importing(frame):
        signal.setitimer(signal.ITIMER_REAL, min(_RETRY, patience))
    else:
        _waiting = None
        signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + number))
        signal.setitimer(signal.ITIMER_REAL, patience)
        raise Stopped(number)


def _is_importing(frame: FrameType | None) -> bool:
    """Say whether a module is being loaded.

    What is raised there may not arrive as what it was: Python 3.11 turns any exception in
    ``__set_name__`` into a RuntimeError.
    """
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
