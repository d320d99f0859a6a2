"""What is special about Argo CD's HTTP API: what it denies and why, and what must not get out."""

from __future__ import annotations

import ssl
import subprocess
import time
from pathlib import Path

import pytest

from gitops.argocd import api as module
from gitops.argocd.api import ArgoApi
from registry.errors import InvalidInput, Refused, Unavailable
from tests.gitops.argocd.fake import TOKEN, FakeArgoCd, application

COMMIT = "1" * 40


def test_each_request_names_the_project(argo: FakeArgoCd, api: ArgoApi) -> None:
    argo.script("a", application("a", COMMIT))
    found = api.read("a")
    assert found is not None
    api.pods(found, {})
    api.every()
    api.refresh("a")
    assert [asked.query.get("project") or asked.query.get("projects") for asked in argo.asked] == ["sluice"] * 4
    assert not any("appNamespace" in asked.query for asked in argo.asked)


def test_a_namespace_of_ones_own_is_named(argo: FakeArgoCd) -> None:
    other = ArgoApi(argo.url, TOKEN, namespace="gitops")
    other.read("a")
    other.close()
    assert argo.asked[0].query["appNamespace"] == "gitops"


def test_an_application_of_another_project_is_denied(argo: FakeArgoCd, api: ArgoApi) -> None:
    argo.script("a", application("a", project="default"))
    with pytest.raises(Refused, match="project sluice"):
        api.read("a")
    argo.tokens[TOKEN] = {"default"}
    with pytest.raises(Refused, match="applications, get"):
        api.read("b")


def test_the_short_list_tells_of_a_sync_that_is_asked_for_or_failed(argo: FakeArgoCd, api: ArgoApi) -> None:
    failed = {"phase": "Failed", "finishedAt": "2026-11-25T11:00:00Z", "syncResult": {"revision": COMMIT}}
    argo.script("a", {**application("a"), "operation": {"sync": {"revision": COMMIT}}})
    argo.script("b", application("b", operationState=failed))
    argo.script("c", {**application("c"), "status": {}})
    found = api.overview()
    assert (found["a"].pending, found["b"].pending) == (True, False)
    assert (found["b"].operation.failed, found["b"].revision) == (True, COMMIT)
    assert (found["c"].revision, found["c"].whole) == ("", False)


def test_a_name_stays_a_name(argo: FakeArgoCd, api: ArgoApi) -> None:
    assert api.read("../projects?x=1#y") is None
    assert argo.asked[0].path == "/api/v1/applications/..%2Fprojects%3Fx%3D1%23y"


def test_a_redirect_is_not_followed(argo: FakeArgoCd, api: ArgoApi) -> None:
    argo.faults.append("elsewhere")
    with pytest.raises(Refused, match="sends to another address"):
        api.every()
    assert len(argo.asked) == 1


def test_an_answer_without_end(argo: FakeArgoCd, api: ArgoApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANSWER_MAX", 4 << 20)
    argo.faults.append("flood")
    with pytest.raises(Refused, match="more than"):
        api.every()


def test_a_refresh_does_not_wait_for_its_end(argo: FakeArgoCd, api: ArgoApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argo CD answers once it has looked, which may take long; it was asked all the same."""
    monkeypatch.setattr(module, "_REFRESH_SECONDS", 0.2)
    argo.script("a", application("a"))
    argo.on_refresh = lambda _: argo.going_on.wait(20) and None
    before = time.monotonic()
    api.refresh("a")
    assert time.monotonic() - before < 5
    assert argo.refreshed == ["a"]


def test_a_refresh_that_nobody_hears(api: ArgoApi, argo: FakeArgoCd) -> None:
    argo.faults.append("drop")
    with pytest.raises(Unavailable, match="cannot be reached"):
        api.refresh("a")


@pytest.mark.parametrize("body", [[], {"items": [1]}, {"items": [{"metadata": {"name": 1}}]}])
def test_what_no_argo_cd_answers(argo: FakeArgoCd, api: ArgoApi, body: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.gitops.argocd.fake._Handler._found", lambda *_: body)
    with pytest.raises(InvalidInput):
        api.every()


def test_a_certificate_of_ones_own(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "ca.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with FakeArgoCd() as argo:
        argo.socket = context.wrap_socket(argo.socket, server_side=True)
        url = argo.url.replace("http://", "https://")
        known = ArgoApi(url, TOKEN, ca=certificate)
        assert known.read("a") is None
        known.close()
        unknown = ArgoApi(url, TOKEN)
        with pytest.raises(Unavailable, match=r"CERTIFICATE_VERIFY_FAILED.*argocd\.ca"):
            unknown.refresh("a")
        unknown.close()
