"""A place to try commands in: a bucket, a GitOps repository and settings of its own for each test."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from gitops.bare import make_bare, url_of
from gitops.message import Identity
from gitops.operations import init_in
from gitops.repository import Repository
from registry.progress import Silent
from sluice.cli.app import main
from sluice.demo.base import make_bases
from sluice.demo.endpoints import Endpoints


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """Its standard output, which must be one JSON document."""
        return json.loads(self.out)

    def sentence(self, code: int) -> str:
        """What it said, where it failed with this code, one sentence and nothing else."""
        assert self.code == code, self.err or self.out
        assert self.out == ""
        lines = [line for line in self.err.splitlines() if line.startswith("sluice: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        assert lines[0].endswith((".", ".)")), lines[0]
        return lines[0]


@pytest.fixture
def sluice(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs a command in this process, with the environment of the test."""

    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["sluice", *map(str, arguments)])
        before = signal.getsignal(signal.SIGTERM)
        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code or 0
        finally:
            signal.signal(signal.SIGTERM, before)
        return Ran(code, *capfd.readouterr())

    return run


@pytest.fixture
def refusal(sluice: Callable[..., Ran]) -> Callable[..., str]:
    """Runs a command that must fail with this code, and gives its sentence."""

    def run(code: int, *arguments: object) -> str:
        return sluice(*arguments).sentence(code)

    return run


class Workspace(NamedTuple):
    """Where a test's things are."""

    bucket: str
    gitops: Path
    folder: Path
    endpoints: Endpoints

    def keys(self) -> list[str]:
        """Every key in the registry's bucket."""
        s3 = self.endpoints.client("s3")
        try:
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
            return [item["Key"] for page in pages for item in page.get("Contents", [])]
        finally:
            s3.close()

    def head(self) -> str:
        """The commit that the GitOps repository's branch is at."""
        return (self.gitops / "refs" / "heads" / "main").read_text().strip()


@pytest.fixture
def workspace(
    aws: Endpoints, new_bucket: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    """An empty registry and a GitOps repository with staging and prod, as SLUICE_* variables say."""
    gitops, bucket = tmp_path / "gitops.git", new_bucket()
    make_bare(str(gitops), "main")
    with Repository.open(str(gitops), cache=tmp_path / "cache" / "git") as repository:
        author = Identity(name="Test", email="test@example.com")
        init_in(repository, ["staging", "prod"], url_of(str(gitops)), author, Silent())
    bases = {runtime.value: name for runtime, name in make_bases(tmp_path / "bases").items()}
    settings = {
        "SLUICE_BUCKET": bucket,
        "SLUICE_GITOPS": str(gitops),
        "SLUICE_IMAGES": str(tmp_path / "images"),
        "SLUICE_CACHE": str(tmp_path / "cache"),
        "SLUICE_BASES": json.dumps(bases),
        "SLUICE_ACTOR": "Test <test@example.com>",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLUICE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return Workspace(bucket, gitops, tmp_path, aws)
