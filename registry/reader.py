"""Reading the registry: models, their versions and what is known of them.

Each method is told at more length where it is done: log.py, index.py, catalog.py, aliases.py, decisions.py,
lineage.py, compare.py, verify.py, eventlog.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from threading import Lock
from typing import TypeVar

from cachetools import TTLCache

from registry import aliases, decisions, eventlog, keys, log, models
from registry.catalog import Catalog
from registry.changes import Alias, Approval, Decision, Model, Move, Summary
from registry.compare import Comparison, compare
from registry.errors import NotFound
from registry.facts import FACTS, Artifact, Facts, Image, Scan, Signature, SignOff, Smoke, Source, Tombstone, Version
from registry.feed import Feed
from registry.index import Index
from registry.lineage import Deployment, Lineage, NoReleases, Releases, lineage, trained_on
from registry.names import LATEST, AliasRef, VersionRef, check_label
from registry.progress import Progress, Silent
from registry.records import Records, new_token, utc_now
from registry.registering import Registrar
from registry.rows import Row
from registry.storage import Storage
from registry.verify import Verification, verify

_RESOLVED = 10_000
"""Models whose aliases are kept in mind."""

F = TypeVar("F", Scan, Signature, Artifact, Image, Smoke, SignOff)
R = TypeVar("R")


class Reader:
    """Whatever can be asked of one bucket. Safe for threads."""

    def __init__(
        self,
        storage: Storage,
        *,
        releases: Releases | None = None,
        max_age: float = 0.0,
        clock: Callable[[], datetime] = utc_now,
        token: Callable[[], str] = new_token,
    ) -> None:
        """Work on `storage`. Lists and `resolve` may miss what others wrote in the last `max_age` seconds."""
        self.storage = storage
        self.records = Records(storage.store, clock=clock, token=token)
        self._releases = releases or NoReleases()
        self._registrar = Registrar(self.records, storage.outputs, storage.bytes)
        self._feed = Feed(self.records, max_age=max_age)
        self._index = Index(self.records, self._feed)
        self._catalog = Catalog(self.records, self._feed)
        self._resolved: TTLCache[str, dict[str, VersionRef]] = TTLCache(_RESOLVED, max_age)
        self._moves = 0
        self._resolving = Lock()

    def models(
        self, *, search: str = "", tag: Mapping[str, str] | None = None, owner: str | None = None
    ) -> Iterator[Summary]:
        """Models, the one with the newest registration first; whose name holds `search`, with these tags and owner."""
        for summary in self._catalog.models():
            model = summary.model
            tagged = all(model.tags.get(key) == value for key, value in (tag or {}).items())
            if search.lower() in model.name and tagged and owner in (None, model.owner):
                yield summary

    def model(self, name: str) -> Model:
        """What is said of a model.

        Raises:
            NotFound: there is no such model.
        """
        return models.get(self.records, name)

    def registered(self, model: str, source: Source) -> Version | None:
        """The version on a source, deleted or not, or None where it was never registered."""
        return self._registrar.registered(model, source.identity)

    def versions(
        self, model: str, *, below: int | None = None, deleted: bool = False, tag: Mapping[str, str] | None = None
    ) -> Iterator[Row]:
        """The versions of a model, newest first, as a list shows them; from the one below a number on.

        Raises:
            NotFound: there is no such model.
        """
        for row in self._index.rows(model, below=below, deleted=deleted, last=self._last(model)):
            if all(row.tags.get(key) == value for key, value in (tag or {}).items()):
                yield row

    def version_lines(self, model: str, limit: int, *, below: int | None = None, deleted: bool = False) -> list[bytes]:
        """As `versions`, at most `limit` of them, each as one line of JSON as it lies in the index.

        Raises:
            NotFound: there is no such model.
        """
        lines = self._index.lines(model, below=below, deleted=deleted, last=self._last(model))
        return list(islice(lines, limit))

    def version(self, ref: VersionRef) -> Version:
        """One version's record, which never changes and stays when the version is deleted.

        Raises:
            NotFound: there is no such version.
        """
        return log.version(self.records, ref)

    def facts(self, ref: VersionRef) -> Facts:
        """What is known of a version by now.

        Raises:
            NotFound: there is no such version.
        """
        kinds = {key.rpartition("/")[2] for key in self.storage.store.list(keys.version_folder(ref))}
        if not kinds:
            self.version(ref)
        found = {
            kind.kind.replace("-", "_"): self.records.read(keys.fact(ref, kind.kind), kind)
            for kind in (*FACTS.values(), Tombstone)
            if f"{kind.kind}.json" in kinds
        }
        return Facts.model_validate(found)

    def fact(self, ref: VersionRef, kind: type[F]) -> F | None:
        """One fact about a version, or None where it is not known yet."""
        return self.records.read(keys.fact(ref, kind.kind), kind)

    def resolve(self, ref: VersionRef | AliasRef) -> VersionRef:
        """The version that a reference means: itself, or what the alias names; two requests, none within `max_age`.

        Raises:
            NotFound: there is no such alias, or the version it names was deleted.
        """
        if isinstance(ref, VersionRef):
            return ref
        with self._resolving:
            known, moved = self._resolved.get(ref.model, {}).get(ref.alias), self._moves
        if known is None:
            known = self._resolve(ref)
            with self._resolving:
                # what was read while something moved here may be what was before
                if moved == self._moves:
                    self._resolved.setdefault(ref.model, {})[ref.alias] = known
        return known

    def _resolve(self, ref: AliasRef) -> VersionRef:
        if ref.alias == LATEST:
            newest = next(self.versions(ref.model), None)
            if newest is None:
                raise NotFound(f"{ref.model} has no versions: `sluice register` makes one.")
            return newest.ref
        number = self.alias(ref.model, ref.alias).number
        assert number is not None  # noqa: S101  # `alias` raises else
        found = VersionRef(model=ref.model, number=number)
        if models.is_deleted(self.records, found):
            raise NotFound(f"{ref} names {found}, which was deleted: point it at another version.")
        return found

    def aliases(self, model: str) -> Iterator[Alias]:
        """The aliases that name a version, in order of name.

        Raises:
            NotFound: there is no such model.
        """
        self.model(model)
        yield from aliases.every(self.records, model)

    def alias(self, model: str, name: str) -> Alias:
        """One alias.

        Raises:
            NotFound: there is none of that name.
        """
        return aliases.get(self.records, model, name)

    def alias_history(self, model: str, name: str) -> tuple[Move, ...]:
        """Every move of an alias, newest first.

        Raises:
            NotFound: there never was such an alias.
        """
        return aliases.history(self.records, model, name)

    def alias_at(self, model: str, name: str, moment: datetime) -> Move:
        """The move that was in force at a moment.

        Raises:
            NotFound: the alias named nothing then.
        """
        return aliases.at(self.records, model, name, moment)

    def approval(self, ref: VersionRef) -> Approval:
        """Whether a version is approved, rejected or pending."""
        return decisions.approval(self.records, ref)

    def decisions(self, ref: VersionRef) -> tuple[Decision, ...]:
        """The decisions on a version, newest first.

        Raises:
            NotFound: there is no such version.
        """
        return decisions.every(self.records, self.version(ref).ref)

    def lineage(self, ref: VersionRef) -> Lineage:
        """From the job and its data to the release commits.

        Raises:
            NotFound: there is no such version.
        """
        return lineage(self.version(ref), self.facts(ref), self._releases.of(ref))

    def trained_on(self, prefix: str, *, model: str | None = None) -> Iterator[Row]:
        """The versions one of whose inputs lies at this S3 prefix or below it; of one model, or of all."""
        names = [model] if model else [summary.model.name for summary in self.models()]
        for name in names:
            yield from trained_on(self._index.rows(check_label(name), deleted=True), prefix)

    def deployed_by(self, commit: str) -> tuple[Deployment, ...]:
        """What one commit of the GitOps repository deployed.

        Raises:
            NotFound: there is no such commit.
        """
        return self._releases.by(commit)

    def compare(self, refs: Sequence[VersionRef]) -> Comparison:
        """Versions side by side, measured against the first.

        Raises:
            NotFound: one of them does not exist.
            InvalidInput: fewer than two, or too many.
        """
        return compare([(self.version(ref), self.facts(ref)) for ref in refs])

    def verify(self, ref: VersionRef, progress: Progress | None = None) -> Verification:
        """Read a version's bytes and compare them with what is recorded.

        Raises:
            NotFound: there is no such version.
        """
        storage = self.storage
        return verify(self.version(ref), self.facts(ref), storage.outputs, storage.blobs, progress or Silent())

    def verify_all(
        self, *, after: VersionRef | None = None, progress: Progress | None = None
    ) -> Iterator[Verification]:
        """`verify` of every version that was not deleted, models by name, versions falling; on from after `after`."""
        for name in sorted(summary.model.name for summary in self.models()):
            if after is None or name >= after.model:
                below = after.number if after is not None and name == after.model else None
                for row in self.versions(name, below=below):
                    yield self.verify(row.ref, progress)

    def events(self, after: str = "", *, limit: int = 1_000) -> eventlog.Page:
        """What happened since a cursor, "" for all; with the cursor to go on from.

        Raises:
            InvalidInput: no such cursor.
        """
        return eventlog.read(self.records, after, limit=limit)

    def follow(
        self, after: str = "", *, every: float = 1.0, wait: Callable[[], bool] | None = None
    ) -> Iterator[eventlog.Happened]:
        """What happens, as it happens, each once; asks `every` so many seconds until `wait` says no.

        Raises:
            InvalidInput: no such cursor.
        """

        def waited() -> bool:
            time.sleep(every)
            return True

        return eventlog.follow(self.records, after, wait=wait or waited)

    def _last(self, model: str) -> int:
        last = self._index.newest(check_label(model))
        if last == 0:
            self.model(model)
        return last

    def _check_live(self, ref: VersionRef) -> None:
        self.version(ref)
        if models.is_deleted(self.records, ref):
            raise NotFound(f"{ref} was deleted: choose another version.")
