"""What people say of models and versions, and what is told of it: models, aliases, decisions, events.

Models and aliases are the two kinds of object that change, by compare-and-swap; decisions and events are written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from registry.facts import Record
from registry.limits import (
    LINKS_MAX,
    TAGS_MAX,
    Actor,
    Description,
    Line,
    Link,
    Links,
    Reason,
    TagKey,
    Tags,
    TagValue,
    Token,
)
from registry.names import AliasName, ModelName, VersionNumber, VersionRef
from registry.roles import Role


class Deletion(Record):
    """The model was deleted with all versions up to a number; a version above it has brought the name back."""

    upto: NonNegativeInt
    at: datetime
    by: Actor
    reason: Reason = ""


class Model(Record):
    """A model, made at its first registration."""

    name: ModelName
    description: Description = ""
    owner: Line = ""
    tags: Tags = {}
    links: Links = {}
    """Addresses by what they show: `{"dashboard": "https://…"}`."""
    protected: Mapping[AliasName, Role] = {}
    """Aliases that only this role, or a higher one, moves."""
    created_at: datetime
    created_by: Actor
    changed_at: datetime | None = None
    changed_by: Actor | None = None
    deleted: Deletion | None = None


class ModelEdit(Record):
    """What to change of a model; what is None stays, in mappings a None takes the key away."""

    description: Description | None = None
    owner: Line | None = None
    tags: Annotated[Mapping[TagKey, TagValue | None], Field(max_length=2 * TAGS_MAX)] = {}
    links: Annotated[Mapping[TagKey, Link | None], Field(max_length=2 * LINKS_MAX)] = {}
    protected: Annotated[Mapping[AliasName, Role | None], Field(max_length=TAGS_MAX)] = {}


class Summary(Record):
    """A model as a list shows it."""

    model: Model
    newest: VersionNumber | None = None
    """The newest version that was not deleted."""
    updated_at: datetime
    """When the newest version was registered, or else when the model was made."""


class Move(Record):
    """One move of an alias. Times never fall within one alias's history."""

    number: VersionNumber | None
    """Where it points since; None: it was removed."""
    previous: VersionNumber | None
    at: datetime
    by: Actor
    reason: Reason = ""
    token: Token


class Alias(Record):
    """A name for a version, with its moves, oldest first; those before `archived` are in objects of their own."""

    model: ModelName
    name: AliasName
    archived: NonNegativeInt = 0
    """How many moves lie in the archive."""
    moves: Annotated[tuple[Move, ...], Field(min_length=1)]

    @property
    def number(self) -> int | None:
        """The version it names now."""
        return self.moves[-1].number


class Moves(Record):
    """Moves of an alias that were taken out of its record, oldest first."""

    first: NonNegativeInt
    moves: tuple[Move, ...]


class Approval(StrEnum):
    """Where a version stands with those who decide. One that nobody decided on is pending."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"


class Decision(Record):
    """One decision on a version; the last one counts."""

    sequence: PositiveInt
    approval: Approval
    reason: Reason = ""
    at: datetime
    by: Actor
    token: Token


class EventKind(StrEnum):
    """What can happen."""

    REGISTERED = "registered"
    RECORDED = "recorded"
    ALIASED = "aliased"
    DECIDED = "decided"
    DELETED = "deleted"
    EDITED = "edited"


class Event(Record):
    """Something that happened to a model.

    It is written before what it tells of, so that nothing happens untold, and counts only where that came about.
    """

    kind: EventKind
    model: ModelName
    number: VersionNumber | None = None
    last: VersionNumber | None = None
    """Of several versions registered at once, the highest; `number` is the lowest."""
    fact: str | None = None
    alias: AliasName | None = None
    sequence: PositiveInt | None = None
    at: datetime
    by: Actor
    token: Token

    @property
    def refs(self) -> tuple[VersionRef, ...]:
        """The versions it is about."""
        if self.number is None:
            return ()
        last = self.last or self.number
        return tuple(VersionRef(model=self.model, number=number) for number in range(self.number, last + 1))
