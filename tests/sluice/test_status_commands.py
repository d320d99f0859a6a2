"""What git wants beside what the clusters run, and waiting for these to be the same: as commands, on a fake Argo CD."""

from __future__ import annotations

import json

import pytest

from gitops.bare import make_bare
from gitops.message import Identity
from gitops.operations import Outcome
from gitops.repository import Repository
from registry.progress import Silent
from sluice.cli.releases import refresh_after
from sluice.settings import load
from sluice.wiring import Wiring
from tests.gitops.argocd.fake import TOKEN, FakeArgoCd, application, at, node
from tests.gitops.conftest import Office


def _image(version):
    return f"registry.example/fraud@sha256:{version:064x}"


@pytest.fixture
def argo():
    with FakeArgoCd() as running:
        yield running


@pytest.fixture
def office(tmp_path, monkeypatch):
    """A GitOps repository with version 1 of fraud stable in prod and 2 its canary; no Argo CD is set."""
    make_bare(str(tmp_path / "gitops.git"), "main")
    monkeypatch.setenv("SLUICE_GITOPS", str(tmp_path / "gitops.git"))
    monkeypatch.setenv("SLUICE_CACHE", str(tmp_path / "cache"))
    for name in ("SLUICE_CONFIG", "ARGOCD_AUTH_TOKEN", "SLUICE_ARGOCD__TOKEN", "SLUICE_ARGOCD__URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with Repository.open(str(tmp_path / "gitops.git"), cache=tmp_path / "cache" / "git") as repository:
        made = Office(repository, Identity(name="Ann", email="ann@example.org"))
        made.begin()
        made.promote(1)
        made.promote(2, 10)
        yield made


@pytest.fixture
def with_argo(argo, office, monkeypatch):
    monkeypatch.setenv("SLUICE_ARGOCD__URL", argo.url)
    monkeypatch.setenv("ARGOCD_AUTH_TOKEN", TOKEN)
    return argo


def _runs(argo, office, *versions, **changed):
    commit = office.repository.head().id
    argo.script("fraud-prod", application("fraud-prod", commit, *map(_image, versions), **changed))
    roles = ("stable", "canary")
    argo.trees["fraud-prod"] = [node(role, one, _image(one)) for role, one in zip(roles, versions, strict=False)]
    return commit


def test_without_argo_cd_it_is_what_git_wants(sluice, office):
    shown = sluice("status")
    assert shown.code == 0
    assert shown.out.split("\n")[0].split("   ")[0] == "model"
    assert "cluster" not in shown.out
    found = sluice("status", "--json").json
    assert set(found) == {"commit", "releases"}
    assert "clusters" not in found["releases"][0]


def test_status_shows_both_sides(sluice, office, with_argo):
    commit = _runs(with_argo, office, 1, 2)
    shown = sluice("status")
    assert shown.code == 0, shown.err
    head, row = shown.out.splitlines()
    assert head.split() == ["model", "environment", "stable", "canary", "cluster", "since", "why"]
    assert [cell.strip() for cell in row.split("   ") if cell.strip()] == [
        *("fraud", "prod", "v1", "v2 at 10 %", "Healthy", "2026-11-25 12:01:00Z", "-"),
    ]
    (found,) = sluice("status", "--json").json["releases"]
    assert found["stable"]["version"] == 1
    assert found["clusters"] == {"": {"state": "Healthy", "why": "", "since": "2026-11-25T12:01:00Z", "by": None}}
    assert sluice("status", "--json").json["commit"] == commit
    assert len(with_argo.asked) == 3, "one list for each"


def test_status_says_what_is_wrong(sluice, office, with_argo):
    _runs(with_argo, office, 1, 2, health={"status": "Degraded", "message": "0 of 3 \x1b[31mGPUs"})
    shown = sluice("status")
    assert "Degraded" in shown.out
    assert "its health is Degraded: 0 of 3  [31mGPUs" in shown.out.replace("0 of 3 [", "0 of 3  [")
    assert "\x1b" not in shown.out


def test_status_where_argo_cd_is_not_reached_or_denies(refusal, office, with_argo, monkeypatch):
    with_argo.tokens.clear()
    assert "does not take the token" in refusal(4, "status")
    monkeypatch.setenv("SLUICE_ARGOCD__URL", "http://127.0.0.1:9")
    assert "cannot be reached" in refusal(6, "status")


def test_wait_until_all_is_well(sluice, office, with_argo):
    commit = _runs(with_argo, office, 1, 2)
    well = with_argo.state("fraud-prod")
    running = {"phase": "Running", "startedAt": at(0), "message": "waiting for pods"}
    with_argo.script("fraud-prod", well, application("fraud-prod", commit, operationState=running), well)
    ran = sluice("wait", "fraud", "--env", "prod", "--timeout", "20s")
    assert ran.code == 0, ran.err
    assert ran.out == f"fraud in prod at {commit[:12]} is Healthy.\n"
    assert "a sync is running: waiting for pods" in ran.err
    assert with_argo.refreshed == ["fraud-prod"]
    found = sluice("wait", "fraud", "--env", "prod", "--json").json
    assert (found["state"], found["commit"], found["why"]) == ("Healthy", commit, "")


def test_wait_ends_with_what_is_bad(sluice, office, with_argo):
    _runs(with_argo, office, 1, 2, health={"status": "Degraded", "message": "no GPU"})
    ran = sluice("wait", "fraud", "--env", "prod", "--settle", "0s")
    assert ran.code == 1
    assert ran.out.endswith("is Degraded: its health is Degraded: no GPU.\n")
    _runs(with_argo, office, 1, 2, conditions=[{"type": "ComparisonError", "message": "x"}])
    assert sluice("wait", "fraud", "--env", "prod", "--settle", "0s", "--json").json["state"] == "Failed"


def test_wait_is_superseded(sluice, office, with_argo):
    old = _runs(with_argo, office, 1, 2)
    newer = office.promote(2, 50)
    ran = sluice("wait", "fraud", "--env", "prod", "--commit", old[:10], "--json")
    assert ran.code == 5
    assert (ran.json["state"], ran.json["by"]) == ("Superseded", newer.commit)


def test_wait_out_of_time(sluice, office, with_argo):
    _runs(with_argo, office, 1)
    ran = sluice("wait", "fraud", "--env", "prod", "--timeout", "0s")
    assert ran.code == 124
    assert ran.out.endswith("is Progressing: no canary pod runs the image of v2 yet.\n")


def test_wait_where_argo_cd_is_not_reached(refusal, office, with_argo, monkeypatch):
    monkeypatch.setenv("SLUICE_ARGOCD__URL", "http://127.0.0.1:9")
    assert "cannot be reached" in refusal(6, "wait", "fraud", "--env", "prod", "--timeout", "0s")


def test_waits_that_make_no_sense(refusal, office, with_argo, monkeypatch):
    for code, arguments, said in (
        (2, ("fraud", "--env", "prod", "--timeout", "soon"), "no length of time"),
        (2, ("Fraud", "--env", "prod"), "cannot name a model"),
        (2, ("fraud", "--env", "prod", "--commit", "main"), "is not a commit"),
        (3, ("fraud", "--env", "prod", "--commit", "f" * 40), "no commit"),
        (3, ("fraud", "--env", "moon"), "no environment moon"),
        (3, ("wine", "--env", "prod"), "No version of wine runs in prod"),
    ):
        assert said in refusal(code, "wait", *arguments)
    monkeypatch.delenv("SLUICE_ARGOCD__URL")
    assert "Nothing is set of Argo CD" in refusal(2, "wait", "fraud", "--env", "prod")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"SLUICE_ARGOCD__URL": "argocd.example.com"}, "is no address of Argo CD"),
        ({"SLUICE_ARGOCD__URL": "https://me:secret@argocd.example.com"}, "is no address of Argo CD"),
        ({"SLUICE_ARGOCD__URL": "http://argocd.example.com"}, "in the clear"),
        ({"SLUICE_ARGOCD__URL": "https://argocd.example.com", "ARGOCD_AUTH_TOKEN": ""}, "There is no token"),
        ({"SLUICE_ARGOCD__URL": "https://a.example", "SLUICE_ARGOCD__TOKEN": "secret\n1"}, "no header may have"),
        ({"SLUICE_ARGOCD__URL": "https://a.example", "SLUICE_ARGOCD__KUBE": "true"}, "keep one of them"),
        ({"SLUICE_ARGOCD__URL": "https://a.example", "SLUICE_ARGOCD__CONTEXT": "ops"}, "where kube is true"),
        ({"SLUICE_ARGOCD__URL": "https://a.example", "SLUICE_ARGOCD__CA": "missing.pem"}, "cannot be used"),
        ({"SLUICE_ARGOCD__URL": "", "SLUICE_ARGOCD__KUBE": "true", "SLUICE_ARGOCD__KUBECONFIG": "nope"}, "kubeconfig"),
        ({"SLUICE_ARGOCD__PROJECT": "a&b"}, "argocd.project"),
    ],
)
def test_settings_that_cannot_be_right(refusal, office, with_argo, monkeypatch, setting, said):
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    sentence = refusal(2, "status")
    assert said in sentence
    assert "secret" not in sentence


def test_settings_of_a_file(tmp_path, office, monkeypatch, refusal):
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "sluice.toml"
    monkeypatch.setenv("SLUICE_CONFIG", str(file))
    file.write_text('[argocd]\nurl = "https://argocd.example.com/root/"\nca = "ca.pem"\n')
    assert load().argocd.ca == tmp_path / "sub" / "ca.pem"
    file.write_text('[argocd]\nkube = true\nkubeconfig = "/etc/kube"\ncontext = "ops"\n')
    assert str(load().argocd.kubeconfig) == "/etc/kube"
    file.write_text(f'[argocd]\nurl = "https://argocd.example.com"\ntoken = "{TOKEN}"\n')
    assert TOKEN not in refusal(2, "status")
    monkeypatch.setenv("SLUICE_ARGOCD__TOKEN", TOKEN)
    file.write_text('[argocd]\nurl = "https://argocd.example.com"\n')
    assert TOKEN not in repr(load())
    argocd = load().argocd
    assert (argocd.url, argocd.token.get_secret_value()) == ("https://argocd.example.com", TOKEN)


def test_by_kubeconfig(sluice, office, argo, monkeypatch, tmp_path):
    (tmp_path / "kubeconfig").write_text(argo.kubeconfig())
    monkeypatch.setenv("SLUICE_ARGOCD__KUBE", "true")
    monkeypatch.setenv("SLUICE_ARGOCD__KUBECONFIG", str(tmp_path / "kubeconfig"))
    _runs(argo, office, 1, 2)
    assert sluice("status", "--json").json["releases"][0]["clusters"][""]["state"] == "Healthy"


class Told(Silent):
    def __init__(self):
        self.facts = []

    def fact(self, text):
        self.facts.append(text)


def _outcome(office):
    commit = office.repository.head().id
    return Outcome(model="fraud", environment="prod", commit=commit, subject="x", release=None)


def test_after_a_push_argo_cd_looks_at_once(office, with_argo):
    parts, told = Wiring(load()), Told()
    _runs(with_argo, office, 1, 2)
    refresh_after(parts, _outcome(office).model_copy(update={"commit": None}), told)
    assert with_argo.asked == []
    refresh_after(parts, _outcome(office), told)
    assert with_argo.refreshed == ["fraud-prod"]
    assert told.facts == []
    with_argo.tokens.clear()
    refresh_after(parts, _outcome(office), told)
    assert told.facts[0].startswith("The commit is there, and Argo CD could not be told of it: ")
    assert TOKEN not in json.dumps(told.facts)
    parts.close()


def test_after_a_push_without_argo_cd_nothing_is_asked(office):
    told = Told()
    refresh_after(Wiring(load()), _outcome(office), told)
    assert told.facts == []
