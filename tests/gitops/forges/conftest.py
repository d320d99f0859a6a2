"""A forge of each kind, with a real repository behind it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gitops.forges import Forge, ForgeKind, ForgeSettings, locate, open_forge
from tests.gitops.forges.fakes import PROJECT, TOKEN, Fake, FakeCodeCommit, FakeGitHub, FakeGitLab

FAKES: dict[ForgeKind, type[Fake]] = {
    ForgeKind.GITHUB: FakeGitHub,
    ForgeKind.GITLAB: FakeGitLab,
    ForgeKind.CODECOMMIT: FakeCodeCommit,
}
TOKENS = {"GITHUB_TOKEN": TOKEN, "GITLAB_TOKEN": TOKEN}


class At(NamedTuple):
    """A forge, and what is behind it."""

    fake: Fake
    kind: ForgeKind
    forge: Forge


@pytest.fixture
def made(remote: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[ForgeKind], At]]:
    """Makes a forge of a kind, that asks a fake one over HTTP."""
    started: list[tuple[Fake, threading.Thread]] = []

    def make(kind: ForgeKind) -> At:
        fake = FAKES[kind](remote)
        thread = threading.Thread(target=fake.serve_forever, args=(0.02,))
        thread.start()
        started.append((fake, thread))
        if kind is ForgeKind.CODECOMMIT:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                monkeypatch.delenv(name)
            monkeypatch.setenv("AWS_ENDPOINT_URL_CODECOMMIT", fake.origin)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", TOKEN)
            monkeypatch.setattr("registry.aws.retrying", _at_once)
            place = locate("codecommit::eu-west-1://models")
        else:
            place = locate(f"{fake.origin}/{PROJECT}.git", ForgeSettings(kind=kind))
        return At(fake, kind, open_forge(place, "main", environ=TOKENS, sleep=lambda _: None))

    yield make
    for fake, thread in started:
        fake.shutdown()
        fake.server_close()
        thread.join()


def _at_once(*arguments: object, **options: object) -> object:
    from registry.retry import retrying

    return retrying(*arguments, **{**options, "sleep": lambda _: None})


@pytest.fixture(params=list(ForgeKind), ids=lambda kind: kind.value)
def at(made: Callable[[ForgeKind], At], request: pytest.FixtureRequest) -> At:
    return made(request.param)
