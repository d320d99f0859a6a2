"""Each case is what git and a real server print, word for word, and what Sluice makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitops.address import Address
from gitops.git import Runner
from gitops.git_errors import GitFailed, Moved, Stalled, explain
from registry.errors import InvalidInput, NotFound, Refused, SluiceError, Unavailable

_READ = (
    "fatal: Could not read from remote repository.\n\n"
    "Please make sure you have the correct access rights\nand the repository exists."
)
_FAILED = "error: failed to push some refs to 'https://git.example/ops.git'"

CASES = [
    # another writer was first
    ("! [rejected]        main -> main (fetch first)\n" + _FAILED, Moved, "first"),
    ("! [rejected]        main -> main (non-fast-forward)\n" + _FAILED, Moved, "first"),
    ("! [rejected]        main -> main (stale info)\n" + _FAILED, Moved, "first"),
    (
        "remote: error: cannot lock ref 'refs/heads/main': is at 664 but expected 0c8\n"
        " ! [remote rejected] main -> main (failed to update ref)\n" + _FAILED,
        Moved,
        "first",
    ),
    (
        " ! [remote rejected]   main -> main (cannot lock ref 'refs/heads/main': is at 6691e but expected cdec6)",
        Moved,
        "first",
    ),
    (" ! [remote rejected] main -> main (incorrect old value provided)", Moved, "first"),
    (" ! [remote rejected] main -> main (failed to lock)", Moved, "first"),
    (" ! [remote rejected] main -> main (reference already exists)", Moved, "first"),
    # the server says no
    (
        "remote: Resolving deltas: 100% (1/1), completed with 1 local object.\n"
        "remote: error: GH006: Protected branch update failed for refs/heads/main.\n"
        "remote: error: Changes must be made through a pull request.\n"
        " ! [remote rejected] main -> main (protected branch hook declined)\n" + _FAILED,
        Refused,
        "Changes must be made through a pull request",
    ),
    (
        "remote: error: GH013: Repository rule violations found for refs/heads/main.        \n"
        "remote: Review all repository rules at https://github.com/a/b/rules        \nremote: \n"
        "remote: - Changes must be made through a pull request.        \nremote: \n"
        " ! [remote rejected] main -> main (push declined due to repository rule violations)\n" + _FAILED,
        Refused,
        "GH013",
    ),
    (
        "remote: GitLab: You are not allowed to push code to protected branches on this project.\n"
        " ! [remote rejected] main -> main (pre-receive hook declined)\n" + _FAILED,
        Refused,
        "You are not allowed to push",
    ),
    (
        "remote: Permission to a/b.git denied to ann.\n"
        "fatal: unable to access 'https://github.com/a/b.git/': The requested URL returned error: 403",
        Refused,
        "access",
    ),
    (
        "fatal: unable to access 'https://git-codecommit.us-east-1.amazonaws.com/v1/repos/ops/':"
        " The requested URL returned error: 403",
        Refused,
        "access",
    ),
    (
        "remote: error: refusing to update checked out branch: refs/heads/main\n"
        " ! [remote rejected] main -> main (branch is currently checked out)\n" + _FAILED,
        Refused,
        "bare repository",
    ),
    (" ! [remote rejected] main -> main (Working directory has unstaged changes)", Refused, "work tree"),
    (
        "error: remote unpack failed: unable to create temporary object directory\n"
        " ! [remote rejected] main -> main (unpacker error)",
        Refused,
        "could not store",
    ),
    (
        "remote: error: cannot lock ref 'refs/heads/main': 'refs/heads/main/x' exists; cannot create"
        " 'refs/heads/main'\n ! [remote rejected] main -> main (failed to update ref)",
        Refused,
        "another branch",
    ),
    (
        "error: cannot lock ref 'refs/heads/main': Unable to create '/srv/ops.git/refs/heads/main.lock':"
        " Permission denied",
        Refused,
        "does not let you in",
    ),
    (
        "remote: \nremote: ========================================================================\nremote: \n"
        "remote: GL-HOOK-ERR: Commit message does not follow the pattern\nremote: \n"
        " ! [remote rejected] main -> main (pre-receive hook declined)\n" + _FAILED,
        Refused,
        "declined the commit (Commit message does not follow the pattern): ask",
    ),
    (
        "remote: Permission denied to update branch main.\n"
        " ! [remote rejected] main -> main (pre-receive hook declined)\n" + _FAILED,
        Refused,
        "declined the commit (Permission denied to update branch main)",
    ),
    (
        " ! [remote rejected] main -> main (TF402455: Pushes to this branch are not permitted; you must use a pull"
        " request to update this branch.)\n" + _FAILED,
        Refused,
        "declined the commit",
    ),
    (
        " ! [remote rejected] main -> main (refusing to allow a Personal Access Token to create or update workflow"
        " `.github/workflows/tests.yml` without `workflow` scope)\n" + _FAILED,
        Refused,
        "declined the commit",
    ),
    # credentials
    ("git@github.com: Permission denied (publickey).\n" + _READ, Refused, "ssh key"),
    ("Permission denied (publickey,gssapi-keyex,gssapi-with-mic).\n" + _READ, Refused, "ssh key"),
    ("Host key verification failed.\n" + _READ, Refused, "host key"),
    (
        "No ED25519 host key is known for git.example and you have requested strict checking.\n"
        "Host key verification failed.\n" + _READ,
        Refused,
        "host key",
    ),
    (
        "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
        Refused,
        "credential helper",
    ),
    (
        "remote: HTTP Basic: Access denied. The provided password or token is incorrect.\n"
        "fatal: Authentication failed for 'https://gitlab.com/a/b.git/'",
        Refused,
        "credential helper",
    ),
    (
        "remote: Invalid username or password.\nfatal: Authentication failed for 'https://github.com/a/b.git/'",
        Refused,
        "credential helper",
    ),
    (
        "fatal: unable to access 'https://git.example/': SSL certificate problem: unable to get local issuer"
        " certificate",
        Refused,
        "certificate",
    ),
    ("fatal: detected dubious ownership in repository at '/srv/ops.git'", Refused, "another user"),
    ("fatal: transport 'ext' not allowed", Refused, "cannot speak"),
    # not there
    ("fatal: '/srv/ops.git' does not appear to be a git repository\n" + _READ, NotFound, "no git repository"),
    (
        "remote: Repository not found.\nfatal: repository 'https://github.com/a/b.git/' not found",
        NotFound,
        "no git repository",
    ),
    ("ERROR: Repository not found.\n" + _READ, NotFound, "no git repository"),
    (
        "remote: The project you were looking for could not be found or you don't have permission to view it.\n"
        "fatal: repository 'https://gitlab.com/a/b.git/' not found",
        NotFound,
        "no git repository",
    ),
    # the network, or a server in trouble
    ("fatal: unable to access 'https://x.invalid/': Could not resolve host: x.invalid", Unavailable, "network"),
    ("ssh: Could not resolve hostname x.invalid: Name or service not known\n" + _READ, Unavailable, "network"),
    ("ssh: connect to host 127.0.0.1 port 9: Connection refused\n" + _READ, Unavailable, "refused"),
    (
        "fatal: unable to access 'http://127.0.0.1:9/': Failed to connect to 127.0.0.1 port 9 after 0 ms:"
        " Couldn't connect to server",
        Unavailable,
        "network",
    ),
    (
        "kex_exchange_identification: Connection closed by remote host\n"
        "Connection closed by 20.205.243.166 port 22\n" + _READ,
        Unavailable,
        "network",
    ),
    (
        "error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502\n"
        "send-pack: unexpected disconnect while reading sideband packet\n"
        "fatal: the remote end hung up unexpectedly\nEverything up-to-date",
        Unavailable,
        "502",
    ),
    ("error: RPC failed; curl 52 Empty reply from server\nfatal: the remote end hung up unexpectedly", Unavailable, ""),
    (
        "remote: fatal error in commit_refs        \n ! [remote rejected] main -> main (failure)\n" + _FAILED,
        Unavailable,
        "commit_refs",
    ),
    (
        "remote: Internal Server Error\n ! [remote failure]  main -> main (remote failed to report status)\n" + _FAILED,
        Unavailable,
        "Internal Server Error",
    ),
    (
        "remote: \nremote: ========================================================================\nremote: \n"
        "remote: ERROR: Internal API unreachable\nremote: \n" + _READ,
        Unavailable,
        "ERROR: Internal API unreachable",
    ),
    (
        "remote: GitLab: Failed to authorize your Git request: internal API unreachable\n"
        " ! [remote rejected] main -> main (pre-receive hook declined)\n" + _FAILED,
        Unavailable,
        "in trouble",
    ),
    (
        "remote: \nremote: Gitea: Internal Server Error\n"
        " ! [remote rejected] main -> main (pre-receive hook declined)\n" + _FAILED,
        Unavailable,
        "in trouble",
    ),
    (
        "fatal: unable to access 'https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/ops/':"
        " The requested URL returned error: 429",
        Unavailable,
        "429",
    ),
    ("git push gave no answer in 900 seconds", Stalled, "stalls (git push gave no answer in 900 seconds)"),
    ("fatal: early EOF\nfatal: fetch-pack: invalid index-pack output", Unavailable, "network"),
    ("fatal: something nobody has seen", SluiceError, "something nobody has seen"),
]


@pytest.mark.parametrize(("text", "kind", "part"), CASES, ids=[text.strip()[:60] for text, _, _ in CASES])
def test_what_git_says_becomes_one_sentence(text: str, kind: type[SluiceError], part: str) -> None:
    error = explain(GitFailed(128, text), "https://git.example/ops.git", "main")
    assert type(error) is kind
    sentence = str(error)
    assert part in sentence
    assert "git.example/ops.git" in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_what_a_server_says_is_shortened_and_cannot_draw_on_the_terminal() -> None:
    said = "remote: \x1b]0;owned\x07\x1b[31mno\x1b[0m\x9b2J\r\n" + "remote: " + "very " * 500 + "long\n"
    error = explain(GitFailed(1, said + " ! [remote rejected] main -> main (pre-receive hook declined)"), "r", "main")
    assert str(error).isprintable()
    assert len(str(error)) < 500
    assert "no / very very" in str(error)


def test_credentials_never_get_through() -> None:
    said = "fatal: unable to access 'https://x-access-token:s3cret@github.com/a/b.git/': who knows"
    failed = GitFailed(128, said)
    assert "s3cret" not in failed.text + str(failed) + str(explain(failed, "r", "main")) + repr(failed.args)


@pytest.mark.parametrize(
    "remote",
    [
        "https://ann:s3cret@git.example/ops.git",
        "https://:s3cret@git.example/ops.git",
        "https://ghp_s3cret@github.com/a/b.git",
        "https://github_pat_s3cret@github.com/a/b.git",
        "https://glpat-s3cret@gitlab.com/a/b.git",
        "https://oauth2:s3cret@gitlab.com/a/b.git",
        "HTTPS://ann:s3cret@git.example",
        "https://s3cret@git.example/ops.git",
        "HTTP://s3cret@git.example/ops.git",
        "https::https://s3cret@git.example/ops.git",
        "codecommit::us-east-1://ann:s3cret@ops",
        "ssh://ann:s3cret@git.example/ops.git",
    ],
)
def test_an_address_with_a_secret_is_refused_without_repeating_it(remote: str) -> None:
    with pytest.raises(Refused, match="credential helper") as caught:
        Address(remote)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "remote",
    ["", "-x", "--upload-pack=touch /tmp/x", "ext::sh -c id", "ftp://a/b", "git://a/b", "https://a/b\nc", "a\0b"],
)
def test_other_addresses_are_refused(remote: str) -> None:
    with pytest.raises(InvalidInput):
        Address(remote)


@pytest.mark.parametrize(
    "remote",
    [
        "https://git.example/ops.git",
        "https://git.example/team@home/ops.git",
        "ssh://git@git.example:2222/ops.git",
        "git@github.com:acme/ops.git",
        "ops-host:acme/ops.git",
        "codecommit::us-east-1://ops",
        "codecommit://ann@ops",
    ],
)
def test_addresses_elsewhere_stay_as_they_are(remote: str) -> None:
    address = Address(remote)
    assert (address.url, address.path) == (remote, None)


def test_paths_are_made_absolute_so_that_one_remote_has_one_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Address("a b/ops.git").url == str(tmp_path / "a b/ops.git")
    assert Address("./x:y").path == tmp_path / "x:y"
    assert Address("file:///srv/my%20ops.git").path == Path("/srv/my ops.git")


def test_a_home_that_nobody_has_is_one_sentence() -> None:
    with pytest.raises(InvalidInput, match=r"no home folder ~nobody123 on this machine: give"):
        Address("~nobody123/ops.git")


def test_without_git_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(NotFound, match="install git"):
        Runner(tmp_path).run("version")
