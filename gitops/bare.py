"""Making the remote itself, for whoever begins on one machine."""

from __future__ import annotations

from gitops.address import Address
from gitops.git import Runner
from gitops.git_errors import GitFailed
from registry.errors import InvalidInput


def url_of(remote: str) -> str:
    """The URL that others read `remote` at: a path's is `file:///…`.

    Raises:
        InvalidInput: it is no address.
    """
    path = Address(remote).path
    return remote if path is None else path.as_uri()


def make_bare(remote: str, branch: str) -> None:
    """Make a bare repository where `remote` is a path with nothing there; any other remote is left as it is.

    Raises:
        InvalidInput: the path cannot be made, or holds something else than a repository.
        NotFound: git is not installed.
    """
    path = Address(remote).path
    if path is None or (path / "HEAD").exists() or (path / ".git").exists():
        return
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InvalidInput(f"{path} is neither empty nor a git repository: choose another folder.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        Runner(path).run("init", "--quiet", "--bare", f"--initial-branch={branch}")
    except (OSError, GitFailed) as error:
        raise InvalidInput(f"No repository can be made in {path} ({error}): choose another folder.") from error
