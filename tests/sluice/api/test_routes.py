"""The registry over HTTP, as a client sees it."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi.routing import APIRoute

from sluice.api import deps
from sluice.api.routes import ROUTERS
from sluice.api.tokens import hash_of, new_token

GRANTS = [
    {"who": "token:admin", "role": "admin", "models": "*"},
    {"who": "token:viewer", "role": "viewer", "models": "*"},
    {"who": "token:releaser", "role": "releaser", "models": "fraud*"},
    {"who": "token:approver", "role": "approver", "models": "fraud"},
]


@pytest.fixture
def as_(start):
    """Calls the API as someone; the server has three versions of fraud and one of churn."""
    secrets = {grant["who"].removeprefix("token:"): new_token() for grant in GRANTS}
    tokens = [{"name": name, "hash": hash_of(secret)} for name, secret in secrets.items()]
    server = start(tokens=tokens, grants=GRANTS)

    def call(who, method, path, **kwargs):
        headers = {"Authorization": f"Bearer {secrets[who]}", **kwargs.pop("headers", {})}
        return server.client.request(method, "/v1" + path, headers=headers, **kwargs)

    call.server = server
    for job in ("job-1", "job-2", "job-3"):
        assert call("releaser", "POST", "/models/fraud/versions", json={"source": job}).status_code == 201
    assert call("admin", "POST", "/models/churn/versions", json={"source": "job-1"}).status_code == 201
    return call


def _routes():
    for router in ROUTERS:
        yield from (route for route in router.routes if isinstance(route, APIRoute))


def _calls(dependant):
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)


def test_every_route_checks_a_role():
    routes = list(_routes())
    assert len(routes) > 25
    for route in routes:
        assert any(getattr(call, deps.MARK, False) for call in _calls(route.dependant)), route.path


def test_a_route_about_a_model_checks_the_role_on_it():
    """With `somewhere`, a role on any model would do."""
    for route in _routes():
        if "{model}" in route.path:
            marks = [call for call in _calls(route.dependant) if getattr(call, deps.MARK, False)]
            assert all("on_model" in call.__qualname__ for call in marks), route.path


def test_registering(as_, problem):
    body = {"source": "job-9", "metrics": {"auc": 0.95, "loss": "NaN"}, "tags": {"team": "risk"}, "git_commit": "abc"}
    made = as_("releaser", "POST", "/models/fraud/versions", json=body)
    assert made.status_code == 201
    assert made.headers["location"] == "/v1/models/fraud/versions/4"
    version = made.json()
    assert (version["number"], version["created_by"]) == (4, "token:releaser")
    assert version["metrics"] == {"auc": 0.95, "loss": "NaN"}
    again = as_("releaser", "POST", "/models/fraud/versions", json=body)
    assert (again.status_code, again.json()) == (200, version)
    got = as_("viewer", "GET", "/models/fraud/versions/4")
    assert got.json() == version
    assert "immutable" in got.headers["cache-control"]
    kept = as_("viewer", "GET", "/models/fraud/versions/4", headers={"If-None-Match": got.headers["etag"]})
    assert kept.status_code == 304
    for source in ("s3://data/model.tar.gz", "group/7"):
        assert as_("releaser", "POST", "/models/fraud/versions", json={"source": source}).status_code == 201
    for source, status, kind in (
        ("missing-1", 404, "not-found"),
        ("./model", 422, "invalid-input"),
        ("/etc/passwd", 422, "invalid-input"),
        ("~root", 422, "invalid-input"),
        ("s3://own-bucket/outputs/1", 403, "refused"),
        ("s3://x", 422, "invalid-input"),
        ("sha256:" + "0" * 64, 404, "not-found"),
        ("sha256:0", 422, "invalid-input"),
    ):
        problem(as_("releaser", "POST", "/models/fraud/versions", json={"source": source}), status, kind)
    wrong = {"source": "job-1", "parameters": {"lr": "1"}}
    problem(as_("releaser", "POST", "/models/fraud/versions", json=wrong), 422, "invalid-input")
    problem(as_("admin", "POST", "/models/Fraud/versions", json=body), 422, "invalid-input")


def test_uploading(as_, problem):
    data = b"model" * 700_000
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    up = as_("releaser", "PUT", f"/uploads?digest={digest}", content=data, headers={"Content-Type": "application/gzip"})
    assert (up.status_code, up.json()) == (201, {"digest": digest, "size": len(data)})
    body = {"source": digest, "parameters": {"lr": "1"}}
    made = as_("releaser", "POST", "/models/fraud/versions", json=body).json()
    assert (made["source"]["kind"], made["source"]["digest"]) == ("upload", digest)
    problem(as_("releaser", "PUT", f"/uploads?digest={digest}", content=b"other"), 422, "invalid-input")
    problem(as_("viewer", "PUT", "/uploads", content=b"x"), 403, "forbidden")
    verified = as_("releaser", "POST", f"/models/fraud/versions/{made['number']}/verify").json()
    assert [check["verdict"] for check in verified["checks"]] == ["good"]
    problem(as_("viewer", "POST", "/models/fraud/versions/1/verify"), 403, "forbidden")


def test_an_upload_that_stalls_gives_its_thread_back(as_, problem, monkeypatch):
    monkeypatch.setattr("sluice.api.routes.uploads._STALLED", 0.2)

    def body():
        yield b"some"
        released.wait(20)

    released = threading.Event()
    try:
        problem(as_("releaser", "PUT", "/uploads", content=body()), 422, "invalid-input")
    finally:
        released.set()


def test_lists(as_, problem):
    seen, cursor = [], ""
    while cursor is not None:
        page = as_("viewer", "GET", "/models/fraud/versions", params={"limit": 2, "cursor": cursor}).json()
        seen += [row["number"] for row in page["items"]]
        cursor = page["next"]
    assert seen == [3, 2, 1]
    tagged = {"source": "job-t", "tags": {"a": "1"}}
    as_("releaser", "POST", "/models/fraud/versions", json=tagged)
    page = as_("viewer", "GET", "/models/fraud/versions?tag=a=1").json()
    assert [row["number"] for row in page["items"]] == [4]
    problem(as_("viewer", "GET", "/models/fraud/versions?tag=a"), 400, "malformed")
    problem(as_("viewer", "GET", "/models/none/versions"), 404, "not-found")
    problem(as_("viewer", "GET", "/models/fraud/versions?cursor=eA"), 400, "malformed")


def test_models(as_, problem):
    names = [one["model"]["name"] for one in as_("viewer", "GET", "/models").json()["items"]]
    assert names == ["churn", "fraud"]
    first = as_("viewer", "GET", "/models?limit=1").json()
    second = as_("viewer", "GET", f"/models?limit=1&cursor={first['next']}").json()
    assert [page["items"][0]["model"]["name"] for page in (first, second)] == ["churn", "fraud"]
    assert second["next"] is None
    assert [one["model"]["name"] for one in as_("releaser", "GET", "/models").json()["items"]] == ["fraud"]
    got = as_("viewer", "GET", "/models/fraud")
    edit = {"owner": "risk", "tags": {"a": "1"}}
    problem(as_("viewer", "PATCH", "/models/fraud", json=edit), 403, "forbidden")
    edited = as_("releaser", "PATCH", "/models/fraud", json=edit, headers={"If-Match": got.headers["etag"]})
    assert (edited.json()["owner"], edited.json()["changed_by"]) == ("risk", "token:releaser")
    stale = as_("releaser", "PATCH", "/models/fraud", json=edit, headers={"If-Match": got.headers["etag"]})
    problem(stale, 412, "precondition-failed")
    assert as_("releaser", "PATCH", "/models/fraud", json={"tags": {"a": None}}).json()["tags"] == {}
    protect = {"protected": {"champion": "approver"}}
    problem(as_("releaser", "PATCH", "/models/fraud", json=protect), 403, "refused")
    assert as_("admin", "PATCH", "/models/fraud", json=protect).status_code == 200
    problem(as_("viewer", "GET", "/models/none"), 404, "not-found")


def test_aliases(as_, problem):
    path = "/models/fraud/aliases/champion"
    key = {"Idempotency-Key": "move-1"}
    moved = as_("releaser", "PUT", path, json={"version": 2, "reason": "better"}, headers=key)
    assert moved.json()["moves"][-1]["number"] == 2
    again = as_("releaser", "PUT", path, json={"version": 2, "reason": "better"}, headers=key)
    assert len(again.json()["moves"]) == 1
    problem(as_("releaser", "PUT", path, json={"version": 3, "expect": 1}), 409, "conflict")
    problem(as_("releaser", "PUT", path, json={"version": 3, "expect": False}), 422, "invalid-input")
    etag = as_("viewer", "GET", path).headers["etag"]
    between = datetime.now(UTC)
    assert as_("releaser", "PUT", path, json={"version": 3}, headers={"If-Match": etag}).status_code == 200
    problem(as_("releaser", "PUT", path, json={"version": 1}, headers={"If-Match": etag}), 412, "precondition-failed")
    twice = {"If-Match": as_("viewer", "GET", path).headers["etag"], "Idempotency-Key": "move-2"}
    for _ in range(2):
        assert as_("releaser", "PUT", path, json={"version": 3}, headers=twice).status_code == 200
    etag = as_("viewer", "GET", path).headers["etag"]
    both = as_("releaser", "PUT", path, json={"version": 1, "expect": 2}, headers={"If-Match": etag})
    problem(both, 409, "conflict")
    assert [move["number"] for move in as_("viewer", "GET", path + "/history").json()["items"]] == [3, 3, 2]
    at = as_("viewer", "GET", path + "/history", params={"at": between.isoformat()}).json()["items"]
    assert [move["number"] for move in at] == [2]
    problem(as_("viewer", "GET", path + "/history?at=2027-01-01T00:00:00"), 422, "invalid-input")
    assert as_("viewer", "GET", "/models/fraud/resolve/champion").json() == {"model": "fraud", "number": 3}
    assert as_("viewer", "GET", "/models/fraud/resolve/latest").json()["number"] == 3
    problem(as_("viewer", "GET", "/models/fraud/resolve/99"), 404, "not-found")
    assert [one["name"] for one in as_("viewer", "GET", "/models/fraud/aliases").json()["items"]] == ["champion"]
    as_("admin", "PATCH", "/models/fraud", json={"protected": {"champion": "approver"}})
    problem(as_("releaser", "PUT", path, json={"version": 1}), 403, "refused")
    assert as_("approver", "PUT", path, json={"version": 1}).status_code == 200
    problem(as_("admin", "DELETE", "/models/fraud/versions/1"), 403, "refused")
    assert as_("approver", "DELETE", path + "?expect=1").status_code == 200
    problem(as_("viewer", "GET", path), 404, "not-found")
    problem(as_("releaser", "PUT", "/models/fraud/aliases/latest", json={"version": 1}), 422, "invalid-input")
    problem(as_("viewer", "PUT", path, json={"version": 1}), 403, "forbidden")


def test_decisions_and_facts(as_, problem):
    path = "/models/fraud/versions/1"
    verdict = {"approval": "approved", "reason": "fair"}
    problem(as_("releaser", "POST", path + "/decisions", json=verdict), 403, "forbidden")
    key = {"Idempotency-Key": '"1"'}
    decided = as_("approver", "POST", path + "/decisions", json=verdict, headers=key)
    assert (decided.status_code, decided.json()["by"]) == (201, "token:approver")
    assert as_("approver", "POST", path + "/decisions", json=verdict, headers=key).json() == decided.json()
    assert len(as_("viewer", "GET", path + "/decisions").json()["items"]) == 1
    problem(as_("viewer", "GET", path + "/facts/smoke"), 404, "not-found")
    problem(as_("viewer", "GET", path + "/facts/odd"), 404, "not-found")
    image = "host/repo@sha256:" + "0" * 64
    smoke = {"image": image, "passed": True, "detail": "1 ms"}
    told = as_("releaser", "PUT", path + "/facts/smoke", json=smoke)
    assert told.json()["by"] == "token:releaser"
    assert as_("releaser", "PUT", path + "/facts/smoke", json=smoke).json() == told.json()
    problem(as_("releaser", "PUT", path + "/facts/smoke", json={**smoke, "passed": False}), 409, "conflict")
    problem(as_("releaser", "PUT", path + "/facts/smoke", json={**smoke, "by": "eve"}), 422, "invalid-input")
    problem(as_("releaser", "PUT", path + "/facts/sign-off", json={"note": "ok"}), 403, "forbidden")
    assert as_("approver", "PUT", path + "/facts/sign-off", json={"note": "ok"}).json()["by"] == "token:approver"
    scan = {"source": "sha256:" + "0" * 64, "size": 3, "format": "torchscript", "root": "m.pt", "files": []}
    empty = {"findings": [], "scanner": ""}
    assert as_("releaser", "PUT", path + "/facts/scan", json=scan).json() == {**scan, **empty}
    facts = as_("viewer", "GET", path + "/facts").json()
    assert facts["scan"] == {**scan, **empty}
    assert facts["smoke"] == told.json()
    assert facts["image"] is None
    problem(as_("releaser", "PUT", "/models/fraud/versions/9/facts/scan", json=scan), 404, "not-found")


def test_lineage_and_comparison(as_, problem):
    found = as_("viewer", "GET", "/models/fraud/versions/1/lineage").json()
    assert found["inputs"] == [{"name": "train", "uri": "s3://data/fraud/day"}]
    seen, cursor = [], ""
    while cursor is not None:
        params = {"trained_on": "s3://data/fraud", "limit": 2, "cursor": cursor}
        page = as_("viewer", "GET", "/lineage", params=params).json()
        seen += [(row["model"], row["number"]) for row in page["items"]]
        cursor = page["next"]
    assert seen == [("churn", 1), ("fraud", 3), ("fraud", 2), ("fraud", 1)]
    mine = as_("releaser", "GET", "/lineage?trained_on=s3://data/fraud").json()["items"]
    assert {row["model"] for row in mine} == {"fraud"}
    problem(as_("viewer", "GET", "/lineage"), 400, "malformed")
    problem(as_("viewer", "GET", "/lineage?commit=abc"), 404, "not-found")
    assert as_("viewer", "GET", "/models/fraud/compare?versions=1,2").json()["same"] == 1
    problem(as_("viewer", "GET", "/models/fraud/compare?versions=1"), 422, "invalid-input")
    problem(as_("viewer", "GET", "/models/fraud/compare?versions=1,9"), 404, "not-found")
    problem(as_("viewer", "GET", "/models/fraud/compare?versions=1,x"), 422, "invalid-input")


def test_deleting(as_, problem):
    problem(as_("releaser", "DELETE", "/models/fraud/versions/1"), 403, "forbidden")
    assert as_("admin", "DELETE", "/models/fraud/versions/1?reason=old").json()["reason"] == "old"
    assert [row["number"] for row in as_("viewer", "GET", "/models/fraud/versions").json()["items"]] == [3, 2]
    rows = as_("viewer", "GET", "/models/fraud/versions?deleted=true").json()["items"]
    assert rows[-1]["state"] == "deleted"
    assert as_("viewer", "GET", "/models/fraud/versions/1").status_code == 200
    assert as_("admin", "DELETE", "/models/churn").json()["by"] == "token:admin"
    problem(as_("viewer", "GET", "/models/churn"), 404, "not-found")


def test_upkeep(as_, problem):
    problem(as_("approver", "POST", "/gc", json={}), 403, "forbidden")
    problem(as_("admin", "POST", "/gc", json={"grace_hours": 0.5}), 422, "invalid-input")
    assert as_("admin", "POST", "/gc", json={"dry_run": True}).json()["dry_run"] is True
    sweep = {"model": "fraud", "since": "2026-01-01T00:00:00Z"}
    jobs = as_("releaser", "POST", "/sweeps", json=sweep).json()["jobs"]
    assert [(one["job"], bool(one["version"]), bool(one["problem"])) for one in jobs] == [
        ("swept-1", True, False),
        ("missing-1", False, True),
        ("swept-2", True, False),
    ]
    problem(as_("releaser", "POST", "/sweeps", json={**sweep, "model": "churn"}), 403, "forbidden")
    problem(as_("releaser", "POST", "/models/fraud/export", json={"bucket": "other"}), 403, "forbidden")
    moved = as_("admin", "POST", "/models/churn/export", json={"bucket": "other"})
    assert moved.json()["versions"] == 1
    assert as_.server.parts.others["other"].store.get("models/churn/model.json")


def test_events(as_):
    page = as_("viewer", "GET", "/events?limit=2").json()
    seen = page["items"]
    assert page["next"]
    assert {one["event"]["kind"] for one in seen} == {"registered"}
    everything = as_("viewer", "GET", "/events").json()["items"]
    assert {one["event"]["model"] for one in everything} == {"fraud", "churn"}
    mine = as_("releaser", "GET", "/events").json()["items"]
    assert {one["event"]["model"] for one in mine} == {"fraud"}
    only = as_("viewer", "GET", "/events?model=churn").json()["items"]
    assert len(only) == 1


def test_a_cursor_tells_nothing_of_models_one_may_not_see(as_):
    records = as_.server.parts.registry.records
    records.now = lambda: datetime.now(UTC) + timedelta(minutes=2)  # so that cursors are the events' own places
    cursor, told = "", []
    for _ in range(20):
        answer = as_("releaser", "GET", f"/events?limit=1&after={cursor}")
        assert "churn" not in answer.text + answer.headers["link"]
        told += [one["event"]["number"] for one in answer.json()["items"]]
        cursor = answer.json()["next"]
    assert told == [1, 2, 3]


def test_events_as_they_happen(as_):
    client = httpx.Client(base_url=as_.server.url, trust_env=False, timeout=20)
    request = as_("viewer", "GET", "/models").request
    headers = {"Authorization": request.headers["authorization"], "Accept": "text/event-stream"}
    with client, client.stream("GET", "/v1/events?model=fraud", headers=headers) as answer:
        data = (json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data: "))
        assert [next(data)["event"]["number"] for _ in range(3)] == [1, 2, 3]
        as_("releaser", "PUT", "/models/fraud/aliases/champion", json={"version": 2})
        told = next(data)["event"]  # nothing twice, although events of the last minute are read again
        assert (told["kind"], told["alias"], told["by"]) == ("aliased", "champion", "token:releaser")


def test_numbers_that_are_none(as_):
    body = {"source": "job-nan", "metrics": {"a": "NaN", "b": "-Infinity"}}
    number = as_("releaser", "POST", "/models/fraud/versions", json=body).json()["number"]
    rows = as_("viewer", "GET", "/models/fraud/versions?limit=1").json()["items"]
    assert rows[0]["number"] == number
    assert math.isnan(float(rows[0]["metrics"]["a"]))
