"""An Argo CD for tests: its HTTP API and the Kubernetes API with its resources, over real HTTP on loopback.

What it knows of an Application is a script, of which each look takes the next state and the last one stays. It answers
as Argo CD does (argo-cd, server/application/application.go, `getAppEnforceRBAC`; forwarder_overwrite.go): 401 without a
token, 403 for a project that the token may not see and for an Application that is in another one, 404 for one that does
not exist where the project is named, and 403 where it is not. Of a list it gives the fields that it is asked for, and
only those that Argo CD can give alone.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

TOKEN = "fake.token.of-a-test"
START = datetime(2026, 11, 25, 12, tzinfo=UTC)
_FIELDS = (
    *("metadata.name", "metadata.namespace", "metadata.annotations", "metadata.labels", "spec", "operation.sync"),
    *("status.sync.status", "status.health", "status.summary", "status.resources", "status.operationState.phase"),
    *("status.operationState.startedAt", "status.operationState.finishedAt", "status.operationState.operation.sync"),
)


def at(seconds: float) -> str:
    """A moment as Kubernetes writes it."""
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def application(name: str, revision: str = "", *images: str, project: str = "sluice", **changed: Any) -> dict[str, Any]:
    """A healthy Application in sync with `revision`; `changed` replaces parts of its status."""
    status = {
        "sync": {"status": "Synced", "revision": revision, "comparedTo": {"source": {"path": "models"}}},
        "health": {"status": "Healthy", "lastTransitionTime": at(60)},
        "reconciledAt": at(120),
        "operationState": {
            "phase": "Succeeded",
            "message": "successfully synced (all tasks run)",
            "startedAt": at(0),
            "finishedAt": at(30),
            "operation": {"sync": {"revision": revision, "prune": True}},
            "syncResult": {"revision": revision, "resources": [{"kind": "Deployment", "message": "configured"}] * 8},
        },
        "resources": [{"kind": "Deployment", "name": f"{name}-{number}", "status": "Synced"} for number in range(8)],
        "history": [{"id": number, "revision": revision, "deployedAt": at(0)} for number in range(10)],
        "summary": {"images": list(images)},
        **changed,
    }
    destination = {"server": "https://kubernetes.default.svc", "namespace": "models-prod"}
    metadata = {"name": name, "namespace": "argocd", "resourceVersion": "1"}
    spec = {"project": project, "destination": destination, "source": {"repoURL": "https://git.example.com/a.git"}}
    return {"metadata": metadata, "spec": spec, "status": status}


def node(role: str, version: int, image: str, *, reason: str = "Running", health: str = "Healthy") -> dict[str, Any]:
    """A pod in a resource tree."""
    labels = {"sluicegate.dev/role": role, "app.kubernetes.io/version": str(version)}
    info = [{"name": "Status Reason", "value": reason}, {"name": "Containers", "value": "1/1"}]
    return {
        "version": "v1",
        "kind": "Pod",
        "namespace": "models-prod",
        "name": f"{role}-{version}",
        "info": info,
        "networkingInfo": {"labels": labels},
        "images": [image, "sidecar.example/proxy:1"],
        "health": {"status": health},
    }


def pod(role: str, version: int, image: str, *, phase: str = "Running", **metadata: Any) -> dict[str, Any]:
    """A pod as Kubernetes has it."""
    labels = {
        "sluicegate.dev/model": "fraud",
        "sluicegate.dev/environment": "prod",
        "sluicegate.dev/role": role,
        "app.kubernetes.io/version": str(version),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{role}-{version}", "namespace": "models-prod", "labels": labels, **metadata},
        "spec": {"containers": [{"name": "server", "image": image}]},
        "status": {"phase": phase},
    }


class Asked(NamedTuple):
    """A request, and how many bytes the answer had."""

    method: str
    path: str
    query: Mapping[str, str]
    size: int


class FakeArgoCd(ThreadingHTTPServer):
    """The server; `with` starts and ends it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tokens: dict[str, set[str]] = {TOKEN: {"sluice"}}
        """Which projects each token may see."""
        self.scripts: dict[str, deque[dict[str, Any]]] = {}
        self.trees: dict[str, list[dict[str, Any]]] = {}
        self.pods: list[dict[str, Any]] = []
        self.sets = {"sluice"}
        self.annotated: list[tuple[str, str, Mapping[str, str]]] = []
        self.refreshed: list[str] = []
        self.on_refresh: Callable[[str], None] = lambda name: None
        self.asked: list[Asked] = []
        self.faults: deque[int | str] = deque()
        """What becomes of the next requests: a status, "drop", "stall", "nonsense", "elsewhere" or "flood"."""
        self.going_on = threading.Event()
        """Lets go of those that stall."""
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def script(self, name: str, *states: dict[str, Any]) -> None:
        """Say what each look at an Application finds; the last one for ever."""
        self.scripts[name] = deque(states)

    def state(self, name: str) -> dict[str, Any] | None:
        """The next state of the script."""
        states = self.scripts.get(name)
        if not states:
            return None
        return states.popleft() if len(states) > 1 else states[0]

    def kubeconfig(self) -> str:
        """A kubeconfig that leads here."""
        user = {"name": "me", "user": {"token": TOKEN}}
        cluster = {"name": "here", "cluster": {"server": self.url}}
        context = {"name": "ops", "context": {"cluster": "here", "user": "me"}}
        known = {"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "ops"}
        return json.dumps({"apiVersion": "v1", "kind": "Config", **known})

    def __enter__(self) -> FakeArgoCd:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.going_on.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Answered(Exception):
    def __init__(self, status: int, body: object) -> None:
        self.status, self.body = status, body


class _Handler(BaseHTTPRequestHandler):
    server: FakeArgoCd
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.given = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
        fault = self.server.faults.popleft() if self.server.faults else None
        if fault is not None and self._fails(fault, parts.path):
            return
        try:
            status, body = 200, self._found(parts.path.strip("/").split("/"))
        except _Answered as answered:
            status, body = answered.status, answered.body
        self._send(status, json.dumps(body).encode(), parts.path)

    def _send(self, status: int, data: bytes, path: str, **headers: str) -> None:
        self.server.asked.append(Asked(self.command, path, self.query, len(data)))
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _fails(self, fault: int | str, path: str) -> bool:
        if isinstance(fault, int):
            self._send(fault, b'{"error": "x", "code": 14, "message": "as the test wants"}', path)
        elif fault == "nonsense":
            self._send(200, b"<html>Log in</html>", path)
        elif fault == "elsewhere":
            self._send(302, b"", path, Location=f"{self.server.url}/api/v1/applications")
        elif fault == "flood":
            self._flood(path)
        elif fault == "drop":
            self.server.asked.append(Asked(self.command, path, self.query, 0))
            self.close_connection = True
        else:
            self.server.going_on.wait(30)
            return False
        return True

    def _flood(self, path: str) -> None:
        self.server.asked.append(Asked(self.command, path, self.query, 0))
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b" " * (1 << 20))
        except OSError:
            return

    def _found(self, path: Sequence[str]) -> object:
        match path:
            case ["api", "v1", "applications"]:
                return self._list(self._allowed())
            case ["api", "v1", "applications", name]:
                return self._one(name, self._allowed())
            case ["api", "v1", "applications", name, "resource-tree"]:
                self._one(name, self._allowed())
                return {"nodes": [{"kind": "ReplicaSet", "group": "apps"}, *self.server.trees.get(name, ())]}
            case ["apis", "argoproj.io", "v1alpha1", "namespaces", namespace, kind, *rest]:
                self._known()
                return self._resource(namespace, kind, *rest)
            case ["api", "v1", "namespaces", namespace, "pods"]:
                self._known()
                return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._pods(namespace)}
        raise _Answered(404, {"error": "Not Found", "code": 5, "message": "Not Found"})

    def _token(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return token if token in self.server.tokens else None

    def _allowed(self) -> set[str]:
        token = self._token()
        if token is None:
            raise _Answered(401, {"error": "x", "code": 16, "message": "invalid session: token is malformed"})
        return self.server.tokens[token]

    def _one(self, name: str, allowed: set[str]) -> object:
        denied = _Answered(403, {"error": "permission denied", "code": 7, "message": "permission denied"})
        project = self.query.get("project")
        if project is not None and project not in allowed:
            raise denied
        if self.query.get("refresh"):
            self.server.refreshed.append(name)
            self.server.on_refresh(name)
        found = self.server.state(name)
        if found is None:
            missing = f'applications.argoproj.io "{name}" not found'
            raise _Answered(404, {"error": missing, "code": 5, "message": missing}) if project else denied
        if found["spec"]["project"] != project and project is not None:
            raise denied
        return found

    def _list(self, allowed: set[str]) -> object:
        wanted = {self.query["projects"]} & allowed if "projects" in self.query else allowed
        found = [one for name in list(self.server.scripts) if (one := self.server.state(name))]
        ours = [one for one in found if one["spec"]["project"] in wanted]
        fields = [field for field in self.query.get("fields", "").split(",") if field]
        items = [_fields(one, fields) for one in ours] if fields else ours
        return {"metadata": {"resourceVersion": "1"}, "items": items or None}

    def _known(self) -> None:
        if self._token() is None:
            raise _Answered(401, _status(401, "Unauthorized", "Unauthorized"))

    def _resource(self, namespace: str, kind: str, name: str | None = None) -> object:
        if name is None:
            everything = [one for each in list(self.server.scripts) if (one := self.server.state(each))]
            start, limit = int(self.query.get("continue", 0)), int(self.query.get("limit", 500))
            here = [one for one in everything if one["metadata"]["namespace"] == namespace]
            more = {"continue": str(start + limit)} if start + limit < len(here) else {}
            items = [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", **one} for one in here]
            return {"kind": "ApplicationList", "metadata": more, "items": items[start : start + limit]}
        found = self._named(namespace, kind, name)
        if self.command == "PATCH":
            assert self.headers["Content-Type"] == "application/merge-patch+json"
            annotations = self.given["metadata"]["annotations"]
            self.server.annotated.append((kind, name, annotations))
            if kind == "applications":
                self.server.refreshed.append(name)
                self.server.on_refresh(name)
        return found

    def _named(self, namespace: str, kind: str, name: str) -> object:
        missing = _Answered(404, _status(404, "NotFound", f'{kind}.argoproj.io "{name}" not found'))
        if kind == "applicationsets":
            if name not in self.server.sets:
                raise missing
            return {"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "metadata": {"name": name}}
        found = self.server.state(name)
        if found is None or found["metadata"]["namespace"] != namespace:
            raise missing
        return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", **found}

    def _pods(self, namespace: str) -> list[dict[str, Any]]:
        wanted = dict(pair.split("=", 1) for pair in self.query.get("labelSelector", "").split(",") if pair)
        here = [one for one in self.server.pods if one["metadata"]["namespace"] == namespace]
        return [one for one in here if wanted.items() <= one["metadata"]["labels"].items()]

    def log_message(self, *_: object) -> None:
        pass


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


def _fields(found: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    picked: dict[str, Any] = {}
    for field in _FIELDS:
        path = field.split(".")
        # by this name, the result of the sync is given
        source = path if field != "status.operationState.operation.sync" else ["status", "operationState", "syncResult"]
        value: Any = found
        for part in source:
            value = value.get(part) if isinstance(value, Mapping) else None
        if f"items.{field}" not in wanted or value is None:
            continue
        place = picked
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    return picked
