"""Making the remote itself, for whoever begins on one machine."""

from __future__ import annotations

from gitops.git import Address, Runner
from gitops.git_errors import GitFailed
from registry.errors import InvalidInput


def make_bare(remote: str, branch: str) -> str:
    """Make a bare repository where `remote` is a path with nothing there, and give the URL that others read it at.

    Any other remote is left as it is.

    Raises:
        InvalidInput: the path cannot be made.
        NotFound: git is not installed.
    """
    address = Address(remote)
    path = address.path
    if path is None:
        return remote
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        try:
            path.mkdir(parents=True, exist_ok=True)
            Runner(path).run("init", "--quiet", "--bare", f"--initial-branch={branch}")
        except (OSError, GitFailed) as error:
            raise InvalidInput(f"No repository can be made in {path} ({error}): choose another folder.") from error
    return path.as_uri()
