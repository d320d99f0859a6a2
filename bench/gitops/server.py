"""git over HTTP on loopback: git-http-backend behind a small server in a process of its own, streamed both ways.

`python -m bench.gitops.server ROOT LOG` serves the repositories below ROOT, tells its port on standard output, and
writes a line for each request: method, path, and the bytes of the answer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_CHUNK = 1 << 16


class Remote(NamedTuple):
    """A server that runs; repositories are at `url`, and what was asked of it in `log`."""

    url: str
    log: Path

    def asked(self) -> list[tuple[str, str, int]]:
        """The requests so far: method, path, bytes of the answer."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [(method, path, int(size)) for method, path, size in lines]


@contextmanager
def serving(root: Path, log: Path) -> Iterator[Remote]:
    """Start the server, and end it."""
    command = [sys.executable, "-m", "bench.gitops.server", str(root), str(log)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        port = process.stdout.readline().strip()
        if not port:
            raise SystemExit("the git server does not start")
        yield Remote(f"http://127.0.0.1:{port}", log)
    finally:
        process.terminate()
        process.wait(20)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, root: Path, log: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.log = log.open("a", buffering=1)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        with tempfile.TemporaryFile() as body:
            size = self._receive(body)
            body.seek(0)
            command = ["git", "http-backend"]
            with subprocess.Popen(command, stdin=body, stdout=subprocess.PIPE, env=self._environment(size)) as git:
                assert git.stdout
                fields = {}
                while line := git.stdout.readline().decode().strip():
                    name, _, value = line.partition(": ")
                    fields[name] = value
                self.send_response(int(fields.pop("Status", "200")[:3]))
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                sent = 0
                while chunk := git.stdout.read1(_CHUNK):  # type: ignore[attr-defined]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                    sent += len(chunk)
                self.wfile.write(b"0\r\n\r\n")
        self.server.log.write(f"{self.command} {self.path} {sent}\n")

    def _receive(self, body: object) -> int:
        size = 0
        write = body.write  # type: ignore[attr-defined]
        if self.headers.get("Transfer-Encoding") == "chunked":
            while length := int(self.rfile.readline(), 16):
                size += write(self.rfile.read(length))
                self.rfile.readline()
            self.rfile.readline()
        elif length := int(self.headers.get("Content-Length", 0)):
            size += write(self.rfile.read(length))
        return size

    def _environment(self, size: int) -> dict[str, str]:
        path, _, query = self.path.partition("?")
        return {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(size),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }

    def log_message(self, *_: object) -> None:
        pass


def _main() -> None:
    with _Server(Path(sys.argv[1]), Path(sys.argv[2])) as server:
        print(server.server_port, flush=True)
        server.serve_forever(0.1)


if __name__ == "__main__":
    _main()
