"""The keys of the registry's bucket.

A version's number is written 9999999999 - n with leading zeros in front of n, so that a plain listing, which S3 gives
in order of bytes, is newest first.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import NamedTuple

from registry.errors import InvalidInput, Refused
from registry.facts import ENTRY_MAX
from registry.names import VersionRef, check_alias, check_digest, check_label

MARKER = "sluice.json"
"""Says that this bucket is a registry, and is what the store's promises are probed with."""

CATALOG = "index/models.jsonl"
"""What is known of all models, made anew from the rest when it is wrong or missing."""

_LAST = 9_999_999_999
_VERSION = re.compile(r"models/[^/]+/(?:versions|log)/([0-9]{10})-([1-9][0-9]*)(?:/.+|\.json)")
_EVENT = re.compile(
    r"events/([0-9]{8}T[0-9]{6}\.[0-9]{6}Z)\.([A-Za-z0-9_-]{1,64})\.([a-z0-9-]{1,40})"
    r"\.(0|[1-9][0-9]{0,9})-(0|[1-9][0-9]{0,9})\.([a-z-]+)\.json"
)
_DECISIONS = 999_999


def model_of(folder: str) -> str | None:
    """The name of the model whose keys begin with this folder, `models/fraud/`; None where no model is called so."""
    name = folder.removeprefix("models/").removesuffix("/")
    try:
        return check_label(name)
    except InvalidInput:
        return None


def model(name: str) -> str:
    """The model's own record."""
    return f"models/{check_label(name)}/model.json"


def log(name: str) -> str:
    """What the keys of the model's log, its versions' records, begin with."""
    return f"models/{check_label(name)}/log/"


def entry(ref: VersionRef) -> str:
    """The log's entry whose first version this is."""
    return f"{log(ref.model)}{_falling(ref.number)}.json"


def versions(name: str) -> str:
    """What the keys of every fact about the model's versions begin with."""
    return f"models/{check_label(name)}/versions/"


def version_folder(ref: VersionRef) -> str:
    """What the keys of a version's facts begin with."""
    return f"{versions(ref.model)}{_falling(ref.number)}/"


def fact(ref: VersionRef, kind: str) -> str:
    """A fact that was learnt after registration: scan, artifact, image."""
    return f"{version_folder(ref)}{kind}.json"


def decisions(ref: VersionRef) -> str:
    """What the keys of the decisions on a version begin with, the last one first."""
    return f"{version_folder(ref)}decisions/"


def decision(ref: VersionRef, sequence: int) -> str:
    """One decision on a version.

    Raises:
        Refused: there were 999,999 of them.
    """
    if sequence > _DECISIONS:
        raise Refused(f"{ref} was decided on {_DECISIONS} times: register a new version.")
    return f"{decisions(ref)}{_DECISIONS - sequence:06d}-{sequence}.json"


def aliases(name: str) -> str:
    """What the keys of the model's aliases begin with."""
    return f"models/{check_label(name)}/aliases/"


def alias(name: str, alias: str) -> str:
    """An alias, with its newest moves."""
    return f"{aliases(name)}{check_alias(alias)}.json"


def archive(name: str, alias: str, first: int) -> str:
    """Older moves of an alias, from the `first` on."""
    return f"models/{check_label(name)}/moves/{check_alias(alias)}/{first:010d}.json"


def segment(name: str, number: int) -> str:
    """A part of the model's index."""
    return f"models/{check_label(name)}/index/{number:07d}.jsonl"


def base(recipe: str) -> str:
    """Which image was made of this recipe, 64 hexadecimal digits, for versions to be built upon.

    Belongs to no model, and may be deleted at any time, as `layer` may.
    """
    return f"bases/{check_digest(f'sha256:{recipe}').removeprefix('sha256:')}.json"


def layer(recipe: str) -> str:
    """What is known of an image layer that was made of this recipe, 64 hexadecimal digits.

    Belongs to no model, and may be deleted at any time: what is missing is made again. So neither an audit nor garbage
    collection looks at these, and a model that moves leaves them behind.
    """
    return f"layers/{check_digest(f'sha256:{recipe}').removeprefix('sha256:')}.json"


EVENTS = "events/"
"""What the keys of events begin with, oldest first."""


class EventKey(NamedTuple):
    """What an event's key tells without reading it."""

    time: str
    """UTC, as `20261125T093012.123456Z`."""
    token: str
    model: str
    first: int
    """Number of the version, 0 where it is about none."""
    last: int
    kind: str
    """The event's kind, or of a recorded fact the fact's."""

    def __str__(self) -> str:
        return f"{EVENTS}{self.time}.{self.token}.{self.model}.{self.first}-{self.last}.{self.kind}.json"

    @classmethod
    def parse(cls, key: str) -> EventKey | None:
        """Read a key; None where no event has such a one."""
        match = _EVENT.fullmatch(key)
        if match is None or model_of(f"models/{match[3]}/") is None:
            return None
        first, last = int(match[4]), int(match[5])
        return cls(match[1], match[2], match[3], first, last, match[6]) if 0 <= last - first < ENTRY_MAX else None


def event_time(moment: datetime) -> str:
    """A moment as events' keys have it, to the microsecond; text order is time order."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def _falling(number: int) -> str:
    return f"{_LAST - number:010d}-{number}"


def number_of(key: str) -> int:
    """The number of the version that a key under `versions()` or `log()` begins with.

    Raises:
        Refused: no version has such a key.
    """
    match = _VERSION.fullmatch(key)
    number = int(match[2]) if match else 0
    if not match or int(match[1]) != _LAST - number:
        raise Refused(f"{key} was not written by Sluice: remove it from the bucket.")
    return number


def source(name: str, identity: str) -> str:
    """Where it is written from which version on a source may have been registered."""
    return f"models/{check_label(name)}/sources/{hashlib.sha256(identity.encode()).hexdigest()}.json"


def blob(digest: str) -> str:
    """Bytes under their sha256."""
    return f"blobs/sha256/{check_digest(digest).removeprefix('sha256:')}"


def upload(token: str) -> str:
    """Bytes on their way up, whose sha256 is not known yet; safe to delete when a day old."""
    return f"uploads/{token}"


def output(token: str) -> str:
    """The registry's own copy of a training output."""
    return f"outputs/{token}"


SWEEP = "sweep.json"
"""Says until when garbage is being collected."""
