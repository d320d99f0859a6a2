"""Who is shown what: challenges, tokens, passwords, and where they must not go."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.image.content import Data
from pipelines.image.oci import LAYER_TYPE, Descriptor
from pipelines.image.remote.auth import Authorizer
from pipelines.image.remote.challenges import parse_challenges
from pipelines.image.remote.credentials import Anonymous, DockerConfig, Login
from pipelines.image.remote.transport import Patience, Transport
from registry.errors import InvalidInput, Refused, Unavailable
from tests.pipelines.remote.conftest import User, digest_of, image, kept, noise
from tests.pipelines.remote.strict import EXPIRE, Status, Strict

Opening = Callable[..., Any]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], []),
        ([""], []),
        ([" , ,"], []),
        (["Basic"], [("basic", {})]),
        (['Basic realm="x"'], [("basic", {"realm": "x"})]),
        (["Basic realm=x"], [("basic", {"realm": "x"})]),
        (["NEGOTIATE YWJj=="], [("negotiate", {})]),
        (["Negotiate YWJj==, Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (
            ['Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"'],
            [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:a/b:pull,push"})],
        ),
        (
            ['bearer REALM = "https://a/t" , Service = s'],
            [("bearer", {"realm": "https://a/t", "service": "s"})],
        ),
        (
            ['Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"'],
            [("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}), ("basic", {"realm": "simple"})],
        ),
        (["Basic realm=x", "Bearer realm=y"], [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        (['Bearer realm="a, b", error="x"'], [("bearer", {"realm": "a, b", "error": "x"})]),
        (['Bearer realm=""'], [("bearer", {"realm": ""})]),
        (['Bearer realm="a",realm="b"'], []),
        (['Bearer realm="a",Realm="b", Basic realm=c'], [("basic", {"realm": "c"})]),
        (['Bearer realm="never closed'], []),
        (['Basic realm=x, Bearer realm="never closed'], [("basic", {"realm": "x"})]),
        (["Bearer realm=https://a/t"], []),
        (["=x"], []),
        (["\x00\x01"], []),
        (["Bearer " + "a=b, " * 100_000], []),
    ],
)
def test_challenges(headers: list[str], expected: list[Any]) -> None:
    assert [tuple(challenge) for challenge in parse_challenges(headers)] == expected


@given(st.lists(st.text(alphabet=st.sampled_from('aBearer =",\\ \t/:.-~é\x00'), max_size=80), max_size=4))
def test_any_header_is_read(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower()


@pytest.mark.parametrize("text", ['"' * 16000, "a=" * 8000, "a " * 8000, 'a="\\' * 5000, "," * 16000, "a=b," * 4000])
def test_a_long_header_is_read_in_no_time(text: str) -> None:
    assert len(parse_challenges([text])) < 16000


# tokens


def test_a_token_is_asked_for_once(opened: Opening) -> None:
    to = opened(auth="bearer")
    made = image(noise(100), noise(101, 1))
    made.put(to.destination, "m")
    to.destination.push("m", made.manifest)
    assert to.registry.count("GET", "/token") == 1
    assert to.registry.tokens.popitem()[1].scopes == {("models/m", "pull"), ("models/m", "push")}
    to.destination.has("other", made.digest)
    assert to.registry.count("GET", "/token") == 2


def test_mounting_asks_for_both_repositories(opened: Opening) -> None:
    from pipelines.image.content import Origin

    to = opened(auth="bearer")
    to.registry.add_blob("base/torch", b"data")
    to.destination.put("m", kept(b"data", Origin(to.registry.host, "base/torch")))
    assert {("base/torch", "pull"), ("models/m", "push")} <= max(to.registry.tokens.values()).scopes


def test_a_token_that_the_registry_forgot_is_renewed(opened: Opening) -> None:
    to = opened(auth="bearer")
    to.destination.put("m", Data(b"x"))
    to.registry.script("HEAD", ".*", EXPIRE)
    assert to.destination.has("m", digest_of(b"x"))
    assert to.registry.count("GET", "/token") == 2


@pytest.mark.parametrize(("life", "passes", "asked"), [(300, 100, 1), (300, 271, 2), (60, 46, 2), (None, 44, 1)])
def test_a_token_is_renewed_before_it_expires(life: int | None, passes: float, asked: int) -> None:
    now = [1000.0]
    with Strict(auth="bearer").serving() as registry:
        registry.token_life = life
        registry.add_blob("a", b"x")
        transport = Transport(registry.host, User(), clock=lambda: now[0])
        from pipelines.image.remote.repository import Repository

        for _ in range(2):
            assert Repository(transport, "a").blob_size(digest_of(b"x")) == 1
            now[0] += passes
        assert registry.count("GET", "/token") == asked


def test_who_may_not_push_is_told(opened: Opening) -> None:
    to = opened(auth="bearer", credentials=Anonymous())
    with pytest.raises(Refused, match=r"does not let us at an upload to models/m \(401, UNAUTHORIZED: no\): log in"):
        to.destination.put("m", Data(noise(2_000_000)))
    to = opened(auth="bearer", credentials=User(secret="wrong"))
    with pytest.raises(Refused, match=r"The token service of .* does not let us in \(401\): log in with `docker login"):
        to.destination.put("m", Data(b"x"))
    to = opened(auth="basic", credentials=User(secret="wrong"))
    with pytest.raises(Refused, match=r"does not let us at .*: log in"):
        to.destination.put("m", Data(noise(2_000_000)))


def test_anyone_may_read_where_it_is_so(opened: Opening) -> None:
    to = opened(auth="bearer", credentials=Anonymous())
    to.registry.add_blob("models/m", b"x")
    back = to.destination.content("m", Descriptor(media_type=LAYER_TYPE, digest=digest_of(b"x"), size=1))
    assert b"".join(back.chunks()) == b"x"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"token": 7}',
        b'{"token": ""}',
        b'{"token": "a b"}',
        b'{"token": "a\\r\\nX-Evil: 1"}',
        '{"token": "ü"}'.encode(),
        b'{"token": "%s"}' % (b"x" * 70_000),
        b'{"token": "x", "expires_in": "soon"}',
        b'{"token": "secret-token", "expires_in": {}}',
        b"[" * 100_000,
        b'{"token": "x", "expires_in": 1' + b"0" * 5000 + b"}",
    ],
)
def test_a_token_service_that_talks_nonsense(body: bytes, opened: Opening) -> None:
    to = opened(auth="bearer")
    to.registry.script("GET", "/token", *[Status(200, {}, body)] * 3)
    with pytest.raises(Refused, match=r"does not answer with a token: check the registry's address\.$") as raised:
        to.destination.put("m", Data(b"x"))
    assert raised.value.__cause__ is None
    assert "secret-token" not in repr(raised.value.__context__) + str(raised.value)


@pytest.mark.parametrize(
    "realm",
    [
        "http://example.com/token",
        "http://user:pw@127.0.0.1/token",
        "https://user:pw@example.com/token",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://[::1",
        "https://",
        "https://" + "x" * 70_000,
    ],
)
def test_credentials_go_to_no_realm_that_is_not_safe(realm: str, opened: Opening) -> None:
    to = opened(auth="bearer")
    to.registry.script("HEAD", ".*", Status(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}))
    with pytest.raises(
        Refused, match=r"sends to an address|asks for a token|names a token service|does not answer|does not let"
    ):
        to.destination.put("m", Data(b"x"))
    assert to.registry.count("GET", "/token") == 0


def test_a_remote_registry_may_not_send_to_this_machine() -> None:
    transport = Transport("registry.example.com", User())
    with pytest.raises(Refused, match="in plain http"):
        transport._target(transport._root, "http://127.0.0.1:9/token")
    with pytest.raises(Refused, match="in plain http"):
        transport._target(transport._root, "http://registry.example.com/v2/")


def test_a_token_service_that_fails_is_asked_again(opened: Opening) -> None:
    to = opened(auth="bearer")
    to.registry.script("GET", "/token", Status(503), Status(429, {"Retry-After": "2"}))
    to.destination.put("m", Data(b"x"))
    assert max(to.naps.seconds) >= 2
    to.registry.tokens.clear()
    to.registry.script("GET", "/token", *[Status(500)] * 50)
    with pytest.raises(Unavailable, match=r"The token service of .* is overloaded or failing \(500\)"):
        to.destination.put("m", Data(b"y"))


def test_an_identity_token_is_posted() -> None:
    asked: list[Any] = []

    def service(realm: str, params: Any, form: Any, authorization: str | None) -> bytes:
        asked.append((realm, params, form, authorization))
        return b'{"access_token": "abc", "expires_in": 3600}'

    class Identity(User):
        def login(self, host: str) -> Login:
            return Login("<token>", "refresh")

    auth = Authorizer("example.com", Identity(), service)
    challenge = ['Bearer realm="https://example.com/t",service="s"']
    scopes = ("repository:a:pull",)
    assert auth.renewed(challenge, scopes, None) == "Bearer abc"
    assert auth.header(scopes) == "Bearer abc"
    ((realm, params, form, authorization),) = asked
    assert (realm, params, authorization) == ("https://example.com/t", [], None)
    assert form["grant_type"] == "refresh_token"
    assert form["refresh_token"] == "refresh"


# what is shown to whom


def test_a_redirect_gets_no_authorization(opened: Opening) -> None:
    with Strict().serving() as other:
        to = opened(auth="bearer")
        data = noise(100_000)
        other.add_blob("elsewhere", data)
        to.registry.add_blob("models/m", data)
        to.registry.redirect_blobs = f"http://{other.host}/elsewhere/"
        back = to.destination.content("m", Descriptor(media_type=LAYER_TYPE, digest=digest_of(data), size=len(data)))
        assert b"".join(back.chunks()) == data
        assert b"".join(back.chunks(50_000)) == data[50_000:]
        assert other.seen_authorization == [None, None]
        assert any(to.registry.seen_authorization)


@pytest.mark.parametrize("target", ["http://example.com/x", "ftp://example.com/x", "http://a:b@127.0.0.1/"])
def test_where_no_redirect_leads(target: str, opened: Opening) -> None:
    to = opened()
    to.registry.script("GET", ".*", Status(307, {"Location": target}))
    back = to.destination.content("m", Descriptor(media_type=LAYER_TYPE, digest=digest_of(b"x"), size=1))
    with pytest.raises(Refused, match="sends to an address") as raised:
        b"".join(back.chunks())
    assert target not in str(raised.value)


def test_redirects_end(opened: Opening) -> None:
    to = opened()
    to.registry.script("HEAD", ".*", *[Status(302, {"Location": "/v2/"})] * 9)
    with pytest.raises(Refused, match="sends in circles"):
        to.destination.has("m", digest_of(b"x"))


def test_what_another_host_asks_for_is_not_given_to_it(opened: Opening) -> None:
    """A redirect leads to a host that names its own token service; our login is not for it."""
    to = opened(auth="bearer")
    digest = to.registry.add_blob("models/fraud", b"data")
    with Strict(auth="bearer").serving() as other:
        to.registry.redirect_blobs = f"http://{other.host}/v2/models/fraud/blobs/"
        with pytest.raises(Refused):
            b"".join(to.destination.content("fraud", Descriptor(media_type=LAYER_TYPE, digest=digest, size=4)).chunks())
    assert other.seen_authorization == [None]
    assert other.count("GET", "/token") == 0


def test_cookies_are_not_kept(opened: Opening) -> None:
    """Harbor takes who sends its cookie for a browser, and wants a CSRF token of it."""
    to = opened()
    to.registry.script("HEAD", ".*", Status(404, {"Set-Cookie": "sid=1; Path=/"}), Status(404), Status(404))
    for _ in range(2):
        assert not to.destination.has("fraud", "sha256:" + "0" * 64)
    assert to.registry.seen_cookies == [None] * 4


def test_an_upload_that_is_sent_elsewhere_gets_no_authorization(opened: Opening) -> None:
    with Strict().serving() as other:
        to = opened(auth="bearer")
        location = f"http://{other.host}/v2/models/m/blobs/uploads/abc?sig=s3cr3t"
        to.registry.script("POST", ".*", Status(202, {"Location": location}))
        other.script("PUT", ".*", Status(403))
        with pytest.raises(Refused) as raised:
            to.destination.put("m", Data(b"x"))
        assert other.seen_authorization == [None]
        assert "s3cr3t" not in str(raised.value)


def test_secrets_are_in_no_message(opened: Opening) -> None:
    to = opened(auth="basic", credentials=User(secret="hunter2"))
    with pytest.raises(Refused) as raised:
        to.destination.push("m", image(b"x").manifest)
    chain: BaseException | None = raised.value
    while chain is not None:
        assert "hunter2" not in repr(chain)
        chain = chain.__cause__ or chain.__context__
    assert "hunter2" not in repr(Login("u", "hunter2"))


@pytest.mark.parametrize(("text", "least"), [("2", 2), ("0", 0), ("99999999", 3), ("-1", 0), ("soon", 0), ("", 0)])
def test_retry_after_is_heeded_within_bounds(text: str, least: float, opened: Opening) -> None:
    to = opened()
    to.registry.script("HEAD", ".*", Status(429, {"Retry-After": text}))
    to.destination.has("m", digest_of(b"x"))
    assert len(to.naps.seconds) == 1
    assert least <= to.naps.seconds[0] <= max(3, least)


def test_retry_after_may_be_a_date(opened: Opening) -> None:
    to = opened()
    to.registry.script("HEAD", ".*", Status(503, {"Retry-After": "Fri, 31 Dec 2999 23:59:59 GMT"}))
    to.destination.has("m", digest_of(b"x"))
    assert to.naps.seconds == [3]


def test_an_endless_answer_is_cut_off(opened: Opening) -> None:
    to = opened()
    data = b"x" * (5 << 20)
    to.registry.add_manifest("models/m", "application/vnd.oci.image.manifest.v1+json", data)
    with pytest.raises(Refused, match="answers with more than 4096 KiB"):
        to.destination.manifest("m", digest_of(data))
    to.registry.script("PUT", ".*/manifests/.*", Status(418, {}, data))
    with pytest.raises(Refused, match="answers with more than"):
        to.destination.push("m", image().manifest)


# docker's configuration


def config(folder: Path, **told: Any) -> DockerConfig:
    (folder / "config.json").write_text(json.dumps(told))
    return DockerConfig(folder / "config.json")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_no_configuration_is_nobody(tmp_path: Path) -> None:
    assert DockerConfig(tmp_path / "none" / "config.json").login("example.com") is None
    assert config(tmp_path).login("example.com") is None


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("example.com:5000", "example.com:5000"),
        ("https://example.com", "example.com"),
        ("https://example.com/v2/", "example.com"),
        ("https://index.docker.io/v1/", "docker.io"),
    ],
)
def test_the_file_is_read(key: str, host: str, tmp_path: Path) -> None:
    docker = config(tmp_path, auths={key: {"auth": encoded("me:a:b")}, "other.com": {"auth": encoded("x:y")}})
    assert docker.login(host) == Login("me", "a:b")
    assert docker.login("nobody.example") is None


def test_an_identity_token_is_read(tmp_path: Path) -> None:
    docker = config(tmp_path, auths={"example.com": {"auth": encoded("x:"), "identitytoken": "t"}})
    assert docker.login("example.com") == Login("<token>", "t")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"auths": 7}', '{"auths": {"example.com": {"auth": "%%%"}}}', "[" * 100_000]
)
def test_a_file_that_cannot_be_read_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InvalidInput, match=r"config\.json .*: .*\.$"):
        DockerConfig(tmp_path / "config.json").login("example.com")


HELPER = """#!/bin/sh
read -r host
echo "$1 $host" >> "{log}"
case $host in
  example.com) echo '{{"ServerURL":"example.com","Username":"me","Secret":"s3cret"}}';;
  broken.com) echo 'nonsense';;
  locked.com) echo 'the password is hunter2' >&2; exit 1;;
  *) echo 'credentials not found in native keychain'; exit 1;;
esac
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential helper; gives its log."""
    program, log = tmp_path / "bin" / "docker-credential-test", tmp_path / "log"
    program.parent.mkdir()
    program.write_text(HELPER.format(log=log))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return log


@pytest.mark.parametrize("told", [{"credsStore": "test"}, {"credHelpers": {"example.com": "test"}}])
def test_a_helper_is_asked(told: Any, helper: Path, tmp_path: Path) -> None:
    docker = config(tmp_path, **told, auths={"example.com": {"auth": encoded("in:file")}})
    assert docker.login("example.com") == Login("me", "s3cret")
    assert helper.read_text() == "get example.com\n"


def test_what_a_store_does_not_know_is_in_the_file(helper: Path, tmp_path: Path) -> None:
    docker = config(tmp_path, credsStore="test", auths={"other.com": {"auth": encoded("in:file")}})
    assert docker.login("other.com") == Login("in", "file")
    assert docker.login("third.com") is None


@pytest.mark.parametrize("host", ["broken.com", "locked.com"])
def test_a_helper_that_fails_is_told_without_what_it_said(host: str, helper: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"docker-credential-test .*: .*\.$") as raised:
        config(tmp_path, credHelpers={host: "test"}).login(host)
    assert "hunter2" not in repr(raised.value)


@pytest.mark.parametrize("name", ["missing", "../../bin/sh", "a b", "-x", ""])
def test_a_helper_that_is_none(name: str, helper: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"helper|not to be found"):
        config(tmp_path, credHelpers={"example.com": name}).login("example.com")


def test_docker_config_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(tmp_path, auths={"example.com": {"auth": encoded("a:b")}})
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert DockerConfig.standard().login("example.com") == Login("a", "b")


def test_a_stalled_registry_is_left(opened: Opening) -> None:
    from tests.pipelines.remote.strict import STALL

    to = opened(patience=Patience(connect=1, stall=0.2, commit=0.2, pause=1, attempts=2))
    to.registry.script("HEAD", ".*", STALL, STALL)
    with pytest.raises(Unavailable, match="ReadTimeout"):
        to.destination.has("m", digest_of(b"x"))
    to.registry.release.set()
