"""A server process that speaks S3, behind a proxy that counts, and can be told to fail."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from shell import until


class Proxy(BaseHTTPRequestHandler):
    """Pass requests on to the S3 server, or do what a server should not."""

    upstream = ("", 0)
    # Method and a part of the path to what is to come, and how often.
    faults: dict[tuple[str, str], list[int]] = {}  # noqa: RUF012
    delays: dict[tuple[str, str], float] = {}  # noqa: RUF012
    # Paths of requests that came, whatever became of them.
    arrived: list[str] = []  # noqa: RUF012
    # Method, path, and bytes of the body of each answer.
    answers: list[tuple[str, str, int]] = []  # noqa: RUF012
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        Proxy.arrived.append(unquote(self.path))
        for (method, part), codes in Proxy.faults.items():
            if method == self.command and part in self.path and codes:
                self.send_response(codes.pop(0) if len(codes) > 1 or codes[0] != 403 else 403)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        for (method, part), seconds in Proxy.delays.items():
            if method == self.command and part in self.path:
                time.sleep(seconds)
        connection = HTTPConnection(*Proxy.upstream)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            Proxy.answers.append((self.command, unquote(self.path), len(data)))
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

    @classmethod
    def reset(cls) -> None:
        """Do nothing to requests any more, and forget those of before."""
        cls.faults, cls.delays, cls.arrived, cls.answers = {}, {}, [], []

    @classmethod
    def served(cls, part: str) -> int:
        """Count the bytes of objects whose path has a part; listings are none."""
        return sum(
            size
            for method, path, size in cls.answers
            if method == "GET" and part in path and "list-type" not in path
        )

    def log_message(self, *words: object) -> None:
        pass


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run both; give the URL of the proxy."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with open(folder / "log", "wb") as log:
        moto = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=log, stderr=log,
        )  # fmt: skip

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    until(answers)
    Proxy.upstream = ("127.0.0.1", port)
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{proxy.server_port}"
    proxy.shutdown()
    proxy.server_close()
    moto.kill()
    moto.wait()


class Bucket:
    """Objects of one test, read and written past lgs."""

    def __init__(self, url: str, name: str) -> None:
        import s3fs

        self.name = name
        self._system = s3fs.S3FileSystem(
            key="testing", secret="testing", endpoint_url=url, skip_instance_cache=True
        )
        self._system.mkdir(name)

    def put(self, folder: Path, prefix: str) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = f"{self.name}/{prefix}/{path.relative_to(folder)}"
                self._system.pipe_file(name, path.read_bytes())

    def tree(self, prefix: str) -> dict[str, bytes]:
        self._system.invalidate_cache()
        root = f"{self.name}/{prefix}/"
        return {
            name[len(root) :]: self._system.cat_file(name)
            for name in sorted(self._system.find(root))
            if ".lgs-" not in name
        }

    def delete(self, name: str) -> None:
        self._system.rm_file(f"{self.name}/{name}")

    def write(self, name: str, data: bytes) -> None:
        self._system.pipe_file(f"{self.name}/{name}", data)
