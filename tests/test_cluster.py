"""Runs on a Dask cluster: a real scheduler and workers, processes on this machine that may die."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest
from folders import files_below, image, images, leftovers, report, tree
from shell import PATIENCE, TESTS, until

from lgs_cli import __version__
from lgs_cli.batch import cluster
from lgs_cli.batch.chunks import Chunk, do_chunk
from lgs_cli.batch.job import Job, Result
from lgs_cli.batch.scan import ScanSettings
from lgs_cli.batch.workers import Cluster, Limits
from lgs_cli.commands.throughput import Throughput
from lgs_cli.defenses.localize import LocalizeParams
from lgs_cli.errors import LgsError

psutil = pytest.importorskip("psutil", reason="needs psutil, which distributed brings")
distributed = pytest.importorskip("distributed", reason="needs distributed, of the extra 'dask'")


class DaskCluster:
    """A scheduler and workers; all that is left of them is killed at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start_scheduler(0)

    def _start(self, *words: object) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join([str(TESTS.parent), str(TESTS / "faults")])
        environment = {**os.environ, "PYTHONPATH": paths}
        with open(self.folder / "log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *map(str, words), "--no-dashboard"],
                stdout=log, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def start_scheduler(self, port: int) -> subprocess.Popen[bytes]:
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        process = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", port, "--scheduler-file", file
        )
        until(lambda: file.exists() and file.read_text().rstrip().endswith("}"))
        self.address = json.loads(file.read_text())["address"]
        return process

    def add_worker(self) -> subprocess.Popen[bytes]:
        before = self.workers()
        process = self._start(
            "worker", self.address, "--nthreads", 1, "--no-nanny",
            "--local-directory", self.folder / "scratch", "--memory-limit", 0,
        )  # fmt: skip
        until(lambda: len(self.workers()) > len(before))
        return process

    def workers(self) -> dict[str, int]:
        """Name the workers, each with its number of threads."""
        with distributed.Client(self.address, set_as_default=False) as client:
            return dict(client.nthreads())

    def close(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    with contextlib.closing(DaskCluster(tmp_path_factory.mktemp("dask") / "cluster")) as found:
        found.add_worker()
        found.add_worker()
        yield found


@pytest.fixture
def own(tmp_path):
    """A cluster of one worker that a test may do harm to."""
    with contextlib.closing(DaskCluster(tmp_path / "cluster")) as found:
        yield found


def helpers() -> set[int]:
    """List the processes beside the workers of clusters."""
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if b"lgs_cli.batch.chunks" in Path(entry.path, "cmdline").read_bytes():
                    found.add(int(entry.name))
    return found


def settled(path):
    """Read a report without what differs from run to run."""
    keys = ("seconds", "command", "output", "mask", "started", "time")
    return [{k: v for k, v in line.items() if k not in keys} for line in report(path)]


def test_a_cluster_does_what_this_machine_does(lgs, tmp_path, two_workers, photos):
    images(photos / "more", 30)
    (photos / "broken.jpg").write_bytes((photos / "a.jpg").read_bytes()[:900])
    where = ["--cluster", two_workers.address]
    local = lgs("clean", "photos", "-o", "local", "--masks", "m1", "--report", "1.jsonl")
    run = lgs("clean", "photos", "-o", "out", "--masks", "m2", "--report", "2.jsonl", *where)
    assert (run.returncode, local.returncode) == (1, 1)
    assert run.stderr.splitlines()[0] == local.stderr.splitlines()[0]
    assert tree(tmp_path / "out") == tree(tmp_path / "local")
    assert len(tree(tmp_path / "out")) == 33
    assert tree(tmp_path / "m2") == tree(tmp_path / "m1")
    assert settled(tmp_path / "2.jsonl") == settled(tmp_path / "1.jsonl")
    assert leftovers(tmp_path / "out", tmp_path / "m2") == []
    for options in ([], where):
        again = lgs("clean", "photos", "-o", "out", "--masks", "m2", *options)
        assert "0 done, 33 skipped, 1 failed" in again.stderr


def test_local_starts_a_cluster_and_ends_it(lgs, tmp_path):
    images(tmp_path / "in", 12)
    before = helpers()
    assert lgs("clean", "in", "-o", "local").returncode == 0
    with lgs.start("clean", "in", "-o", "out", "--cluster", "local", "-j2") as run:
        assert run.end() == 0, run.stderr
        assert len(run.stderr.splitlines()) == 1
        until(lambda: run.processes() == [])
    assert tree(tmp_path / "out") == tree(tmp_path / "local")
    until(lambda: helpers() <= before)


def listening(pid):
    """List the addresses at which a process can be called."""
    found = psutil.Process(pid).net_connections()
    return [port.laddr for port in found if port.status == psutil.CONN_LISTEN]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_a_local_cluster_ends_with_its_run(lgs, tmp_path, number):
    before = helpers()
    slow_images(tmp_path / "in", 40)
    with lgs.start("clean", "in", "-o", "out", "--cluster", "local", "-j2") as run:
        until(lambda: outputs(tmp_path / "out") > 2)
        for port in (port for pid in run.processes() for port in listening(pid)):
            assert port.ip == "127.0.0.1"
            with contextlib.closing(HTTPConnection(*port)) as connection:
                connection.request("GET", "/")
                assert connection.getresponse().version == 11  # HTTP, and not Dask's own
        os.kill(run.process.pid, number)
        assert run.end() == (143 if number == signal.SIGTERM else -9)
        until(lambda: run.processes() == [])
    until(lambda: helpers() <= before)
    if number == signal.SIGTERM:
        assert len(run.stderr.splitlines()) == 1
    assert leftovers(tmp_path / "out") == []


def test_scan_on_a_cluster(lgs, tmp_path, two_workers, photos):
    images(photos, 9)
    local, run = lgs("scan", photos), lgs("scan", photos, "--cluster", two_workers.address)
    assert run.stdout == local.stdout
    assert len(run.stdout.splitlines()) == 12
    assert run.returncode == 0


def test_archives_on_a_cluster(lgs, tmp_path, two_workers, photos):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for path in sorted(photos.iterdir()):
            info = tarfile.TarInfo(path.name)
            info.size = path.stat().st_size
            tar.addfile(info, io.BytesIO(path.read_bytes()))
    assert lgs("clean", "a.tar", "-o", "local").returncode == 0
    assert lgs("clean", "a.tar", "-o", "out", "--cluster", two_workers.address).returncode == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "local")


def test_archives_in_a_store_on_a_cluster(lgs, tmp_path, two_workers, photos, bucket):
    for name in ("a-0.tar", "a-1.tar"):
        with tarfile.open(tmp_path / name, "w") as tar:
            for path in sorted(photos.iterdir()):
                info = tarfile.TarInfo(path.name)
                info.size = path.stat().st_size
                tar.addfile(info, io.BytesIO(path.read_bytes()))
        bucket.write(f"in/{name}", (tmp_path / name).read_bytes())
    assert lgs("clean", "a-{0..1}.tar", "-o", "local").returncode == 0
    url = f"s3://{bucket.name}"
    where = ["--cluster", two_workers.address]
    run = lgs("clean", f"{url}/in/a-{{0..1}}.tar", "-o", f"{url}/out", *where)
    assert run.returncode == 0, run.stderr
    assert bucket.tree("out") == tree(tmp_path / "local")
    scan = lgs("scan", f"{url}/in/a-{{0..1}}.tar", *where)
    assert scan.stdout == lgs("scan", f"{url}/in/a-{{0..1}}.tar").stdout
    assert len(scan.stdout.splitlines()) == 6
    assert list(tmp_path.glob(".lgs-*")) == []


@pytest.mark.parametrize(
    ("order", "options", "reason"),
    [
        ("segfault", [], "the worker died: signal 11"),
        ("hang", ["--timeout", "2"], "took longer than --timeout 2 s"),
        ("allocate 900000000", ["--memory-limit", "300M"], "not enough memory"),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
def test_a_poison_image_is_named_and_kills_no_worker(
    lgs, tmp_path, two_workers, order, options, reason
):
    images(tmp_path / "in", 10)
    image(tmp_path / "in" / "04.png", 4, order)
    before = two_workers.workers()
    run = lgs("clean", "in", "-o", "out", "--cluster", two_workers.address, *options)
    assert run.returncode == 1
    assert f"lgs: in/04.png: {reason}" in run.stderr
    assert "10 images: 9 done, 0 skipped, 1 failed" in run.stderr
    assert files_below(tmp_path / "out") == {f"{n:02}.png" for n in range(10) if n != 4}
    assert two_workers.workers() == before


def test_max_failures(lgs, tmp_path, two_workers):
    (tmp_path / "in").mkdir()
    for number in range(40):
        (tmp_path / "in" / f"{number}.png").write_bytes(b"no image")
    run = lgs("clean", "in", "-o", "out", "--cluster", two_workers.address, "--max-failures", "3")
    assert run.returncode == 1
    end, summary = run.stderr.splitlines()[-2:]
    assert end == "lgs: stopped after 4 failures"
    assert "36 not reached" in summary


def slow_images(folder, count, seconds=0.15):
    return images(folder, count, order=f"sleep {seconds}")


def outputs(folder):
    return len(list(folder.glob("*.png")))


def test_the_images_of_a_lost_worker_are_done_by_another(lgs, tmp_path, own):
    slow_images(tmp_path / "in", 40)
    first = own.add_worker()
    own.add_worker()
    with lgs.start("clean", "in", "-o", "out", "--cluster", own.address) as run:
        until(lambda: outputs(tmp_path / "out") > 4)
        first.kill()
        assert run.end() == 0, run.stderr
    assert "40 images: 40 done" in run.stderr
    assert outputs(tmp_path / "out") == 40
    assert leftovers(tmp_path / "out") == []
    assert lgs("clean", "in", "-o", "out").stderr.startswith("40 images: 0 done, 40 skipped")


def test_progress_says_what_each_worker_does(lgs, tmp_path, two_workers):
    slow_images(tmp_path / "in", 16, seconds=0.2)
    words = ("clean", "in", "-o", "out", "--cluster", two_workers.address, "--progress", "json")
    run = lgs(*words)
    assert run.returncode == 0
    lines = [json.loads(line) for line in run.stderr.splitlines()[:-1]]
    assert (lines[-1]["done"], lines[-1]["workers"]) == (16, 2)
    pace = lines[-1]["images_per_second_and_worker"]
    assert 0 < pace <= 1 / 0.2  # for every image takes as long
    assert pace == pytest.approx(16 / 2 / lines[-1]["seconds"], rel=0.2)
    # Without a cluster there is nothing to say of workers.
    local = lgs("clean", "in", "-o", "out", "--progress", "json").stderr.splitlines()[:-1]
    assert not {"workers", "images_per_second_and_worker"} & set(json.loads(local[-1]))


def test_the_pace_of_workers_counts_those_that_were_there():
    seconds = iter([0, 100, 110, 120, 120, 130])
    pool = Cluster("tcp://anywhere")
    pace = Throughput(pool, lambda: next(seconds))
    assert (pace.text(), pace.per_worker) == ("no worker yet", None)
    pace.add(Result(0, "a", status="skipped"))  # until 100 s nothing was done
    pool.workers = 1
    pace.add(Result(1, "b"))
    pool.workers = 3
    pace.add(Result(2, "c"))
    pace.add(Result(3, "d", status="skipped"))
    pace.add(Result(4, "e", status="failed"))
    # Three images in 10 s of one worker and 20 s of three.
    assert pace.per_worker == pytest.approx(3 / (10 * 1 + 20 * 3))
    assert pace.text() == "3 workers, 0.0 images/s each"
    assert pace.facts() == {"workers": 3, "images_per_second_and_worker": 0.043}


def test_a_worker_that_joins_gets_work(lgs, tmp_path, own):
    (tmp_path / "notes").mkdir()
    images(tmp_path / "in", 60, order=f"note {tmp_path / 'notes'}")
    own.add_worker()
    with lgs.start("clean", "in", "-o", "out", "--cluster", own.address) as run:
        until(lambda: outputs(tmp_path / "out") > 4)
        assert len(list((tmp_path / "notes").iterdir())) == 1
        own.add_worker()
        assert run.end() == 0, run.stderr
    assert len(list((tmp_path / "notes").iterdir())) == 2


def test_another_scheduler_takes_over(lgs, tmp_path, own):
    slow_images(tmp_path / "in", 30)
    own.add_worker()
    with lgs.start("clean", "in", "-o", "out", "--cluster", own.address) as run:
        until(lambda: outputs(tmp_path / "out") > 4)
        own.scheduler.kill()
        own.scheduler.wait()
        own.start_scheduler(int(own.address.rpartition(":")[2]))
        own.add_worker()
        assert run.end() == 0, run.stderr
    assert "30 images: 30 done, 0 skipped, 0 failed" in run.stderr
    assert outputs(tmp_path / "out") == 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_the_tasks_of_a_client_that_ends_are_canceled(lgs, tmp_path, two_workers, number):
    slow_images(tmp_path / "in", 80)
    with lgs.start("clean", "in", "-o", "out", "--cluster", two_workers.address) as run:
        until(lambda: outputs(tmp_path / "out") > 12)
        os.kill(run.process.pid, number)
        assert run.end() == (143 if number == signal.SIGTERM else -9)
    time.sleep(3)  # what was at work ends
    left = outputs(tmp_path / "out")
    assert left < 60
    time.sleep(1)
    assert outputs(tmp_path / "out") == left
    assert leftovers(tmp_path / "out") == []
    again = lgs("clean", "in", "-o", "out", "--cluster", two_workers.address)
    assert again.returncode == 0
    skipped = int(again.stderr.split(" skipped")[0].split()[-1])
    assert 0 < skipped <= left
    assert outputs(tmp_path / "out") == 80


def test_no_process_outlives_its_worker(lgs, tmp_path, own):
    worker = own.add_worker()
    before = helpers()
    met = tmp_path / "met"
    image(tmp_path / "in" / "a.png", order=f"meet {met} {tmp_path / 'never'}")
    with lgs.start("clean", "in", "-o", "out", "--cluster", own.address):
        until(met.exists)
        assert helpers() > before
        worker.kill()
        until(lambda: helpers() <= before)


def test_few_images_are_out_at_a_time(two_workers, tmp_path):
    """Neither the scheduler nor the client holds more, however many images there are."""
    taken = 0

    def jobs():
        nonlocal taken
        for place in range(20_000):
            taken += 1
            yield Job(place, str(tmp_path / "missing.png"))

    limits = Limits(cluster=Cluster(two_workers.address))
    places = set()
    with contextlib.closing(cluster.run(jobs(), ScanSettings(LocalizeParams()), limits)) as results:
        for result in results:
            assert result.error == "no such file"
            places.add(result.place)
            # What is out, the chunk at hand, and what is looked ahead for.
            assert taken - len(places) <= 2 * 3 * 256 + 256 + 1000
            if len(places) == 4000:
                break
    assert taken < 7000


def test_no_scheduler(lgs, tmp_path):
    image(tmp_path / "in" / "a.png")
    run = lgs("clean", "in", "-o", "out", "--cluster", "tcp://127.0.0.1:1")
    assert run.returncode == 2
    end, summary = run.stderr.splitlines()
    assert end == "lgs: --cluster tcp://127.0.0.1:1: no Dask scheduler there"
    assert summary.startswith("0 images: 0 done, 0 skipped, 0 failed")


def test_without_distributed(lgs, tmp_path):
    image(tmp_path / "in" / "a.png")
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "distributed.py").write_text("raise ImportError('not here')")
    paths = lgs.environment["PYTHONPATH"]
    lgs.environment["PYTHONPATH"] = f"{tmp_path / 'without'}{os.pathsep}{paths}"
    run = lgs("clean", "in", "-o", "out", "--cluster", "local")
    assert run.returncode == 2
    assert "lgs: --cluster needs distributed: pip install 'lgs-cli[dask]'" in run.stderr


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": "0.0.1"}, f"a worker has lgs {__version__}, and this is 0.0.1"),
        ({"folder": "/not/here"}, "a worker has no directory /not/here"),
    ],
    ids=["version", "folder"],
)
def test_a_worker_unlike_the_client(changes, reason):
    chunk = Chunk((), ScanSettings(LocalizeParams()), Limits(), os.getcwd(), __version__)
    with pytest.raises(LgsError, match=reason):
        do_chunk(chunk._replace(**changes))
