"""Runs of ``lgs`` that never happened, for the tests of reports and their page."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from lgs_cli.report.records import Record
from lgs_cli.report.run import Run, collect

PARAMS = {"smoothing": 2.3, "threshold": 0.1, "block_size": 15, "overlap": 5}


def record(source: str, coverage: float | None = 0.5, **fields) -> Record:
    fields = {"status": "done", "seconds": 0.1, "method": "lgs", "params": PARAMS} | fields
    return Record(source, coverage=coverage, **fields)


def a_run(*records: Record, command: str = "lgs clean in -o out", name: str = "run.jsonl") -> Run:
    return collect(name, [(record, command) for record in records])


def jpeg_of(color: tuple[int, int, int]) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (40, 30), color).save(buffer, "JPEG")
    return buffer.getvalue()


def decoded(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(jpeg))).astype(int)
