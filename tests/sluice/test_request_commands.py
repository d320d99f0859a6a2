"""Pull requests from the command line, at a forge that answers over HTTP."""

import json as jsons
import subprocess
import threading

import pytest

from gitops.message import Identity
from gitops.operations import promote_in
from pipelines.steps.commit import CommitInput, promotion
from registry.names import VersionRef
from registry.progress import Silent
from sluice.cli import request_commands
from sluice.cli.common import wired
from tests.gitops.forges.fakes import PROJECT, TOKEN, FakeGitHub, Fault

V1 = "digits-2026-11-01"


@pytest.fixture
def forge(workspace, tmp_path, monkeypatch):
    """The workspace's repository, as it is known at a GitHub of one's own."""
    fake = FakeGitHub(workspace.gitops)
    thread = threading.Thread(target=fake.serve_forever, args=(0.02,))
    thread.start()
    remote = f"{fake.origin}/{PROJECT}.git"
    config = tmp_path / "gitconfig"
    config.write_text(f'[url "{workspace.gitops}"]\n\tinsteadOf = {remote}\n')
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "GITLAB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    settings = {"SLUICE_GITOPS": remote, "SLUICE_FORGE": "github", "GH_TOKEN": TOKEN, "GIT_CONFIG_GLOBAL": str(config)}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    yield fake
    fake.shutdown()
    fake.server_close()
    thread.join()


def test_promote_opens_a_request(sluice, workspace, forge):
    assert sluice("release", V1, "--model", "digits").code == 0
    ask = ("promote", "digits@1", "--weight", 100, "--pull-request")
    assert sluice(*ask, "--to", "prod").out == f"{forge.origin}/{PROJECT}/pull/1 digits: prod stable v1\n"
    assert sluice(*ask, "--to", "prod", "--json").json["request"]["number"] == 1
    assert sluice(*ask, "--to", "staging").out == "digits@1 has 100 % of staging already: nothing to ask for.\n"


def propose(capfd, weight, environment="prod", json=False):
    """What `sluice promote --pull-request` does once it knows what is asked for."""
    with wired() as parts:
        asked = CommitInput(
            ref=VersionRef(model="digits", number=1), environment=environment, weight=weight, requested_by=parts.actor
        )
        found = request_commands.propose(parts, promotion(asked, parts.registry), Silent(), "github")
    request_commands.say_proposed(found, json, unchanged="Nothing to ask for.")
    return capfd.readouterr().out


def branches(workspace):
    command = ["git", "-C", str(workspace.gitops), "branch", "--format=%(refname:short)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_requests_are_opened_superseded_and_listed(sluice, workspace, forge, capfd, refusal):
    assert sluice("requests").out == "No pull request was opened there yet: `sluice promote --pull-request`.\n"
    assert sluice("release", V1, "--model", "digits").code == 0
    head = workspace.head()

    out = propose(capfd, 100)

    url = f"{forge.origin}/{PROJECT}/pull/1"
    assert out == f"{url} digits: prod stable v1\n"
    assert propose(capfd, 100) == out
    assert workspace.head() == head
    (pull,) = forge.open()
    assert "| `validation:accuracy` | - | 0.857778 | - |" in pull.body
    assert branches(workspace) == {"main", pull.branch}
    assert propose(capfd, 100, "staging") == "Nothing to ask for.\n"

    with wired() as parts:  # something else is released meanwhile, so that the same is another change
        asked = CommitInput(
            ref=VersionRef(model="digits", number=1), environment="prod", weight=100, requested_by="bob"
        )
        promote_in(parts.repository, promotion(asked, parts.registry), Identity(name="B", email="b@e.org"), Silent())
    forge.merged(1, workspace.head())

    rows = sluice("requests", "digits", "--env", "prod").out.splitlines()
    assert rows[0].split() == ["request", "state", "model", "environment", "asks", "for", "commit", "url"]
    assert rows[1].split() == ["#1", "merged", "digits", "prod", "v1", "at", "100", "%", workspace.head()[:12], url]
    (shown,) = sluice("requests", "--json").json
    assert (shown["version"], shown["weight"], shown["request"]["state"]) == (1, 100, "merged")
    assert sluice("requests", "other", "--json").json == []
    assert sluice("requests", "--env", "staging", "--json").json == []
    assert not [seen.path for seen in forge.seen if TOKEN in seen.path]


def test_what_stops_it_is_one_sentence(sluice, workspace, forge, refusal, monkeypatch):
    assert "'Model' " in refusal(2, "requests", "Model")
    assert "is not a forge that Sluice knows: give one of github, gitlab, codecommit." in refusal(
        2, "requests", "--forge", "gitea"
    )
    assert "unencrypted" in refusal(4, "requests", "--forge-api", "http://git.example.com")
    forge.faults = [Fault(403, {"message": f"Resource not accessible by {TOKEN}"})]
    said = refusal(4, "requests")
    assert "GitHub denies this to the token in GH_TOKEN (Resource not accessible by …)" in said
    forge.faults = [Fault(429, {}, {"Retry-After": "60"})]
    assert "was asked too often" in refusal(6, "requests")
    monkeypatch.delenv("GH_TOKEN")
    assert "There is no token for acme/models at its forge: set GITHUB_TOKEN or GH_TOKEN." in refusal(4, "requests")
    monkeypatch.delenv("SLUICE_FORGE")
    assert "Nobody says which forge" in refusal(2, "requests")
    monkeypatch.setenv("SLUICE_GITOPS", str(workspace.gitops))
    assert "is at no forge" in refusal(2, "requests")
    monkeypatch.delenv("SLUICE_GITOPS")
    assert "No GitOps repository is set" in refusal(2, "requests")


def test_it_says_what_it_superseded(sluice, workspace, forge, capfd):
    assert sluice("release", V1, "--model", "digits").code == 0
    propose(capfd, 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_ACTOR", "Ann <ann@example.com>")
        out = propose(capfd, 100)
        found = sluice("requests", "--json").json
    assert out == f"{forge.origin}/{PROJECT}/pull/2 digits: prod stable v1\nSuperseded: #1\n"
    assert [one["request"]["state"] for one in found] == ["open", "closed"]
    assert forge.pulls[0].comments == [f"Superseded by {forge.origin}/{PROJECT}/pull/2"]


def test_a_request_as_json(sluice, workspace, forge, capfd):
    assert sluice("release", V1, "--model", "digits").code == 0
    found = jsons.loads(propose(capfd, 100, json=True))
    assert found["request"]["number"] == 1
    assert (found["subject"], found["superseded"]) == ("digits: prod stable v1", [])
