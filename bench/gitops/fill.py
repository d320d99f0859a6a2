"""Repositories of any size, made the fast way: what one real promotion writes, repeated under other names.

Files that no release needs are people's, `models/<model>/docs/<n>.md`, so that each model has just `FILES`. The history
has a commit for each hundred models and environment, as if many were promoted at once.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from gitops.message import Identity
from gitops.operations import init_in, promote_in
from gitops.promote import Promotion
from gitops.release import Deployed, Runtime
from gitops.repository import Repository
from registry.progress import Silent

ENVIRONMENTS = ("staging", "prod")
FILES = 20
_BATCH = 100
_ONE = "m00000"
AUTHOR = Identity(name="Bench", email="bench@example.org")


def name(number: int) -> str:
    """The model of this number; all names are of one length."""
    return f"m{number:05}"


def promotion(model: str, environment: str, version: int) -> Promotion:
    """A promotion to all of the traffic."""
    image = f"registry.example/{model}@sha256:{version:064x}"
    to = Deployed(version=version, image=image, runtime=Runtime.TORCHSERVE)
    return Promotion(model=model, environment=environment, to=to, weight=100, requested_by="bench")


def fill(folder: Path, models: int, scratch: Path) -> int:
    """Make a bare repository of `models` models in two environments in `folder`, and give its number of files."""
    files = _one_model(scratch / f"of-{models}")
    folder.mkdir(parents=True)
    _git(folder, "init", "--quiet", "--bare", "--initial-branch=main")
    # as hosts of git have it: filters are what blobless clones ask for, and packing is done at other times
    for name_of, value in (
        ("http.receivepack", "true"),
        ("uploadpack.allowFilter", "true"),
        ("receive.autogc", "false"),
    ):
        _git(folder, "config", name_of, value)
    with subprocess.Popen(["git", "fast-import", "--quiet"], cwd=folder, stdin=subprocess.PIPE) as process:
        assert process.stdin
        for piece in _commits(files, models):
            process.stdin.write(piece)
    if process.returncode:
        raise SystemExit("the repository cannot be made")
    _git(folder, "repack", "-adq")
    _git(folder, "commit-graph", "write", "--reachable")
    return len(_git(folder, "ls-tree", "-r", "--name-only", "main").splitlines())


def _one_model(scratch: Path) -> dict[str, bytes]:
    scratch.mkdir()
    remote = scratch / "remote.git"
    _git(scratch, "init", "--quiet", "--bare", "--initial-branch=main", str(remote))
    with Repository.open(str(remote), cache=scratch / "cache") as repository:
        init_in(repository, ENVIRONMENTS, "https://git.example.com/acme/models.git", AUTHOR, Silent())
        for environment in ENVIRONMENTS:
            promote_in(repository, promotion(_ONE, environment, 1), AUTHOR, Silent())
        head = repository.head()
        files = {path: head.read(path) or b"" for path in head.paths()}
    more = FILES - sum(path.startswith("models/") for path in files)
    return files | {f"models/{_ONE}/docs/{number}.md": b"# Notes on m00000\n" for number in range(more)}


def _commits(files: Mapping[str, bytes], models: int) -> Iterator[bytes]:
    common = {path: data for path, data in files.items() if not path.startswith("models/")}
    yield _commit("Begin", common, "init")
    for first in range(0, models, _BATCH):
        names = [name(number) for number in range(first, min(models, first + _BATCH))]
        for place in ENVIRONMENTS:
            others = [f"models/{_ONE}/{other}/" for other in ENVIRONMENTS if other != place]
            some = {
                path.replace(_ONE, model): data.replace(_ONE.encode(), model.encode())
                for model in names
                for path, data in files.items()
                if path.startswith("models/") and not path.startswith(tuple(others))
            }
            yield _commit(f"{place}: {names[0]} and more", some, "promote")


def _commit(subject: str, files: Mapping[str, bytes], action: str) -> bytes:
    text = f"{subject}\n\nRelease-Id: bench\nAction: {action}\n".encode()
    lines = [
        b"commit refs/heads/main",
        b"committer Bench <bench@example.org> 1700000000 +0000",
        b"data %d\n%s" % (len(text), text),
        *(b"M 100644 inline %s\ndata %d\n%s" % (path.encode(), len(data), data) for path, data in files.items()),
    ]
    return b"\n".join(lines) + b"\n"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout
