"""What a forge answers with when it says no, as one sentence of ours; the same for all that speak HTTP."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple, TypeVar

from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError, Unavailable
from registry.retry import retrying
from registry.text import plain

T = TypeVar("T")
_ATTEMPTS = 4
_SAID_MAX = 300
_LONGEST = 86400.0  # what a wait is at most, whatever a server says


class RateLimited(Unavailable):
    """The forge was asked too often. Not worth another attempt before the time that it names."""


class Asked(NamedTuple):
    """Whom, for what, and with which secret: enough to say what went wrong."""

    forge: str
    project: str
    token_from: str
    """The variable that has the token."""
    token: str
    """To be taken out of whatever is shown."""
    permission: str
    """What the token needs, in the forge's own words."""

    def __repr__(self) -> str:
        """Without the token."""
        return f"Asked({self.forge}, {self.project}, {self.token_from})"


class Answer(NamedTuple):
    """A refusal as it came over HTTP."""

    status: int
    said: str
    headers: Mapping[str, str]


def again(function: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """Call a function that raises errors of ours, again where the fault may pass soon."""

    def passes(error: BaseException) -> bool:
        return isinstance(error, Unavailable) and not isinstance(error, RateLimited)

    return retrying(_ATTEMPTS, when=passes, sleep=sleep)(function)


def explain(asked: Asked, answer: Answer) -> SluiceError:
    """The error that says what the forge meant with an answer that is no success."""
    status, said = answer.status, _told(asked, answer.said)
    wait = _wait(answer)
    if wait is not None:
        moment = datetime.fromtimestamp(time.time() + wait, UTC)
        return RateLimited(f"{asked.forge} was asked too often{said}: try again after {moment:%Y-%m-%d %H:%M:%S} UTC.")
    if status == 401:
        return Refused(f"{asked.forge} does not accept the token in {asked.token_from}: renew or correct it.")
    if status == 403:
        return Refused(
            f"{asked.forge} denies this to the token in {asked.token_from}{said}: give it {asked.permission} for"
            f" {asked.project}."
        )
    if status in (404, 410):
        return NotFound(
            f"{asked.forge} shows no such thing in {asked.project}{said}: check the remote's address, and that the"
            f" token in {asked.token_from} has {asked.permission}."
        )
    if status in (409, 422):
        return Conflict(f"{asked.forge} does not take this as things are{said}: look at the requests that are there.")
    if status in (408, 425) or status >= 500:
        return Unavailable(f"{asked.forge} is in trouble, with status {status}{said}: try again later.")
    if 300 <= status < 400:
        return moved(asked)
    return InvalidInput(f"{asked.forge} does not understand the request ({status}){said}: check the API's address.")


def moved(asked: Asked) -> Refused:
    """The API sends callers elsewhere, where the token is not sent."""
    return Refused(
        f"{asked.forge} sends requests for {asked.project} elsewhere, and the token is not sent there: give the"
        " remote's address as it is now."
    )


def unreachable(asked: Asked, api: str, error: Exception) -> Unavailable:
    """No answer came. Of the fault only its kind is told: its text may have anything in it."""
    return Unavailable(
        f"{asked.forge} at {api} cannot be reached ({type(error).__name__}): check the address and the network."
    )


def odd(asked: Asked, api: str) -> SluiceError:
    """The answer is a success and not what the API's documentation says."""
    return SluiceError(f"What answers at {api} is no API of {asked.forge}: check the address.")


def _told(asked: Asked, text: str) -> str:
    said = text.replace(asked.token, "…") if asked.token else text
    said = " ".join(plain(said).split()).rstrip(".")
    said = re.sub(r"(?<=://)[^/@\s]*@", "", said)
    return f" ({said[:_SAID_MAX]})" if said else ""


def _wait(answer: Answer) -> float | None:
    """Seconds to wait, where the answer is about being asked too often; None where it is about something else.

    GitHub says 403 or 429, with Retry-After or with a reset at a time in x-ratelimit-reset once none is left (GitHub
    Docs, "Rate limits for the REST API"); GitLab 429 with Retry-After and RateLimit-Reset (GitLab Docs, "Rate limits").
    """
    headers = {name.lower(): value for name, value in answer.headers.items()}
    used_up = headers.get("x-ratelimit-remaining", headers.get("ratelimit-remaining")) == "0"
    after = headers.get("retry-after")
    limited = answer.status == 429 or (
        answer.status == 403 and (after is not None or used_up or "rate limit" in answer.said.lower())
    )
    if not limited:
        return None
    reset = headers.get("x-ratelimit-reset", headers.get("ratelimit-reset")) if used_up or after is None else None
    found = _seconds(after) if after is not None else _until(reset)
    return min(max(60.0 if found is None else found, 1.0), _LONGEST)


def _seconds(after: str) -> float | None:
    if re.fullmatch(r"[0-9]{1,9}", after):
        return float(after)
    try:
        return parsedate_to_datetime(after).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None


def _until(reset: str | None) -> float | None:
    return float(reset) - time.time() if reset and re.fullmatch(r"[0-9]{1,11}", reset) else None
