"""A registry that takes nothing that the specification does not allow, and fails just as a test tells it to.

OCI distribution specification 1.1, with bearer tokens or Basic; or ECR's dialect. Everything is in memory, but for the
data of blobs above 8 MiB, of which it keeps digest and size alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

KEPT = 8 << 20
INDEX = "application/vnd.oci.image.index.v1+json"
NAME = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*"
ROUTES = [
    ("upload_begin", re.compile(rf"/v2/({NAME})/blobs/uploads/")),
    ("upload", re.compile(rf"/v2/({NAME})/blobs/uploads/([0-9a-f]+)")),
    ("blob", re.compile(rf"/v2/({NAME})/blobs/(sha256:[0-9a-f]{{64}})")),
    ("manifest", re.compile(rf"/v2/({NAME})/manifests/([\w.:-]+)")),
    ("referrers", re.compile(rf"/v2/({NAME})/referrers/(sha256:[0-9a-f]{{64}})")),
]


class Status(NamedTuple):
    """Answer with this, and do nothing."""

    status: int
    headers: dict[str, str] = {}
    body: bytes = b""


class Drop(NamedTuple):
    """Read so many bytes of the body, keep them, and break the connection."""

    after: int = 0


class Truncate(NamedTuple):
    """Answer, but break the connection after so many bytes of the body."""

    after: int


class Lie(NamedTuple):
    """Do it, and name this digest."""

    digest: str


class Garbage(NamedTuple):
    """Answer with these bytes instead of a blob's or a manifest's."""

    data: bytes


STALL, LOSE, VANISH, EXPIRE, PASS = "stall", "lose", "vanish", "expire", "pass"
"""Never answer; do it and answer nothing; forget the session first; expire all tokens first; nothing of all this."""


class Rule(NamedTuple):
    method: str
    path: re.Pattern[str]
    actions: list[Any]


class Session:
    def __init__(self, repository: str) -> None:
        self.repository = repository
        self.hash = hashlib.sha256()
        self.size = 0
        self.data = bytearray()
        self.patches = 0

    def add(self, data: bytes) -> None:
        self.hash.update(data)
        self.size += len(data)
        if self.size <= KEPT:
            self.data += data


class Token(NamedTuple):
    scopes: frozenset[tuple[str, str]]


class Strict:
    """The registry; `host` is where it listens."""

    def __init__(self, *, ecr: bool = False, auth: str = "", referrers: bool = True, mounts: bool = True) -> None:
        self.ecr, self.auth, self.lists_referrers, self.mounts = ecr, auth, referrers and not ecr, mounts and not ecr
        self.users = {"builder": "s3cret"}
        self.denies = 401
        """What is said to whoever gives a wrong password."""
        self.immutable = ecr
        self.names_digests = True
        self.repositories: set[str] | None = None
        """Those there are; any, where it is None."""
        self.blobs: dict[str, dict[str, tuple[int, bytes]]] = {}
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.sessions: dict[str, Session] = {}
        self.tokens: dict[str, Token] = {}
        self.token_life: int | None = 300
        self.rules: list[Rule] = []
        self.requests: list[tuple[str, str]] = []
        self.received: dict[str, int] = {}
        """Bytes of bodies, by method."""
        self.seen_authorization: list[str | None] = []
        self.seen_cookies: list[str | None] = []
        self.redirect_blobs = ""
        self.connections = 0
        """How many there are now."""
        self.lock = threading.RLock()
        self.release = threading.Event()
        self.host = ""

    def script(self, method: str, path: str, *actions: Any) -> None:
        """For the next requests whose path this pattern matches in full: one action each."""
        with self.lock:
            self.rules.append(Rule(method, re.compile(path), list(actions)))

    def action(self, method: str, path: str) -> Any:
        with self.lock:
            self.requests.append((method, path))
            for rule in self.rules:
                if rule.actions and rule.method == method and rule.path.fullmatch(path):
                    return rule.actions.pop(0)
        return PASS

    def count(self, method: str, path: str = ".*") -> int:
        pattern = re.compile(path)
        return sum(1 for m, p in self.requests if m == method and pattern.fullmatch(p))

    def clear(self) -> None:
        """Forget what was asked."""
        with self.lock:
            self.requests.clear()
            self.received.clear()
            self.seen_authorization.clear()
            self.seen_cookies.clear()

    def has(self, repository: str, digest: str) -> bool:
        return digest in self.blobs.get(repository, {})

    def add_blob(self, repository: str, data: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs.setdefault(repository, {})[digest] = (len(data), data if len(data) <= KEPT else b"")
        return digest

    def add_manifest(self, repository: str, media_type: str, data: bytes, tag: str = "") -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.manifests.setdefault(repository, {})[digest] = (media_type, data)
        if tag:
            self.tags.setdefault(repository, {})[tag] = digest
        return digest

    @contextmanager
    def serving(self) -> Iterator[Strict]:
        server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"registry": self}))
        self.host = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.release.set()
            server.shutdown()
            server.server_close()
            thread.join()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is what tests are for."""


class Broken(Exception):
    """The connection ends here."""


class Handler(BaseHTTPRequestHandler):
    registry: Strict
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def setup(self) -> None:
        with self.registry.lock:
            self.registry.connections += 1
        super().setup()

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            with self.registry.lock:
                self.registry.connections -= 1

    def log_message(self, *args: Any) -> None:
        """Not on the terminal."""

    def do_GET(self) -> None:
        self.handle_all()

    do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815

    def handle_all(self) -> None:
        self.sent_body = self.unread = False
        self.lie = ""
        self.truncate = -1
        parts = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.asked = parts.path
        registry = self.registry
        registry.seen_authorization.append(self.headers.get("Authorization"))
        registry.seen_cookies.append(self.headers.get("Cookie"))
        try:
            self.act(registry.action(self.command, parts.path))
        except Broken:
            self.close_connection = True
            with self.suppress():
                self.connection.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def suppress() -> Any:
        from contextlib import suppress

        return suppress(OSError)

    def act(self, action: Any) -> None:
        if isinstance(action, Status):
            self.drain()
            return self.answer(action.status, action.headers, action.body)
        if action == STALL:
            self.registry.release.wait(60)
            raise Broken
        if action == VANISH:
            self.registry.sessions.clear()
        if action == EXPIRE:
            self.registry.tokens.clear()
        if isinstance(action, Lie):
            self.lie = action.digest
        if isinstance(action, Truncate):
            self.truncate = action.after
        self.drop = action.after if isinstance(action, Drop) else -1
        self.lost = action == LOSE
        self.garbage = action.data if isinstance(action, Garbage) else None
        self.route()
        return None

    def route(self) -> None:
        if self.asked == "/token":
            return self.token()
        if self.asked.startswith("/elsewhere/"):
            return self.elsewhere()
        for name, pattern in ROUTES:
            match = pattern.fullmatch(self.asked)
            if match:
                if not self.let_in(match[1]):
                    return None
                if self.registry.repositories is not None and match[1] not in self.registry.repositories:
                    self.drain()
                    return self.error(404, "NAME_UNKNOWN")
                return getattr(self, name)(*match.groups())
        self.drain()
        return self.error(404, "NAME_UNKNOWN")

    # who is asking

    def let_in(self, repository: str) -> bool:
        registry, sent = self.registry, self.headers.get("Authorization", "")
        if not registry.auth:
            return True
        if registry.auth == "basic":
            if self.user() is not None:
                return True
            if sent and registry.denies == 403:  # as ECR does when a password expired
                self.drain()
                self.error(403, "DENIED", message="Your authorization token has expired. Reauthenticate and try again.")
                return False
            return self.challenge(f'Basic realm="http://{registry.host}/",service="strict"')
        action = "pull" if self.command in ("GET", "HEAD") and "/uploads/" not in self.asked else "push"
        wanted = {(repository, action)} | ({(self.query["from"], "pull")} if "from" in self.query else set())
        token = registry.tokens.get(sent.removeprefix("Bearer ")) if sent.startswith("Bearer ") else None
        if token is not None and wanted <= token.scopes:
            return True
        scope = " ".join(f"repository:{name}:{what}" for name, what in sorted(wanted))
        error = "" if not sent else ',error="insufficient_scope"' if token else ',error="invalid_token"'
        return self.challenge(f'Bearer realm="http://{registry.host}/token",service="strict",scope="{scope}"{error}')

    def challenge(self, text: str) -> bool:
        self.drain()
        self.error(401, "UNAUTHORIZED", {"WWW-Authenticate": text})
        return False

    def user(self) -> str | None:
        sent = self.headers.get("Authorization", "")
        if not sent.startswith("Basic "):
            return None
        name, _, password = base64.b64decode(sent[6:]).decode().partition(":")
        return name if self.registry.users.get(name) == password else None

    def token(self) -> None:
        user = self.user()
        if "Authorization" in self.headers and user is None:
            return self.error(401, "UNAUTHORIZED")
        granted = set()
        for scope in parse_qs(urlsplit(self.path).query).get("scope", []):
            kind, name, actions = scope.split(":")
            assert kind == "repository"
            granted |= {(name, one) for one in actions.split(",") if one == "pull" or user is not None}
        name = secrets.token_urlsafe(24)
        self.registry.tokens[name] = Token(frozenset(granted))
        told = {"token": name} | ({"expires_in": self.registry.token_life} if self.registry.token_life else {})
        return self.answer(200, {"Content-Type": "application/json"}, json.dumps(told).encode())

    # bodies

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes; breaks off where the script says so."""
        left = self.drop if self.drop >= 0 else None
        for piece in self.raw_pieces():
            self.registry.received[self.command] = self.registry.received.get(self.command, 0) + len(piece)
            if left is not None and len(piece) >= left:
                yield piece[:left]
                raise Broken
            if left is not None:
                left -= len(piece)
            yield piece
        if left is not None:
            raise Broken

    def raw_pieces(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while True:
                line = self.rfile.readline(32)
                if not line.endswith(b"\r\n"):
                    raise Broken
                size = int(line, 16)
                yield from self.exactly(size)
                if self.rfile.readline(8) != b"\r\n":
                    raise Broken
                if size == 0:
                    return
        else:
            yield from self.exactly(int(self.headers.get("Content-Length", "0")))

    def exactly(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self.rfile.read1(min(size, 1 << 16))
            if not piece:
                raise Broken
            size -= len(piece)
            yield piece

    def drain(self) -> None:
        for _ in self.raw_pieces():
            pass

    # answers

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        if getattr(self, "lost", False):
            raise Broken
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            cut = self.truncate
            self.wfile.write(body if cut < 0 else body[:cut])
            if 0 <= cut < len(body):
                self.wfile.flush()
                raise Broken

    def error(self, status: int, code: str, headers: dict[str, str] | None = None, message: str = "no") -> None:
        told = json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()
        self.answer(status, {"Content-Type": "application/json", **(headers or {})}, told)

    def named(self, digest: str) -> dict[str, str]:
        return {"Docker-Content-Digest": self.lie or digest} if self.registry.names_digests else {}

    # blobs

    def blob(self, repository: str, digest: str) -> None:
        size, data = self.registry.blobs.get(repository, {}).get(digest, (None, b""))
        if size is None:
            return self.error(404, "BLOB_UNKNOWN")
        if self.command == "HEAD":
            return self.answer(200, {"Content-Length": str(size), **self.named(digest)})
        if self.registry.redirect_blobs:
            return self.answer(307, {"Location": self.registry.redirect_blobs + digest})
        return self.ranged(data)

    def elsewhere(self) -> None:
        """What a presigned URL leads to."""
        digest = self.asked.rpartition("/")[2]
        if self.headers.get("Authorization"):
            return self.answer(400, {}, b"Only one auth mechanism allowed")
        for blobs in self.registry.blobs.values():
            if digest in blobs:
                return self.ranged(blobs[digest][1])
        return self.answer(404)

    def ranged(self, data: bytes) -> None:
        data = data if self.garbage is None else self.garbage
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not match:
            return self.answer(200, {"Content-Type": "application/octet-stream"}, data)
        start = int(match[1])
        if start >= len(data):
            return self.answer(416)
        return self.answer(206, {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, data[start:])

    def upload_begin(self, repository: str) -> None:
        assert self.command == "POST", self.command
        self.drain()
        registry, digest = self.registry, self.query.get("mount", "")
        if digest and registry.mounts and digest in registry.blobs.get(self.query["from"], {}):
            registry.blobs.setdefault(repository, {})[digest] = registry.blobs[self.query["from"]][digest]
            return self.answer(201, {"Location": f"/v2/{repository}/blobs/{digest}", **self.named(digest)})
        name = secrets.token_hex(16)
        registry.sessions[name] = Session(repository)
        return self.answer(202, {"Location": self.location(repository, name), "Range": "0-0"})

    def location(self, repository: str, name: str) -> str:
        """Opaque, and different each time, as the specification lets it be."""
        return f"/v2/{repository}/blobs/uploads/{name}?state={secrets.token_hex(4)}%3D&empty="

    def upload(self, repository: str, name: str) -> None:
        session = self.registry.sessions.get(name)
        if session is None or session.repository != repository or "empty" not in self.query:
            self.drain()
            return self.error(404, "BLOB_UPLOAD_UNKNOWN")
        where = {"Location": self.location(repository, name), "Range": f"0-{max(0, session.size - 1)}"}
        if self.command == "GET":
            return self.answer(204, where)
        if self.command == "DELETE":
            del self.registry.sessions[name]
            return self.answer(204)
        if self.command == "PATCH":
            return self.patch(repository, name, session, where)
        assert self.command == "PUT", self.command
        return self.commit(repository, name, session)

    def patch(self, repository: str, name: str, session: Session, where: dict[str, str]) -> None:
        if self.registry.ecr and session.patches:
            self.drain()  # what ECR does with a second one
            return self.answer(201, where)
        session.patches += 1
        span = (
            re.fullmatch(r"(\d+)-(\d+)", self.headers.get("Content-Range", ""))
            if self.headers.get("Content-Range")
            else None
        )
        if self.headers.get("Content-Range"):
            length = int(self.headers.get("Content-Length", "-1"))
            if not span or int(span[1]) != session.size or int(span[2]) - int(span[1]) + 1 != length:
                self.drain()
                return self.error(416, "BLOB_UPLOAD_INVALID", where)
        for piece in self.pieces():
            session.add(piece)
        where["Range"] = f"0-{max(0, session.size - 1)}"
        return self.answer(201 if self.registry.ecr else 202, where)

    def commit(self, repository: str, name: str, session: Session) -> None:
        for piece in self.pieces():
            session.add(piece)
        digest = "sha256:" + session.hash.hexdigest()
        del self.registry.sessions[name]
        if self.query.get("digest") != digest:
            return self.error(400, "DIGEST_INVALID")
        data = bytes(session.data) if session.size <= KEPT else b""
        self.registry.blobs.setdefault(repository, {})[digest] = (session.size, data)
        return self.answer(201, {"Location": f"/v2/{repository}/blobs/{digest}", **self.named(digest)})

    # manifests

    def manifest(self, repository: str, reference: str) -> None:
        registry = self.registry
        digest = registry.tags.get(repository, {}).get(reference, reference)
        if self.command == "PUT":
            return self.put_manifest(repository, reference, b"".join(self.pieces()))
        found = registry.manifests.get(repository, {}).get(digest)
        if found is None:
            return self.error(404, "MANIFEST_UNKNOWN")
        if found[0] not in self.headers.get("Accept", ""):
            return self.error(404, "MANIFEST_UNKNOWN", message="not accepted")
        body = found[1] if self.garbage is None else self.garbage
        return self.answer(200, {"Content-Type": found[0], **self.named(digest)}, body)

    def put_manifest(self, repository: str, reference: str, data: bytes) -> None:
        registry, media_type = self.registry, self.headers["Content-Type"]
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        told = json.loads(data)
        blobs = [told["config"], *told["layers"]] if "layers" in told else []
        if told.get("mediaType", media_type) != media_type or ("sha256:" in reference and reference != digest):
            return self.error(400, "MANIFEST_INVALID")
        if any(not registry.has(repository, blob["digest"]) for blob in blobs):
            return self.error(400, "MANIFEST_BLOB_UNKNOWN")
        tags = registry.tags.setdefault(repository, {})
        if ":" not in reference:
            if registry.immutable and reference in tags:
                return self.error(400, "TAG_INVALID", message=f"The image tag '{reference}' already exists: immutable")
            tags[reference] = digest
        registry.manifests.setdefault(repository, {})[digest] = (media_type, data)
        subject = {"OCI-Subject": told["subject"]["digest"]} if "subject" in told and registry.lists_referrers else {}
        location = f"/v2/{repository}/manifests/{digest}"
        return self.answer(201, {"Location": location, **self.named(digest), **subject})

    def referrers(self, repository: str, digest: str) -> None:
        registry = self.registry
        if not registry.lists_referrers:
            return self.error(405 if registry.ecr else 404, "UNSUPPORTED")
        found = []
        for name, (media_type, data) in registry.manifests.get(repository, {}).items():
            told = json.loads(data)
            if told.get("subject", {}).get("digest") == digest:
                kind = told.get("artifactType") or told["config"]["mediaType"]
                more = {"annotations": told["annotations"]} if told.get("annotations") else {}
                found.append({"mediaType": media_type, "digest": name, "size": len(data), "artifactType": kind, **more})
        at, page = int(self.query.get("at", "0")), 2
        link = {"Link": f'<{self.asked}?at={at + page}>; rel="next"'} if len(found) > at + page else {}
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": found[at : at + page]}).encode()
        return self.answer(200, {"Content-Type": INDEX, **link}, body)
