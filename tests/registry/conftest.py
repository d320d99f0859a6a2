"""What the registry's tests share: S3 servers, a proxy that breaks what passes through it, and sources to register."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from registry import keys
from registry.aws import Clients
from registry.changes import Model
from registry.facts import ENTRY_MAX, Entry, Source, SourceClaim, Training, Version
from registry.memory import MemoryBlobs, MemoryBytes, MemoryOutputs, MemoryStore
from registry.registry import Registry
from registry.s3 import S3Blobs, S3Store
from registry.s3bytes import S3Bytes
from registry.storage import Storage
from registry.store import AlreadyExists, Changed, Store, Stored
from sluice.demo.endpoints import Endpoints, without_aws

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

_SIGNED_AWAY = frozenset({"authorization", "x-amz-date", "x-amz-content-sha256"})
_HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive", "expect"})


class Request(NamedTuple):
    """One request, as it came to the proxy."""

    method: str
    path: str


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20
    proxy: Proxy

    def log_message(self, *_: object) -> None:
        pass

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path)
        fault = self.proxy.meet(request)
        if fault == "lost request":
            self._hang_up()
            return
        if fault.startswith("answer "):
            self._answer(
                int(fault.split()[1]), {"Content-Type": "application/xml"}, fault.split(maxsplit=2)[2].encode()
            )
            return
        status, headers, answer = self.proxy.forward(request, self.headers.items(), body)
        if fault == "lost answer":
            self._hang_up()
        elif fault == "half answer":
            self._answer(status, headers, answer, send=len(answer) // 2)
            self._hang_up()
        else:
            self._answer(status, headers, answer)

    def _answer(self, status: int, headers: dict[str, str], body: bytes, send: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:send])

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)


class Proxy:
    """A real HTTP proxy in front of a store.

    `fault` is asked about each request and says what becomes of it: "" (passes), "lost request" (dropped before the
    store sees it), "lost answer" (dropped after the store did it), "half answer", or "answer STATUS BODY" (the proxy's
    own). `strip` are headers that it takes away, as a middle box that knows no conditions would; it signs anew then.
    """

    def __init__(self, endpoints: Endpoints) -> None:
        self.reset()
        self._lock = threading.Lock()
        self._endpoints = endpoints
        methods = {f"do_{method}": _Handler.handle_any for method in ("GET", "HEAD", "PUT", "POST", "DELETE")}
        handler = type("Handler", (_Handler,), {"proxy": self, **methods})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def reset(self) -> None:
        self.fault: Callable[[Request], str] = lambda _: ""
        self.strip: frozenset[str] = frozenset()
        self.requests: list[Request] = []

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def meet(self, request: Request) -> str:
        with self._lock:
            self.requests.append(request)
        return self.fault(request)

    def forward(self, request: Request, given: list[tuple[str, str]], body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name: value for name, value in given if name.lower() not in _HOP_BY_HOP}
        if self.strip.intersection(map(str.lower, headers)):
            headers = self._signed_anew(request, headers, body)
        upstream = http.client.HTTPConnection(urlsplit(self._endpoints.s3_url).netloc, timeout=20)
        try:
            upstream.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                upstream.putheader(name, value)
            upstream.putheader("Content-Length", str(len(body)))
            upstream.endheaders(body)
            with upstream.getresponse() as answer:
                data = answer.read()
                kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
                if request.method == "HEAD" and answer.getheader("Content-Length"):
                    kept["Content-Length"] = answer.getheader("Content-Length", "")
                return answer.status, kept, data
        finally:
            upstream.close()

    def _signed_anew(self, request: Request, headers: dict[str, str], body: bytes) -> dict[str, str]:
        left = {n: v for n, v in headers.items() if n.lower() not in self.strip | _SIGNED_AWAY}
        fresh = AWSRequest(request.method, self.url + request.path, headers=left, data=body)
        credentials = Credentials(self._endpoints.access_key, self._endpoints.secret_key)
        S3SigV4Auth(credentials, "s3", self._endpoints.region).add_auth(fresh)
        return dict(fresh.headers.items())


class SharedClients(Clients):
    """Makes one S3 client for each address that the environment names: making one takes longer than most tests."""

    def __init__(self) -> None:
        super().__init__()
        self._of: dict[str, Clients] = {}

    def s3(self) -> S3Client:
        url = os.environ["AWS_ENDPOINT_URL_S3"]
        if url not in self._of:
            self._of[url] = Clients()
        return self._of[url].s3()


@pytest.fixture(scope="session")
def shared_clients(endpoints: Endpoints) -> SharedClients:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in endpoints.environment().items():
            patch.setenv(name, value)
        clients = SharedClients()
        clients.s3()  # the credentials are read here, once
    return clients


class Buckets:
    """Empty buckets on SeaweedFS, one made ahead: the first object takes 0.2 s. It holds some 70 at once, no more."""

    def __init__(self, s3: S3Client) -> None:
        self._s3 = s3
        self._worker = ThreadPoolExecutor(1)
        self._next = self._worker.submit(self._make)

    def _make(self) -> str:
        name = f"t-{uuid.uuid4().hex[:20]}"
        self._s3.create_bucket(Bucket=name)
        self._s3.put_object(Bucket=name, Key="first", Body=b"x")
        self._s3.delete_object(Bucket=name, Key="first")
        return name

    def take(self) -> str:
        name, self._next = self._next.result(), self._worker.submit(self._make)
        return name

    def drop(self, name: str) -> None:
        self._worker.submit(self._s3.delete_bucket, Bucket=name)

    def close(self) -> None:
        self._worker.shutdown()


@pytest.fixture(scope="session")
def session_s3(endpoints: Endpoints, shared_clients: SharedClients) -> S3Client:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", endpoints.s3_url)
        return shared_clients.s3()


@pytest.fixture
def raw_s3(session_s3: S3Client) -> S3Client:
    """boto3's own client for SeaweedFS, past everything of Sluice's."""
    return session_s3


@pytest.fixture(scope="session")
def buckets(session_s3: S3Client) -> Iterator[Buckets]:
    buckets = Buckets(session_s3)
    yield buckets
    buckets.close()


@pytest.fixture
def new_bucket(buckets: Buckets) -> Iterator[Callable[[], str]]:
    """Gives an empty bucket on SeaweedFS that lives as long as the test."""
    taken: list[str] = []

    def take() -> str:
        taken.append(buckets.take())
        return taken[-1]

    yield take
    for name in taken:
        buckets.drop(name)


@pytest.fixture
def clients(aws: Endpoints, shared_clients: Clients) -> Clients:
    """Sluice's own AWS clients, talking to the stack."""
    return shared_clients


@pytest.fixture(scope="session")
def shared_proxy(endpoints: Endpoints) -> Iterator[Proxy]:
    proxy = Proxy(endpoints)
    yield proxy
    proxy.close()


@pytest.fixture
def proxy(shared_proxy: Proxy) -> Proxy:
    """A proxy in front of SeaweedFS, that lets everything pass until told otherwise."""
    shared_proxy.reset()
    return shared_proxy


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried again at once."""
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)


@pytest.fixture
def proxied(
    proxy: Proxy,
    s3_store: S3Store,
    s3_blobs: S3Blobs,
    clients: Clients,
    no_waits: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Clients:
    """AWS clients that reach S3 through the proxy. The direct stores are made before, so that they do not."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
    return clients


@pytest.fixture
def once() -> Callable[..., Callable[[Request], str]]:
    """Makes a fault that strikes the n-th request (the first is 1) that `matches`, and no other."""

    def make(fault: str, matches: Callable[[Request], bool] = lambda _: True, n: int = 1) -> Callable[[Request], str]:
        seen = 0

        def decide(request: Request) -> str:
            nonlocal seen
            seen += matches(request)
            return fault if matches(request) and seen == n else ""

        return decide

    return make


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """moto's S3 in a process of its own: the stack's moto serves only what the demo needs of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("moto") / "log"
    command = [sys.executable, "-P", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env=without_aws(os.environ)) as server,
    ):
        try:
            deadline = time.monotonic() + 30
            while not _answers(port):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def memory_store() -> Store:
    return MemoryStore()


@pytest.fixture
def s3_store(clients: Clients, new_bucket: Callable[[], str]) -> S3Store:
    """On SeaweedFS, in a bucket of this test."""
    return S3Store(clients, new_bucket())


@pytest.fixture
def s3_blobs(clients: Clients, s3_store: S3Store) -> S3Blobs:
    """On SeaweedFS, in the bucket of this test."""
    return S3Blobs(clients, s3_store.bucket)


@pytest.fixture
def moto_store(moto_url: str, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """On moto's S3, in a bucket of its own."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto_url)
    name = f"t-{uuid.uuid4().hex[:20]}"
    clients.s3().create_bucket(Bucket=name)
    return S3Store(clients, name)


class Below:
    """A store under a prefix of another one, so that a bucket with other things in it will do."""

    def __init__(self, inner: S3Store, prefix: str) -> None:
        self._inner, self._prefix = inner, prefix

    def get(self, key: str) -> Stored | None:
        return self._inner.get(self._prefix + key)

    def create(self, key: str, data: bytes) -> str:
        try:
            return self._inner.create(self._prefix + key, data)
        except AlreadyExists as error:
            raise AlreadyExists(key, error.stored) from error

    def replace(self, key: str, data: bytes, etag: str) -> str:
        try:
            return self._inner.replace(self._prefix + key, data, etag)
        except Changed as error:
            raise Changed(key) from error

    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> Iterator[str]:
        begin = self._prefix + after if after else ""
        for key in self._inner.list(self._prefix + prefix, after=begin, limit=limit):
            yield key.removeprefix(self._prefix)

    def folders(self, prefix: str) -> Iterator[str]:
        return (folder.removeprefix(self._prefix) for folder in self._inner.folders(self._prefix + prefix))


@pytest.fixture
def amazon_store() -> Iterator[Below]:
    """On S3 itself, in the bucket that SLUICE_TEST_BUCKET names, with the credentials of the environment."""
    bucket = os.environ.get("SLUICE_TEST_BUCKET")
    if not bucket:
        pytest.skip("no bucket in S3: set SLUICE_TEST_BUCKET to one, with AWS credentials")
    clients, prefix = Clients(), f"sluice-contract-{uuid.uuid4().hex}/"
    yield Below(S3Store(clients, bucket), prefix)
    bytes_ = S3Bytes(clients, bucket)
    bytes_.delete([found.key for found in bytes_.objects(prefix)])


class Killed(BaseException):
    """The process ended here, as far as the code under test can tell."""


class Interrupted:
    """A store to which something happens at its n-th request (the first is 1): `act` is called before or after it."""

    def __init__(self, inner: Store, act: Callable[[], None], n: int = 0, *, after: bool = False) -> None:
        self._inner, self._act, self._n, self._after = inner, act, n, after
        self.verbs: list[str] = []

    def get(self, key: str) -> Stored | None:
        return self._do("get", lambda: self._inner.get(key))

    def create(self, key: str, data: bytes) -> str:
        return self._do("create", lambda: self._inner.create(key, data))

    def replace(self, key: str, data: bytes, etag: str) -> str:
        return self._do("replace", lambda: self._inner.replace(key, data, etag))

    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> Iterator[str]:
        return iter(self._do("list", lambda: [*self._inner.list(prefix, after=after, limit=limit)]))

    def folders(self, prefix: str) -> Iterator[str]:
        return iter(self._do("folders", lambda: [*self._inner.folders(prefix)]))

    def _do(self, verb: str, request: Callable[[], T]) -> T:
        self.verbs.append(verb)
        due = len(self.verbs) == self._n
        if due and not self._after:
            self._act()
        try:
            return request()
        finally:
            if due and self._after:
                self._act()


class Watched:
    """A store that keeps (verb, key) of each request in `requests`, and asks `before` and `after` it.

    Both are given verb and key, and may do what they like: wait, raise, write something else.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.before: Callable[[str, str], None] = lambda verb, key: None
        self.after: Callable[[str, str], None] = lambda verb, key: None
        self.requests: list[tuple[str, str]] = []

    def get(self, key: str) -> Stored | None:
        return self._do("get", key, lambda: self.inner.get(key))

    def create(self, key: str, data: bytes) -> str:
        return self._do("create", key, lambda: self.inner.create(key, data))

    def replace(self, key: str, data: bytes, etag: str) -> str:
        return self._do("replace", key, lambda: self.inner.replace(key, data, etag))

    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> Iterator[str]:
        found = self._do("list", prefix, lambda: [*self.inner.list(prefix, after=after, limit=limit)])
        self.requests += [("list", prefix)] * ((len(found) - 1) // 1000)
        return iter(found)

    def folders(self, prefix: str) -> Iterator[str]:
        return iter(self._do("folders", prefix, lambda: [*self.inner.folders(prefix)]))

    def _do(self, verb: str, key: str, request: Callable[[], T]) -> T:
        self.requests.append((verb, key))
        self.before(verb, key)
        try:
            return request()
        finally:
            self.after(verb, key)


@pytest.fixture
def watched() -> type[Watched]:
    return Watched


@pytest.fixture
def bulk(source: Callable[..., Source]) -> Callable[..., None]:
    """Puts many versions into a store at once, as registrations of long ago did, whose events are forgotten."""

    def put(store: Store, count: int, *, model: str = "fraud", first: int = 1, per: int = ENTRY_MAX) -> None:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        if first == 1:
            store.create(keys.model(model), Model(name=model, created_at=at, created_by="ann").to_bytes())
        for start in range(first, first + count, per):
            versions = tuple(
                Version(model=model, number=n, source=source(f"old-{n}"), created_at=at, created_by="ann")
                for n in range(start, min(start + per, first + count))
            )
            entry = Entry(token=f"bulk-{start}", versions=versions)
            store.create(keys.entry(versions[0].ref), entry.to_bytes())
            for version in versions:
                claim = SourceClaim(identity=version.source.identity, after=start - 1)
                store.create(keys.source(model, claim.identity), claim.to_bytes())

    return put


@pytest.fixture
def interrupted() -> type[Interrupted]:
    return Interrupted


@pytest.fixture
def killed() -> type[Killed]:
    return Killed


@pytest.fixture
def source() -> Callable[..., Source]:
    """Makes what a training job of that name left behind."""

    def make(job: str, *, etag: str = '"0"', **training: object) -> Source:
        arn = f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{job}"
        return Source(
            uri=f"s3://training/output/{job}/output/model.tar.gz",
            etag=etag,
            size=12,
            training=Training.model_validate({"job": job, "arn": arn, "image": "training:1", **training}),
        )

    return make


class Clock:
    """The time, and as much later as the test says."""

    def __init__(self) -> None:
        self.later = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.later

    def advance(self, **by: float) -> None:
        self.later += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    """The clock of this test's registries and of their bytes."""
    return Clock()


@pytest.fixture
def place(clock: Clock) -> MemoryBytes:
    """The bytes of this test's registries."""
    return MemoryBytes(clock)


@pytest.fixture
def on(place: MemoryBytes, clock: Clock) -> Callable[..., Registry]:
    """Makes a registry, as a new process would, over a store; all of them share the bytes."""

    def make(store: Store, **options: Any) -> Registry:
        storage = Storage(store, MemoryOutputs(place), MemoryBlobs(place), place)
        return Registry(storage, **{"clock": clock, **options})

    return make
