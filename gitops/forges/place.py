"""Which forge a git remote is at, and what the repository is called there: read off the remote's address.

A token is sent to no host that was guessed: only github.com, ghe.com and gitlab.com are known by name, and any other
host is a forge where somebody says so in the settings.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from registry.errors import InvalidInput, Refused
from registry.hosts import is_loopback


class ForgeKind(StrEnum):
    """The forges that Sluice knows."""

    GITHUB = "github"
    GITLAB = "gitlab"
    CODECOMMIT = "codecommit"


class ForgeSettings(BaseModel):
    """What the remote's address does not tell of its forge."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ForgeKind | None = Field(default=None, description="github, gitlab or codecommit, for a host of your own")
    api: str = Field(default="", description="the API's base URL, where it is not the usual one of that host")


class Place(NamedTuple):
    """One repository at a forge."""

    kind: ForgeKind
    project: str
    """`owner/name` at GitHub, `group/…/name` at GitLab, the repository's name at CodeCommit."""
    api: str
    """The API's base URL; empty at CodeCommit, where the AWS environment has it."""
    region: str = ""
    """At CodeCommit, the AWS region; empty for the usual one."""
    profile: str = ""
    """At CodeCommit, the profile in the address."""


class _Remote(NamedTuple):
    origin: str
    host: str
    path: str


_CODECOMMIT = re.compile(r"codecommit:(?::([a-z0-9-]+):)?//(?:([^@/]+)@)?([A-Za-z0-9._-]{1,100})/?")
# https, and the FIPS endpoints (AWS General Reference, "AWS CodeCommit endpoints and quotas")
_CODECOMMIT_HOST = re.compile(r"git-codecommit(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|api\.aws)")
_SCP_LIKE = re.compile(r"(?:[^@/:]+@)?([A-Za-z0-9.-]+):(?!//)/?(.+)")
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.][A-Za-z0-9_.-]*")
_SUFFIX = ".git"
_HOW = (
    "give a remote at GitHub, GitLab or CodeCommit, or say which of them your own host is with --forge or SLUICE_FORGE"
)


UNSAID = ForgeSettings()


def locate(remote: str, settings: ForgeSettings = UNSAID) -> Place:
    """Find the forge of a remote: an https, ssh or codecommit address, or one like git@host:owner/name.

    Raises:
        InvalidInput: the address does not tell, or tells of no repository that the forge could have.
        Refused: the API would get the token over plain HTTP.
    """
    direct = _CODECOMMIT.fullmatch(remote)
    if direct:
        region, profile, name = direct.groups()
        return Place(_agreed(ForgeKind.CODECOMMIT, settings), name, "", region or "", profile or "")
    found = _parse(remote)
    aws = _CODECOMMIT_HOST.fullmatch(found.host)
    if aws:
        name = found.path.removeprefix("v1/repos/")
        if name == found.path or not _SEGMENT.fullmatch(name):
            raise InvalidInput(f"{found.path[:100]!r} is no CodeCommit repository: its address ends in /v1/repos/NAME.")
        return Place(_agreed(ForgeKind.CODECOMMIT, settings), name, "", aws[1])
    kind = _agreed(_known(found.host), settings)
    if kind is ForgeKind.CODECOMMIT:
        raise InvalidInput("This is no address of CodeCommit: write the remote as codecommit::REGION://REPOSITORY.")
    return Place(kind, _project(kind, found.path), _api(kind, found, settings))


def _parse(remote: str) -> _Remote:
    """Host and path of a remote, and where its web pages are."""
    try:
        parts = urlsplit(remote)
        host, port = parts.hostname, parts.port
    except ValueError:  # no address in the brackets, or a port that is no number
        parts, host, port = urlsplit(""), None, None
    if parts.scheme in ("https", "http", "ssh", "git+ssh", "ssh+git") and host:
        # an ssh port says nothing of the web's
        at = f":{port}" if parts.scheme.startswith("http") and port else ""
        scheme = "http" if parts.scheme == "http" else "https"
        shown = f"[{host}]" if ":" in host else host
        return _Remote(f"{scheme}://{shown}{at}", host, _trimmed(unquote(parts.path)))
    scp = _SCP_LIKE.fullmatch(remote)
    if scp and "://" not in remote:
        name = scp[1].lower()
        return _Remote(f"https://{name}", name, _trimmed(scp[2]))
    raise InvalidInput(f"The GitOps repository is at no forge, so there are no pull requests: {_HOW}.")


def _trimmed(path: str) -> str:
    return path.strip("/").removesuffix(_SUFFIX)


def _known(host: str) -> ForgeKind | None:
    if host in ("github.com", "www.github.com", "ssh.github.com") or host.endswith(".ghe.com"):
        return ForgeKind.GITHUB
    return ForgeKind.GITLAB if host in ("gitlab.com", "altssh.gitlab.com") else None


def _agreed(known: ForgeKind | None, settings: ForgeSettings) -> ForgeKind:
    kind = settings.kind or known
    if kind is None:
        raise InvalidInput(f"Nobody says which forge the GitOps repository is at: {_HOW}.")
    if known not in (None, kind):
        raise InvalidInput(
            f"The GitOps repository is at {known}, and the settings say {kind.value}: leave the setting out."
        )
    return kind


def _project(kind: ForgeKind, path: str) -> str:
    segments = path.split("/")
    fits = len(segments) == 2 if kind is ForgeKind.GITHUB else len(segments) >= 2
    if not fits or not all(_SEGMENT.fullmatch(one) for one in segments):
        how = "OWNER/NAME" if kind is ForgeKind.GITHUB else "GROUP/NAME"
        raise InvalidInput(f"{path[:100]!r} is no repository's path at a forge: the remote's address ends in {how}.")
    return path


def _api(kind: ForgeKind, found: _Remote, settings: ForgeSettings) -> str:
    api = (settings.api or _usual(kind, found)).rstrip("/")
    try:
        parts = urlsplit(api)
        host, _ = parts.hostname, parts.port  # a port that is no number raises
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or parts.scheme not in ("https", "http") or "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidInput("The API of the forge is no https address: correct --forge-api or SLUICE_FORGE_API.")
    if parts.scheme == "http" and not is_loopback(host):
        raise Refused(f"The API at {host} would get the token unencrypted: give an https address as --forge-api.")
    return api.removesuffix("/api/v4") if kind is ForgeKind.GITLAB else api


def _usual(kind: ForgeKind, found: _Remote) -> str:
    """Where the API is (GitHub Docs, "Getting started with the REST API"; GitLab Docs, "REST API")."""
    if kind is ForgeKind.GITLAB:
        return "https://gitlab.com" if found.host == "altssh.gitlab.com" else found.origin
    if found.host.endswith(".ghe.com"):
        return f"https://api.{found.host}"
    return "https://api.github.com" if _known(found.host) else f"{found.origin}/api/v3"
