"""The registry: models, their versions and the facts about them, on any `Store`.

How a version gets its number without a lock or a database (docs/architecture.md, "Registering"):

1. Read the newest number n, then claim the source by a conditional create that records n. Whoever finds the claim
   taken reads its n instead, and knows that every version on this source is numbered above it.
2. Try to create n + 1, conditionally. Where that number is taken, its record tells whether it is this very source, in
   which case it is the answer, or another, in which case the next number is tried.

Every writer only tries a number after it saw the one below, so numbers are dense; two writers of one source walk
over the same numbers, so the later one meets the earlier one's record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar
from uuid import uuid4

from pydantic import ValidationError

from registry import keys
from registry.errors import Conflict, NotFound, Refused
from registry.facts import Artifact, Facts, Image, Model, Record, Scan, Source, SourceClaim, Version, state_of
from registry.names import VersionRef, check_label
from registry.probe import probe
from registry.store import AlreadyExists, Store

R = TypeVar("R", bound=Record)
F = TypeVar("F", Scan, Artifact, Image)


class Registered(NamedTuple):
    """What registering gave: the version, and whether this call made it."""

    version: Version
    created: bool


class Registry:
    """Models and versions in one store."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        token: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._store = store
        self._clock = clock
        self._token = token
        self._probed = False

    def register(self, model: str, source: Source, *, actor: str) -> Registered:
        """Make the next version of `model` on `source`, or find the one that was made before.

        Costs three requests for a new version where nobody races, one more for a model's first; the probe's come once.

        Raises:
            InvalidInput: a bad model name.
            Refused: the store does not keep conditional writes.
        """
        check_label(model)
        self._ready_to_write()
        newest = self._newest(model)
        if newest == 0:
            self._create_model(model, actor)
        claim = SourceClaim(identity=source.identity, after=newest)
        claim_key = keys.source(model, source.identity)
        number = self._create_or_read(claim_key, claim).after + 1
        while True:
            mine = Version(
                model=model,
                number=number,
                source=source,
                created_at=self._clock(),
                created_by=actor,
                token=self._token(),
            )
            there = self._create_or_read(keys.version(mine.ref), mine)
            if there.token == mine.token:
                return Registered(there, created=True)
            if there.source.identity == source.identity:
                return Registered(there, created=False)
            number += 1

    def models(self) -> Iterator[Model]:
        """Every model, in order of name."""
        for folder in sorted(folder.rstrip("/") for folder in self._store.folders("models/")):
            record = self._read(f"{folder}/model.json", Model)
            if record is not None:
                yield record

    def versions(self, model: str) -> Iterator[Version]:
        """The versions of `model`, newest first.

        Raises:
            NotFound: there is no such model.
        """
        found = False
        for key in self._store.list(keys.versions(model)):
            if key.endswith("/version.json"):
                found = True
                yield self.version(VersionRef(model=model, number=keys.number_of(key)))
        if not found and self._store.get(keys.model(model)) is None:
            raise NotFound(f"There is no model {model}: `sluice models` lists them.")

    def states(self, model: str) -> Iterator[tuple[Version, str]]:
        """The versions of `model` with how far each has come, newest first; one request for each beside the listing."""
        kinds: dict[int, set[str]] = {}
        for key in self._store.list(keys.versions(model)):
            kinds.setdefault(keys.number_of(key), set()).add(key.rpartition("/")[2].removesuffix(".json"))
        for number, there in kinds.items():
            if "version" in there:
                yield self.version(VersionRef(model=model, number=number)), state_of(there)

    def version(self, ref: VersionRef) -> Version:
        """One version.

        Raises:
            NotFound: there is no such version.
        """
        record = self._read(keys.version(ref), Version)
        if record is None:
            raise NotFound(f"There is no version {ref}: `sluice versions {ref.model}` lists those there are.")
        if record.ref != ref:
            raise Refused(f"{keys.version(ref)} is the record of {record.ref}: restore the object from a copy.")
        return record

    def facts(self, ref: VersionRef) -> Facts:
        """What is known of a version by now."""
        return Facts(scan=self.fact(ref, Scan), artifact=self.fact(ref, Artifact), image=self.fact(ref, Image))

    def fact(self, ref: VersionRef, kind: type[F]) -> F | None:
        """One fact about a version, or None where it is not known yet."""
        return self._read(keys.fact(ref, kind.kind), kind)

    def record(self, ref: VersionRef, fact: F) -> F:
        """Write a fact, once; writing it again, the same, changes nothing.

        Raises:
            NotFound: there is no such version.
            Conflict: another fact of this kind is there already.
            Refused: the store does not keep conditional writes.
        """
        self._ready_to_write()
        self.version(ref)  # a fact beside no version would take its number
        key = keys.fact(ref, fact.kind)
        try:
            self._store.create(key, fact.to_bytes())
        except AlreadyExists as error:
            there = self._parse(key, error.stored.data, type(fact))
            if there != fact:
                raise Conflict(
                    f"{ref} has another {fact.kind} already, and facts are written once: register a new version."
                ) from error
        return fact

    def _newest(self, model: str) -> int:
        first = next(self._store.list(keys.versions(model), limit=1), None)
        return 0 if first is None else keys.number_of(first)

    def _create_model(self, model: str, actor: str) -> None:
        self._create_or_read(keys.model(model), Model(name=model, created_at=self._clock(), created_by=actor))

    def _create_or_read(self, key: str, record: R) -> R:
        """What the key holds afterwards: `record`, or what another writer put there first."""
        try:
            self._store.create(key, record.to_bytes())
        except AlreadyExists as error:
            return self._parse(key, error.stored.data, type(record))
        return record

    def _read(self, key: str, kind: type[R]) -> R | None:
        stored = self._store.get(key)
        return None if stored is None else self._parse(key, stored.data, kind)

    def _parse(self, key: str, data: bytes, kind: type[R]) -> R:
        try:
            return kind.model_validate_json(data)
        except ValidationError as error:
            raise Refused(
                f"{key} is not a {kind.__name__.lower()} record of this Sluice: upgrade Sluice, or restore the object"
                f" ({error.error_count()} fields do not fit)."
            ) from error

    def _ready_to_write(self) -> None:
        if not self._probed:
            probe(self._store)
            self._probed = True
