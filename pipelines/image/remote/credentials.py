"""Who we are to a registry: nobody, or what `docker login` left, in the file or in a helper program.

The file is docker's `config.json` ("docker login", section "Credential stores"); a helper is a program
`docker-credential-<name>` that is given the host on its standard input (docker-credential-helpers, "Development").
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.image.remote.names import DOCKER_HUB
from registry.errors import InvalidInput

TOKEN_USER = "<token>"  # noqa: S105 - what docker calls the user of an identity token
_HUB_KEY = "https://index.docker.io/v1/"
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HELPER_SECONDS = 60


class Login(NamedTuple):
    """A user and a secret; the user is `<token>` where the secret is an identity token."""

    user: str
    secret: str

    def __repr__(self) -> str:
        return f"Login({self.user!r})"

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()


class Credentials(Protocol):
    """What we show to registries. Safe for several threads at once."""

    def login(self, host: str) -> Login | None:
        """Who we are to this host, as of now; None: nobody.

        Raises:
            InvalidInput: what should tell cannot be used.
            Unavailable: whoever gives them does not answer.
        """

    def forget(self, host: str) -> None:
        """Give others the next time, where there may be newer ones: the host said that these have expired."""


class Anonymous:
    """Nobody, to everyone."""

    def login(self, host: str) -> Login | None:  # noqa: ARG002 - the protocol's
        """None."""
        return None

    def forget(self, host: str) -> None:
        """Nothing to forget."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    auths: Mapping[str, _Entry] = {}
    helpers: Mapping[str, str] = Field(default={}, alias="credHelpers")
    store: str = Field(default="", alias="credsStore")


class _Helped(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    user: str = Field(alias="Username")
    secret: str = Field(alias="Secret")


class DockerConfig:
    """Docker's configuration, read anew whenever it is asked: `docker login` may have changed it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def standard(cls) -> DockerConfig:
        """The one that docker itself reads: in DOCKER_CONFIG, else in `~/.docker`."""
        folder = os.environ.get("DOCKER_CONFIG")
        return cls((Path(folder) if folder else Path.home() / ".docker") / "config.json")

    def login(self, host: str) -> Login | None:
        """What the host's own helper, the store or the file says, in this order; None where there is nothing.

        Raises:
            InvalidInput: the file or the helper cannot be used.
        """
        config = self._read()
        names = _names(host)
        for name in names:
            if name in config.helpers:
                return _ask_helper(config.helpers[name], name)
        if config.store and (found := _ask_helper(config.store, names[0])):
            return found
        return next((self._from_entry(config.auths[name], host) for name in names if name in config.auths), None)

    def forget(self, host: str) -> None:
        """Nothing is kept."""

    def _read(self) -> _File:
        try:
            return _File.model_validate_json(self._path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return _File()
        except (OSError, ValidationError):
            # no cause: pydantic's report would show what is in the file
            raise InvalidInput(
                f"{self._path} cannot be read as docker's configuration: correct it, or log in again."
            ) from None

    def _from_entry(self, entry: _Entry, host: str) -> Login | None:
        if entry.identitytoken:
            return Login(TOKEN_USER, entry.identitytoken)
        if not entry.auth:
            return Login(entry.username, entry.password) if entry.username else None
        try:
            user, colon, secret = base64.b64decode(entry.auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if not colon:
            raise InvalidInput(
                f"{self._path} holds no user and password for {host}: log in again with `docker login`."
            ) from None
        return Login(user, secret.rstrip("\0"))


def _names(host: str) -> tuple[str, ...]:
    """What docker and its like call a host in the file, the usual one first."""
    if host == DOCKER_HUB:
        return (_HUB_KEY, "index.docker.io", DOCKER_HUB)
    return (host, f"https://{host}", f"https://{host}/", f"https://{host}/v2/", f"https://{host}/v1/", f"http://{host}")


def _ask_helper(helper: str, server: str) -> Login | None:
    """What a helper program knows; the server is told on its standard input, and nothing it says is shown.

    Raises:
        InvalidInput: there is no such program, or it fails.
    """
    if not _HELPER.fullmatch(helper):
        raise InvalidInput(f"{helper[:80]!r} cannot name a credential helper: correct docker's config.json.")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"], input=server.encode(), capture_output=True, check=False, timeout=_HELPER_SECONDS
        )
    except (FileNotFoundError, PermissionError) as error:
        raise InvalidInput(f"{program} is not to be found: install it, or take it out of docker's config.json.") from (
            error
        )
    except subprocess.TimeoutExpired:
        raise InvalidInput(f"{program} does not answer: unlock what it waits for, then try again.") from None
    if done.returncode:
        if b"not found" in done.stdout:
            return None
        raise InvalidInput(f"{program} fails for {server}: run `{program} get` by hand to see why.")
    try:
        told = _Helped.model_validate_json(done.stdout)
    except ValidationError:
        raise InvalidInput(f"{program} does not answer as a credential helper does: install it again.") from None
    return Login(told.user, told.secret) if told.secret else None
