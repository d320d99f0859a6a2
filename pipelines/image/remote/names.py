"""Names of images as people write them, and where the registry they name is asked.

The grammar is that of the OCI distribution specification 1.1 ("Pulling manifests"); that a name without a host is one
of Docker Hub is docker's own rule, which everything else follows.
"""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict

from registry.errors import InvalidInput
from registry.hosts import is_loopback
from registry.names import Digest, check_digest

DOCKER_HUB = "docker.io"
_HUB_NAMES = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
_HUB_API = "registry-1.docker.io"
_LONGEST = 1024
_NAME_MAX = 255
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?")


class ImageName(BaseModel):
    """An image in a registry: `host/repository:tag`, `host/repository@sha256:…`, or both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    """With a port where it has one; Docker Hub is `docker.io`."""
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def version(self) -> str:
        """What the registry is asked for: the digest where there is one, else the tag."""
        return self.digest or self.tag or "latest"

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """Read a name; one without a host is Docker Hub's, one without a tag or a digest is tagged `latest`.

        Raises:
            InvalidInput: no registry has an image of that name.
        """
        if len(text) > _LONGEST or "://" in text:
            raise _no_name(text)
        rest, at, digest = text.partition("@")
        host, rest = _split_host(rest)
        name, colon, tag = rest.partition(":")
        if host == DOCKER_HUB and "/" not in name:
            name = f"library/{name}"
        if not _is_repository(name) or (colon and not _TAG.fullmatch(tag)):
            raise _no_name(text)
        if at:
            check_digest(digest)
        elif not colon:
            tag = "latest"
        return cls(host=host, repository=name, tag=tag or None, digest=digest if at else None)


class Place(BaseModel):
    """Where images are pushed: `host/prefix`, a repository below it for each model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read `host/prefix` or `host`.

        Raises:
            InvalidInput: it names no host, or no repository can have that name.
        """
        host, prefix = _split_host(text.rstrip("/") + "/") if len(text) <= _LONGEST else ("", "")
        prefix = prefix.strip("/")
        written = text.partition("/")[0].lower()
        if not host or (host == DOCKER_HUB and written not in _HUB_NAMES) or (prefix and not _is_repository(prefix)):
            raise InvalidInput(
                f"{text[:200]!r} is no place for images: write the registry's host and a prefix, as in"
                " 123456789012.dkr.ecr.eu-west-1.amazonaws.com/models."
            )
        return cls(host=host, prefix=prefix)

    def repository(self, model: str) -> str:
        """The name of a model's repository.

        Raises:
            InvalidInput: it would be too long.
        """
        name = f"{self.prefix}/{model}" if self.prefix else model
        if not _is_repository(name):
            raise InvalidInput(f"{name[:300]!r} cannot name a repository: choose a shorter or plainer prefix.")
        return name


def root_of(host: str) -> str:
    """The URL that a host's registry is asked at: https, and plain http for this machine alone."""
    name = bare(host)
    scheme = "http" if is_loopback(name) else "https"
    return f"{scheme}://{_HUB_API if host == DOCKER_HUB else host}"


def check_tag(tag: str) -> str:
    """Return `tag` where an image can have it.

    Raises:
        InvalidInput: none can.
    """
    if not _TAG.fullmatch(tag):
        raise InvalidInput(
            f"{tag[:200]!r} cannot be a tag: use at most 128 letters, digits, dots, hyphens and underscores."
        )
    return tag


def bare(host: str) -> str:
    """A host without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _split_host(text: str) -> tuple[str, str]:
    """Host and rest. The first part is a host where it has a dot or a port, or is localhost, as docker has it."""
    first, slash, rest = text.partition("/")
    if not slash or not ("." in first or ":" in first or first.lower() == "localhost"):
        return DOCKER_HUB, text
    if not _HOST.fullmatch(first) or not _has_port(first):
        raise _no_name(text)
    host = first.lower()
    return (DOCKER_HUB if host in _HUB_NAMES else host), rest


def _has_port(host: str) -> bool:
    """Whether the port, where there is one, can be."""
    _, colon, port = host.rpartition("]" if host.startswith("[") else bare(host))[2].partition(":")
    return not colon or 0 < int(port) <= 65535


def _is_repository(name: str) -> bool:
    return len(name) <= _NAME_MAX and bool(_REPOSITORY.fullmatch(name))


def _no_name(text: str) -> InvalidInput:
    return InvalidInput(
        f"{text[:200]!r} names no image: write host/repository:tag or host/repository@sha256:…, without a scheme."
    )
