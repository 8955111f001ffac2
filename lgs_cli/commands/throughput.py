"""How many images each worker of a cluster does in a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lgs_cli.batch.job import Result
    from lgs_cli.batch.workers import Cluster


class Throughput:
    """Images a second and worker, from when the first image goes to a worker.

    Workers come and go: what counts is how many there were while the images were done.

    Parameters
    ----------
    cluster : Cluster
        The cluster, which knows how many workers it has.
    clock : function
        Gives the seconds.
    """

    def __init__(self, cluster: Cluster, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._clock = clock
        self._images = 0
        self._worker_seconds = 0.0
        self._last = clock()

    def add(self, result: Result) -> None:
        """Count an image, if a worker had it."""
        now = self._clock()
        if result.status in ("done", "failed"):
            self._images += 1
            self._worker_seconds += (self._cluster.workers or 0) * (now - self._last)
        elif self._images:
            return
        self._last = now

    @property
    def workers(self) -> int | None:
        """How many workers there are now; None if that is not known yet."""
        return self._cluster.workers

    @property
    def per_worker(self) -> float | None:
        """Images a second and worker; None if that is not known yet."""
        return self._images / self._worker_seconds if self._worker_seconds else None

    def text(self) -> str:
        """Say both in a few words."""
        if self.workers is None:
            return "no worker yet"
        pace = "" if self.per_worker is None else f", {self.per_worker:.1f} images/s each"
        return f"{self.workers} workers{pace}" if self.workers != 1 else f"1 worker{pace}"

    def facts(self) -> dict[str, object]:
        """Say both to programs."""
        pace = self.per_worker
        return {
            "workers": self.workers,
            "images_per_second_and_worker": None if pace is None else round(pace, 3),
        }
