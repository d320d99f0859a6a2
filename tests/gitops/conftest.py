"""Real git, real remotes on disk and over HTTP, for the tests of the git half."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gitops.aborting import Abort
from gitops.decide import Rollback
from gitops.history import ReleaseCommit, held, history
from gitops.holds import Holding
from gitops.layout import manifests_dir, release_dir, release_file
from gitops.message import Identity
from gitops.operations import (
    Outcome,
    abort_in,
    hold_in,
    init_in,
    promote_in,
    render_in,
    roll_back_in,
    unhold_in,
)
from gitops.promote import Promotion
from gitops.release import Deployed, Runtime, advance
from gitops.repository import Repository
from gitops.rollback import ensure_ours, rollback
from gitops.snapshot import Commit, Snapshot
from gitops.state import read_release, release_yaml
from gitops.tree import Change
from registry.progress import Silent

Run = Callable[..., str]


@pytest.fixture(autouse=True)
def _plain_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith(("GIT_", "SSH_"))]:
        monkeypatch.delenv(name)
    config = tmp_path / "gitconfig"
    config.write_text("[user]\n\tname = Person\n\temail = person@example.org\n[init]\n\tdefaultBranch = main\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def git() -> Run:
    """Run git in a folder and give what it says; fails loudly."""

    def run(folder: Path, *arguments: str, stdin: str | None = None) -> str:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    return run


@pytest.fixture
def remote(tmp_path: Path, git: Run) -> Path:
    """An empty bare repository, which gives parts of itself as hosts of git do."""
    git(tmp_path, "init", "--quiet", "--bare", "--template=", "remote.git")
    git(tmp_path / "remote.git", "config", "uploadpack.allowFilter", "true")
    return tmp_path / "remote.git"


@pytest.fixture
def author() -> Identity:
    return Identity(name="Ann Ops", email="ann@example.org")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def repository(remote: Path, cache: Path) -> Iterator[Repository]:
    with Repository.open(str(remote), cache=cache) as opened:
        yield opened


@pytest.fixture
def hook(remote: Path) -> Callable[[str, str], None]:
    """Install a server-side hook in the remote, as a shell script."""

    def install(name: str, script: str) -> None:
        path = remote / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return install


class Person:
    """Somebody with a clone and an editor, who commits by hand and pushes."""

    def __init__(self, folder: Path, git: Run) -> None:
        self.folder = folder
        self.git = git

    def commit(self, files: Mapping[str, str | None], message: str) -> str:
        self.git(self.folder, "pull", "--quiet", "--ff-only")
        for path, text in files.items():
            if text is None:
                self.git(self.folder, "rm", "--quiet", path)
                continue
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)
            self.git(self.folder, "add", path)
        self.git(self.folder, "commit", "--quiet", "-m", message)
        return self.push()

    def revert(self, *arguments: str) -> str:
        self.git(self.folder, "pull", "--quiet", "--ff-only")
        self.git(self.folder, "revert", "--no-edit", *arguments)
        return self.push()

    def push(self) -> str:
        self.git(self.folder, "push", "--quiet", "origin", "HEAD:main")
        return self.git(self.folder, "rev-parse", "HEAD")


@pytest.fixture
def person(tmp_path: Path, remote: Path, git: Run) -> Callable[[], Person]:
    """Clone the remote, which has to have a commit by then."""

    def clone() -> Person:
        git(tmp_path, "clone", "--quiet", str(remote), "person")
        return Person(tmp_path / "person", git)

    return clone


class Server(ThreadingHTTPServer):
    """git's own HTTP backend behind a small server that can misbehave on request."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.status: list[int] = []
        """Statuses to answer with, one a request, before git is asked again; 0 drops the connection at once."""
        self.drop_pushes = 0
        """How many pushes to run to their end and then leave without an answer."""
        self.requests: list[str] = []
        self.old = False
        """Whether to be as before protocol version 2."""
        self.looks: Callable[[], None] = lambda: None
        """Called at each request."""
        self.wants = ""
        """The Authorization that a request needs, if any."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/remote.git"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        self.close_connection = True
        self.server.requests.append(self.path)
        self.server.looks()
        if self.server.wants and self.headers.get("Authorization") != self.server.wants:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        if self.server.status:
            status = self.server.status.pop(0)
            if status:
                self.send_response(status)
                if status == 401:
                    self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.end_headers()
            return
        headers, _, content = self._backend(body).partition(b"\r\n\r\n")
        if self.path.endswith("/git-receive-pack") and self.server.drop_pushes:
            self.server.drop_pushes -= 1
            return
        fields = dict(line.split(": ", 1) for line in headers.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200")[:3]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _backend(self, body: bytes) -> bytes:
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "http.receivepack",
            "GIT_CONFIG_VALUE_0": "true",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": "" if self.server.old else self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
        return done.stdout

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(remote: Path) -> Iterator[Server]:
    """The same remote over smart HTTP."""
    with Server(remote.parent) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


class Releases:
    """Promotes and rolls back in a repository, with one small file for each version in place of real manifests."""

    def __init__(self, repository: Repository, author: Identity) -> None:
        self.repository = repository
        self.author = author

    def promote(
        self, version: int, weight: int = 100, model: str = "fraud", env: str = "prod", unhold: int | None = None
    ) -> Commit:
        def intent(head: Snapshot) -> Change:
            ensure_ours(head, history(head, model, env), model, env)
            image = f"registry.example/{model}@sha256:{version:064x}"
            to = Deployed(version=version, image=image, runtime=Runtime.TORCHSERVE)
            release = advance(read_release(head, model, env), model, env, to, weight)
            running = [release.stable, *([release.canary] if release.canary else [])]
            wanted = {f"{manifests_dir(model, env)}/v{one.version}.yaml": f"{one.image}\n".encode() for one in running}
            wanted[release_file(model, env)] = release_yaml(release)
            gone = set(head.paths(release_dir(model, env))) - set(wanted)
            return Change(
                writes={**wanted, **dict.fromkeys(gone)},
                subject=f"{model}: {env} v{version} at {weight} %",
                trailers={
                    "Model": model,
                    "Version": str(version),
                    "Environment": env,
                    "Action": "promote",
                    "Canary-Weight": str(release.canary.weight if release.canary else 0),
                    **({"Unhold": str(unhold)} if unhold else {}),
                },
            )

        return self._commit(intent)

    def render(self, text: str, model: str = "fraud", env: str = "prod") -> Commit:
        change = Change(
            writes={f"{manifests_dir(model, env)}/extra.yaml": text.encode()},
            subject="Rendered",
            trailers={"Model": model, "Environment": env, "Action": "render"},
        )
        return self._commit(lambda _: change)

    def roll_back(
        self, model: str = "fraud", env: str = "prod", undo: list[str] | None = None, reason: str | None = None
    ) -> Commit:
        return self._commit(
            lambda head: rollback(head, history(head, model, env), model, env, "ann", reason=reason, undo=undo)
        )

    def history(self, model: str = "fraud", env: str = "prod") -> list[ReleaseCommit]:
        return history(self.repository.head(), model, env)

    def tree(self, path: str = "models/fraud/prod") -> str | None:
        return self.repository.head().tree_id(path)

    def _commit(self, intent: Callable[[Snapshot], Change | None]) -> Commit:
        commit = self.repository.commit(intent, author=self.author)
        assert commit is not None
        return commit


@pytest.fixture
def releases(repository: Repository, author: Identity) -> Releases:
    return Releases(repository, author)


class Office:
    """Does what the commands do to one model in prod, with everything rendered."""

    def __init__(self, repository: Repository, author: Identity, model: str = "fraud") -> None:
        self.repository = repository
        self.author = author
        self.about = {"model": model, "environment": "prod", "requested_by": "ann"}

    def begin(self) -> None:
        init_in(self.repository, ["staging", "prod"], "https://git.example.com/acme/models.git", self.author, Silent())

    def promote(self, version: int, weight: int = 100, unhold: str = "") -> Outcome:
        image = f"registry.example/{self.about['model']}@sha256:{version:064x}"
        to = Deployed(version=version, image=image, runtime=Runtime.TORCHSERVE)
        wanted = Promotion(**self.about, to=to, weight=weight, unhold=unhold)
        return promote_in(self.repository, wanted, self.author, Silent())

    def roll_back(self, **how: object) -> Outcome:
        return roll_back_in(self.repository, Rollback(**{**self.about, **how}), self.author, Silent())

    def abort(self, **how: object) -> Outcome:
        return abort_in(self.repository, Abort(**{**self.about, **how}), self.author, Silent())

    def hold(self, version: int, reason: str = "too bold", **how: object) -> Outcome:
        wanted = Holding(**{**self.about, **how}, version=version, reason=reason)
        return hold_in(self.repository, wanted, self.author, Silent())

    def unhold(self, version: int, reason: str = "all is well", **how: object) -> Outcome:
        wanted = Holding(**{**self.about, **how}, version=version, reason=reason)
        return unhold_in(self.repository, wanted, self.author, Silent())

    def render(self) -> Outcome:
        about = (self.about["model"], self.about["environment"], self.about["requested_by"])
        return render_in(self.repository, *about, self.author, Silent())

    def history(self) -> list[ReleaseCommit]:
        return history(self.repository.head(), self.about["model"], self.about["environment"])

    def held(self) -> set[int]:
        return held(self.history())

    def tree(self) -> str | None:
        return self.repository.head().tree_id(release_dir(self.about["model"], self.about["environment"]))


@pytest.fixture
def office(repository: Repository, author: Identity) -> Office:
    """A repository with staging and prod, and nothing released."""
    made = Office(repository, author)
    made.begin()
    return made
