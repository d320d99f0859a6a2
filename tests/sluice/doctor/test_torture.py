"""The registry under processes that die, on a SeaweedFS that dies too."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from registry.aws import Clients
from registry.changes import Approval
from registry.errors import SluiceError
from registry.facts import Source, SourceKind
from registry.names import VersionRef
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage
from sluice.demo.endpoints import Endpoints, create_bucket
from sluice.demo.store import find_binary, plan
from sluice.doctor.torture import Plan, lost, read_journal, torture
from sluice.doctor.worker import Acknowledged

KEY, SECRET = "SLUICETORTURE", "torture-and-nothing-else"


class Weed:
    """A SeaweedFS of its own, that can be killed and comes back at the same address with what it had."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store = plan(find_binary(), folder / "store")
        (folder / "store").mkdir()
        self.endpoints = Endpoints(s3_url=self._store.url, aws_url=self._store.url, access_key=KEY, secret_key=SECRET)
        self._environment = self._store.environment(KEY, SECRET)
        self.kills = 0
        self.start()

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._store.command(), env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        s3 = self.endpoints.client("s3", timeout=2)
        for _ in range(1_200):
            try:
                s3.list_buckets()
                break
            except (BotoCoreError, ClientError):
                assert self._process.poll() is None, (self._folder / "log").read_text()[-2_000:]
                time.sleep(0.05)
        s3.close()

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for path in self._store.litter():
            path.unlink(missing_ok=True)


@pytest.fixture
def weed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Weed]:
    (tmp_path / "weed").mkdir()
    weed = Weed(tmp_path / "weed")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in weed.endpoints.environment().items():
        monkeypatch.setenv(name, value)
    try:
        yield weed
    finally:
        weed.kill()


@pytest.mark.slow
def test_eight_processes_and_the_store_are_killed_and_nothing_is_lost(weed: Weed, tmp_path: Path) -> None:
    create_bucket(weed.endpoints, "registry")
    storage = Storage.s3(Clients(), "registry")
    due = [8.0, 16.0]

    def disturb(passed: float) -> None:
        if due and passed > due[0]:
            due.pop(0)
            weed.kill()
            weed.kills += 1
            time.sleep(0.5)
            weed.start()

    folder = tmp_path / "journals"
    folder.mkdir()
    outcome = torture(storage, "registry", folder, Plan(model="torture", seconds=24, seed=3), Silent(), disturb)
    assert outcome.findings == ()
    assert weed.kills == 2
    assert outcome.kills >= 5
    assert outcome.versions >= 5
    assert outcome.acknowledged["registered"] >= outcome.versions / 2
    # the caches were made while all that happened; made anew they are the same
    before = list(Registry(storage).version_lines("torture", 1_000, deleted=True))
    Registry(storage).rebuild()
    assert list(Registry(storage).version_lines("torture", 1_000, deleted=True)) == before


def test_what_was_acknowledged_and_is_gone_is_found(tmp_path: Path) -> None:
    storage = Storage.memory()
    blob = storage.blobs.put([b"bytes"], what="x", progress=Silent())
    source = Source(kind=SourceKind.UPLOAD, uri=blob.digest, digest=blob.digest, size=blob.size)
    version = Registry(storage).register("fraud", source, actor="ann").version
    kept = Acknowledged(what="registered", model="fraud", number=1, identity=source.identity)
    assert list(lost(storage, [kept])) == []
    gone = Acknowledged(what="deleted", model="fraud", number=1)
    assert list(lost(storage, [kept, gone])) == [
        "fraud@1 was deleted, which was acknowledged and is not there.",
        "fraud@1 was deleted, of which no event tells.",
    ]
    assert version.ref == VersionRef(model="fraud", number=1)


def test_another_models_events_tell_nothing_of_this_one() -> None:
    storage = Storage.memory()
    for model in ("fraud", "churn"):
        blob = storage.blobs.put([model.encode()], what="x", progress=Silent())
        source = Source(kind=SourceKind.UPLOAD, uri=blob.digest, digest=blob.digest, size=blob.size)
        Registry(storage).register(model, source, actor="ann")
    Registry(storage).decide(VersionRef(model="churn", number=1), Approval.APPROVED, actor="ann")
    decided = Acknowledged(what="decided", model="fraud", number=1, token="t")
    assert "fraud@1 was decided, of which no event tells." in list(lost(storage, [decided]))


def test_a_journal_ends_where_its_writer_was_killed(tmp_path: Path) -> None:
    whole = Acknowledged(what="deleted", model="fraud", number=3)
    journal = tmp_path / "1.jsonl"
    journal.write_bytes(whole.model_dump_json().encode() + b'\n{"what":"dele')
    assert list(read_journal(journal)) == [whole]


def test_workers_that_get_nothing_done_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a url")
    with pytest.raises(SluiceError, match="No worker was acknowledged anything"):
        torture(Storage.memory(), "nothing", tmp_path, Plan(model="torture", workers=1, seconds=1), Silent())
