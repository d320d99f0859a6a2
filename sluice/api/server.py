"""Runs the application on uvicorn: the socket, the workers, and the way down."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from functools import partial
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from threading import Thread
from types import FrameType
from typing import cast

import uvicorn
from uvicorn._types import ASGI3Application
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from registry.errors import InvalidInput, SluiceError, Unavailable
from sluice.api.config import check_listen
from sluice.api.log import JsonLog, logging_config
from sluice.settings import Settings

HEAD_MAX = 65_536
"""Bytes of a request's first line and headers; uvicorn's fast parser has no limit of its own."""
_BACKLOG = 2_048
_KEEP_ALIVE = 75
"""Seconds that a connection is kept without a request: longer than a load balancer keeps it (ALB: 60)."""


class Protocol(HttpToolsProtocol):
    """uvicorn's, with a limit on a request's head, and streams that hear when the server shuts down."""

    _head = 0

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._grow(len(name) + len(value))
        super().on_header(name, value)

    def shutdown(self) -> None:
        """The server shuts down and waits for this connection's answer to end."""
        stopping = self.app_state.get("stopping")
        if stopping is not None:
            stopping.set()
        super().shutdown()

    def _grow(self, size: int) -> None:
        self._head += size
        if self._head > HEAD_MAX:
            raise ValueError("the head of the request is too long")  # the parser's caller answers 400


def listen(settings: Settings) -> socket.socket:
    """The socket that the settings name, which takes connections from now on.

    Nagle's algorithm is off on it, and so on the connections that it accepts (tcp(7)): asyncio turns it off only on
    sockets that say they are TCP's, which those that uvicorn makes for its workers do not, and with it on, an answer
    in two pieces waits 40 ms for the client's delayed ACK. uvloop turns it off everywhere.

    Raises:
        InvalidInput: there is no such address, or it is open to others and nothing tells who asks.
        Unavailable: the address is taken, or may not be listened on.
    """
    serve = settings.serve
    try:
        found = socket.getaddrinfo(serve.host or "", serve.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"{serve.host!r} is no address to listen on: give one of this machine.") from error
    family, kind, _, _, address = found[0]
    check_listen(serve, str(address[0]))
    sock = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise Unavailable(
            f"{serve.host}:{serve.port} cannot be listened on ({error.strerror}): end what uses it, or give another"
            " port."
        ) from error
    sock.set_inheritable(True)
    return sock


def url_of(sock: socket.socket) -> str:
    """Where it listens, for a person."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


Make = Callable[[Settings], ASGI3Application]


def run(settings: Settings, sock: socket.socket, make: Make | None = None) -> None:
    """Answer on the socket until SIGTERM or SIGINT, then let what runs end, and return.

    `make` is the application's factory, a module's function, since the workers are processes of their own.

    Raises:
        SluiceError: the workers could not start.
    """
    config = _config(settings, make or application)
    if settings.serve.workers == 1:
        server = uvicorn.Server(config)

        def stop(number: int, frame: FrameType | None) -> None:
            del number, frame
            server.should_exit = True

        # uvicorn's own handlers stand in for these while it runs, and raise the signal once more when it has ended
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        server.run(sockets=[sock])
        return
    folder = tempfile.mkdtemp(prefix="sluice-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # the workers inherit it; this process does not measure
    try:
        workers = Multiprocess(config, [sock])
        workers.run()
        if any(process.exitcode == STARTUP_FAILURE for process in workers.processes):
            raise SluiceError("The workers could not start: see what they say above.")
    finally:
        sock.close()
        shutil.rmtree(folder, ignore_errors=True)


def application(settings: Settings) -> ASGI3Application:
    """What one worker answers with; made in the worker, from the settings alone."""
    from sluice.api.app import create_app
    from sluice.api.parts import Served

    return cast("ASGI3Application", create_app(Served(settings), settings))  # starlette spells the same type otherwise


def _made(make: Make, settings: Settings) -> ASGI3Application:
    server = parent_process()
    if server is not None:
        Thread(target=_end_after, args=(server,), daemon=True).start()
    try:
        return make(settings)
    except SluiceError as error:
        if settings.serve.workers == 1:
            raise
        JsonLog()("error", "not started", error=str(error))
        raise SystemExit(STARTUP_FAILURE) from error  # anything else makes the supervisor start another one


def _end_after(server: BaseProcess) -> None:
    """No worker outlives the process that looks after it, however that ended."""
    server.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _config(settings: Settings, make: Make) -> uvicorn.Config:
    return uvicorn.Config(
        partial(_made, make, settings),
        factory=True,
        workers=settings.serve.workers,
        http=Protocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=logging_config(),
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=settings.serve.graceful,
    )
