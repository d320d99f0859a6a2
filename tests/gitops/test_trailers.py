"""What a commit's trailers say, whoever wrote them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.history import ReleaseCommit, holds
from gitops.message import message
from gitops.snapshot import Commit
from gitops.tree import Change

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def read(said: dict[str, str], body: str = "") -> ReleaseCommit:
    text = message(Change(writes={}, subject="s", body=body, trailers={"Action": "promote", **said}), "r")
    return ReleaseCommit.of(
        Commit(id="a" * 40, tree="b" * 40, parents=(), author="A", email="a@b", time=NOW, committed=NOW, message=text)
    )


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("7", (7,)), ("7, 8", (7, 8)), ("8,7", (8, 7)), ("7, seven, -1, 1e3, ,", (7,)), ("none", ()), ("9" * 11, ())],
)
def test_the_versions_that_a_commit_holds(text: str, numbers: tuple[int, ...]) -> None:
    assert read({"Holds": text}).holds == numbers


def test_gates_that_were_passed_over_and_the_workflow() -> None:
    found = read({"Override": "soak, approved,soak ,", "Workflow": "release-x7k2p"})
    assert (found.override, found.workflow) == (("soak", "approved"), "release-x7k2p")
    assert (read({}).override, read({}).workflow) == ((), None)


@given(st.sets(st.integers(1, 10**9), min_size=1))
def test_every_version_that_is_held_is_read_back(versions: set[int]) -> None:
    text = ", ".join(str(version) for version in sorted(versions))
    found = read({"Action": "rollback", "Holds": text}, body=f"This reverts commit {'c' * 40}.\n\nwhy\n\nand how")
    assert set(holds([found])) == versions
    assert {hold.reason for hold in holds([found]).values()} == {"why\n\nand how"}


@pytest.mark.parametrize("action", ["promote", "render", "abort", "hold", "unhold"])
def test_only_a_rollbacks_reason_is_no_place_to_revert_from(action: str) -> None:
    assert read({"Action": action}, body=f"This reverts commit {'c' * 40}.").reverts == ()
