"""Reading an MLflow server that fails, lies or attacks."""

import base64
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError, Unavailable
from registry.mlflow.reader import Mlflow, MlflowVersion

API, PROXY = "/api/2.0/mlflow/", "/api/2.0/mlflow-artifacts/artifacts"
MODEL = {"registered_model": {"name": "m"}}
VERSION = {"name": "m", "version": "1", "source": "mlflow-artifacts:/1/r/artifacts/model", "run_id": ""}


class Fake:
    """An HTTP server that gives what was put at a path: the answers in turn, the last one for ever."""

    def __init__(self) -> None:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                fake.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.reset()
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self._thread.start()

    def reset(self) -> None:
        self.answers: dict[str, list[tuple[int, bytes, dict[str, str]]]] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def put(self, path: str, *answers: Any, status: int = 200, **headers: str) -> None:
        bodies = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in answers]
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.setdefault(path, []).extend((status, body, named) for body in bodies)

    def version(self, uri: str = VERSION["source"], **files: Any) -> MlflowVersion:
        """A version at `uri`, whose folder lists `files`."""
        self.put(API + "model-versions/get-download-uri", {"artifact_uri": uri})
        return MlflowVersion.model_validate({"name": "m", "number": 1, "created_at": "2026-01-01T00:00:00Z"})

    def listing(self, *files: tuple[str, int | None]) -> None:
        self.put(PROXY, {"files": [{"path": n, "is_dir": s is None, "file_size": s or 0} for n, s in files]})

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        self.seen.append((handler.path, {name.lower(): value for name, value in handler.headers.items()}))
        waiting = self.answers.get(parts.path, [(404, b"<html>", {})])
        status, body, headers = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        handler.send_response_only(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        if int(headers.get("Content-Length", len(body))) > len(body):
            handler.close_connection = True

    def asked(self, name: str) -> list[list[str]]:
        return [parse_qs(urlsplit(path).query).get(name, []) for path, _ in self.seen]


@pytest.fixture(scope="module")
def shared_fake() -> Iterator[Fake]:
    fake = Fake()
    yield fake
    fake.close()


@pytest.fixture
def fake(shared_fake: Fake, no_waits: None, monkeypatch: pytest.MonkeyPatch) -> Fake:
    for name in ("TOKEN", "USERNAME", "PASSWORD", "SERVER_CERT_PATH"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    shared_fake.reset()
    return shared_fake


@pytest.fixture
def mlflow(fake: Fake) -> Iterator[Mlflow]:
    with Mlflow(fake.url) as mlflow:
        yield mlflow


MODELS = API + "registered-models/search"


def test_a_fault_that_passes_is_tried_again(fake: Fake, mlflow: Mlflow) -> None:
    fake.put(MODELS, b"oops", status=500)
    fake.put(MODELS, b"slow down", status=429)
    fake.put(MODELS, {"registered_models": [{"name": "m", "creation_timestamp": "1700000000000"}]})
    (model,) = mlflow.models()
    assert (model.name, model.created_at.year) == ("m", 2023)


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (500, b"oops", Unavailable, "overloaded or failing"),
        (401, b"", Refused, "MLFLOW_TRACKING_TOKEN"),
        (403, b"{}", Refused, "MLFLOW_TRACKING_TOKEN"),
        (302, b"", Refused, "another address"),
        (404, b"<html>", InvalidInput, "does not answer as an MLflow"),
        (200, b"<html>", InvalidInput, "does not answer as an MLflow"),
        (200, b"[" * 100_000, InvalidInput, "does not answer as an MLflow"),
        (200, b'{"registered_models": [{}]}', InvalidInput, "does not answer as an MLflow"),
        (200, b'{"registered_models": [{"name": "m", "creation_timestamp": 1e30}]}', InvalidInput, "does not answer"),
        (400, b'{"error_code": "X", "message": "two\\nlines."}', InvalidInput, r"\(two lines\)"),
        (404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no m"}', NotFound, "no m"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    fake: Fake, mlflow: Mlflow, status: int, body: bytes, error: type[SluiceError], said: str
) -> None:
    fake.put(MODELS, body, status=status, Location="http://127.0.0.1:1/elsewhere")
    with pytest.raises(error, match=said) as told:
        [*mlflow.models()]
    assert "\n" not in str(told.value)
    assert len(fake.seen) == (5 if error is Unavailable else 1)


def test_an_answer_without_end_is_refused(fake: Fake, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.mlflow.rest.JSON_MAX", 1 << 20)
    fake.put(MODELS, b" " * (1 << 20) + b"{}")
    with pytest.raises(Refused, match="more than"):
        [*mlflow.models()]


def test_a_server_that_is_not_there_is_unavailable(no_waits: None) -> None:
    with Mlflow("http://127.0.0.1:1") as mlflow, pytest.raises(Unavailable, match="cannot be reached"):
        next(mlflow.models())


def test_a_page_that_leads_to_itself_ends(fake: Fake, mlflow: Mlflow) -> None:
    fake.put(MODELS, {"registered_models": [{"name": "m"}], "next_page_token": "x"})
    with pytest.raises(InvalidInput, match="same page"):
        [*mlflow.models()]


def test_versions_come_sorted_once_and_of_the_model_that_was_asked_for(fake: Fake, mlflow: Mlflow) -> None:
    fake.put(API + "registered-models/get", MODEL)
    found = [VERSION | {"version": number, "name": name} for number, name in ((10, "m"), (9, "m"), (3, "n"), (9, "m"))]
    fake.put(API + "model-versions/search", {"model_versions": found})
    assert [version.number for version in mlflow.versions("m")] == [9, 10]
    assert fake.asked("filter")[-1] == ["name='m'"]


def test_a_run_that_was_deleted_for_good_tells_nothing(fake: Fake, mlflow: Mlflow) -> None:
    fake.put(API + "registered-models/get", MODEL)
    fake.put(API + "model-versions/search", {"model_versions": [VERSION | {"run_id": "r", "user_id": "bob"}]})
    fake.put(API + "runs/get", {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "gone"}, status=404)
    (version,) = mlflow.versions("m")
    assert (version.metrics, version.user, version.run_id) == ({}, "bob", "r")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"TOKEN": "secret"}, "Bearer secret"),
        ({"USERNAME": "ann", "PASSWORD": "pw"}, "Basic " + base64.b64encode(b"ann:pw").decode()),
        ({"USERNAME": "ann", "PASSWORD": "pw", "TOKEN": "t"}, "Basic " + base64.b64encode(b"ann:pw").decode()),
        ({}, None),
    ],
)
def test_credentials_are_those_of_mlflows_environment(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], sent: str | None
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    fake.put(MODELS, {})
    with Mlflow(fake.url + "/") as mlflow:
        assert [*mlflow.models()] == []
    assert fake.seen[0][1].get("authorization") == sent


def test_settings_that_cannot_be_are_told(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/nowhere.pem")
    with pytest.raises(InvalidInput, match="CERT_PATH"):
        Mlflow(fake.url)
    monkeypatch.delenv("MLFLOW_TRACKING_SERVER_CERT_PATH")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a\nb")
    with pytest.raises(InvalidInput, match="TOKEN"):
        Mlflow(fake.url)
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    monkeypatch.setenv("ALL_PROXY", "nonsense://host")
    with pytest.raises(InvalidInput, match="proxy"):
        Mlflow(fake.url)


@pytest.mark.parametrize(
    "name", ["..", ".", "", "a/b", "/etc/passwd", "a\\b", "a\nb", "a\x1b[0m", "x" * 256, "\u202ea"]
)  # fmt: skip
def test_a_hostile_file_name_is_refused(fake: Fake, mlflow: Mlflow, name: str) -> None:
    version = fake.version()
    fake.listing(("MLmodel", 1), (name, 1))
    fake.put(f"{PROXY}/1/r/artifacts/model/MLmodel", b"x")
    with pytest.raises(Refused, match="no file name"):
        b"".join(mlflow.archive(version))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("file:///etc", "does not read this machine's files"),
        ("/etc", "does not read this machine's files"),
        ("etc", "does not read this machine's files"),
        ("", "does not read this machine's files"),
        ("mlflow-artifacts:/1/../../etc", "no address"),
        ("mlflow-artifacts:/1/%2e%2e/etc", "no address"),
        ("mlflow-artifacts:/1/a\nb", "no address"),
        ("mlflow-artifacts://169.254.169.254/latest", "not served by"),
        ("http://169.254.169.254/latest/meta-data", "not served by"),
        ("http://169.254.169.254/api/2.0/mlflow-artifacts/artifacts/x", "not served by"),
        ("mlflow-artifacts:/1/a?b=c", "not served by"),
        ("s3://bucket", "whole bucket"),
        ("models:/m/1", "without naming a place"),
    ],
)
def test_a_hostile_place_is_refused(fake: Fake, mlflow: Mlflow, uri: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        mlflow.archive(fake.version(uri))


def test_folders_without_end_are_refused(fake: Fake, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    version = fake.version()
    fake.listing(("again", None))
    with pytest.raises(Refused, match="deep"):
        b"".join(mlflow.archive(version))
    monkeypatch.setattr("registry.mlflow.artifacts.FILES_MAX", 5)
    fake.reset()
    fake.version()
    fake.listing(*[(f"f{n}", None) for n in range(10)])
    with pytest.raises(Refused, match="more than 5 files"):
        b"".join(mlflow.archive(version))


def test_one_name_twice_is_refused(fake: Fake, mlflow: Mlflow) -> None:
    version = fake.version()
    fake.listing(("a", 1), ("a", 2))
    with pytest.raises(Refused, match="twice"):
        b"".join(mlflow.archive(version))


FILE = f"{PROXY}/1/r/artifacts/model/w"


def test_a_download_goes_on_where_it_broke_off(fake: Fake, mlflow: Mlflow) -> None:
    whole = bytes(range(256)) * 10
    version = fake.version()
    fake.listing(("w", len(whole)))
    fake.put(FILE, whole[:1000], Content_Length=str(len(whole)))
    fake.put(FILE, whole[:1500], Content_Length=str(len(whole)))
    fake.put(FILE, whole[1500:], status=206, Content_Range=f"bytes 1500-{len(whole) - 1}/{len(whole)}")
    with tarfile.open(fileobj=io.BytesIO(b"".join(mlflow.archive(version)))) as tar:
        assert tar.extractfile("w").read() == whole  # type: ignore[union-attr]
    assert [headers.get("range") for path, headers in fake.seen if path == FILE] == [None, "bytes=1000-", "bytes=1500-"]


@pytest.mark.parametrize("size", [5, 7])
def test_a_file_of_another_size_than_listed_is_a_conflict(fake: Fake, mlflow: Mlflow, size: int) -> None:
    version = fake.version()
    fake.listing(("w", 6))
    fake.put(FILE, b"x" * size)
    with pytest.raises(Conflict, match="replaced"):
        b"".join(mlflow.archive(version))


def test_a_download_that_never_gets_on_is_unavailable(fake: Fake, mlflow: Mlflow) -> None:
    version = fake.version()
    fake.listing(("w", 6))
    fake.put(FILE, b"", Content_Length="6")
    with pytest.raises(Unavailable, match="broke off"):
        b"".join(mlflow.archive(version))
