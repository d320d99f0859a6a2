from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from registry import keys
from registry.changes import Alias, Event, EventKind, ModelEdit
from registry.errors import Conflict, InvalidInput, NotFound, Refused
from registry.facts import Source
from registry.memory import MemoryStore
from registry.names import AliasRef, VersionRef
from registry.registry import Registry
from registry.roles import Role
from registry.store import Store

Sources = Callable[..., Source]
Makes = Callable[..., Registry]
CHAMPION = AliasRef(model="fraud", alias="champion")
LATEST = AliasRef(model="fraud", alias="latest")


def ref(number: int, model: str = "fraud") -> VersionRef:
    return VersionRef(model=model, number=number)


def moves(registry: Registry, alias: str = "champion") -> list[int | None]:
    """Where it pointed, oldest first."""
    return [move.number for move in reversed(registry.alias_history("fraud", alias))]


def told(registry: Registry) -> list[Event]:
    return [one.event for one in registry.events().events if one.event.kind is EventKind.ALIASED]


@pytest.fixture
def store() -> Store:
    return MemoryStore()


@pytest.fixture
def registry(on: Makes, store: Store, source: Sources) -> Registry:
    """Four versions of fraud."""
    registry = on(store)
    for n in range(1, 5):
        registry.register("fraud", source(f"j{n}"), actor="ann")
    return registry


def test_an_alias_names_what_it_was_pointed_at_last(registry: Registry, on: Makes, store: Store) -> None:
    with pytest.raises(NotFound, match=r"^fraud has no alias champion: `sluice aliases fraud` lists those"):
        registry.resolve(CHAMPION)
    for number in (2, 4, 1):
        alias = registry.set_alias(ref(number), "champion", actor="ann", reason=f"to {number}")
        assert (alias.number, alias.moves[-1].by, alias.moves[-1].reason) == (number, "ann", f"to {number}")
        assert registry.resolve(CHAMPION) == on(store).resolve(CHAMPION) == ref(number)
    assert moves(registry) == [2, 4, 1]
    assert [move.previous for move in reversed(registry.alias_history("fraud", "champion"))] == [None, 2, 4]
    assert [(event.number, event.alias) for event in told(registry)] == [(n, "champion") for n in (2, 4, 1)]
    assert registry.resolve(ref(3)) == ref(3)


def test_latest_is_the_newest_version_that_lives(registry: Registry) -> None:
    assert registry.resolve(LATEST) == ref(4)
    registry.delete(ref(4), actor="ann")
    assert registry.resolve(LATEST) == ref(3)
    for number in (1, 2, 3):
        registry.delete(ref(number), actor="ann")
    with pytest.raises(NotFound, match="fraud has no versions"):
        registry.resolve(LATEST)
    for work in (
        lambda: registry.set_alias(ref(1), "latest", actor="ann"),
        lambda: registry.remove_alias("fraud", "latest", actor="ann"),
        lambda: registry.set_alias(ref(1), "Not A Name", actor="ann"),
        lambda: registry.alias("fraud", "../x"),
    ):
        with pytest.raises(InvalidInput):
            work()


def test_aliases_are_listed_in_order_of_name_without_those_that_were_removed(registry: Registry) -> None:
    assert list(registry.aliases("fraud")) == []
    for name, number in (("shadow", 1), ("champion", 2), ("old", 3)):
        registry.set_alias(ref(number), name, actor="ann")
    removed = registry.remove_alias("fraud", "old", actor="ann", reason="gone")
    assert removed.number is None
    assert [(alias.name, alias.number) for alias in registry.aliases("fraud")] == [("champion", 2), ("shadow", 1)]
    assert moves(registry, "old") == [3, None]
    with pytest.raises(NotFound):
        registry.alias("fraud", "old")
    with pytest.raises(NotFound):
        registry.resolve(AliasRef(model="fraud", alias="old"))
    assert registry.set_alias(ref(2), "old", actor="ann").number == 2
    with pytest.raises(NotFound, match="There is no model nobody"):
        list(registry.aliases("nobody"))


def test_what_is_not_there_is_not_moved(registry: Registry, store: Store) -> None:
    before = list(store.list(""))
    for work in (
        lambda: registry.set_alias(ref(5), "champion", actor="ann"),
        lambda: registry.set_alias(ref(1, "nobody"), "champion", actor="ann"),
        lambda: registry.remove_alias("fraud", "champion", actor="ann"),
        lambda: registry.remove_alias("nobody", "champion", actor="ann"),
        lambda: registry.alias_history("fraud", "champion"),
        lambda: registry.alias_at("fraud", "champion", datetime.now(UTC)),
    ):
        with pytest.raises(NotFound):
            work()
    assert list(store.list("")) == before


def test_who_expects_something_else_moves_nothing(registry: Registry) -> None:
    with pytest.raises(Conflict, match=r"^fraud@champion names no version, not 1: look .* give --expect 0"):
        registry.set_alias(ref(2), "champion", actor="ann", expect=1)
    assert registry.set_alias(ref(2), "champion", actor="ann", expect=0).number == 2
    for expect in (0, 1, 3):
        with pytest.raises(Conflict, match=r"^fraud@champion names version 2, not (none|1|3): .*--expect 2"):
            registry.set_alias(ref(3), "champion", actor="ann", expect=expect)
    with pytest.raises(Conflict):
        registry.remove_alias("fraud", "champion", actor="ann", expect=1)
    assert registry.set_alias(ref(3), "champion", actor="ann", expect=2).number == 3
    assert registry.remove_alias("fraud", "champion", actor="ann", expect=3).number is None
    with pytest.raises(Conflict):
        registry.set_alias(ref(1), "champion", actor="ann", expect=3)
    assert moves(registry) == [2, 3, None]
    assert [event.number for event in told(registry)] == [2, 3, None]


def test_of_many_who_expect_the_same_one_wins(registry: Registry, on: Makes, store: Store) -> None:
    registry.set_alias(ref(1), "champion", actor="ann")

    def move(n: int) -> bool:
        try:
            on(store).set_alias(ref(2 + n % 3), "champion", actor=f"w{n}", expect=1)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(move, range(8))) == 1
    assert len(moves(registry)) == 2
    assert len(told(registry)) == 2


def test_many_who_move_at_once_lose_nothing(registry: Registry, on: Makes, store: Store) -> None:
    def move(n: int) -> list[str]:
        mover = on(store)
        made = [mover.set_alias(ref(1 + (n + k) % 4), "champion", actor="w", token=f"{n}-{k}") for k in range(4)]
        return [move.token for alias in made for move in alias.moves]

    with ThreadPoolExecutor(6) as pool:
        tokens = [f"{n}-{k}" for n in range(6) for k in range(4)]
        assert {token for seen in pool.map(move, range(6)) for token in seen} == set(tokens)
    history = registry.alias_history("fraud", "champion")[::-1]
    assert sorted(move.token for move in history) == sorted(tokens)
    assert [move.previous for move in history] == [None, *[move.number for move in history[:-1]]]
    assert [move.at for move in history] == sorted(move.at for move in history)
    assert {event.token for event in told(registry)} == set(tokens)


def test_a_token_moves_once(registry: Registry) -> None:
    registry.set_alias(ref(1), "champion", actor="ann", token="k1")
    registry.set_alias(ref(2), "champion", actor="bob", token="k2")
    again = registry.set_alias(ref(1), "champion", actor="ann", token="k1", expect=0)
    assert (again.number, moves(registry)) == (2, [1, 2])
    with pytest.raises(Conflict, match="key was used for another move of fraud@champion: use a new one"):
        registry.set_alias(ref(3), "champion", actor="ann", token="k1")
    with pytest.raises(Conflict):
        registry.remove_alias("fraud", "champion", actor="ann", token="k1")
    registry.remove_alias("fraud", "champion", actor="ann", token="k3")
    registry.set_alias(ref(4), "champion", actor="ann")
    assert registry.remove_alias("fraud", "champion", actor="ann", token="k3").number == 4
    assert moves(registry) == [1, 2, None, 4]


def test_a_token_that_moved_to_where_it_was_already_is_kept_too(registry: Registry) -> None:
    registry.set_alias(ref(1), "champion", actor="ann")
    assert registry.set_alias(ref(1), "champion", actor="ann").moves == registry.alias("fraud", "champion").moves
    assert moves(registry) == [1]
    registry.set_alias(ref(1), "champion", actor="ann", token="k")
    registry.set_alias(ref(2), "champion", actor="bob")
    assert registry.set_alias(ref(1), "champion", actor="ann", token="k").number == 2


def test_a_protected_alias_needs_its_role(registry: Registry) -> None:
    registry.edit_model("fraud", ModelEdit(protected={"champion": Role.APPROVER}), actor="root")
    for role, may in ((Role.VIEWER, False), (Role.RELEASER, False), (Role.APPROVER, True), (Role.ADMIN, True)):
        if may:
            registry.set_alias(ref(1), "champion", actor="ann", role=role)
            registry.remove_alias("fraud", "champion", actor="ann", role=role)
            continue
        with pytest.raises(Refused, match=r"^fraud@champion is moved by approvers only: ask one"):
            registry.set_alias(ref(1), "champion", actor="ann", role=role)
        with pytest.raises(Refused):
            registry.remove_alias("fraud", "champion", actor="ann", role=role)
    with pytest.raises(Refused, match="moved by releasers only"):
        registry.set_alias(ref(1), "shadow", actor="ann", role=Role.VIEWER)
    assert registry.set_alias(ref(1), "shadow", actor="ann", role=Role.RELEASER).number == 1
    registry.edit_model("fraud", ModelEdit(protected={"champion": None}), actor="root")
    assert registry.set_alias(ref(2), "champion", actor="ann", role=Role.RELEASER).number == 2


def test_only_an_admin_protects(registry: Registry) -> None:
    for role in (Role.VIEWER, Role.RELEASER, Role.APPROVER):
        for edit in (ModelEdit(protected={"champion": Role.ADMIN}), ModelEdit(protected={"champion": None})):
            with pytest.raises(Refused, match="an admin's to say"):
                registry.edit_model("fraud", edit, actor="ann", role=role)
    assert registry.model("fraud").protected == {}


def test_hundreds_of_moves_are_kept_and_found(registry: Registry, on: Makes, store: Store, clock: Any) -> None:
    moments = []
    for n in range(450):
        registry.set_alias(ref(1 + n % 4), "champion", actor="ann", reason=str(n), token=f"t{n}")
        moments.append(clock())
        clock.advance(seconds=10)
    stored = store.get(keys.alias("fraud", "champion"))
    assert stored
    record = Alias.model_validate_json(stored.data)
    assert len(record.moves) <= 200
    assert record.archived + len(record.moves) == 450
    history = on(store).alias_history("fraud", "champion")
    assert [move.reason for move in history] == [str(n) for n in range(449, -1, -1)]
    for n in (0, 1, 99, 100, 101, 299, 300, 449):
        assert on(store).alias_at("fraud", "champion", moments[n]).reason == str(n)
    with pytest.raises(NotFound, match="named no version at"):
        registry.alias_at("fraud", "champion", datetime(2020, 1, 1, tzinfo=UTC))
    assert [event.token for event in told(registry)] == [f"t{n}" for n in range(450)]


def test_a_move_that_was_refused_is_not_told_though_others_lie_in_the_archive(
    registry: Registry, store: Store, watched: Any, on: Makes
) -> None:
    for n in range(205):
        registry.set_alias(ref(1 + n % 2), "champion", actor="ann", token=f"t{n}")
    seen = watched(store)
    raced: list[str] = []

    def win(verb: str, key: str) -> None:
        if verb == "replace" and key == keys.alias("fraud", "champion") and not raced:
            raced.append(key)
            registry.set_alias(ref(4), "champion", actor="bob", token="winner")

    seen.before = win
    with pytest.raises(Conflict):
        on(seen).set_alias(ref(3), "champion", actor="ann", expect=1, token="loser")
    assert raced
    assert [event.token for event in told(registry)] == [*(f"t{n}" for n in range(205)), "winner"]


def test_an_archive_that_is_gone_is_said(registry: Registry, store: Any) -> None:
    for n in range(201):
        registry.set_alias(ref(1 + n % 2), "champion", actor="ann")
    del store._objects[keys.archive("fraud", "champion", 0)]
    with pytest.raises(Refused, match="is gone: restore the object"):
        registry.alias_history("fraud", "champion")
    assert registry.resolve(CHAMPION) == ref(1)


def test_what_was_in_force_while_an_alias_was_removed(registry: Registry, clock: Any) -> None:
    registry.set_alias(ref(1), "champion", actor="ann")
    clock.advance(minutes=1)
    during = clock()
    registry.remove_alias("fraud", "champion", actor="ann")
    clock.advance(minutes=1)
    assert registry.alias_at("fraud", "champion", during).number == 1
    with pytest.raises(NotFound, match="named no version at"):
        registry.alias_at("fraud", "champion", clock())


def test_times_of_moves_never_fall(registry: Registry, on: Makes, store: Store, clock: Any) -> None:
    registry.set_alias(ref(1), "champion", actor="ann")
    clock.advance(minutes=-30)
    registry.set_alias(ref(2), "champion", actor="bob")
    new, old = registry.alias_history("fraud", "champion")
    assert new.at >= old.at


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("n", range(1, 11))
def test_killed_while_an_alias_is_moved(
    registry: Registry, on: Makes, store: Store, interrupted: Any, killed: type[BaseException], n: int, after: bool
) -> None:
    registry.set_alias(ref(1), "champion", actor="ann")

    def die() -> None:
        raise killed

    through = interrupted(store, die, n, after=after)
    with suppress(killed):
        on(through).set_alias(ref(2), "champion", actor="ann", token="k")
    assert len(through.verbs) <= 10
    assert registry.resolve(CHAMPION) in (ref(1), ref(2))
    assert registry.set_alias(ref(2), "champion", actor="ann", token="k").number == 2
    assert moves(registry) == [1, 2]
    assert {event.token for event in told(registry) if event.number == 2} == {"k"}
