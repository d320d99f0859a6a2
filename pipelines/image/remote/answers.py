"""What a registry answers, and what that is in our words (OCI distribution specification 1.1, "Error Codes")."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urljoin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registry.errors import NotFound, Refused, SluiceError, Unavailable
from registry.text import plain

if TYPE_CHECKING:
    import httpx

_SHOWN = 300


class Fault(Unavailable):
    """The registry failed, or the way to it did, in a manner that may pass; `after`: seconds it asked us to wait."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class Said(NamedTuple):
    """The first error of an answer."""

    code: str
    message: str


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """Found under their names in any case."""
    body: bytes
    url: str
    """Where it came from; it may hold a secret."""

    @property
    def said(self) -> Said:
        """The first error in it."""
        return read_said(self.body)

    @property
    def location(self) -> str | None:
        """Where it says to go on, None where it does not (RFC 9110, section 10.2.2); it may hold a secret."""
        said = self.headers.get("Location")
        return self.to(said) if said else None

    def to(self, address: str) -> str:
        """An address in the answer, as seen from where the answer came from."""
        try:
            return urljoin(self.url, address)
        except ValueError:
            return address  # it is none; whoever goes there is told


class _Error(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    code: str = ""
    message: str | None = None


class _Errors(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    errors: tuple[_Error, ...] = Field(min_length=1)


def read_said(data: bytes) -> Said:
    """The first error that a body tells of; nothing where it tells of none."""
    try:
        first = _Errors.model_validate_json(data).errors[0]
    except ValidationError:
        return Said("", "")
    return Said(plain(first.code)[:64], " ".join(plain(first.message or "").split())[:_SHOWN].rstrip("."))


def denied(response: httpx.Response, sent: str | None) -> bool:
    """Whether another login might be let in; ECR says 403 where what was sent has expired."""
    return response.status_code == 401 or (
        response.status_code == 403 and sent is not None and sent.startswith("Basic ")
    )


def fault_after(headers: Mapping[str, str]) -> float:
    """The seconds in Retry-After, 0 where it says none (RFC 9110, section 10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:6])
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def refusal(host: str, what: str, status: int, said: Said) -> SluiceError:
    """What an answer that is no success means."""
    told = ": ".join(part for part in said if part)
    told = f"{status}, {told}" if told else str(status)
    if status == 404:
        return NotFound(f"{host} does not have {what} ({told}): check the name, and that it was pushed.")
    if status in (401, 403):
        return Refused(f"{host} does not let us at {what} ({told}): log in, or ask for the right to it.")
    if 300 <= status < 400:
        return Refused(f"{host} sends elsewhere for {what} ({status}): give the registry's own address.")
    return Refused(f"{host} refuses {what} ({told}): check the registry and its settings.")
