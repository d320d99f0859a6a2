"""What every request meets: the guard, ids, problems, limits, logs, numbers."""

from __future__ import annotations

import socket
import threading
import time

import httpx
import pytest

from registry.errors import InvalidInput, Unavailable
from registry.limits import RECORD_MAX

WRITE = "/t/models/fraud/versions"


def test_loopback_without_authentication_answers_everyone_as_the_actor(open_server):
    answer = open_server.get("/t/models/fraud/versions")
    assert answer.json() == {"model": "fraud", "actor": "Test <test@example.com>"}
    assert open_server.client.post("/t/gc").status_code == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1", "127.8.8.8:1", "[::1]:80"])
def test_hosts_of_loopback(open_server, host):
    assert open_server.get("/t/models/fraud/versions", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8080", "10.0.0.1", ""]
)
def test_dns_rebinding_is_refused(open_server, problem, host):
    problem(open_server.get("/t/models/fraud/versions", headers={"Host": host}), 403, "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_writes_of_other_origins_are_refused(open_server, problem, headers):
    problem(open_server.client.post(WRITE, json={}, headers=headers), 403, "forbidden")
    assert open_server.get("/t/models/fraud/versions", headers=headers).status_code == 200


def test_writes_of_the_own_origin(open_server):
    headers = {"Origin": open_server.url, "Sec-Fetch-Site": "same-origin"}
    assert open_server.client.post(WRITE, json={}, headers=headers).status_code == 200


def test_request_ids(open_server, problem):
    answer = open_server.get("/healthz", headers={"X-Request-Id": "abc-123"})
    assert answer.headers["x-request-id"] == "abc-123"
    for bad in ("a b", "x" * 129, '"', ""):
        assert len(open_server.get("/healthz", headers={"X-Request-Id": bad}).headers["x-request-id"]) == 32
    body = problem(open_server.get("/nowhere", headers={"X-Request-Id": "me"}), 404, "not-found")
    assert body["request_id"] == "me"


def test_problems_of_the_framework(open_server, problem):
    client = open_server.client
    problem(client.get("/t/nowhere"), 404, "not-found")
    answer = client.delete("/t/gc")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"
    assert client.post("/v1/models/a/aliases/b").headers["allow"] == "DELETE, GET, PUT"
    problem(client.post(WRITE, content=b"{", headers={"Content-Type": "application/json"}), 400, "malformed")
    problem(
        client.post(WRITE, content=b"[" * 100_000, headers={"Content-Type": "application/json"}), 400, "bad-request"
    )
    problem(client.post(WRITE, content=b"a=1"), 415, "unsupported-media-type")
    problem(client.post(WRITE, data={"a": "1"}), 415, "unsupported-media-type")
    problem(client.post(WRITE), 422, "invalid-input")
    body = problem(client.post(WRITE, json={"text": "x" * 101, "tags": {"a/b": 1}, "z": 1}), 422, "invalid-input")
    assert {flaw["pointer"] for flaw in body["errors"]} == {"#/text", "#/tags/a~1b", "#/z"}
    assert "x" * 101 not in str(body)
    body = problem(client.get("/t/numbers?limit=0"), 422, "invalid-input")
    assert body["errors"][0]["parameter"] == "limit"
    problem(client.get("/t/numbers?cursor=%21"), 400, "malformed")


@pytest.mark.parametrize(
    ("how", "status", "kind"),
    [
        ("InvalidInput", 422, "invalid-input"),
        ("NotFound", 404, "not-found"),
        ("Refused", 403, "refused"),
        ("Conflict", 409, "conflict"),
        ("Unavailable", 503, "unavailable"),
        ("SluiceError", 500, "failed"),
    ],
)
def test_problems_of_sluice(open_server, problem, how, status, kind):
    answer = open_server.get(f"/t/fails/{how}")
    assert how in problem(answer, status, kind)["detail"]
    assert ("retry-after" in answer.headers) == (status == 503)


def test_what_nobody_foresaw_tells_nothing_but_is_logged(open_server, problem):
    answer = open_server.get("/t/fails/RuntimeError")
    body = problem(answer, 500, "internal-server-error")
    assert "s3cret" not in answer.text
    logged = open_server.logged(event="failed", request_id=body["request_id"])
    assert "s3cret" in logged[0]["error"]
    assert open_server.get("/healthz").status_code == 200


def test_headers_of_every_answer(open_server):
    for path in ("/healthz", "/nowhere", "/t/kept"):
        headers = open_server.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def test_bodies_have_a_limit(open_server, problem):
    client = open_server.client
    fits = {"content": b'"' + b"x" * (RECORD_MAX - 2) + b'"', "headers": {"Content-Type": "application/json"}}
    problem(client.post(WRITE, **fits), 422, "invalid-input")
    long = {**fits, "content": fits["content"] + b" "}
    problem(client.post(WRITE, **long), 413, "content-too-large")

    def chunks():
        for _ in range(RECORD_MAX // 65_536 + 2):
            yield b" " * 65_536

    problem(client.post(WRITE, **{**fits, "content": chunks()}), 413, "content-too-large")
    assert client.put("/v1/uploads", content=chunks()).json()["size"] == RECORD_MAX + 2 * 65_536


def test_a_head_has_a_limit(open_server):
    assert open_server.get("/healthz", headers={"X-Long": "x" * 60_000}).status_code == 200
    assert open_server.get("/healthz", headers={"X-Long": "x" * 70_000}).status_code == 400


def test_the_log_has_one_line_a_request(open_server):
    open_server.get(
        "/t/models/fraud/versions?token=s3cret", headers={"X-Request-Id": "r1", "Authorization": "Bearer s3cret"}
    )
    (line,) = open_server.logged(request_id="r1")
    assert line["route"] == "/t/models/{model}/versions"
    assert (line["level"], line["event"], line["method"], line["status"]) == ("info", "request", "GET", 200)
    assert line["actor"] == "Test <test@example.com>"
    assert line["path"] == "/t/models/fraud/versions"
    assert line["ms"] > 0
    assert "s3cret" not in str(line)


def test_numbers_for_prometheus(open_server):
    for _ in range(3):
        open_server.get("/t/models/fraud/versions")
    open_server.get("/t/who-knows/what")
    text = open_server.get("/metrics").text
    route = 'route="/t/models/{model}/versions"'
    assert f'sluice_http_requests_total{{method="GET",{route},status="200"}} 3.0' in text
    assert 'sluice_http_requests_total{method="GET",route="-",status="404"} 1.0' in text
    assert f'sluice_http_request_duration_seconds_count{{method="GET",{route}}} 3.0' in text
    assert "sluice_http_requests_in_flight 1.0" in text
    assert "who-knows" not in text


def test_ready_asks_the_store_and_keeps_the_answer_a_second(open_server, problem):
    for _ in range(20):
        assert open_server.get("/readyz").status_code == 200
    assert open_server.parts.asked <= 3
    open_server.parts.down = Unavailable("S3 cannot be reached: check the endpoint.")
    time.sleep(1.05)
    answer = open_server.get("/readyz")
    assert "S3" in problem(answer, 503, "unavailable")["detail"]
    assert open_server.get("/healthz").status_code == 200
    open_server.parts.down = InvalidInput("There are no usable AWS credentials: set some.")
    time.sleep(1.05)
    problem(open_server.get("/readyz"), 503, "unavailable")
    assert open_server.client.head("/healthz").status_code == 200


def test_pages(open_server):
    seen, url = [], "/t/numbers?limit=10"
    while url:
        answer = open_server.get(url)
        seen += answer.json()["items"]
        link = answer.links.get("next")
        assert bool(link) == bool(answer.json()["next"])
        url = link and str(httpx.URL(f"{open_server.url}/t/numbers").join(link["url"]))
        assert url is None or "limit=10" in url
    assert seen == list(range(25))


def test_what_never_changes_is_kept(open_server):
    answer = open_server.get("/t/kept")
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    for known in (answer.headers["etag"], "*", f'W/{answer.headers["etag"]}, "other"'):
        again = open_server.get("/t/kept", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]
    assert open_server.get("/t/kept", headers={"If-None-Match": '"other"'}).status_code == 200


def test_if_match(open_server, problem):
    etag = open_server.get("/t/note").headers["etag"]
    for fits in (etag, "*", f'"other", {etag}'):
        assert open_server.client.put("/t/note", json={}, headers={"If-Match": fits}).status_code == 200
    answer = open_server.client.put("/t/note", json={}, headers={"If-Match": '"other"'})
    problem(answer, 412, "precondition-failed")


def test_idempotency_keys(open_server, problem):
    def token(path=WRITE, **headers):
        return open_server.client.post(path, json={}, headers=headers).json()["token"]

    assert token() is None
    first = token(**{"Idempotency-Key": '"abc"'})
    assert first == token(**{"Idempotency-Key": "abc"})
    assert first != token("/t/models/other/versions", **{"Idempotency-Key": "abc"})
    assert len(first) == 32
    for bad in ("", '"', "a,b", "x" * 256):
        problem(open_server.client.post(WRITE, json={}, headers={"Idempotency-Key": bad}), 400, "malformed")


def _stream(url, headers=None):
    with (
        httpx.Client(trust_env=False, timeout=10) as client,
        client.stream("GET", url, headers=headers or {}) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield from answer.iter_lines()


def test_events_are_streamed_and_resumed(open_server, problem):
    lines = _stream(f"{open_server.url}/t/events")
    got = [next(lines) for _ in range(12)]
    assert got[2:7] == ["id: 1", "event: tick", "data: line 1", "data: and another", ""]
    assert got[7] == "id: 2"
    lines.close()
    lines = _stream(f"{open_server.url}/t/events?after=1", {"Last-Event-ID": "2"})
    got = [next(lines) for _ in range(9)]
    assert "id: 3" in got
    assert "id: 2" not in got
    assert got[7:] == [":", ""]  # a heartbeat
    lines.close()
    problem(open_server.get("/t/events?after=none"), 404, "not-found")


def test_streams_end_when_the_server_does(open_server):
    begun, ended = threading.Semaphore(0), threading.Semaphore(0)

    def listen():
        lines = _stream(f"{open_server.url}/t/events")
        next(lines)
        begun.release()
        list(lines)
        ended.release()

    for _ in range(3):
        threading.Thread(target=listen, daemon=True).start()
    for _ in range(3):
        assert begun.acquire(timeout=10)
    began = time.monotonic()
    open_server.server.should_exit = True
    for _ in range(3):
        assert ended.acquire(timeout=10)  # by itself, not cut off: httpx raises where an answer is not whole
    assert time.monotonic() - began < 4


def test_a_stream_is_counted_but_not_timed(open_server):
    lines = _stream(f"{open_server.url}/t/events")
    next(lines)
    lines.close()
    assert open_server.logged(route="/t/events")
    text = open_server.get("/metrics").text
    assert 'sluice_http_requests_total{method="GET",route="/t/events",status="200"} 1.0' in text
    assert 'sluice_http_request_duration_seconds_count{method="GET",route="/t/events"}' not in text


def test_connections_do_not_wait_for_acknowledgements(open_server):
    """Nagle's algorithm is off: see sluice.api.server.listen."""
    (sock,) = open_server.server.servers[0].sockets
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_description_of_the_api(open_server):
    found = open_server.get("/openapi.json").json()
    responses = found["paths"]["/t/models/{model}/versions"]["get"]["responses"]
    assert "application/problem+json" in responses["4XX"]["content"]
    assert "422" not in responses
