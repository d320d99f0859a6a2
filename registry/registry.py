"""The registry: models, their versions and what is known of them, in one bucket and nothing else.

What is read is in reader.py. Each method is told at more length where it is done: registering.py, models.py,
aliases.py, decisions.py, collect.py. `registry.client.RegistryClient` has the same methods over HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from registry import aliases, collect, decisions, eventlog, keys, log, models
from registry.changes import Alias, Approval, Decision, Deletion, Event, EventKind, Model, ModelEdit
from registry.errors import Conflict
from registry.facts import Artifact, Image, Scan, Signature, SignOff, Smoke, Source, Tombstone
from registry.names import LATEST, VersionRef, check_label
from registry.progress import Progress, Silent
from registry.reader import Reader
from registry.registering import Registered, draft_of
from registry.roles import Role
from registry.training import commit_of

F = TypeVar("F", Scan, Signature, Artifact, Image, Smoke, SignOff)
R = TypeVar("R")

__all__ = ["Registered", "Registry"]


class Registry(Reader):
    """Models and versions in one bucket. Safe for threads."""

    def edit_model(
        self, name: str, changes: ModelEdit, *, actor: str, role: Role = Role.ADMIN, expect: Model | None = None
    ) -> Model:
        """Change what is said of a model; where `expect` is given, only if that is still what is said of it.

        Raises:
            NotFound: there is no such model.
            Conflict: something else is said of it by now.
            Refused: protecting an alias, or no longer, needs an admin.
            InvalidInput: more tags or links than there may be.
        """
        return self._written(models.edit(self.records, name, changes, actor=actor, role=role, expect=expect))

    def delete_model(self, name: str, *, actor: str, reason: str = "") -> Deletion:
        """Delete a model and all its versions. Its name may come back, its numbers go on from where they were.

        Raises:
            NotFound: there is no such model.
            Refused: a release or an alias names one of its versions.
        """
        deletion = models.delete(self.records, name, self._releases.naming, actor=actor, reason=reason)
        return self._moved(name, deletion)

    def register(
        self,
        model: str,
        source: Source,
        *,
        actor: str,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        git_commit: str = "",
        description: str = "",
        created_at: datetime | None = None,
    ) -> Registered:
        """Make the next version of `model` on `source`, or find the one that was made of it before.

        Raises:
            InvalidInput: a bad name, or more than there may be of something.
            NotFound: the source is gone.
            Conflict: the source was replaced since it was found.
            Refused: the store does not keep conditional writes.
        """
        draft = draft_of(
            model,
            source,
            actor,
            metrics=metrics or {},
            tags=tags or {},
            git_commit=git_commit or commit_of(source),
            description=description,
            created_at=created_at,
        )
        return self._moved(model, self._registrar.register(draft), LATEST)

    def record(self, ref: VersionRef, fact: F, *, actor: str = "sluice") -> F:
        """Write a fact, once; writing it again, the same, changes nothing.

        Raises:
            NotFound: there is no such version, it was deleted, or the artifact's blob is gone.
            Conflict: another fact of this kind is there already.
            Refused: the store does not keep conditional writes.
        """
        self._check_live(ref)
        if isinstance(fact, Artifact):
            collect.secure(self.records, self.storage.bytes, keys.blob(fact.blob))
        token = self.records.token()

        def event() -> Event:
            at = self.records.now()
            kind = EventKind.RECORDED
            return Event(kind=kind, model=ref.model, number=ref.number, fact=fact.kind, at=at, by=actor, token=token)

        known = self.fact(ref, type(fact))
        if known is None:
            known = eventlog.telling(self.records, event, lambda: self.records.create(keys.fact(ref, fact.kind), fact))
        if known != fact:
            raise Conflict(
                f"{ref} has another {fact.kind} already, and facts are written once: register a new version."
            )
        return self._written(known)

    def delete(self, ref: VersionRef, *, actor: str, reason: str = "") -> Tombstone:
        """Delete a version: its number stays taken, its bytes are collected later.

        Raises:
            NotFound: there is no such version.
            Refused: a release or an alias names it.
        """
        stone = models.delete_version(self.records, ref, self._releases.naming, actor=actor, reason=reason)
        return self._moved(ref.model, stone)

    def set_alias(
        self,
        ref: VersionRef,
        name: str,
        *,
        actor: str,
        reason: str = "",
        expect: int | None = None,
        role: Role = Role.ADMIN,
        token: str | None = None,
    ) -> Alias:
        """Point an alias at a version. `expect` is what it must name now, 0 for nothing.

        Raises:
            NotFound: there is no such version, or it was deleted.
            Conflict: the alias does not name the expected version.
            Refused: the alias is protected and needs a higher role.
        """
        moved = aliases.move(
            self.records,
            ref.model,
            name,
            ref.number,
            actor=actor,
            reason=reason,
            expect=expect,
            role=role,
            token=token,
        )
        return self._moved(ref.model, moved, name)

    def remove_alias(
        self,
        model: str,
        name: str,
        *,
        actor: str,
        reason: str = "",
        expect: int | None = None,
        role: Role = Role.ADMIN,
        token: str | None = None,
    ) -> Alias:
        """Let an alias name nothing; its history stays.

        Raises:
            NotFound: there is none of that name.
            Conflict: it does not name the expected version.
            Refused: it is protected and needs a higher role.
        """
        moved = aliases.move(
            self.records, model, name, None, actor=actor, reason=reason, expect=expect, role=role, token=token
        )
        return self._moved(model, moved, name)

    def decide(
        self, ref: VersionRef, approval: Approval, *, actor: str, reason: str = "", token: str | None = None
    ) -> Decision:
        """Approve a version, reject it, or say that it is pending again.

        Raises:
            NotFound: there is no such version, or it was deleted.
            Conflict: the token was another decision's.
        """
        self._check_live(ref)
        return self._written(decisions.decide(self.records, ref, approval, actor=actor, reason=reason, token=token))

    def collect(
        self,
        *,
        actor: str,
        grace: timedelta = collect.GRACE,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> collect.Collected:
        """Remove the bytes that nobody names and that are older than the grace period.

        Raises:
            InvalidInput: a grace period below an hour.
            Conflict: somebody else collects.
        """
        return collect.collect(
            self.records,
            self.storage.bytes,
            actor=actor,
            grace=grace,
            dry_run=dry_run,
            progress=progress or Silent(),
        )

    def rebuild(self, model: str | None = None) -> None:
        """Make the caches anew: a model's index, or all models' and the catalog."""
        names = [model] if model else list(log.models(self.records))
        for name in names:
            self._index.rebuild(check_label(name))
        if model is None:
            self._catalog.rebuild()

    def _written(self, result: R) -> R:
        """Let what was written be seen by the next list."""
        self._feed.forget()
        return result

    def _moved(self, model: str, result: R, alias: str = "") -> R:
        """Let what was written be seen by the next list, and by who resolves an alias of the model, or this one."""
        with self._resolving:
            self._moves += 1
            if alias:
                self._resolved.get(model, {}).pop(alias, None)
            else:
                self._resolved.pop(model, None)
        return self._written(result)
