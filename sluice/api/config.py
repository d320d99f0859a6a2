"""The settings of `sluice serve`: where it listens, whom it knows, and who may do what.

In `sluice.toml`:

```toml
[serve]
host = "0.0.0.0"
issuer = "https://idp.example"      # people and workloads: OpenID Connect Discovery 1.0
audience = "sluice"

[[serve.tokens]]                    # machines without an issuer: `sluice token ci` makes one
name = "ci"
hash = "sha256:…"
expires = 2027-01-01T00:00:00Z      # optional

[[serve.grants]]
who = "group:ml-platform"           # or user:ann@example.com, token:ci, * for everyone who is known
role = "admin"                      # viewer, releaser, approver, admin: each may do what those before it may
models = "*"                        # a pattern of model names, as a shell has them: fraud, fraud-*, *
```

Everything is closed until a grant opens it: whoever is known but has no grant may do nothing. Of several grants that
fit, the highest role counts. What is about no single model (collecting garbage, the metrics) needs a grant on `*`.

Where models may be exported to and imported from, the server going there with its own credentials:

```toml
[serve]
buckets = ["team-registry"]         # whoever is admin of all models may name any other bucket too
mlflow_hosts = ["mlflow.example"]   # a host, or host:port; nobody may name another
```
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from registry.errors import InvalidInput
from registry.hosts import is_loopback
from registry.roles import Role

TOKEN_NAME_MAX = 64
_HOST = r"^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?$"


def check_url(value: str) -> str:
    """Return `value` where tokens' keys may come from there: https, or http on loopback.

    Raises:
        ValueError: another scheme, no host, a user, a query or a fragment (OpenID Connect Discovery 1.0, section 2).
    """
    parts = urlsplit(value)
    host = parts.hostname or ""
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError("must be an https:// address")
    if not host or parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be an address without user, query and fragment")
    return value


def _check_who(value: str) -> str:
    if value != "*" and not re.fullmatch(r"(?:user|group|token):\S(?:[^\x00-\x1f\x7f]*\S)?", value):
        raise ValueError("must be *, user:NAME, group:NAME or token:NAME")
    return value


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StaticToken(_Part):
    """A machine's token, as its hash: whoever reads the settings cannot use it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$", max_length=TOKEN_NAME_MAX)]
    hash: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    expires: AwareDatetime | None = None

    def expired(self, now: datetime | None = None) -> bool:
        """Whether its time is over."""
        return self.expires is not None and (now or datetime.now(UTC)) >= self.expires


class Grant(_Part):
    """Who has which role on which models."""

    who: Annotated[str, AfterValidator(_check_who), Field(max_length=300)]
    role: Role
    models: Annotated[str, Field(pattern=r"^[a-z0-9*?\[\]!-]+$", max_length=100)] = "*"


class Serve(_Part):
    """How `sluice serve` listens, and whom it lets do what."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8080, ge=0, le=65_535, description="port to listen on; 0 picks a free one")
    workers: int = Field(default=1, ge=1, le=64, description="processes that answer")
    issuer: Annotated[str, AfterValidator(lambda value: check_url(value) if value else value)] = Field(
        default="", description="OpenID Connect issuer whose tokens are taken"
    )
    audience: str = Field(default="", description="what those tokens must be meant for (RFC 7519, `aud`)")
    user_claim: str = Field(default="email", min_length=1, description="claim that names the person; else `sub` does")
    groups_claim: str = Field(
        default="groups", min_length=1, description="claim with the groups; a dot leads into an object"
    )
    leeway: int = Field(default=60, ge=0, le=300, description="seconds that the issuer's clock may be off")
    tokens: tuple[StaticToken, ...] = Field(default=(), description="tokens of machines")
    grants: tuple[Grant, ...] = Field(default=(), description="who has which role on which models")
    buckets: tuple[str, ...] = Field(
        default=(), description="buckets that a model's admin may export to and import from"
    )
    mlflow_hosts: tuple[Annotated[str, Field(pattern=_HOST)], ...] = Field(
        default=(), description="hosts of MLflow servers that models may be imported from"
    )
    open_metrics: bool = Field(default=False, description="give /metrics to everyone who reaches the port")
    graceful: int = Field(default=10, ge=1, le=600, description="seconds that requests get to end at shutdown")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.issuer) != bool(self.audience):
            raise ValueError("issuer and audience belong together: set both or neither")
        if len({token.name for token in self.tokens}) < len(self.tokens):
            raise ValueError("two tokens have the same name")
        if self.grants and not self.authenticates:
            raise ValueError("grants need an issuer or tokens that tell who asks")
        return self

    @property
    def authenticates(self) -> bool:
        """Whether a request has to tell who asks."""
        return bool(self.issuer or self.tokens)


def check_listen(serve: Serve, address: str) -> None:
    """Let `address` be listened on: any with authentication, loopback alone without.

    Raises:
        InvalidInput: it is open to other machines and nothing tells who asks.
    """
    if not serve.authenticates and not is_loopback(address):
        raise InvalidInput(
            f"Nothing tells who asks, and {address or 'that address'} is open to other machines: set serve.issuer and"
            " serve.audience or serve.tokens, or listen on 127.0.0.1."
        )
