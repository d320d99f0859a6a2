"""Commits signed with real keys, and what is said of signatures."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from gitops.message import Identity
from gitops.repository import Repository
from gitops.signing import CommitSigning, SignatureFormat
from gitops.snapshot import Commit
from gitops.tree import Change
from gitops.verify import Verdict
from registry.errors import InvalidInput, Refused

Run = Callable[..., str]

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="install openssh-client for ssh-keygen")
needs_gpg = pytest.mark.skipif(shutil.which("gpg") is None, reason="install gnupg for gpg")


def put(repository: Repository, author: Identity, content: bytes = b"1") -> Commit:
    change = Change(writes={"a": content}, subject="Subject \u00e9", trailers={"Action": "promote"})
    commit = repository.commit(lambda _: change, author=author)
    assert commit is not None
    return commit


def keygen(path: Path, passphrase: str = "") -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return keygen(tmp_path / "a key")


@pytest.fixture
def allowed(tmp_path: Path, key: Path) -> Path:
    path = tmp_path / "allowed"
    path.write_text(f"ann@example.org {key.with_suffix('.pub').read_text()}")
    return path


@pytest.fixture
def signed(remote: Path, cache: Path, key: Path) -> Iterator[Repository]:
    with Repository.open(str(remote), cache=cache, signing=CommitSigning(key=str(key))) as opened:
        yield opened


def verdicts(repository: Repository, *commits: Commit, allowed: Path | None = None) -> list[Verdict]:
    found = repository.signatures([commit.id for commit in commits], allowed)
    return [found[commit.id].verdict for commit in commits]


@needs_ssh
def test_a_signed_commit_is_the_same_commit_with_a_signature(
    signed: Repository, author: Identity, git: Run, remote: Path, allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Somebody Else")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2001-01-01T00:00:00Z")
    first, second = put(signed, author), put(signed, author, b"2")
    assert git(remote, "rev-parse", "main", "main~1").split() == [second.id, first.id]
    assert second.parents == (first.id,)
    raw = git(remote, "cat-file", "commit", second.id)
    headers, _, message = raw.partition("\n\n")
    assert "gpgsig -----BEGIN SSH SIGNATURE-----" in headers
    assert [line.split()[0] for line in headers.splitlines() if line[0] != " "] == [
        *("tree", "parent", "author", "committer", "gpgsig")
    ]
    assert git(remote, "log", "-1", "--format=%an <%ae>|%cn <%ce>", "main") == "|".join(
        ["Ann Ops <ann@example.org>"] * 2
    )
    assert git(remote, "log", "-1", "--format=%at %ct", "main").split() == [str(int(second.time.timestamp()))] * 2
    assert message.startswith("Subject \u00e9\n\nRelease-Id: ")
    git(remote, "-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-commit", second.id)
    git(remote, "fsck", "--strict")


@needs_ssh
def test_proposals_are_signed_too(signed: Repository, author: Identity, allowed: Path) -> None:
    put(signed, author)
    change = Change(writes={"a": b"2"}, subject="Write")
    proposed = signed.propose(lambda _: change, author=author, branch="sluice/x")
    assert proposed is not None
    assert verdicts(signed, proposed, allowed=allowed) == [Verdict.GOOD]


@needs_ssh
def test_what_signatures_are_worth(
    signed: Repository, repository: Repository, author: Identity, git: Run, remote: Path, allowed: Path, tmp_path: Path
) -> None:
    good, unsigned = put(signed, author), put(repository, author, b"2")
    raw = git(remote, "cat-file", "commit", good.id).replace("Subject", "Object") + "\n"
    forged = git(remote, "hash-object", "-t", "commit", "-w", "--stdin", stdin=raw)
    git(remote, "update-ref", "refs/heads/forged", forged)
    with Repository.open(str(remote), "forged", cache=tmp_path / "other") as other:
        bad = other.head().commit
        assert bad is not None
        assert verdicts(other, bad, allowed=allowed) == [Verdict.BAD]
    assert verdicts(repository, good, unsigned, allowed=allowed) == [Verdict.GOOD, Verdict.UNSIGNED]
    assert repository.signatures([good.id], allowed)[good.id].signer == "ann@example.org"
    assert repository.signatures([good.id], allowed)[good.id].key.startswith("SHA256:")
    allowed.write_text(f"bob@example.org {keygen(tmp_path / 'other key').with_suffix('.pub').read_text()}")
    assert verdicts(repository, good, allowed=allowed) == [Verdict.UNKNOWN]
    assert verdicts(repository, good) == [Verdict.UNKNOWN]
    assert repository.signatures([]) == {}


@needs_ssh
def test_the_persons_own_file_of_signers_counts_and_their_log_does_not_matter(
    signed: Repository, author: Identity, allowed: Path, tmp_path: Path
) -> None:
    with (tmp_path / "gitconfig").open("a") as config:
        config.write(
            f'[gpg "ssh"]\n\tallowedSignersFile = {allowed}\n[log]\n\tshowSignature = true\n\tdecorate = full\n'
            "[i18n]\n\tlogOutputEncoding = UTF-16\n[color]\n\tui = always\n[format]\n\tpretty = raw\n"
        )
    good = put(signed, author)
    assert verdicts(signed, good) == [Verdict.GOOD]


@needs_ssh
def test_a_key_with_a_passphrase_is_not_asked_about(
    remote: Path, cache: Path, author: Identity, tmp_path: Path, git: Run
) -> None:
    locked = CommitSigning(key=str(keygen(tmp_path / "locked", "secret")))
    with (
        Repository.open(str(remote), cache=cache, signing=locked) as repository,
        pytest.raises(Refused, match=r"cannot be signed with the ssh key .*locked.*agent") as caught,
    ):
        put(repository, author)
    assert "\n" not in str(caught.value)
    assert git(remote, "for-each-ref") == ""


@needs_ssh
def test_a_key_in_an_agent_signs(
    remote: Path,
    cache: Path,
    author: Identity,
    tmp_path: Path,
    key: Path,
    allowed: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE, text=True)
    try:
        assert agent.stdout
        agent.stdout.readline()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", str(key)], check=True, env=dict(os.environ))
        key.unlink()
        public = key.with_suffix(".pub")
        for name in (str(public), f"key::{public.read_text().strip()}"):
            signing = CommitSigning(key=name)
            with Repository.open(str(remote), cache=cache, signing=signing) as repository:
                good = put(repository, author, name.encode())
                assert verdicts(repository, good, allowed=allowed) == [Verdict.GOOD]
    finally:
        agent.terminate()
        agent.communicate()


def test_a_key_that_is_not_there_is_named_before_anything_is_pushed(
    remote: Path, cache: Path, author: Identity, git: Run, tmp_path: Path
) -> None:
    signing = CommitSigning(key=str(tmp_path / "none"))
    with Repository.open(str(remote), cache=cache, signing=signing) as repository:
        assert repository.head().id is None
        with pytest.raises(InvalidInput, match=r"no key .*none to sign commits with"):
            put(repository, author)
        with pytest.raises(InvalidInput, match="correct --allowed-signers"):
            repository.signatures([], tmp_path / "none")
    assert git(remote, "for-each-ref") == ""


@pytest.mark.parametrize("key", ["-f", "a\nb", "\x1b[2J"])
def test_odd_keys_are_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="in one line"):
        CommitSigning(key=key)


@pytest.mark.slow
@needs_gpg
def test_an_openpgp_key_signs(
    remote: Path, cache: Path, author: Identity, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = Path("/tmp") / f"sluice-gpg-{os.getpid()}"  # a socket's path has to be short
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    try:
        command = ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", "ann@example.org", "ed25519"]
        subprocess.run(command, check=True, capture_output=True)
        signing = CommitSigning(format=SignatureFormat.OPENPGP, key="ann@example.org")
        with Repository.open(str(remote), cache=cache, signing=signing) as repository:
            good = put(repository, author)
            found = repository.signatures([good.id])[good.id]
            assert (found.verdict, found.signer) == (Verdict.GOOD, "ann@example.org")
        other = CommitSigning(format=SignatureFormat.OPENPGP, key="bob@example.org")
        with (
            Repository.open(str(remote), cache=cache, signing=other) as repository,
            pytest.raises(Refused, match=r"openpgp key bob@example\.org"),
        ):
            put(repository, author, b"2")
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], check=False, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)
