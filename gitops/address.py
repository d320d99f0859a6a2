"""Addresses of remote repositories: which are taken, and what in them could be a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from registry.errors import InvalidInput, Refused

SCHEMES = ("https", "http", "ssh", "git+ssh", "ssh+git", "file", "codecommit")
# where a lone user name is an account of the host, or codecommit's profile, and never lets anybody in
_USER_IS_PUBLIC = ("ssh", "git+ssh", "ssh+git", "codecommit")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://|:)")
_INNER_SCHEME = re.compile(r"[A-Za-z0-9+.-]+://")
_SCP_LIKE = re.compile(r"(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9][A-Za-z0-9.-]*:[^\s]+")
_TOKEN = re.compile(r"gh[a-z]_|github_pat_|glpat-|ATBB|ATCTT|x-(?:access-)?token|oauth2", re.IGNORECASE)
TOKEN = "SLUICE_GIT_TOKEN"  # noqa: S105  # the variable's name
_HELPER = (
    f'!f() {{ test "$1" != get || printf "username=%s\\npassword=%s\\n" "${{SLUICE_GIT_USER:-token}}" "${TOKEN}"; }}; f'
)
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


def may_hold_secret(scheme: str, authority: str) -> bool:
    """Whether the part before an `@` in a URL's `authority` (RFC 3986, section 3.2) may be a secret.

    Over HTTP even a lone user name may be a token; over ssh it is just git.
    """
    user, at, _ = authority.rpartition("@")
    if not at:
        return False
    return scheme.lower() not in _USER_IS_PUBLIC or ":" in user or bool(_TOKEN.match(user))


class Address:
    """Where a remote repository is: what git is given, what a person is shown, and the folder if it is on this disk."""

    def __init__(self, remote: str) -> None:
        """Read a path, or an https, http, ssh, file or codecommit address.

        Raises:
            Refused: the address holds a password or a token, or over HTTP a user, who could be one.
            InvalidInput: it is none of these, or could be taken for an option.
        """
        self.path = _local(remote)
        if self.path is not None and self.path.is_file():
            raise InvalidInput(f"{remote} is a file, not a git repository: give a repository's folder or URL.")
        self.url = remote if self.path is None or "://" in remote else str(self.path)
        self.shown = self.url

    def credentials(self, environment: Mapping[str, str]) -> Sequence[str]:
        """git's settings by which a token in the environment lets it in, at this remote's host alone.

        The token is SLUICE_GIT_TOKEN, of the user SLUICE_GIT_USER, who rarely matters. What git is told names the
        variables, and a shell that git starts puts in what they hold (gitcredentials, "CUSTOM HELPERS"). Other helpers
        are not asked, and so cannot store it. Over plain HTTP it goes to this machine only.
        """
        parts = urlsplit(self.url)
        if not environment.get(TOKEN) or not (parts.scheme == "https" or parts.hostname in _THIS_MACHINE):
            return ()
        place = f"credential.{parts.scheme}://{parts.netloc}.helper"
        return (f"{place}=", f"{place}={_HELPER}")


def _local(remote: str) -> Path | None:
    """Check an address, and give the path where it names a folder of this machine."""
    if not remote or remote.startswith("-") or re.search(r"[\x00-\x1f\x7f]", remote):
        raise InvalidInput("The git remote is empty or no address: give a path, or an https or ssh address.")
    if scheme := _SCHEME.match(remote):
        _check_url(scheme[1].lower(), remote[scheme.end() :])
        return Path(unquote(urlsplit(remote).path)) if scheme[1].lower() == "file" else None
    if _SCP_LIKE.fullmatch(remote):
        return None
    try:
        return Path(remote).expanduser().absolute()
    except RuntimeError:  # what expanduser raises for a user that this machine does not know
        home = remote.split("/", 1)[0][:80]
        raise InvalidInput(
            f"There is no home folder {home} on this machine: give the repository's whole path."
        ) from None


def _check_url(scheme: str, rest: str) -> None:
    if scheme not in SCHEMES:
        raise InvalidInput(f"{scheme!r} is no way to reach a git remote: give a path, or an https or ssh address.")
    inner = _INNER_SCHEME.match(rest)  # codecommit::<region>://<repository>, and git takes https::https://… as well
    authority = rest[inner.end() if inner else 0 :].split("/", 1)[0]
    if may_hold_secret(scheme, authority):
        raise Refused(
            "The git remote's address holds a password, or a user who may be a token, which would end in logs: take it"
            " out and let a git credential helper give it."
        )
