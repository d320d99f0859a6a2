"""A server that really runs, in a thread, and an issuer whose keys and answers the test decides."""

from __future__ import annotations

import io
import json
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any

import httpx
import pytest
import uvicorn
from fastapi import APIRouter, Depends, Request
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from pydantic import BaseModel, ConfigDict, Field

from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError, Unavailable
from registry.facts import Channel, Source, SourceKind, Training
from registry.mlflow.reader import Mlflow
from registry.registry import Registry
from registry.roles import Role
from registry.storage import Storage
from sluice.api import deps, paging
from sluice.api.access import Principal
from sluice.api.app import create_app
from sluice.api.caching import check_if_match, immutable, revalidated
from sluice.api.config import Serve
from sluice.api.idempotency import token_of
from sluice.api.log import JsonLog
from sluice.api.server import Protocol, listen, url_of
from sluice.api.sse import Message, event_stream, resumed, stopping, stops
from sluice.settings import Settings


class FakeSources:
    """Training jobs that finished: whatever is not called missing-…"""

    def find(self, job: str) -> Source:
        if job.startswith("missing-"):
            raise NotFound(f"SageMaker has no training job {job!r}: check the name.")
        training = Training(
            job=job,
            arn=f"arn:aws:sagemaker:eu-west-1:1:training-job/{job}",
            image="train:1",
            hyperparameters={"lr": "0.1"},
            metrics={"auc": 0.9},
            inputs=(Channel(name="train", uri="s3://data/fraud/day"),),
        )
        return Source(uri=f"s3://jobs/{job}/model.tar.gz", etag='"1"', size=3, training=training)

    def find_package(self, package: str) -> Source:
        return Source(kind=SourceKind.MODEL_PACKAGE, uri="s3://jobs/package", etag='"1"', size=3, package=package)

    def find_s3(self, uri: str) -> Source:
        return Source(kind=SourceKind.S3, uri=uri, etag='"1"', size=3)

    def finished(self, since: datetime, *, name: str = "", tag: tuple[str, str | None] | None = None) -> Iterator[str]:
        yield from ("swept-1", "missing-1", "swept-2")


class FakeParts:
    """Parts that have nothing but what the test gives them."""

    def __init__(self) -> None:
        self.storage = Storage.memory()
        self.registry = Registry(self.storage)
        self.blobs = self.storage.blobs
        self.sources = FakeSources()
        self.bucket = "own-bucket"
        self.others: dict[str, Storage] = {}
        self.actor = "Test <test@example.com>"
        self.down: SluiceError | None = None
        self.asked = 0
        self.closed = False

    def other(self, bucket: str) -> Storage:
        return self.others.setdefault(bucket, Storage.memory())

    def mlflow(self, url: str) -> Mlflow:
        return Mlflow(url, barred=self.bucket)

    def ready(self) -> None:
        self.asked += 1
        if self.down is not None:
            raise self.down

    def close(self) -> None:
        self.closed = True


class Note(BaseModel):
    """A body, and a record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Annotated[str, Field(max_length=100)] = ""
    tags: dict[str, str] = {}


ERRORS = {
    kind.__name__: kind for kind in (InvalidInput, NotFound, Refused, Conflict, Unavailable, SluiceError, RuntimeError)
}


def sample_routes() -> APIRouter:  # noqa: C901  # each of its parts is a route
    """A few routes that use everything routes may use."""
    router = APIRouter(prefix="/t")

    @router.get("/models/{model}/versions")
    def read(model: str, who: Annotated[Principal, Depends(deps.on_model(Role.VIEWER))]) -> dict[str, str]:
        return {"model": model, "actor": who.actor}

    @router.post("/models/{model}/versions")
    def write(
        request: Request, model: str, body: Note, who: Annotated[Principal, Depends(deps.on_model(Role.RELEASER))]
    ) -> dict[str, Any]:
        return {"model": model, "actor": who.actor, "token": token_of(request, who), "text": body.text}

    @router.delete("/models/{model}")
    def delete(model: str, who: Annotated[Principal, Depends(deps.on_model(Role.ADMIN))]) -> dict[str, str]:
        return {"deleted": model}

    @router.post("/gc")
    def collect(who: Annotated[Principal, Depends(deps.on_every_model(Role.ADMIN))]) -> dict[str, str]:
        return {}

    @router.get("/fails/{how}")
    def fails(how: str, _: Annotated[Principal, Depends(deps.somewhere(Role.VIEWER))]) -> None:
        raise ERRORS[how](f"It failed as {how} with s3cret: do something.")

    @router.get("/numbers")
    def numbers(
        request: Request,
        _: Annotated[Principal, Depends(deps.somewhere(Role.VIEWER))],
        limit: paging.Limit = paging.LIMIT,
        cursor: paging.Cursor = "",
    ):
        first = int(paging.decode(cursor) or 0)
        found = list(range(first, min(first + limit, 25)))
        return paging.page(request, found, str(first + limit) if first + limit < 25 else None)

    @router.get("/kept")
    def kept(request: Request, _: Annotated[Principal, Depends(deps.somewhere(Role.VIEWER))]):
        return immutable(request, Note(text="for ever"))

    @router.get("/note")
    def note(request: Request, _: Annotated[Principal, Depends(deps.somewhere(Role.VIEWER))]):
        return revalidated(request, Note(text="now"))

    @router.put("/note")
    def put(request: Request, body: Note, _: Annotated[Principal, Depends(deps.somewhere(Role.VIEWER))]) -> Note:
        check_if_match(request, Note(text="now"))
        return body

    @router.get("/events")
    async def events(
        request: Request, _: Annotated[Principal, Depends(deps.somewhere(Role.VIEWER))], after: str = "", upto: int = 3
    ):
        async def ticks() -> AsyncIterator[list[Message]]:
            if after == "none":
                raise NotFound("There is no such event: begin again.")
            for seen in range(int(resumed(request, after) or 0) + 1, upto + 1):
                yield [Message(str(seen), "tick", f"line {seen}\nand another")]
            while not await stops(stopping(request), 0.02):
                yield []

        return await event_stream(request, ticks(), heartbeat=0.1)

    return router


class Running:
    """A server, what it logs, and a client of it."""

    def __init__(self, url: str, parts: FakeParts, stream: io.StringIO, server: uvicorn.Server) -> None:
        self.url, self.parts, self.server = url, parts, server
        self._stream = stream
        self.client = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def get(self, path: str, **kwargs: Any) -> httpx.Response:
        return self.client.get(path, **kwargs)

    def logged(self, **wanted: object) -> list[dict[str, Any]]:
        """The log's lines that hold these fields; waits for the first, which is written after the answer."""
        for _ in range(100):
            lines = [json.loads(line) for line in self._stream.getvalue().splitlines()]
            found = [line for line in lines if wanted.items() <= line.items()]
            if found:
                return found
            time.sleep(0.02)
        return []


@contextmanager
def running(serve: Serve, **options: Any) -> Iterator[Running]:
    """Serve the sample routes."""
    parts, stream = FakeParts(), io.StringIO()
    settings = Settings(serve=serve)
    sock = listen(settings)
    app = create_app(parts, settings, routers=[sample_routes()], log=JsonLog(stream), **options)
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    up = Running(url_of(sock), parts, stream, server)
    try:
        yield up
    finally:
        up.client.close()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
        assert parts.closed


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Starts servers with the settings that the test gives."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def go(**serve: Any) -> Running:
            options = {name: serve.pop(name) for name in ("issuer_object", "public") if name in serve}
            if "issuer_object" in options:
                options["issuer"] = options.pop("issuer_object")
            return stack.enter_context(running(Serve(**{"port": 0, **serve}), **options))

        yield go


@pytest.fixture
def open_server(start: Callable[..., Running]) -> Running:
    """A server on loopback that asks nobody who they are."""
    return start()


class FakeIssuer:
    """An OpenID Connect issuer on loopback."""

    def __init__(self) -> None:
        self.keys = {"rsa": RSAKey.generate_key(2048, {"kid": "rsa"}, auto_kid=False)}
        self.asked: list[str] = []
        self.down = False
        self.named: str | None = None
        self.extra_keys: list[dict[str, Any]] = []
        handler = type("Handler", (_Handler,), {"issuer": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def add(self, kind: str, kid: str) -> None:
        made = {
            "EC": lambda: ECKey.generate_key("P-256", {"kid": kid}),
            "OKP": lambda: OKPKey.generate_key("Ed25519", {"kid": kid}),
            "RSA": lambda: RSAKey.generate_key(2048, {"kid": kid}),
        }
        self.keys[kid] = made[kind]()

    def document(self, path: str) -> dict[str, Any] | None:
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.named or self.url, "jwks_uri": self.url + "/keys"}
        if path == "/keys":
            return {"keys": [*self.extra_keys, *(key.as_dict(private=False) for key in self.keys.values())]}
        return None

    def token(self, kid: str = "rsa", alg: str = "RS256", header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that fits, but for what is given; None takes a claim away."""
        now = int(time.time())
        said = {
            "iss": self.url,
            "aud": "sluice",
            "sub": "1234",
            "email": "ann@example.com",
            "iat": now,
            "exp": now + 300,
            "groups": [],
            **claims,
        }
        said = {name: value for name, value in said.items() if value is not None}
        named = {"alg": alg, "kid": kid, **(header or {})}
        named = {name: value for name, value in named.items() if value is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joserfc would have EdDSA called Ed25519
            return jwt.encode(named, said, self.keys[kid], algorithms=[alg])

    def bearer(self, *args: Any, **claims: Any) -> dict[str, str]:
        """The header with such a token."""
        return {"Authorization": f"Bearer {self.token(*args, **claims)}"}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    issuer: FakeIssuer

    def do_GET(self) -> None:
        self.issuer.asked.append(self.path)
        found = None if self.issuer.down else self.issuer.document(self.path)
        body = json.dumps(found or {}).encode()
        self.send_response(200 if found else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    """An issuer."""
    made = FakeIssuer()
    yield made
    made.close()


def _assert_problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The answer is this problem, whole."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["type"] == f"urn:sluice:problem:{kind}"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["detail"].endswith((".", ")."))
    return body


@pytest.fixture
def problem() -> Callable[[httpx.Response, int, str], dict[str, Any]]:
    """Asserts that an answer is this problem, and gives its body."""
    return _assert_problem
