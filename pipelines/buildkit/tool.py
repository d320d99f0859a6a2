"""What extends a base: a program of which one thing is asked."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, StringConstraints

from pipelines.image.canonical import canonical
from pipelines.image.remote.credentials import TOKEN_USER, Login
from pipelines.image.remote.names import DOCKER_HUB
from registry.hosts import is_loopback
from registry.progress import Progress

EPOCH = 315_532_800
"""The time of everything in new layers, in seconds: 1980-01-01, before which a zip, as some packages make, has none."""
_HUB_KEY = "https://index.docker.io/v1/"
Platform = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*){1,2}$")]


Logins = Callable[[str], Login | None]
"""From a registry's host, with its port, what to log in with; None for a registry that is read without."""


class Extension(BaseModel):
    """An extended base that is to be made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    """What is made, for progress and errors: `base of fraud`."""
    why: str
    """What the model needs, for errors."""
    source: str
    """The base, as the Dockerfile names it: an image by digest, or `oci:folder:tag`."""
    target: str
    """Where it goes: `repository:tag`, or `oci:folder:tag`."""
    platform: Platform
    """Such as `linux/amd64`."""
    dockerfile: bytes
    context: Mapping[str, bytes]
    """Files that the Dockerfile reads."""

    @property
    def in_folder(self) -> bool:
        """Whether the base or the destination is in a folder and not in a registry."""
        return self.source.startswith("oci:") or self.target.startswith("oci:")


class BaseBuilder(Protocol):
    """A tool that runs a Dockerfile and pushes what comes of it."""

    def build(self, wanted: Extension, logins: Logins, progress: Progress) -> str:
        """Make and push the image; gives the digest of its manifest. Nothing is visible before all of it is there.

        Raises:
            InvalidInput: the tool is not installed, or cannot read where the base lies.
            SluiceError: it failed; the text is what it said last.
            Unavailable: it took too long.
        """


class Work(NamedTuple):
    """A tool's files, gone afterwards, for nobody else to read."""

    context: Path
    recipe: Path
    """The folder with the Dockerfile."""
    login: Path
    """The folder with Docker's config.json."""
    result: Path
    """Where the tool writes what it made."""


@contextmanager
def workplace(wanted: Extension, logins: Logins) -> Iterator[Work]:
    """The files that a tool reads, with credentials for the two registries alone."""
    with tempfile.TemporaryDirectory(prefix="sluice-base-") as name:
        root = Path(name)
        work = Work(root / "context", root / "dockerfile", root / "login", root / "result.json")
        for folder in (work.context, work.recipe, work.login):
            folder.mkdir()
        (work.recipe / "Dockerfile").write_bytes(wanted.dockerfile)
        for file, data in wanted.context.items():
            (work.context / file).write_bytes(data)
        descriptor = os.open(work.login / "config.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as config:
            config.write(docker_config({host_of(wanted.source), host_of(wanted.target)} - {""}, logins))
        yield work


def docker_config(hosts: set[str], logins: Logins) -> bytes:
    """Docker's config.json with logins for these hosts (docker-login(1); containers-auth.json(5))."""
    known = {host: login for host in sorted(hosts) if (login := logins(host)) is not None}
    auths = {_HUB_KEY if host == DOCKER_HUB else host: _entry(login) for host, login in known.items()}
    return canonical({"auths": auths})


def _entry(login: Login) -> dict[str, str]:
    if login.user == TOKEN_USER:
        return {"identitytoken": login.secret}
    return {"auth": base64.b64encode(f"{login.user}:{login.secret}".encode()).decode()}


def host_of(image: str) -> str:
    """The registry's host in an image's name, with its port; "" for an image in a folder."""
    return "" if image.startswith("oci:") else image.partition("/")[0]


def plain_http(image: str) -> bool:
    """Whether an image's registry is on this machine, where no certificate is asked for."""
    host = host_of(image)
    return bool(host) and is_loopback(host.rpartition(":")[0] or host)
