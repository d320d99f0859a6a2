"""Who asks, and what they may do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from pydantic import ValidationError

from registry.errors import InvalidInput
from registry.roles import Role
from sluice.api.access import everything, principal
from sluice.api.config import Grant, Serve, StaticToken, check_listen
from sluice.api.oidc import Issuer
from sluice.api.server import listen
from sluice.api.tokens import find, hash_of, new_token
from sluice.settings import Settings, load

READ = "/t/models/fraud/versions"
EVERYONE = [{"who": "*", "role": "viewer", "models": "*"}]


@pytest.fixture
def server(start, issuer):
    """A server that takes the issuer's tokens; everyone it knows may read."""
    return start(issuer=issuer.url, audience="sluice", grants=EVERYONE)


def _bearer(token):
    return {"Authorization": f"Bearer {token}"}


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _refused(server, problem, headers, said=""):
    answer = server.get(READ, headers=headers)
    body = problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith('Bearer realm="sluice"')
    assert said in body["detail"]
    return answer


def test_a_person(server, issuer):
    answer = server.get(READ, headers=issuer.bearer())
    assert answer.json() == {"model": "fraud", "actor": "ann@example.com"}
    (line,) = server.logged(request_id=answer.headers["x-request-id"])
    assert line["actor"] == "ann@example.com"


@pytest.mark.parametrize(("kind", "alg"), [("EC", "ES256"), ("OKP", "EdDSA"), ("OKP", "Ed25519"), ("RSA", "PS512")])
def test_algorithms(server, issuer, kind, alg):
    issuer.add(kind, "k")
    assert server.get(READ, headers=issuer.bearer("k", alg)).status_code == 200


def test_nobody(server, problem):
    answer = _refused(server, problem, {})
    assert (
        "error" not in answer.headers["www-authenticate"]
    )  # RFC 6750, section 3: nothing was sent, nothing to correct
    for header in ("", "Bearer", "Basic YTpi", "bearer"):
        _refused(server, problem, {"Authorization": header})
    problem(server.get("/t/nowhere"), 401, "unauthenticated")
    problem(server.get("/openapi.json"), 401, "unauthenticated")
    assert server.get("/healthz").status_code == server.get("/readyz").status_code == 200
    two = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
    problem(server.get(READ, headers=two), 400, "malformed")


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"exp": 1}, "expired"),
        ({"exp": None}, "exp"),
        ({"exp": "never"}, "exp"),
        ({"exp": float("nan")}, "exp"),
        ({"nbf": 9_999_999_999}, "not yet valid"),
        ({"iat": 9_999_999_999}, "in the future"),
        ({"aud": "other"}, "aud"),
        ({"aud": ["other", "another"]}, "aud"),
        ({"aud": []}, "aud"),
        ({"aud": None}, "aud"),
        ({"iss": "https://evil.example"}, "iss"),
        ({"iss": None}, "iss"),
        ({"sub": None}, "sub"),
        ({"email": "token:ci"}, "names nobody"),
        ({"email": "a\nb"}, "names nobody"),
        ({"email": "x" * 201}, "names nobody"),
        ({"email": ["ann@example.com"]}, "names nobody"),
    ],
)
def test_claims_that_do_not_fit(server, issuer, problem, claims, said):
    answer = _refused(server, problem, issuer.bearer(**claims), said)
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_claims_that_do(server, issuer):
    now = time.time()
    for claims in ({"aud": ["other", "sluice"]}, {"exp": now - 30}, {"nbf": now + 30}, {"iat": None}):
        assert server.get(READ, headers=issuer.bearer(**claims)).status_code == 200


def test_names(server, issuer):
    def actor(**claims):
        return server.get(READ, headers=issuer.bearer(**claims)).json()["actor"]

    assert actor(email=None) == "1234"
    assert actor(email_verified=False) == "1234"
    assert actor(email_verified=True) == "ann@example.com"


def _forged(issuer, header, signature):
    _, payload, _ = issuer.token().split(".")
    signed = f"{_b64(json.dumps(header).encode())}.{payload}"
    return f"{signed}.{_b64(signature(signed.encode()))}"


def test_alg_none(server, issuer, problem):
    for alg in ("none", "None", "NONE", "", None, 1, ["RS256"]):
        _refused(server, problem, _bearer(_forged(issuer, {"alg": alg, "kid": "rsa"}, lambda _: b"")))


def test_a_public_key_is_no_shared_secret(server, issuer, problem):
    for secret in (
        issuer.keys["rsa"].as_pem(private=False),
        json.dumps(issuer.keys["rsa"].as_dict(private=False)).encode(),
    ):
        forged = _forged(
            issuer, {"alg": "HS256", "kid": "rsa"}, lambda data, key=secret: hmac.digest(key, data, hashlib.sha256)
        )
        _refused(server, problem, _bearer(forged), "algorithm")


def test_a_shared_secret_among_the_keys_is_not_used(server, issuer, problem):
    issuer.extra_keys = [
        {"kty": "oct", "k": _b64(b"x" * 32), "kid": "oct"},
        {"kty": "PQ", "kid": "new"},
        {"kid": 1},
        "?",
    ]
    forged = _forged(issuer, {"alg": "HS256", "kid": "oct"}, lambda data: hmac.digest(b"x" * 32, data, hashlib.sha256))
    _refused(server, problem, _bearer(forged), "algorithm")
    assert server.get(READ, headers=issuer.bearer()).status_code == 200


def test_the_token_does_not_bring_its_key(server, issuer, problem):
    from joserfc.jwk import RSAKey

    evil = RSAKey.generate_key(2048, {"kid": "evil"})
    honest, issuer.keys["evil"] = issuer.keys, evil
    brought = issuer.token("evil", header={"jwk": evil.as_dict(private=False)})
    del honest["evil"]
    _refused(server, problem, _bearer(brought), "does not publish")


def test_a_key_fits_its_algorithm_alone(server, issuer, problem):
    issuer.add("EC", "ec")
    header, payload, signature = issuer.token().split(".")
    changed = _b64(json.dumps({"alg": "RS256", "kid": "ec"}).encode())
    _refused(server, problem, _bearer(f"{changed}.{payload}.{signature}"))
    tampered = _b64(
        json.dumps({**json.loads(base64.urlsafe_b64decode(payload + "==")), "email": "eve@example.com"}).encode()
    )
    _refused(server, problem, _bearer(f"{header}.{tampered}.{signature}"), "signature")


def test_no_kid(start, issuer, problem):
    serve = {"issuer": issuer.url, "audience": "sluice", "grants": EVERYONE}
    server = start(issuer_object=Issuer(Serve(**serve), pause=0), **serve)
    assert server.get(READ, headers=issuer.bearer(header={"kid": None})).status_code == 200
    issuer.add("RSA", "second")
    assert server.get(READ, headers=issuer.bearer("second")).status_code == 200
    _refused(server, problem, issuer.bearer(header={"kid": None}), "does not publish")


@pytest.mark.parametrize("token", ["x", "a.b", "a.b.c", "..", "a" * 20_000, "é.é.é", "[" * 4_000 + ".a.b"])
def test_what_is_no_token(server, problem, token):
    _refused(server, problem, [(b"Authorization", b"Bearer " + token.encode("latin-1"))])


def test_nesting_that_exhausts_the_parser(server, problem):
    _refused(server, problem, _bearer(f"{_b64(b'[' * 3_000)}.e30.e30"))


def test_a_rotated_key_is_fetched_when_it_is_used(start, issuer, problem):
    serve = Serve(issuer=issuer.url, audience="sluice", grants=EVERYONE)
    server = start(issuer_object=Issuer(serve, pause=0.3), issuer=issuer.url, audience="sluice", grants=EVERYONE)
    assert server.get(READ, headers=issuer.bearer()).status_code == 200
    issuer.add("EC", "next")
    time.sleep(0.35)
    assert server.get(READ, headers=issuer.bearer("next", "ES256")).status_code == 200
    old = issuer.bearer()
    del issuer.keys["rsa"]
    time.sleep(0.35)
    issuer.add("EC", "third")
    assert server.get(READ, headers=issuer.bearer("third", "ES256")).status_code == 200
    _refused(server, problem, old, "does not publish")


def test_unknown_keys_do_not_make_us_hammer_the_issuer(server, issuer, problem):
    server.get(READ, headers=issuer.bearer())
    asked = len(issuer.asked)
    issuer.add("EC", "made-up")
    unknown = issuer.bearer("made-up", "ES256")
    for _ in range(30):
        _refused(server, problem, unknown)
    assert len(issuer.asked) == asked == 2


def test_an_issuer_that_is_down(start, issuer, problem):
    serve = {"issuer": issuer.url, "audience": "sluice", "grants": EVERYONE}
    server = start(issuer_object=Issuer(Serve(**serve), pause=0.2, fresh=0.1, stale=1.2), **serve)
    issuer.down = True
    answer = server.get(READ, headers=issuer.bearer())
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"]
    _refused(server, problem, {})
    issuer.down = False
    time.sleep(0.25)
    assert server.get(READ, headers=issuer.bearer()).status_code == 200
    issuer.down = True
    time.sleep(0.25)
    assert server.get(READ, headers=issuer.bearer()).status_code == 200  # its last keys hold for a while
    time.sleep(1.2)
    problem(server.get(READ, headers=issuer.bearer()), 503, "unavailable")


def test_an_issuer_of_another_name(server, issuer, problem):
    issuer.named = "https://evil.example"
    problem(server.get(READ, headers=issuer.bearer()), 503, "unavailable")


def _static(name="ci", **fields):
    made = new_token()
    return made, {"name": name, "hash": hash_of(made), **fields}


def test_static_tokens(start, problem):
    past, future = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)
    (ci, first), (old, second), (new, third) = _static(), _static("old", expires=past), _static("new", expires=future)
    server = start(tokens=[first, second, third], grants=EVERYONE)
    assert server.get(READ, headers=_bearer(ci)).json()["actor"] == "token:ci"
    assert server.get(READ, headers=_bearer(new)).json()["actor"] == "token:new"
    _refused(server, problem, _bearer(old), "expired")
    for wrong in (new_token(), ci[:-1], ci + "a", first["hash"], "a.b.c", "sluice_"):
        _refused(server, problem, _bearer(wrong), "not one of this server's")
    assert len({new_token() for _ in range(100)}) == 100
    assert find(ci, []) is None


def test_roles_and_patterns(start, issuer, problem):
    ci, known = _static()
    grants = [
        {"who": "user:ann@example.com", "role": "admin", "models": "fraud"},
        {"who": "group:risk", "role": "releaser", "models": "fraud-*"},
        {"who": "group:ops", "role": "admin"},
        {"who": "token:ci", "role": "viewer", "models": "*"},
    ]
    server = start(issuer=issuer.url, audience="sluice", tokens=[known], grants=grants)
    client = server.client
    ann = issuer.bearer()
    assert client.delete("/t/models/fraud", headers=ann).status_code == 200
    problem(client.delete("/t/models/fraud-eu", headers=ann), 403, "forbidden")
    problem(client.post("/t/gc", headers=ann), 403, "forbidden")
    risk = issuer.bearer(email="bob@example.com", groups=["risk", "all"])
    assert client.post("/t/models/fraud-eu/versions", json={}, headers=risk).status_code == 200
    problem(client.post("/t/models/fraud/versions", json={}, headers=risk), 403, "forbidden")
    problem(client.delete("/t/models/fraud-eu", headers=risk), 403, "forbidden")
    assert client.get("/t/numbers", headers=risk).status_code == 200
    ops = issuer.bearer(email="ops@example.com", groups="ops")
    assert client.post("/t/gc", headers=ops).status_code == 200
    nobody = issuer.bearer(email="eve@example.com", groups=["user:ann@example.com", "Risk", "*", 1])
    problem(client.get(READ, headers=nobody), 403, "forbidden")
    problem(client.get("/t/numbers", headers=nobody), 403, "forbidden")
    # whoever may not gets that answer whatever they send
    problem(client.post("/t/models/fraud/versions", json={}, headers=_bearer(ci)), 403, "forbidden")
    problem(client.post("/t/models/fraud/versions", json={"text": 1}, headers=_bearer(ci)), 403, "forbidden")


@pytest.mark.parametrize(
    ("claim", "claims"),
    [
        ("roles", {"roles": ["risk"]}),
        ("realm_access.roles", {"realm_access": {"roles": ["risk"]}}),
        ("https://example.com/groups", {"https://example.com/groups": ["risk"]}),
    ],
)
def test_where_the_groups_are(start, issuer, claim, claims):
    grants = [{"who": "group:risk", "role": "viewer"}]
    server = start(issuer=issuer.url, audience="sluice", groups_claim=claim, grants=grants)
    assert server.get(READ, headers=issuer.bearer(**claims)).status_code == 200
    assert server.get(READ, headers=issuer.bearer()).status_code == 403


def test_metrics_are_for_those_who_may_see_every_model(start, problem):
    (one, first), (two, second) = _static("one"), _static("two")
    grants = [
        {"who": "token:one", "role": "viewer", "models": "*"},
        {"who": "token:two", "role": "admin", "models": "fraud"},
    ]
    server = start(tokens=[first, second], grants=grants)
    problem(server.get("/metrics"), 401, "unauthenticated")
    problem(server.get("/metrics", headers=_bearer(two)), 403, "forbidden")
    assert server.get("/metrics", headers=_bearer(one)).status_code == 200
    assert start(tokens=[first], open_metrics=True).get("/metrics").status_code == 200


def test_public_paths(start, problem):
    _, known = _static()
    server = start(tokens=[known], public=["/console/"])
    problem(server.get("/console/app.js"), 404, "not-found")
    problem(server.get("/console"), 401, "unauthenticated")
    problem(server.get("/console/../t/numbers"), 401, "unauthenticated")
    raw = httpx.Request("GET", f"{server.url}/console/%2e%2e/t/numbers")
    problem(server.client.send(raw), 404, "not-found")


def test_with_authentication_any_host_and_any_form_of_the_own_page(start):
    ci, known = _static()
    server = start(tokens=[known], grants=[{"who": "*", "role": "releaser"}])
    headers = {**_bearer(ci), "Host": "sluice.example", "Origin": "https://sluice.example"}
    assert server.client.post(READ, json={}, headers=headers).status_code == 200
    cross = {**headers, "Sec-Fetch-Site": "cross-site"}
    assert server.client.post(READ, json={}, headers=cross).status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "192.168.0.1"])
def test_no_open_port_without_authentication(host):
    with pytest.raises(InvalidInput, match="Nothing tells who asks"):
        check_listen(Serve(host=host), host)
    with pytest.raises(InvalidInput, match="Nothing tells who asks"):
        listen(Settings(serve=Serve(host=host, port=0)))
    check_listen(Serve(host=host, tokens=[_static()[1]]), host)


def test_no_address(monkeypatch):
    with pytest.raises(InvalidInput, match="no address"):
        listen(Settings(serve=Serve(host="no such host", port=0)))
    with pytest.raises(InvalidInput, match="no address"):
        listen(Settings(serve=Serve(host="", port=0)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_may_be_open(host):
    check_listen(Serve(host=host), host)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"issuer": "https://idp.example"}, "belong together"),
        ({"audience": "sluice"}, "belong together"),
        ({"issuer": "http://idp.example", "audience": "a"}, "https"),
        ({"issuer": "https://user:pw@idp.example", "audience": "a"}, "user"),
        ({"issuer": "file:///etc/passwd", "audience": "a"}, "https"),
        ({"grants": [{"who": "*", "role": "viewer"}]}, "grants need"),
        ({"tokens": [{"name": "ci", "hash": "secret"}]}, "hash"),
        ({"tokens": [{"name": "CI", "hash": "sha256:" + "0" * 64}]}, "name"),
        ({"tokens": [{"name": "ci", "hash": "sha256:" + "0" * 64}] * 2}, "same name"),
        ({"tokens": [{"name": "ci", "hash": "sha256:" + "0" * 64, "expires": "2027-01-01T00:00:00"}]}, "timezone"),
        ({"issuer": "https://a.example", "audience": "a", "grants": [{"who": "ann", "role": "viewer"}]}, "who"),
        ({"issuer": "https://a.example", "audience": "a", "grants": [{"who": "*", "role": "owner"}]}, "role"),
        ({"port": 65_536}, "port"),
        ({"workers": 0}, "workers"),
        ({"colour": 1}, "colour"),
    ],
)
def test_settings_that_do_not_fit(table, said):
    with pytest.raises(ValidationError, match=said):
        Serve(**table)


def test_settings_from_file_and_flags(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLUICE_CONFIG", raising=False)
    (tmp_path / "sluice.toml").write_text(
        '[serve]\nissuer = "https://idp.example"\naudience = "sluice"\nport = 1\nworkers = 3\n'
        f'[[serve.tokens]]\nname = "ci"\nhash = "sha256:{"0" * 64}"\nexpires = 2027-01-01T00:00:00Z\n'
        '[[serve.grants]]\nwho = "token:ci"\nrole = "releaser"\nmodels = "fraud-*"\n'
    )
    monkeypatch.setenv("SLUICE_SERVE__WORKERS", "2")
    serve = load(serve={"port": 0}).serve
    assert (serve.port, serve.workers, serve.issuer) == (0, 2, "https://idp.example")
    assert serve.grants == (Grant(who="token:ci", role=Role.RELEASER, models="fraud-*"),)
    assert isinstance(serve.tokens[0], StaticToken)


def test_the_highest_role_counts():
    grants = [Grant(who="*", role=Role.VIEWER), Grant(who="user:a", role=Role.APPROVER, models="f*")]
    who = principal("a", frozenset({"user:a"}), grants)
    assert who.role("fraud") is Role.APPROVER
    assert who.role("other") is Role.VIEWER
    assert who.role("*") is Role.VIEWER
    assert principal("b", frozenset({"user:b"}), grants).role("fraud") is Role.VIEWER
    assert principal("b", frozenset(), grants[1:]).role("fraud") is None
    assert everything("me").role("*") is Role.ADMIN
