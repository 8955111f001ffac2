"""The signals that end a run end it in order, and in time."""

from __future__ import annotations

import os
import signal
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Seconds for all that is to be done between a signal and the end.
_PATIENCE = 5


class Stopped(BaseException):
    """A signal asked the run to end.

    Attributes
    ----------
    exit_code : int
        As shells have it: 128 and the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def listen() -> None:
    """Have SIGINT, SIGTERM and SIGHUP raise :class:`Stopped`, unless they are ignored.

    Once: what follows is the clean-up. A reader of our output that has stopped reading could hold
    it up for ever, so it is cut short after a while.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        for other in ENDING:
            signal.signal(other, signal.SIG_IGN)
        stopped = Stopped(number)
        signal.signal(signal.SIGALRM, lambda *_: os._exit(stopped.exit_code))
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
        raise stopped

    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
