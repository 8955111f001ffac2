"""The signals that end a run end it in order."""

from __future__ import annotations

import signal
from types import FrameType


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
    """Have SIGINT, SIGTERM and SIGHUP raise :class:`Stopped`, unless they are ignored."""

    def stop(number: int, frame: FrameType | None) -> None:
        # Once is enough: what follows is the clean-up.
        for other in ends:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(number)

    ends = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    for number in ends:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
