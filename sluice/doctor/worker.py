"""One of the processes that plague a registry. It writes down what was acknowledged, and may be killed at any instant.

Run as `python -m sluice.doctor.worker BUCKET MODEL SEED SECONDS JOURNAL`, with the AWS environment set.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from registry.changes import Approval, ModelEdit
from registry.errors import SluiceError
from registry.facts import FileFact, Format, Scan, Source, SourceKind
from registry.names import VersionRef
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage

ACTOR = "doctor"
_TOGETHER = 6
"""Processes meet on a source as often as one in so many."""


class Acknowledged(BaseModel):
    """A line of the journal: what the registry said it has done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: Literal["registered", "recorded", "aliased", "decided", "deleted"]
    model: str
    number: int
    identity: str = ""
    """The source's, of a registration."""
    digest: str = ""
    """The scan's, of a record."""
    alias: str = ""
    token: str = ""


class Worker:
    """Does one thing after another, at random."""

    def __init__(self, storage: Storage, model: str, seed: int, say: Callable[[Acknowledged], None]) -> None:
        self._registry = Registry(storage)
        self._storage = storage
        self._model = model
        self._random = random.Random(seed)  # noqa: S311  # for repeating a run, not for secrets
        self._say = say
        self._known: list[int] = []

    def step(self) -> None:
        """Do one thing, and say so when it was acknowledged.

        Raises:
            SluiceError: it was refused, or nobody answered.
        """
        acts = [self._register] * 6 + [self._scan] * 2 + [self._alias] * 2 + [self._decide, self._delete, self._look]
        self._random.choice(acts if self._known else [self._register])()

    def _register(self) -> None:
        # the window moves with the seconds, so that processes meet on the same sources
        data = f"{self._model} {int(time.time())} {self._random.randrange(_TOGETHER)}".encode()
        blob = self._storage.blobs.put([data], what="a source", progress=Silent())
        source = Source(kind=SourceKind.UPLOAD, uri=blob.digest, digest=blob.digest, size=blob.size)
        version = self._registry.register(self._model, source, actor=ACTOR, metrics={"n": len(self._known)}).version
        self._known = [*self._known, version.number][-20:]
        self._say(Acknowledged(what="registered", model=self._model, number=version.number, identity=source.identity))

    def _ref(self) -> VersionRef:
        return VersionRef(model=self._model, number=self._random.choice(self._known))

    def _scan(self) -> None:
        ref = self._ref()
        source = self._registry.version(ref).source
        file = FileFact(path="model.pt", size=source.size, sha256=source.digest or "")
        fact = Scan(source=source.digest or "", size=source.size, format=Format.TORCHSCRIPT, root="x", files=(file,))
        self._registry.record(ref, fact, actor=ACTOR)
        self._say(Acknowledged(what="recorded", model=self._model, number=ref.number, digest=fact.source))

    def _alias(self) -> None:
        ref = self._ref()
        alias, token = self._random.choice(["champion", "candidate"]), f"{self._random.getrandbits(64):016x}"
        moved = self._registry.set_alias(ref, alias, actor=ACTOR, token=token)
        if any(move.token == token for move in moved.moves):
            self._say(Acknowledged(what="aliased", model=self._model, number=ref.number, alias=alias, token=token))

    def _decide(self) -> None:
        ref, token = self._ref(), f"{self._random.getrandbits(64):016x}"
        self._registry.decide(ref, Approval.APPROVED, actor=ACTOR, token=token)
        self._say(Acknowledged(what="decided", model=self._model, number=ref.number, token=token))

    def _delete(self) -> None:
        ref = self._ref()
        self._registry.delete(ref, actor=ACTOR)
        self._say(Acknowledged(what="deleted", model=self._model, number=ref.number))

    def _look(self) -> None:
        for row, _ in zip(self._registry.versions(self._model), range(50), strict=False):
            assert row.model == self._model  # noqa: S101  # reading must not fail
        self._registry.edit_model(self._model, ModelEdit(owner=f"{self._random.random()}"), actor=ACTOR)


def main(bucket: str, model: str, seed: int, seconds: float, journal: Path) -> None:
    """Plague a bucket for some seconds."""
    from registry.aws import Clients

    deadline = time.monotonic() + seconds
    with journal.open("ab", buffering=0) as file:

        def say(what: Acknowledged) -> None:
            file.write(what.model_dump_json(exclude_defaults=True).encode() + b"\n")
            os.fsync(file.fileno())

        worker = Worker(Storage.s3(Clients(), bucket), model, seed, say)
        while time.monotonic() < deadline:
            try:
                worker.step()
            except SluiceError:
                # what was refused, or that nobody answered, is not acknowledged, and that is all that matters here
                time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
