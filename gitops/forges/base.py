"""What Sluice asks of a forge, wherever it is: to open a request, to find it again, to tell how it ended, to close it.

A forge is a host of git repositories with pull requests: GitHub, GitLab (merge requests) or AWS CodeCommit. A request
is found by the name of its branch, so that nothing has to be remembered elsewhere. Requests from other repositories
are never given: anybody may name a branch of a fork as they like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel, ConfigDict

Matches = Callable[[str], bool]
"""Whether a branch is meant, by its name."""


class State(StrEnum):
    """What became of a request."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"
    """Without being merged."""


class Draft(BaseModel):
    """A request to be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    branch: str
    """What it asks to merge."""
    title: str
    body: str
    """Markdown, at most as long as `Forge.body_max`."""


class Request(BaseModel):
    """A request as the forge tells of it. Times are UTC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    url: str
    branch: str
    title: str
    state: State
    commit: str
    """The newest commit of its branch."""
    merge_commit: str | None = None
    """What it became on the branch that it was merged to."""
    by: str = ""
    """Who opened it, as the forge names them."""
    at: datetime
    """When it was opened."""


class Forge(Protocol):
    """One repository at a forge, and one branch of it that requests are merged to.

    Each method raises:
        Refused: the token is missing, not accepted, or lacks a permission.
        NotFound: there is no such repository or request, or the token may not see it.
        Conflict: the forge does not take it as things are.
        Unavailable: not reached, or in trouble, after some attempts; `RateLimited` says when to try again.
    """

    name: str
    """What people call it: GitHub."""
    body_max: int
    """How many characters a request's body may have."""
    folds: bool
    """Whether it hides what is in `<details>` until somebody looks."""

    def open(self, draft: Draft) -> Request:
        """Open a request; where one of this branch is open already that is a `Conflict`, if the forge minds."""

    def find(self, matches: Matches, state: State | None = None, limit: int | None = None) -> Sequence[Request]:
        """Requests of branches that `matches` takes, newest first: those in a state, and at most so many.

        The newest `LOOKED_AT` requests of the repository are looked at; older ones are not found.
        """

    def read(self, number: int) -> Request:
        """One request as it is now."""

    def comment(self, number: int, text: str) -> None:
        """Say something below a request, in Markdown."""

    def close(self, number: int) -> None:
        """Close a request without merging it; one that is closed already is fine."""


LOOKED_AT = 1000
"""How many requests `Forge.find` looks at, at most."""
