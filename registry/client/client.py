"""The registry over HTTP, for whoever has a token and no bucket."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from uuid import uuid4

from pydantic import BaseModel

from registry.archive import tar_gz_of
from registry.changes import Alias, Approval, Decision, Deletion, Model, ModelEdit
from registry.client.reading import RemoteReader, alias_path, model_path, version_path
from registry.client.wire import COPYING, LONG, Wire
from registry.collect import GRACE, Collected
from registry.errors import NotFound, Unavailable
from registry.facts import Artifact, Image, Record, Scan, Signature, SignOff, Smoke, Tombstone, Version
from registry.mlflow.importer import Imported
from registry.moving import Moved
from registry.names import Digest, VersionRef
from registry.progress import Progress, Silent
from registry.registering import Registered
from registry.retry import retrying
from registry.store import Blob

F = TypeVar("F", Scan, Signature, Artifact, Image, Smoke, SignOff)

_PATH = re.compile(r"\.?\.?/.*|~.*|\.\.?", re.DOTALL)


class SweptJob(Record):
    """What became of one job: a version, or why not."""

    job: str
    version: Version | None
    problem: str = ""


class _Sweep(BaseModel):
    jobs: tuple[SweptJob, ...]


class _Uploaded(BaseModel):
    digest: Digest
    size: int


class RegistryClient(RemoteReader):
    """A Sluice server's registry, with the methods, results and errors of `registry.registry.Registry`. Thread-safe.

    What is different:

    - Who acts, and in which role, the token tells: there is no `actor=` and no `role=`. Whoever has no right to
      something, or whose token is not valid, gets Refused. Lists hold what the caller may see.
    - `register` and `registered` take a source as text, which the server looks up; a path is read here, and uploaded.
    - `record` of a Smoke or a SignOff: who and when is the server's to say, so these come back other than given.
    - `verify`, `verify_all` and `collect` tell no progress; `follow` neither waits nor ends by itself.
    - `approval` raises NotFound where there is no such version, `resolve` is as fresh as the server, about a second.
    - `upload`, `sweep`, `export`, `import_bucket` and `import_mlflow` are here beside the registry's own.

    Faults that pass are tried again, for some seconds, since each write means the same the second time, by what it is
    or by its Idempotency-Key. Then `created` of `register` can be False although it was this call that made the
    version. What takes long or deletes a model is only tried again where it is known that it was not done.

    The token is `token`, else that of the environment's SLUICE_TOKEN; "" for none, where a server on this machine
    asks for none. It goes to `url` alone and is not told by errors, logs or `repr`.

    Raises:
        InvalidInput: the address is none of a server, or holds a password, or the token cannot be one.
        Refused: the token would go over plain http to another machine.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout: float = 60.0) -> None:
        super().__init__(Wire(url, token=token, timeout=timeout))

    def __repr__(self) -> str:
        return f"RegistryClient({self._wire.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._wire.close()

    def edit_model(self, name: str, changes: ModelEdit) -> Model:
        """Change what is said of a model.

        Raises:
            NotFound: there is no such model.
            Refused: protecting an alias, or no longer, needs an admin.
            InvalidInput: more tags or links than there may be.
        """
        said = changes.model_dump(mode="json", exclude_unset=True)
        return self._wire.send("PATCH", model_path(name), Model, said)

    def delete_model(self, name: str, *, reason: str = "") -> Deletion:
        """Delete a model and all its versions.

        Raises:
            NotFound: there is no such model.
            Refused: a release or an alias names one of its versions.
        """
        answer = self._wire.send_once("DELETE", model_path(name), query={"reason": reason}, timeout=LONG)
        return self._wire.parse(answer, Deletion)

    def register(
        self,
        model: str,
        source: str,
        *,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        git_commit: str = "",
        description: str = "",
        parameters: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> Registered:
        """Make the next version of `model` on `source`, or find the one that was made of it before.

        `source` is a training job or a model package, `s3://…`, the `sha256:…` of an upload, or a path (`./…`, `/…`,
        `~…`), whose file or folder is packed and uploaded first. `parameters` are an upload's alone.

        Raises:
            InvalidInput: a bad name, or more than there may be of something.
            NotFound: there is no such source, or it is gone.
            Conflict: the source was replaced since it was found.
            Refused: it is not finished, or a path that cannot be read.
        """
        if _PATH.fullmatch(source):
            source = self.upload(_path(source), progress=progress).digest
        body = {
            "source": source,
            "metrics": metrics or {},
            "tags": tags or {},
            "git_commit": git_commit,
            "description": description,
            "parameters": parameters or {},
        }
        answer = self._wire.answer("POST", f"{model_path(model)}/versions", body, timeout=COPYING)
        return Registered(self._wire.parse(answer.content, Version), created=answer.status_code == 201)

    def upload(self, what: Path | bytes | Iterable[bytes], *, progress: Progress | None = None) -> Blob:
        """Store a file or folder, packed as registry/archive.py does, or bytes as they are, for `register` by digest.

        An iterator is sent once; all else is read again where the server was not reached. What no version is registered
        on is collected after a day.

        Raises:
            NotFound: there is nothing at the path.
            Unavailable: the server was not reached, or other bytes arrived.
        """

        def once() -> Blob:
            sent = _Sent(_chunks(what), progress or Silent())
            there = self._wire.put_bytes("/v1/uploads", _Uploaded, iter(sent))
            if there.digest != sent.digest:
                raise Unavailable("Other bytes arrived than were sent: upload them again.")
            return Blob(there.digest, there.size)

        found: Blob = retrying(1 if isinstance(what, Iterator) else 5)(once)
        return found

    def sweep(
        self, model: str, since: datetime, *, name: str = "", tag: tuple[str, str | None] | None = None
    ) -> tuple[SweptJob, ...]:
        """Register the training jobs that completed since a moment and never were; `name` is a pattern of their names.

        Raises:
            Refused: the server's credentials do not allow listing jobs.
            InvalidInput: the moment has no zone.
        """
        body = {"model": model, "since": since.isoformat(), "name": name}
        if tag is not None:
            body |= {"tag": tag[0]} | ({} if tag[1] is None else {"tag_value": tag[1]})
        return self._wire.parse(self._wire.send_once("POST", "/v1/sweeps", body, timeout=LONG), _Sweep).jobs

    def record(self, ref: VersionRef, fact: F) -> F:
        """Write a fact, once; writing it again, the same, changes nothing.

        Raises:
            NotFound: there is no such version, it was deleted, or the artifact's blob is gone.
            Conflict: another fact of this kind is there already.
        """
        body = fact.model_dump(mode="json", exclude={"at", "by"})
        return self._wire.send("PUT", f"{version_path(ref)}/facts/{fact.kind}", type(fact), body)

    def delete(self, ref: VersionRef, *, reason: str = "") -> Tombstone:
        """Delete a version: its number stays taken, its bytes are collected later.

        Raises:
            NotFound: there is no such version.
            Refused: a release or an alias names it.
        """
        return self._wire.send("DELETE", version_path(ref), Tombstone, query={"reason": reason})

    def set_alias(
        self, ref: VersionRef, name: str, *, reason: str = "", expect: int | None = None, token: str | None = None
    ) -> Alias:
        """Point an alias at a version. `expect` is what it must name now, 0 for nothing.

        `token` tells this move from others, as in the registry: an Idempotency-Key.

        Raises:
            NotFound: there is no such version, or it was deleted.
            Conflict: the alias does not name the expected version.
            Refused: the alias is protected and needs a higher role.
        """
        body = {"version": ref.number, "expect": expect, "reason": reason}
        return self._wire.send("PUT", alias_path(ref.model, name), Alias, body, key=token or uuid4().hex)

    def remove_alias(
        self, model: str, name: str, *, reason: str = "", expect: int | None = None, token: str | None = None
    ) -> Alias:
        """Let an alias name nothing; its history stays.

        Raises:
            NotFound: there is none of that name.
            Conflict: it does not name the expected version.
            Refused: it is protected and needs a higher role.
        """
        query = {"reason": reason, "expect": expect}
        return self._wire.send("DELETE", alias_path(model, name), Alias, query=query, key=token or uuid4().hex)

    def decide(self, ref: VersionRef, approval: Approval, *, reason: str = "", token: str | None = None) -> Decision:
        """Approve a version, reject it, or say that it is pending again.

        Raises:
            NotFound: there is no such version, or it was deleted.
            Conflict: the token was another decision's.
        """
        body = {"approval": approval.value, "reason": reason}
        return self._wire.send("POST", f"{version_path(ref)}/decisions", Decision, body, key=token or uuid4().hex)

    def collect(self, *, grace: timedelta = GRACE, dry_run: bool = False) -> Collected:
        """Remove the bytes that nobody names and that are older than the grace period.

        Raises:
            InvalidInput: a grace period below an hour.
            Conflict: somebody else collects.
        """
        body = {"grace_hours": grace / timedelta(hours=1), "dry_run": dry_run}
        return self._wire.parse(self._wire.send_once("POST", "/v1/gc", body, timeout=LONG), Collected)

    def rebuild(self, model: str | None = None) -> None:
        """Have the lists made anew: a model's, or all models'.

        Raises:
            NotFound: there is no such model.
        """
        self._wire.send_once("POST", "/v1/rebuild", {"model": model}, timeout=LONG)

    def export(self, model: str, bucket: str) -> Moved:
        """Have a model copied into another registry's bucket; called again, it goes on from where it was.

        Raises:
            Refused: the caller may not name that bucket.
            Conflict: the other bucket has a model of that name with versions of its own.
        """
        answer = self._wire.send_once("POST", f"{model_path(model)}/export", {"bucket": bucket}, timeout=LONG)
        return self._wire.parse(answer, Moved)

    def import_bucket(self, model: str, bucket: str) -> Moved:
        """Have a model copied from another registry's bucket; called again, it goes on from where it was.

        Raises:
            Refused: the caller may not name that bucket.
            NotFound: it has no such model.
            Conflict: the model here has versions of its own.
        """
        return self._wire.parse(self._import({"from": f"s3://{bucket}", "model": model}), Moved)

    def import_mlflow(self, model: str, url: str, *, name: str | None = None) -> Imported:
        """Have a model copied from MLflow, where it may have another name; called again, it adds what is new.

        Raises:
            Refused: the server's settings do not allow that host.
            NotFound: MLflow has no such model.
            Conflict: the model here has versions of its own.
        """
        return self._wire.parse(self._import({"from_mlflow": url, "name": name, "model": model}), Imported)

    def _import(self, body: Mapping[str, str | None]) -> bytes:
        return self._wire.send_once("POST", "/v1/imports", body, timeout=LONG)


class _Sent:
    """Bytes on their way, hashed as they go."""

    def __init__(self, chunks: Iterable[bytes], progress: Progress) -> None:
        self._chunks, self._progress = chunks, progress
        self._seen, self._size = hashlib.sha256(), 0

    @property
    def digest(self) -> str:
        """Of what was sent."""
        return "sha256:" + self._seen.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._seen.update(chunk)
            self._size += len(chunk)
            yield chunk
            self._progress.bytes("upload", self._size, None)


def _chunks(what: Path | bytes | Iterable[bytes]) -> Iterable[bytes]:
    if isinstance(what, bytes):
        return (what,)
    return tar_gz_of(what) if isinstance(what, Path) else what


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise NotFound(f"Nobody has the home folder of {text}: check the path.") from error
