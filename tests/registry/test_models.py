from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from registry import keys
from registry.changes import EventKind, ModelEdit
from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError
from registry.facts import Source
from registry.lineage import NoReleases
from registry.memory import MemoryBytes, MemoryStore
from registry.names import AliasRef, VersionRef
from registry.registry import Registry
from registry.store import Store

Sources = Callable[..., Source]
Makes = Callable[..., Registry]
CHAMPION = AliasRef(model="fraud", alias="champion")


def ref(number: int) -> VersionRef:
    return VersionRef(model="fraud", number=number)


class Released(NoReleases):
    """Version 2 runs in production."""

    def naming(self, model: str) -> Mapping[int, Sequence[str]]:
        return {2: ["prod", "staging"]} if model == "fraud" else {}


@pytest.fixture
def store() -> Store:
    return MemoryStore()


@pytest.fixture
def registry(on: Makes, store: Store, source: Sources) -> Registry:
    """Three versions of fraud."""
    registry = on(store)
    for n in range(1, 4):
        registry.register("fraud", source(f"j{n}"), actor="ann")
    return registry


def test_what_is_said_of_a_model_is_changed_bit_by_bit(registry: Registry, on: Makes, store: Store) -> None:
    assert (registry.model("fraud").description, registry.model("fraud").changed_at) == ("", None)
    registry.edit_model("fraud", ModelEdit(description="Finds fraud.\n", owner="risk"), actor="bob")
    registry.edit_model("fraud", ModelEdit(tags={"a": "1", "b": "2"}, links={"board": "https://x/y"}), actor="bob")
    model = registry.edit_model("fraud", ModelEdit(tags={"a": None, "c": "3"}, owner=""), actor="eve")
    assert (model.description, model.owner, model.tags) == ("Finds fraud.\n", "", {"b": "2", "c": "3"})
    assert model.links == {"board": "https://x/y"}
    assert (model.created_by, model.changed_by) == ("ann", "eve")
    assert model.changed_at is not None
    assert on(store).model("fraud") == model
    assert [one.event.by for one in registry.events().events if one.event.kind is EventKind.EDITED] == [
        *("bob", "bob", "eve")
    ]


def test_models_are_found_by_name_tag_and_owner(registry: Registry, source: Sources) -> None:
    registry.register("churn", source("c"), actor="ann")
    registry.edit_model("churn", ModelEdit(tags={"team": "crm", "tier": "2"}, owner="crm"), actor="ann")
    registry.edit_model("fraud", ModelEdit(tags={"team": "risk", "tier": "2"}), actor="ann")

    def names(**asked: Any) -> list[str]:
        return [one.model.name for one in registry.models(**asked)]

    assert names() == ["churn", "fraud"]
    assert names(search="RAU") == names(tag={"team": "risk"}) == names(owner="") == ["fraud"]
    assert names(tag={"tier": "2"}) == ["churn", "fraud"]
    assert names(tag={"tier": "2", "team": "crm"}, owner="crm") == ["churn"]
    assert names(search="x") == names(owner="risk") == names(tag={"team": ""}) == []


@pytest.mark.parametrize(
    "edit",
    [
        {"tags": {f"t{n}": "" for n in range(51)}},
        {"links": {f"l{n}": "https://x" for n in range(21)}},
    ],
    ids=["tags", "links"],
)
def test_more_than_there_may_be_is_refused_and_not_told(registry: Registry, edit: Any) -> None:
    before = registry.model("fraud")
    with pytest.raises(InvalidInput, match=r"^The (tags|links) of fraud would not fit \(.*\): say less\.$"):
        registry.edit_model("fraud", ModelEdit(**edit), actor="ann")
    assert registry.model("fraud") == before
    assert not [one for one in registry.events().events if one.event.kind is EventKind.EDITED]


def test_an_edit_of_nothing_writes_nothing(registry: Registry, store: Store) -> None:
    registry.edit_model("fraud", ModelEdit(tags={"a": "1"}), actor="ann")
    before = list(store.list(""))
    model = registry.model("fraud")
    assert registry.edit_model("fraud", ModelEdit(tags={"a": "1", "b": None}), actor="eve") == model
    assert registry.edit_model("fraud", ModelEdit(), actor="eve") == model
    assert list(store.list("")) == before


def test_an_edit_of_what_was_expected_and_of_nothing_else(registry: Registry, on: Makes, store: Store) -> None:
    read = registry.model("fraud")
    registry.edit_model("fraud", ModelEdit(owner="risk"), actor="ann", expect=read)
    with pytest.raises(Conflict, match="fraud was changed since you read it"):
        registry.edit_model("fraud", ModelEdit(owner="ops"), actor="bob", expect=read)
    assert on(store).model("fraud").owner == "risk"


def test_edits_at_once_lose_nothing(registry: Registry, on: Makes, store: Store, watched: Any) -> None:
    seen = watched(store)
    raced: list[str] = []

    def intrude(verb: str, key: str) -> None:
        if verb == "replace" and key == keys.model("fraud") and len(raced) < 3:
            raced.append(f"r{len(raced)}")
            registry.edit_model("fraud", ModelEdit(tags={raced[-1]: "x"}), actor="bob")

    seen.before = intrude
    on(seen).edit_model("fraud", ModelEdit(tags={"mine": "x"}), actor="ann")
    assert registry.model("fraud").tags == {"mine": "x", "r0": "x", "r1": "x", "r2": "x"}


def test_a_deleted_version_keeps_its_number_and_its_record(registry: Registry, on: Makes, store: Store) -> None:
    stone = registry.delete(ref(2), actor="bob", reason="too old")
    assert (stone.by, stone.reason) == ("bob", "too old")
    for reader in (registry, on(store)):
        assert [row.number for row in reader.versions("fraud")] == [3, 1]
        rows = {row.number: row.state for row in reader.versions("fraud", deleted=True)}
        assert rows == {3: "registered", 2: "deleted", 1: "registered"}
        assert reader.version(ref(2)).source.name == "j2"
        assert reader.facts(ref(2)).state == "deleted"
        assert reader.facts(ref(2)).deleted == stone
    assert on(store).delete(ref(2), actor="eve", reason="again") == stone
    assert [one.event.by for one in registry.events().events if one.event.kind is EventKind.DELETED] == ["bob"]
    with pytest.raises(NotFound):
        registry.delete(ref(4), actor="bob")
    with pytest.raises(NotFound, match="fraud@2 was deleted: choose another"):
        registry.set_alias(ref(2), "champion", actor="bob")


def test_what_is_released_or_has_an_alias_is_not_deleted(registry: Registry, on: Makes, store: Store) -> None:
    released = on(store, releases=Released())
    with pytest.raises(Refused, match=r"^fraud@2 is released to prod, staging: roll back or promote another version"):
        released.delete(ref(2), actor="ann")
    registry.set_alias(ref(3), "champion", actor="ann")
    with pytest.raises(Refused, match=r"^fraud@3 is fraud@champion: point the alias at another version first\.$"):
        registry.delete(ref(3), actor="ann")
    with pytest.raises(Refused, match="fraud@2 is released"):
        released.delete_model("fraud", actor="ann")
    with pytest.raises(Refused, match="fraud@champion names version 3: remove the aliases of fraud first"):
        registry.delete_model("fraud", actor="ann")
    assert len(list(registry.versions("fraud"))) == 3
    registry.set_alias(ref(1), "champion", actor="ann")
    registry.delete(ref(3), actor="ann")
    released.delete(ref(3), actor="ann")


def test_a_deleted_model_is_gone_and_its_name_goes_on_from_its_last_number(
    registry: Registry, on: Makes, store: Store, source: Sources
) -> None:
    registry.register("other", source("o"), actor="ann")
    assert [one.model.name for one in registry.models()] == ["other", "fraud"]
    deletion = registry.delete_model("fraud", actor="bob", reason="replaced")
    assert (deletion.upto, deletion.by, deletion.reason) == (3, "bob", "replaced")
    for reader in (registry, on(store)):
        assert [one.model.name for one in reader.models()] == ["other"]
        assert list(reader.versions("fraud")) == []
        assert [row.number for row in reader.versions("fraud", deleted=True)] == [3, 2, 1]
        for work in (
            lambda reader=reader: reader.model("fraud"),
            lambda reader=reader: reader.delete_model("fraud", actor="ann"),
            lambda reader=reader: reader.edit_model("fraud", ModelEdit(owner="x"), actor="ann"),
            lambda reader=reader: list(reader.aliases("fraud")),
        ):
            with pytest.raises(NotFound, match="There is no model fraud"):
                work()
    back = registry.register("fraud", source("j1"), actor="eve").version
    assert back.number == 4
    for reader in (registry, on(store)):
        assert [one.model.name for one in reader.models()] == ["fraud", "other"]
        assert [row.number for row in reader.versions("fraud")] == [4]
        assert reader.model("fraud").name == "fraud"
    assert registry.delete_model("fraud", actor="bob").upto == 4
    assert on(store).register("fraud", source("j9"), actor="eve").version.number == 5


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("n", range(1, 24))
def test_a_deletion_that_was_broken_off_is_finished_by_deleting_again(
    registry: Registry, on: Makes, store: Store, interrupted: Any, killed: type[BaseException], n: int, after: bool
) -> None:
    def die() -> None:
        raise killed

    with suppress(killed):
        on(interrupted(store, die, n, after=after)).delete_model("fraud", actor="ann")
    with suppress(NotFound):
        on(store).delete_model("fraud", actor="ann")
    assert list(on(store).models()) == []
    assert list(registry.versions("fraud")) == []
    told = {one.event.number for one in registry.events().events if one.event.kind is EventKind.DELETED}
    assert told == {1, 2, 3}


def resolved(registry: Registry) -> VersionRef | None:
    try:
        return registry.resolve(CHAMPION)
    except NotFound:
        return None


def no_alias_names_what_was_deleted(registry: Registry) -> None:
    for alias in registry.aliases("fraud"):
        assert alias.number is not None
        assert registry.facts(ref(alias.number)).deleted is None, alias


RACE = range(1, 16)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("n", RACE)
def test_a_version_is_deleted_between_any_two_requests_of_moving_an_alias_to_it(
    registry: Registry, on: Makes, store: Store, interrupted: Any, n: int, after: bool
) -> None:
    registry.set_alias(ref(1), "champion", actor="ann")
    deleted: list[bool] = []

    def delete() -> None:
        try:
            on(store).delete(ref(2), actor="bob")
            deleted.append(True)
        except Refused:
            deleted.append(False)

    through = interrupted(store, delete, n, after=after)
    try:
        on(through).set_alias(ref(2), "champion", actor="ann")
        moved = True
    except SluiceError:
        moved = False
    no_alias_names_what_was_deleted(on(store))
    assert len(through.verbs) < RACE.stop + 10
    if deleted == [False] or not deleted:
        assert (moved, resolved(on(store))) == (True, ref(2))
    else:
        assert resolved(on(store)) == ref(1)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("n", RACE)
def test_an_alias_is_moved_between_any_two_requests_of_deleting_its_version(
    registry: Registry, on: Makes, store: Store, interrupted: Any, place: MemoryBytes, clock: Any, n: int, after: bool
) -> None:
    registry.set_alias(ref(1), "champion", actor="ann")

    def move() -> None:
        with suppress(NotFound):
            on(store).set_alias(ref(2), "champion", actor="ann")

    with suppress(Refused):
        on(interrupted(store, move, n, after=after)).delete(ref(2), actor="bob")
    no_alias_names_what_was_deleted(on(store))
    named = resolved(on(store))
    assert named is not None
    clock.advance(days=2)
    registry.collect(actor="gc")
    assert place.get(registry.version(named).output) is not None


def test_when_both_the_one_who_deletes_and_the_one_who_moves_are_killed(
    registry: Registry,
    on: Makes,
    store: Store,
    watched: Any,
    killed: type[BaseException],
    place: MemoryBytes,
    clock: Any,
) -> None:
    """Then an alias names what was deleted: it is not resolved, its bytes stay, and deleting again puts it right."""
    registry.set_alias(ref(1), "champion", actor="ann")
    deleter, mover = watched(store), watched(store)

    def die_once_buried(verb: str, key: str) -> None:
        if key == keys.fact(ref(2), "deleted") and verb == "create":
            raise killed

    def delete(verb: str, key: str) -> None:
        if key == keys.alias("fraud", "champion") and verb == "replace":
            with suppress(killed):
                on(deleter).delete(ref(2), actor="bob")

    def die_once_moved(verb: str, key: str) -> None:
        if key == keys.alias("fraud", "champion") and verb == "replace":
            raise killed

    deleter.after, mover.before, mover.after = die_once_buried, delete, die_once_moved
    with pytest.raises(killed):
        on(mover).set_alias(ref(2), "champion", actor="ann")
    assert registry.alias("fraud", "champion").number == 2
    assert registry.facts(ref(2)).state == "deleted"
    with pytest.raises(NotFound, match=r"^fraud@champion names fraud@2, which was deleted: point it at another"):
        registry.resolve(CHAMPION)
    clock.advance(days=2)
    registry.collect(actor="gc")
    assert place.get(registry.version(ref(2)).output) is not None
    registry.delete(ref(2), actor="bob")
    assert resolved(registry) == ref(1)
    registry.collect(actor="gc")
    assert place.get(registry.version(ref(2)).output) is None


def test_an_alias_goes_back_to_nothing_where_all_it_named_was_deleted(
    registry: Registry, on: Makes, store: Store, watched: Any
) -> None:
    registry.set_alias(ref(1), "champion", actor="ann")
    registry.set_alias(ref(3), "champion", actor="ann")
    registry.delete(ref(1), actor="ann")
    seen = watched(store)

    def delete(verb: str, key: str) -> None:
        if verb == "create" and key == keys.fact(ref(2), "deleted"):
            registry.set_alias(ref(2), "champion", actor="bob")
            registry.delete(ref(3), actor="bob")

    seen.before = delete
    on(seen).delete(ref(2), actor="eve")
    assert list(registry.aliases("fraud")) == []
    history = registry.alias_history("fraud", "champion")
    assert [move.number for move in history] == [None, 2, 3, 1]
    assert history[0].by == "eve"
    told = [one.event.token for one in registry.events().events if one.event.kind is EventKind.ALIASED]
    assert told == [move.token for move in reversed(history)]


def test_a_version_that_is_registered_while_its_model_is_deleted_lives_on_or_is_deleted(
    registry: Registry, on: Makes, store: Store, interrupted: Any, source: Sources
) -> None:
    for n in range(1, 30):
        made: list[int] = []

        def register(n: int = n, made: list[int] = made) -> None:
            made.append(on(store).register("fraud", source(f"new-{n}"), actor="eve").version.number)

        through = interrupted(store, register, n)
        with suppress(NotFound):
            on(through).delete_model("fraud", actor="ann")
        live = [row.number for row in on(store).versions("fraud")]
        if made and live:
            assert live == made
            assert on(store).model("fraud").name == "fraud"
        else:
            assert live == []
            on(store).register("fraud", source(f"again-{n}"), actor="eve")
