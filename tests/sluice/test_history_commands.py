"""`sluice history --verify`, on a real repository with real keys."""

import shutil
import subprocess

import pytest

from gitops.message import Identity
from gitops.repository import Repository
from gitops.signing import CommitSigning
from gitops.tree import Change

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="install openssh-client for ssh-keygen")


@pytest.fixture
def key(tmp_path):
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return tmp_path / "key"


@pytest.fixture
def commit(tmp_path, monkeypatch):
    """Commits to a new repository that the settings name, signed with a key where one is given."""
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", "--initial-branch=main", str(remote)], check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICE_GITOPS", str(remote))
    monkeypatch.setenv("SLUICE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SLUICE_ACTOR", "Ann <ann@example.org>")

    def make(content, trailers, key=""):
        signing = CommitSigning(key=str(key))
        change = Change(writes={"models/fraud/prod/release.yaml": content}, subject="Change", trailers=trailers)
        with Repository.open(str(remote), cache=tmp_path / "other", signing=signing) as repository:
            return repository.commit(lambda _: change, author=Identity(name="Ann", email="ann@example.org")).id

    return make


def test_each_commit_is_told_of_and_sluices_have_to_be_good(sluice, commit, key, tmp_path):
    allowed = tmp_path / "allowed"
    allowed.write_text(f"ann@example.org {key.with_suffix('.pub').read_text()}")
    options = ("--verify", "--allowed-signers", allowed)
    good = commit(b"1", {"Action": "promote"}, key)
    by_hand = commit(b"2", {})
    assert by_hand

    shown = sluice("history", *options)
    assert shown.code == 0, shown.err
    assert [word in shown.out for word in ("good", "unsigned", "ann@example.org")] == [True] * 3
    found = sluice("history", "fraud", *options, "--json").json
    assert [(one["id"], one["signature"]["verdict"]) for one in found] == [(by_hand, "unsigned"), (good, "good")]
    assert sluice("history", "--verify").code == 1

    commit(b"3", {"Action": "promote"})
    shown = sluice("history", *options)
    assert (shown.code, shown.out.count("unsigned")) == (1, 2)
    assert sluice("history").code == 0


def test_signers_without_verify_and_files_that_are_not_there_are_bad_input(refusal, commit, tmp_path):
    commit(b"1", {})
    assert "together with --verify" in refusal(2, "history", "--allowed-signers", tmp_path / "none")
    assert "correct --allowed-signers" in refusal(2, "history", "--verify", "--allowed-signers", tmp_path / "none")


def test_the_settings_key_signs_what_commands_commit(sluice, commit, key, tmp_path, monkeypatch):
    commit(b"1", {})
    (tmp_path / "sluice.toml").write_text('[commit_signing]\nkey = "key"\n')
    folder = tmp_path / "empty.git"
    assert sluice("init", str(folder), "--env", "prod").code == 0
    raw = subprocess.run(["git", "-C", str(folder), "cat-file", "commit", "main"], capture_output=True, check=True)
    assert b"gpgsig -----BEGIN SSH SIGNATURE-----" in raw.stdout
    monkeypatch.setenv("SLUICE_COMMIT_SIGNING__FORMAT", "x509")
    assert sluice("history").code == 2
