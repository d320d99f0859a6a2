"""Commit messages: written and read in the format of git-interpret-trailers, so that `git log` can query them.

A message is a subject, a body, and a last paragraph of `Key: value` lines. A value is one line, so that nobody can
smuggle in a trailer of their own through a name or a reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from gitops.tree import Change
from registry.errors import InvalidInput

RELEASE_ID = "Release-Id"
MODEL = "Model"
VERSION = "Version"
ENVIRONMENT = "Environment"
ACTION = "Action"
CANARY_WEIGHT = "Canary-Weight"
IMAGE_DIGEST = "Image-Digest"
REQUESTED_BY = "Requested-By"
WORKFLOW = "Workflow"
"""The Argo workflow that made the commit, by name, where one did."""
OVERRIDE = "Override"
"""The gates that were passed over, by name with commas between; the reason is in the body."""
HOLDS = "Holds"
"""The versions that the commit holds, with commas between."""
UNHOLD = "Unhold"

PROMOTE = "promote"
ROLLBACK = "rollback"
ABORT = "abort"
HOLD = "hold"
LIFT = "unhold"
INIT = "init"
RENDER = "render"

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_TRAILER = re.compile(r"([A-Za-z0-9-]+)[ \t]*:(.*)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
_SCISSORS = re.compile(r"---(\s|$)")  # where git-interpret-trailers takes a patch to begin
_BLANK = " \t\n\v\f\r"


def _one_line(value: str) -> str:
    if not value.strip() or _CONTROL.search(value) or re.search(r"[<>\n\t]", value):
        raise ValueError("one line without < and > is needed")
    return value.strip()


class Identity(BaseModel):
    """Who a commit is by. Name and email are one line each, without the signs that git keeps for itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, AfterValidator(_one_line)]
    email: Annotated[str, AfterValidator(_one_line)]


def message(change: Change, release_id: str | None = None) -> str:
    """The commit message of a change; `release_id` becomes its first trailer.

    Raises:
        InvalidInput: a subject or a value that is not one line, a key git would not read, control characters, or a
            body that git would take for something else.
    """
    trailers = ({RELEASE_ID: release_id} if release_id else {}) | dict(change.trailers)
    subject = _line(change.subject, "subject")
    body = _body(change.body)
    lines = [f"{_key(key)}: {_line(value, key)}" for key, value in trailers.items()]
    if not lines and body and _trailers(body.split("\n\n")[-1]):
        raise InvalidInput("The commit's last paragraph reads like trailers: end it with a sentence.")
    return "\n\n".join(part for part in (subject, body, "\n".join(lines)) if part) + "\n"


def parse(text: str) -> tuple[str, str, Mapping[str, str]]:
    """Take a message apart: subject, body, trailers; the last of equal keys counts.

    Only a last paragraph in which every line is a trailer is read as trailers, and never the first paragraph.
    """
    paragraphs = [part for part in re.split(r"\n(?:[ \t]*\n)+", text.replace("\r\n", "\n").strip(_BLANK)) if part]
    while len(paragraphs) > 2 and _is_added(paragraphs[-1]):
        paragraphs.pop()
    subject = " ".join(line.strip(_BLANK) for line in paragraphs[0].split("\n")) if paragraphs else ""
    trailers = _trailers(paragraphs[-1]) if len(paragraphs) > 1 else {}
    body = paragraphs[1:-1] if trailers else paragraphs[1:]
    return subject, "\n\n".join(body), trailers


def _is_added(paragraph: str) -> bool:
    """Whether a forge put it below the trailers: GitHub's line of hyphens, and who else wrote what it squashed."""
    return not paragraph.strip("-") or {key.lower() for key in _trailers(paragraph)} == {"co-authored-by"}


def _trailers(paragraph: str) -> dict[str, str]:
    found: list[tuple[str, str]] = []
    for line in paragraph.split("\n"):
        if line[:1] in (" ", "\t") and found:  # a continuation line, unfolded as git does
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip(_BLANK)}")
        elif match := _TRAILER.fullmatch(line):
            found.append((match[1], match[2].strip(_BLANK)))
        else:
            return {}
    return dict(found)


def _key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise InvalidInput(f"{key[:40]!r} cannot be a trailer's key: use letters, digits and hyphens.")
    return key


def _line(value: str, what: str) -> str:
    value = value.strip(_BLANK)
    if not value or "\n" in value or _CONTROL.search(value) or (what == "subject" and _SCISSORS.match(value)):
        raise InvalidInput(f"The commit's {what} has to be one line of text, without control characters.")
    return value


def _body(body: str) -> str:
    lines = [line.rstrip(_BLANK) for line in body.split("\n")]
    if _CONTROL.search(body) or any(_SCISSORS.match(line) for line in lines):
        raise InvalidInput("The commit's text has control characters, or a line of three hyphens: take them out.")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
