"""Reading a registry over HTTP: each method asks what the method of that name in registry/reader.py does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel

from registry.changes import Alias, Approval, Decision, Model, Move, Summary
from registry.client import following
from registry.client.following import Told
from registry.client.wire import LONG, Listed, Wire
from registry.compare import Comparison, compare
from registry.errors import InvalidInput, NotFound
from registry.eventlog import Happened, Page
from registry.facts import Artifact, Facts, Image, Scan, Signature, SignOff, Smoke, Version
from registry.lineage import Deployment, Lineage
from registry.names import LATEST, AliasRef, VersionRef, check_alias, check_label
from registry.rows import Row
from registry.verify import Verification

F = TypeVar("F", Scan, Signature, Artifact, Image, Smoke, SignOff)


class _Found(BaseModel):
    version: Version | None


class RemoteReader:
    """Whatever can be asked of a registry. Every method may raise what its server raises, and Unavailable."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def models(
        self, *, search: str = "", tag: Mapping[str, str] | None = None, owner: str | None = None
    ) -> Iterator[Summary]:
        """Models that the caller may see, the one with the newest registration first."""
        query = {"search": search, "tag": _tags(tag), "owner": owner}
        return self._wire.pages("/v1/models", Listed[Summary], query)

    def model(self, name: str) -> Model:
        """What is said of a model.

        Raises:
            NotFound: there is no such model.
        """
        return self._wire.get(model_path(name), Model)

    def registered(self, model: str, source: str) -> Version | None:
        """The version on a source, deleted or not, or None where it was never registered. Takes a releaser.

        Raises:
            NotFound: there is no such source.
        """
        return self._wire.get(f"{model_path(model)}/registered", _Found, {"source": source}).version

    def versions(
        self, model: str, *, below: int | None = None, deleted: bool = False, tag: Mapping[str, str] | None = None
    ) -> Iterator[Row]:
        """The versions of a model, newest first; from the one below a number on.

        Raises:
            NotFound: there is no such model.
        """
        query = {"below": below, "deleted": deleted, "tag": _tags(tag)}
        return self._wire.pages(f"{model_path(model)}/versions", Listed[Row], query)

    def version(self, ref: VersionRef) -> Version:
        """One version's record.

        Raises:
            NotFound: there is no such version.
        """
        return self._wire.get(version_path(ref), Version)

    def facts(self, ref: VersionRef) -> Facts:
        """What is known of a version by now.

        Raises:
            NotFound: there is no such version.
        """
        return self._wire.get(f"{version_path(ref)}/facts", Facts)

    def fact(self, ref: VersionRef, kind: type[F]) -> F | None:
        """One fact about a version, or None where it is not known yet."""
        try:
            return self._wire.get(f"{version_path(ref)}/facts/{kind.kind}", kind)
        except NotFound:
            return None

    def resolve(self, ref: VersionRef | AliasRef) -> VersionRef:
        """The version that a reference means: itself, or what the alias names.

        Raises:
            NotFound: there is no such alias, or the version it names was deleted.
        """
        if isinstance(ref, VersionRef):
            return ref
        name = ref.alias if ref.alias == LATEST else check_alias(ref.alias)
        return self._wire.get(f"{model_path(ref.model)}/resolve/{name}", VersionRef)

    def aliases(self, model: str) -> Iterator[Alias]:
        """The aliases that name a version, in order of name.

        Raises:
            NotFound: there is no such model.
        """
        yield from self._wire.get(f"{model_path(model)}/aliases", Listed[Alias]).items

    def alias(self, model: str, name: str) -> Alias:
        """One alias.

        Raises:
            NotFound: there is none of that name.
        """
        return self._wire.get(alias_path(model, name), Alias)

    def alias_history(self, model: str, name: str) -> tuple[Move, ...]:
        """Every move of an alias, newest first.

        Raises:
            NotFound: there never was such an alias.
        """
        return self._wire.get(f"{alias_path(model, name)}/history", Listed[Move]).items

    def alias_at(self, model: str, name: str, moment: datetime) -> Move:
        """The move that was in force at a moment.

        Raises:
            NotFound: the alias named nothing then.
            InvalidInput: the moment has no zone.
        """
        found = self._wire.get(f"{alias_path(model, name)}/history", Listed[Move], {"at": moment.isoformat()})
        return found.items[0]

    def approval(self, ref: VersionRef) -> Approval:
        """Whether a version is approved, rejected or pending.

        Raises:
            NotFound: there is no such version.
        """
        return next((decision.approval for decision in self.decisions(ref)), Approval.PENDING)

    def decisions(self, ref: VersionRef) -> tuple[Decision, ...]:
        """The decisions on a version, newest first.

        Raises:
            NotFound: there is no such version.
        """
        return self._wire.get(f"{version_path(ref)}/decisions", Listed[Decision]).items

    def lineage(self, ref: VersionRef) -> Lineage:
        """From the job and its data to the release commits.

        Raises:
            NotFound: there is no such version.
        """
        return self._wire.get(f"{version_path(ref)}/lineage", Lineage)

    def trained_on(self, prefix: str, *, model: str | None = None) -> Iterator[Row]:
        """The versions one of whose inputs lies at this S3 prefix or below it; models by name, versions falling."""
        return self._wire.pages("/v1/lineage", Listed[Row], {"trained_on": prefix, "model": model})

    def deployed_by(self, commit: str) -> tuple[Deployment, ...]:
        """What one commit of the GitOps repository deployed.

        Raises:
            NotFound: there is no such commit.
        """
        return self._wire.get("/v1/lineage", Listed[Deployment], {"commit": commit}).items

    def compare(self, refs: Sequence[VersionRef]) -> Comparison:
        """Versions side by side, measured against the first; put together here where they are of several models.

        Raises:
            NotFound: one of them does not exist.
            InvalidInput: fewer than two, or too many.
        """
        models = {ref.model for ref in refs}
        if len(models) != 1 or len(refs) < 2:
            return compare([(self.version(ref), self.facts(ref)) for ref in refs])
        numbers = ",".join(str(ref.number) for ref in refs)
        return self._wire.get(f"{model_path(models.pop())}/compare", Comparison, {"versions": numbers})

    def verify(self, ref: VersionRef) -> Verification:
        """Have a version's bytes read and compared with what is recorded. Takes a releaser.

        Raises:
            NotFound: there is no such version.
        """
        answer = self._wire.send_once("POST", f"{version_path(ref)}/verify", timeout=LONG)
        return self._wire.parse(answer, Verification)

    def verify_all(self, *, after: VersionRef | None = None) -> Iterator[Verification]:
        """`verify` of every version that was not deleted, models by name, versions falling; on from after `after`."""
        for name in sorted(summary.model.name for summary in self.models()):
            if after is None or name >= after.model:
                below = after.number if after is not None and name == after.model else None
                for row in self.versions(name, below=below):
                    yield self.verify(row.ref)

    def events(self, after: str = "", *, limit: int = 1_000) -> Page:
        """What happened since a cursor, "" for all; with the cursor to go on from.

        Raises:
            InvalidInput: no such cursor.
        """
        found = self._wire.get("/v1/events", Listed[Told], {"after": after, "limit": limit})
        return Page(tuple(told.happened for told in found.items), found.next or after)

    def follow(self, after: str = "") -> Iterator[Happened]:
        """What happens, as it happens, each once, until the caller stops; taken up again where the stream broke off.

        Raises:
            InvalidInput: no such cursor.
            Unavailable: the server was not reached for a minute.
        """
        return following.follow(self._wire, after)


def model_path(name: str) -> str:
    """Where a model is."""
    return f"/v1/models/{check_label(name)}"


def version_path(ref: VersionRef) -> str:
    """Where a version is."""
    return f"{model_path(ref.model)}/versions/{ref.number}"


def alias_path(model: str, name: str) -> str:
    """Where an alias is."""
    return f"{model_path(model)}/aliases/{check_alias(name)}"


def _tags(given: Mapping[str, str] | None) -> list[str]:
    if any("=" in key for key in given or ()):
        raise InvalidInput("A tag's name with a = in it cannot be looked for over HTTP: look among all versions.")
    return [f"{key}={value}" for key, value in (given or {}).items()]
