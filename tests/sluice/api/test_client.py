"""`registry.client.RegistryClient` against a server that really runs."""

from __future__ import annotations

import inspect
import math
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from registry.changes import Approval, EventKind, ModelEdit
from registry.client import RegistryClient
from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError, Unavailable
from registry.facts import FACTS, Artifact, FileFact, Format, Image, Scan, Signature, SignOff, Smoke, SourceKind
from registry.mlflow.reader import MlflowModel, MlflowVersion
from registry.names import AliasRef, VersionRef
from registry.registry import Registry
from registry.roles import Role
from registry.verify import Verdict
from sluice.api.tokens import hash_of, new_token

INTERNAL = {"version_lines"}
"""What a server of the registry needs, and nobody else."""
DIGEST = "sha256:" + "0" * 64
REF = VersionRef(model="fraud", number=1)
GRANTS = [
    {"who": "token:admin", "role": "admin", "models": "*"},
    {"who": "token:viewer", "role": "viewer", "models": "fraud"},
    {"who": "token:owner", "role": "admin", "models": "fraud"},
]


@pytest.fixture
def secrets():
    return {grant["who"].removeprefix("token:"): new_token() for grant in GRANTS}


@pytest.fixture
def server(start, secrets):
    tokens = [{"name": name, "hash": hash_of(secret)} for name, secret in secrets.items()]
    return start(
        tokens=tokens, grants=GRANTS, buckets=["friends-bucket"], mlflow_hosts=["127.0.0.1:1", "mlflow-plain.example"]
    )


@pytest.fixture
def client(server, secrets):
    with RegistryClient(server.url, token=secrets["admin"]) as made:
        yield made


@pytest.fixture
def three(client):
    for job in ("job-1", "job-2", "job-3"):
        client.register("fraud", job)
    return client


def _methods(cls):
    return {name for name, member in inspect.getmembers(cls, callable) if not name.startswith("_")} - INTERNAL


def test_it_has_every_method_of_the_registry():
    assert _methods(Registry) - _methods(RegistryClient) == set()


def test_its_methods_take_what_the_registrys_take():
    here = {"actor", "role", "progress", "every", "wait", "created_at"}
    for name in _methods(Registry):
        # over HTTP an edit is conditional by If-Match, which the client does not send
        unsaid = here | ({"expect"} if name == "edit_model" else set())
        ours = set(inspect.signature(getattr(Registry, name)).parameters) - unsaid
        theirs = set(inspect.signature(getattr(RegistryClient, name)).parameters)
        assert ours <= theirs, name


def test_registering(client, tmp_path):
    made = client.register("fraud", "job-1", metrics={"loss": math.nan}, tags={"a": "1"}, description="one")
    assert made.created
    assert math.isnan(made.version.metrics["loss"])
    assert (made.version.description, made.version.created_by) == ("one", "token:admin")
    again = client.register("fraud", "job-1")
    assert (again.created, again.version.number) == (False, 1)
    assert client.version(REF).source == made.version.source
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.pt").write_bytes(b"x" * 3_000_000)
    uploaded = client.register("fraud", str(tmp_path / "model"), parameters={"lr": "1"}).version
    assert (uploaded.source.kind, uploaded.source.parameters) == (SourceKind.UPLOAD, {"lr": "1"})
    assert client.verify(uploaded.ref).checks[0].verdict is Verdict.GOOD
    assert client.registered("fraud", "job-1").ref == REF
    assert client.registered("fraud", "job-9") is None
    with pytest.raises(NotFound):
        client.registered("fraud", "missing-9")
    with pytest.raises(NotFound, match="nothing at"):
        client.register("fraud", "./nowhere")
    with pytest.raises(NotFound, match="missing-1"):
        client.register("fraud", "missing-1")
    with pytest.raises(InvalidInput):
        client.register("Fraud", "job-1")


def test_uploading_bytes_and_chunks(client):
    whole = client.upload(b"abc")
    assert client.upload(iter([b"a", b"", b"bc"])) == whole
    assert client.register("fraud", whole.digest).created


def test_a_large_upload_that_is_not_allowed(server, secrets):
    with RegistryClient(server.url, token=secrets["viewer"]) as viewer, pytest.raises(Refused, match="no releaser"):
        viewer.upload(bytes(40 << 20))


def test_lists(three, monkeypatch):
    monkeypatch.setattr("registry.client.wire.PAGE", 2)
    assert [row.number for row in three.versions("fraud")] == [3, 2, 1]
    assert [row.number for row in three.versions("fraud", below=3)] == [2, 1]
    three.register("churn", "job-1", tags={"a": "1"})
    assert [row.number for row in three.versions("churn", tag={"a": "1"})] == [1]
    assert [row.number for row in three.versions("churn", tag={"a": "2"})] == []
    assert [one.model.name for one in three.models()] == ["churn", "fraud"]
    assert [one.model.name for one in three.models(search="fra")] == ["fraud"]
    assert [str(row.ref) for row in three.trained_on("s3://data")] == ["churn@1", "fraud@3", "fraud@2", "fraud@1"]
    assert [row.number for row in three.trained_on("s3://data", model="churn")] == [1]
    assert [str(one.ref) for one in three.verify_all(after=VersionRef(model="fraud", number=2))] == ["fraud@1"]
    with pytest.raises(NotFound):
        list(three.versions("none"))
    with pytest.raises(InvalidInput, match="="):
        three.models(tag={"a=b": "1"})


def test_models_and_aliases(three):
    assert three.edit_model("fraud", ModelEdit(owner="risk", protected={"champion": Role.ADMIN})).owner == "risk"
    assert three.model("fraud").protected == {"champion": Role.ADMIN}
    assert three.set_alias(REF, "champion", expect=0, token="t").number == 1
    assert len(three.set_alias(REF, "champion", expect=0, token="t").moves) == 1
    with pytest.raises(Conflict):
        three.set_alias(REF, "champion", expect=2)
    between = datetime.now(UTC)
    three.set_alias(VersionRef(model="fraud", number=2), "champion", reason="better")
    assert three.alias_at("fraud", "champion", between).number == 1
    assert [move.number for move in three.alias_history("fraud", "champion")] == [2, 1]
    assert three.alias("fraud", "champion").number == 2
    assert [alias.name for alias in three.aliases("fraud")] == ["champion"]
    assert three.resolve(AliasRef(model="fraud", alias="champion")).number == 2
    assert three.resolve(AliasRef(model="fraud", alias="latest")).number == 3
    with pytest.raises(Refused, match="champion"):
        three.delete(VersionRef(model="fraud", number=2))
    assert three.remove_alias("fraud", "champion", expect=2).number is None
    assert three.delete(REF, reason="old").reason == "old"
    assert [row.state for row in three.versions("fraud", deleted=True)][-1] == "deleted"
    assert three.delete_model("fraud").upto == 3
    with pytest.raises(NotFound):
        three.model("fraud")


def test_facts_and_decisions(three):
    blob = three.upload(b"artifact")
    file = FileFact(path="m.pt", size=1, sha256=DIGEST)
    image = f"host/repo@{DIGEST}"
    now = datetime.now(UTC)
    facts = [
        Scan(source=DIGEST, size=3, format=Format.TORCHSCRIPT, root="m.pt", files=(file,)),
        Signature(sample={"instances": [[1, 2]]}, told_by="sample.json"),
        Artifact(type="mar", source=DIGEST, blob=blob.digest, size=8, files=(file,)),
        Image(reference=image, artifact=blob.digest, base=DIGEST, runtime="torchserve", size=1),
        Smoke(image=image, passed=True, at=now, by="me"),
        SignOff(note="fair", at=now, by="me"),
    ]
    assert {type(fact) for fact in facts} == set(FACTS.values())
    for fact in facts:
        assert three.fact(REF, type(fact)) is None
        written = three.record(REF, fact)
        assert three.record(REF, fact) == written == three.fact(REF, type(fact))
        assert getattr(written, "by", "token:admin") == "token:admin"
    assert three.facts(REF).scan == facts[0]
    assert three.facts(REF).smoke.passed
    with pytest.raises(Conflict):
        three.record(REF, facts[0].model_copy(update={"size": 4}))
    assert three.approval(REF) is Approval.PENDING
    decided = three.decide(REF, Approval.APPROVED, token="d")
    assert three.decide(REF, Approval.APPROVED, token="d") == decided
    assert three.decisions(REF) == (decided,)
    assert three.approval(REF) is Approval.APPROVED


def test_lineage_and_comparison(three):
    assert three.lineage(REF).inputs[0].name == "train"
    with pytest.raises(NotFound):
        three.deployed_by("abc")
    two = VersionRef(model="fraud", number=2)
    three.register("churn", "job-9", metrics={"loss": math.nan})
    three.register("churn", "job-8", metrics={"loss": math.inf})
    churn = [VersionRef(model="churn", number=number) for number in (1, 2)]
    assert [column.ref for column in three.compare([two, REF]).versions] == [two, REF]
    assert [column.ref for column in three.compare([REF, churn[0]]).versions] == [REF, churn[0]]
    assert math.isnan(three.compare(churn).metrics["loss"].values[0])
    with pytest.raises(InvalidInput):
        three.compare([REF])


def test_events_and_following(three, server):
    first = three.events(limit=2)
    rest = three.events(first.cursor)
    numbers = {one.event.number for one in (*first.events, *rest.events)}
    assert numbers == {1, 2, 3}
    assert first.events[0].at
    told = three.follow()
    assert [next(told).event.number for _ in range(3)] == [1, 2, 3]
    three.set_alias(REF, "champion")
    heard = next(told)
    assert heard.event.kind is EventKind.ALIASED
    told.close()
    three.decide(REF, Approval.APPROVED)
    later = three.follow(heard.cursor)
    while next(later).event.kind is not EventKind.DECIDED:
        pass
    later.close()
    with pytest.raises(InvalidInput, match="cursor"):
        next(three.follow("a/b"))


def test_upkeep(three, server, secrets):
    swept = three.sweep("fraud", datetime(2026, 1, 1, tzinfo=UTC))
    assert [(one.job, one.version is None) for one in swept] == [
        ("swept-1", False),
        ("missing-1", True),
        ("swept-2", False),
    ]
    assert three.collect(dry_run=True).dry_run
    with pytest.raises(InvalidInput):
        three.collect(grace=timedelta(minutes=1))
    three.rebuild("fraud")
    three.rebuild()
    with pytest.raises(NotFound):
        three.rebuild("none")
    assert three.export("fraud", "any-bucket").versions == 5
    assert three.export("fraud", "any-bucket").versions == 0
    three.delete_model("fraud")
    with RegistryClient(server.url, token=secrets["owner"]) as owner:
        with pytest.raises(Refused, match=r"serve\.buckets"):
            owner.export("fraud", "any-bucket")
        with pytest.raises(Refused, match=r"serve\.buckets"):
            owner.import_bucket("fraud", "any-bucket")
        with pytest.raises(NotFound):
            owner.import_bucket("fraud", "friends-bucket")
        with pytest.raises(Refused):
            owner.import_bucket("churn", "friends-bucket")
        with pytest.raises(Refused):
            owner.rebuild()


def test_importing_from_a_bucket(three, start):
    other = start()
    with RegistryClient(other.url) as theirs:
        theirs.register("spam", "job-1")
        theirs.set_alias(VersionRef(model="spam", number=1), "champion")
    mine = start()
    mine.parts.others["their-bucket"] = other.parts.storage
    with RegistryClient(mine.url) as client:
        assert client.import_bucket("spam", "their-bucket").versions == 1
        assert client.import_bucket("spam", "their-bucket").versions == 0
        assert client.alias("spam", "champion").number == 1
        with pytest.raises(NotFound):
            client.import_bucket("none", "their-bucket")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("https://mlflow.example", Refused),
        ("http://127.0.0.1:2", Refused),
        ("http://127.0.0.1:1@evil.example", InvalidInput),
        ("sqlite:///mlflow.db", InvalidInput),
        ("file:///etc", InvalidInput),
        ("/etc", InvalidInput),
        ("http://127.0.0.1:1?x=", InvalidInput),
        ("http://127.0.0.1:1\\@evil.example", InvalidInput),
    ],
)
def test_mlflow_servers_that_are_not_asked(client, url, error):
    with pytest.raises(error):
        client.import_mlflow("fraud", url)


class _Mlflow:
    """A server with one model of two versions, the first of which was deleted."""

    def __init__(self, url):
        self.url = url

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def models(self):
        yield MlflowModel(name="Fraud Model", aliases={"champion": 2}, created_at=datetime(2026, 1, 1, tzinfo=UTC))

    def versions(self, name):
        yield MlflowVersion(name=name, number=2, created_at=datetime(2026, 1, 2, tzinfo=UTC), user="ann")

    def archive(self, version):
        yield b"bytes"


def test_importing_from_mlflow(client, server, secrets):
    asked = []
    server.parts.mlflow = lambda url: asked.append(url) or _Mlflow(url)
    with pytest.raises(NotFound):
        client.import_mlflow("fraud", "http://127.0.0.1:1")
    done = client.import_mlflow("fraud", "http://127.0.0.1:1/path", name="Fraud Model")
    assert (done.model, done.versions, done.aliases) == ("fraud", 1, 1)
    assert client.import_mlflow("fraud", "http://127.0.0.1:1/path", name="Fraud Model").versions == 0
    assert [row.number for row in client.versions("fraud")] == [2]
    assert client.resolve(AliasRef(model="fraud", alias="champion")).number == 2
    assert len(asked) == 3
    with pytest.raises(Refused, match="in clear"):
        client.import_mlflow("fraud", "http://mlflow-plain.example")
    with RegistryClient(server.url, token=secrets["owner"]) as owner:
        assert owner.import_mlflow("fraud", "http://127.0.0.1:1/path", name="Fraud Model").versions == 0
        with pytest.raises(Refused):
            owner.import_mlflow("churn", "http://127.0.0.1:1/path", name="Fraud Model")


def test_an_mlflow_server_that_is_asked_and_is_not_there(client, monkeypatch):
    monkeypatch.setattr("registry.retry.time.sleep", lambda _: None)
    monkeypatch.setattr("registry.client.wire.retrying", lambda *_, **__: lambda once, *a, **k: once(*a, **k))
    with pytest.raises(Unavailable, match="MLflow"):
        client.import_mlflow("fraud", "http://127.0.0.1:1")


def test_tokens(server, secrets, monkeypatch, caplog):
    caplog.set_level("DEBUG")
    with RegistryClient(server.url, token=new_token()) as nobody, pytest.raises(Refused, match="not one of this"):
        nobody.model("fraud")
    monkeypatch.setenv("SLUICE_TOKEN", secrets["viewer"])
    with RegistryClient(server.url) as viewer:
        assert list(viewer.models()) == []
        with pytest.raises(Refused, match="no releaser") as raised:
            viewer.register("fraud", "job-1")
        shown = f"{viewer!r} {raised.value} {vars(viewer)} {vars(viewer._wire)} {viewer._wire._client.headers}"
        assert secrets["viewer"] not in shown + caplog.text
    with RegistryClient(server.url, token="") as nobody, pytest.raises(Refused, match="who asks"):
        nobody.model("fraud")


@pytest.mark.parametrize(
    ("url", "token", "error"),
    [
        ("http://sluice.example", "s3cret", Refused),
        ("http://127.0.0.1.example", "s3cret", Refused),
        ("http://10.0.0.1", "s3cret", Refused),
        ("https://me:s3cret@sluice.example", "", InvalidInput),
        ("https://sluice.example?token=s3cret", "", InvalidInput),
        ("ftp://sluice.example", "s3cret", InvalidInput),
        ("sluice.example", "s3cret", InvalidInput),
        ("https://", "s3cret", InvalidInput),
        ("https://[", "s3cret", InvalidInput),
        ("https://sluice.example", "s3 cret", InvalidInput),
        ("https://sluice.example", "s3cret\n", InvalidInput),
    ],
)
def test_addresses_and_tokens_that_are_none(url, token, error):
    with pytest.raises(error) as raised:
        RegistryClient(url, token=token)
    assert "s3cret" not in str(raised.value)


@pytest.fixture
def odd():
    """A server whose answers the test decides; it keeps the requests' heads."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self):
            self.server.asked.append((self.command, self.path, dict(self.headers.items())))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = self.server.answers.pop(0)
            if status:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.answers = [], []
    made.url = f"http://127.0.0.1:{made.server_port}"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def at_once(monkeypatch):
    from registry.retry import retrying

    def quick(attempts=5, **more):
        return retrying(attempts, **{**more, "sleep": lambda _: None})

    monkeypatch.setattr("registry.client.wire.retrying", quick)


def test_redirects_are_not_followed(odd):
    odd.answers = [(302, {"Location": odd.url + "/elsewhere"}, b"")]
    with RegistryClient(odd.url, token="t") as client, pytest.raises(Refused, match="another address"):
        client.model("fraud")
    assert len(odd.asked) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((200, {}, b"<html>"), InvalidInput),
        ((200, {}, b'{"name": 1}'), InvalidInput),
        ((404, {}, b"<html>"), InvalidInput),
        ((403, {}, b"<html>"), Refused),
        ((500, {}, b'{"type": "urn:sluice:problem:failed", "detail": "It failed."}'), SluiceError),
        ((412, {}, b'{"type": "urn:sluice:problem:precondition-failed", "detail": "Changed."}'), Conflict),
        ((415, {}, b'{"type": "urn:sluice:problem:x", "detail": "No."}'), InvalidInput),
        ((200, {"Content-Encoding": "gzip"}, b"no gzip"), InvalidInput),
    ],
)
def test_answers_that_are_not_understood(odd, answer, error):
    odd.answers = [answer]
    with RegistryClient(odd.url) as client, pytest.raises(error) as raised:
        client.model("fraud")
    assert type(raised.value) is error


def test_faults_that_pass_are_tried_again_with_the_same_key(odd, at_once, three):
    decided = three.decide(REF, Approval.APPROVED).model_dump_json().encode()
    busy = (503, {}, b'{"type": "urn:sluice:problem:unavailable", "detail": "Later."}')
    odd.answers = [busy, (0, {}, b""), (502, {}, b"<html>"), (201, {}, decided)]
    with RegistryClient(odd.url) as client:
        assert client.decide(REF, Approval.APPROVED).approval is Approval.APPROVED
    keys = {headers["Idempotency-Key"] for _, _, headers in odd.asked}
    assert (len(odd.asked), len(keys)) == (4, 1)
    odd.answers = [busy] * 5
    with RegistryClient(odd.url) as client, pytest.raises(Unavailable, match="Later"):
        client.model("fraud")


def test_what_is_not_asked_twice(odd, at_once):
    busy = (503, {}, b'{"type": "urn:sluice:problem:unavailable", "detail": "Later."}')
    odd.answers = [busy, (0, {}, b"")]
    with RegistryClient(odd.url) as client, pytest.raises(Unavailable):
        client.delete_model("fraud")
    assert len(odd.asked) == 2


def test_nobody_there(odd, at_once):
    with RegistryClient("http://127.0.0.1:1") as client, pytest.raises(Unavailable, match="reached"):
        client.model("fraud")


def test_a_stream_is_taken_up_where_it_broke_off(odd, three, monkeypatch, at_once):
    monkeypatch.setattr("registry.client.following._PAUSE", 0)
    told, events = [], three.events().events
    for one in events:
        event = one.event.model_dump_json()
        told.append(f'data: {{"id":"{one.id}","at":"{one.at}","cursor":"{one.cursor}","event":{event}}}\n\n'.encode())
    stream = {"Content-Type": "text/event-stream", "Content-Length": "100000"}
    busy = (503, {}, b"")
    odd.answers = [(200, stream, told[0] + told[1][:30]), busy, (200, stream, b":\n\n" + told[0] + told[1] + told[2])]
    with RegistryClient(odd.url) as client:
        heard = client.follow()
        assert [next(heard).event.number for _ in range(3)] == [1, 2, 3]
        heard.close()
    assert "Last-Event-ID" not in odd.asked[0][2]
    assert odd.asked[-1][2]["Last-Event-ID"] == events[0].cursor
