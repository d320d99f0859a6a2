from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from registry.changes import Approval, EventKind
from registry.errors import Conflict, NotFound
from registry.facts import Source
from registry.memory import MemoryStore
from registry.names import VersionRef
from registry.registry import Registry
from registry.store import Store

Makes = Callable[..., Registry]
ONE = VersionRef(model="fraud", number=1)


@pytest.fixture
def store() -> Store:
    return MemoryStore()


@pytest.fixture
def registry(on: Makes, store: Store, source: Callable[..., Source]) -> Registry:
    registry = on(store)
    for job in ("j1", "j2"):
        registry.register("fraud", source(job), actor="ann")
    return registry


def test_the_last_decision_counts_and_all_are_kept(registry: Registry, on: Makes, store: Store) -> None:
    assert registry.approval(ONE) is Approval.PENDING
    assert registry.decisions(ONE) == ()
    wanted = [Approval.APPROVED, Approval.REJECTED, Approval.PENDING, Approval.APPROVED]
    for n, approval in enumerate(wanted, start=1):
        made = registry.decide(ONE, approval, actor="bob", reason=f"for {n}")
        assert (made.sequence, made.approval, made.reason, made.by) == (n, approval, f"for {n}", "bob")
        for reader in (registry, on(store)):
            assert reader.approval(ONE) is approval
            assert {row.number: row.approval for row in reader.versions("fraud")} == {1: approval, 2: Approval.PENDING}
    assert [one.approval for one in registry.decisions(ONE)] == wanted[::-1]
    assert [one.reason for one in registry.decisions(ONE)] == ["for 4", "for 3", "for 2", "for 1"]


def test_more_than_nine_decisions_stay_in_order(registry: Registry) -> None:
    for n in range(12):
        registry.decide(ONE, Approval.APPROVED if n % 2 else Approval.REJECTED, actor="bob")
    assert [one.sequence for one in registry.decisions(ONE)] == list(range(12, 0, -1))
    assert registry.approval(ONE) is Approval.APPROVED


def test_a_token_decides_once(registry: Registry) -> None:
    first = registry.decide(ONE, Approval.APPROVED, actor="bob", token="k")
    registry.decide(ONE, Approval.REJECTED, actor="eve")
    assert registry.decide(ONE, Approval.APPROVED, actor="bob", reason="other words", token="k") == first
    assert registry.approval(ONE) is Approval.REJECTED
    for approval, actor in ((Approval.REJECTED, "bob"), (Approval.APPROVED, "eve")):
        with pytest.raises(Conflict, match="key was used for another decision on fraud@1: use a new one"):
            registry.decide(ONE, approval, actor=actor, token="k")


def test_a_token_that_is_used_twice_at_once_gives_one_answer(
    registry: Registry, on: Makes, store: Store, watched: Any
) -> None:
    seen = watched(store)
    other: list[Any] = []

    def race(verb: str, key: str) -> None:
        if verb == "create" and "/decisions/" in key and not other:
            other.append(registry.decide(ONE, Approval.APPROVED, actor="bob", reason="first", token="k"))

    seen.before = race
    mine = on(seen).decide(ONE, Approval.APPROVED, actor="bob", reason="second", token="k")
    assert [mine] == other
    assert registry.decisions(ONE) == (mine,)


def test_many_at_once_lose_nothing(registry: Registry, on: Makes, store: Store) -> None:
    def decide(n: int) -> list[str]:
        mine = on(store)
        return [mine.decide(ONE, Approval.APPROVED, actor="w", token=f"{n}-{k}").token for k in range(5)]

    with ThreadPoolExecutor(5) as pool:
        made = [token for tokens in pool.map(decide, range(5)) for token in tokens]
    there = registry.decisions(ONE)
    assert sorted(one.token for one in there) == sorted(made)
    assert [one.sequence for one in there] == list(range(25, 0, -1))
    told = [one.event.token for one in registry.events().events if one.event.kind is EventKind.DECIDED]
    assert sorted(told) == sorted(made)


def test_what_is_not_there_or_was_deleted_is_not_decided_on(registry: Registry) -> None:
    with pytest.raises(NotFound):
        registry.decide(VersionRef(model="fraud", number=3), Approval.APPROVED, actor="bob")
    with pytest.raises(NotFound):
        registry.decisions(VersionRef(model="fraud", number=3))
    registry.decide(ONE, Approval.REJECTED, actor="bob")
    registry.delete(ONE, actor="ann")
    with pytest.raises(NotFound, match="was deleted"):
        registry.decide(ONE, Approval.APPROVED, actor="bob")
    assert len(registry.decisions(ONE)) == 1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("n", range(1, 10))
def test_killed_while_deciding_and_done_again_it_is_one_decision(
    registry: Registry, on: Makes, store: Store, interrupted: Any, killed: type[BaseException], n: int, after: bool
) -> None:
    def die() -> None:
        raise killed

    with suppress(killed):
        on(interrupted(store, die, n, after=after)).decide(ONE, Approval.APPROVED, actor="bob", token="k")
    registry.decide(ONE, Approval.APPROVED, actor="bob", token="k")
    assert [one.token for one in registry.decisions(ONE)] == ["k"]
