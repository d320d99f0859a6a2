from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import keys, log
from registry.errors import NotFound, Refused
from registry.facts import ENTRY_MAX, Entry, Source, Version
from registry.memory import MemoryStore
from registry.names import VersionRef
from registry.records import Records
from registry.store import Store

AT = datetime(2026, 1, 1, tzinfo=UTC)


def ref(number: int, model: str = "fraud") -> VersionRef:
    return VersionRef(model=model, number=number)


def entry(first: int, count: int, model: str = "fraud") -> Entry:
    versions = tuple(
        Version(model=model, number=n, source=Source(uri=f"s3://abc/{n}", size=1), created_at=AT, created_by="ann")
        for n in range(first, first + count)
    )
    return Entry(token=f"t{first}", versions=versions)


def written(sizes: list[int]) -> Store:
    store, first = MemoryStore(), 1
    for size in sizes:
        store.create(keys.entry(ref(first)), entry(first, size).to_bytes())
        first += size
    return store


@settings(max_examples=40)
@given(st.lists(st.integers(1, 5) | st.just(ENTRY_MAX), min_size=1, max_size=4))
def test_a_version_is_found_wherever_in_its_entry_it_stands(sizes: list[int]) -> None:
    records = Records(written(sizes))
    last = sum(sizes)
    for number in {*range(1, last + 1, 7), last}:
        assert log.version(records, ref(number)).number == number
        found = log.entry_of(records, ref(number))
        assert found is not None
        assert found.versions[0].number <= number <= found.last
    assert log.entry_of(records, ref(last + 1)) is None
    assert log.entry_of(records, ref(last + ENTRY_MAX + 1)) is None
    newest = log.newest(records, "fraud")
    assert newest is not None
    assert newest.last == last
    assert [one.last for one in log.entries(records, "fraud")] == [sum(sizes[:n]) for n in range(len(sizes), 0, -1)]


def test_it_costs_one_request_or_three(watched: Any) -> None:
    store = watched(written([5, 1]))
    records = Records(store)

    def cost(number: int) -> list[str]:
        store.requests.clear()
        log.entry_of(records, ref(number))
        return [verb for verb, _ in store.requests]

    assert cost(1) == cost(6) == ["get"]
    assert cost(3) == cost(5) == ["get", "list", "get"]
    store.requests.clear()
    log.newest(records, "fraud")
    assert [verb for verb, _ in store.requests] == ["list", "get"]
    store.requests.clear()
    assert log.newest(records, "other") is None
    assert [verb for verb, _ in store.requests] == ["list"]


def test_there_is_nothing_where_nothing_is() -> None:
    records = Records(MemoryStore())
    assert log.newest(records, "fraud") is None
    assert log.entry_of(records, ref(1)) is None
    assert log.entry_from(records, ref(1)) is None
    assert list(log.entries(records, "fraud")) == []
    assert list(log.models(records)) == []
    with pytest.raises(NotFound, match=r"^There is no version fraud@9999999999: "):
        log.version(records, ref(9_999_999_999))


def test_a_model_whose_name_begins_with_anothers_is_another() -> None:
    store = written([2])
    store.create(keys.entry(ref(1, "fraud-v2")), entry(1, 1, "fraud-v2").to_bytes())
    records = Records(store)
    assert [one.last for one in log.entries(records, "fraud")] == [2]
    assert sorted(log.models(records)) == ["fraud", "fraud-v2"]


WRONG = {
    "another number": entry(2, 1),
    "another model": entry(1, 1, "other"),
    "a gap": Entry(token="t", versions=(entry(1, 1).versions[0], entry(3, 1).versions[0])),
    "backwards": Entry(token="t", versions=(entry(2, 1).versions[0], entry(1, 1).versions[0])),
    "twice": Entry(token="t", versions=(entry(1, 1).versions[0],) * 2),
    "two models": Entry(token="t", versions=(entry(1, 1).versions[0], entry(2, 1, "other").versions[0])),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_an_entry_under_a_key_that_is_not_its_own_is_refused(wrong: Entry) -> None:
    store = MemoryStore()
    store.create(keys.entry(ref(1)), wrong.to_bytes())
    records = Records(store)
    reads: list[Callable[[], object]] = [
        lambda: log.entry_from(records, ref(1)),
        lambda: log.entry_of(records, ref(2)),
        lambda: log.newest(records, "fraud"),
        lambda: log.version(records, ref(1)),
        lambda: list(log.entries(records, "fraud")),
    ]
    for read in reads:
        with pytest.raises(Refused, match=r"^models/fraud/log/9999999998-1.json is the record of .*restore"):
            read()


@pytest.mark.parametrize("count", [0, ENTRY_MAX + 1])
def test_an_entry_of_no_version_or_of_too_many_is_none(count: int) -> None:
    store = MemoryStore()
    some = ",".join(entry(n, 1).versions[0].model_dump_json() for n in range(1, count + 1))
    store.create(keys.entry(ref(1)), f'{{"token":"t","versions":[{some}]}}'.encode())
    with pytest.raises(Refused, match="not a entry record of this Sluice: upgrade Sluice"):
        log.newest(Records(store), "fraud")


def test_an_entry_that_goes_while_it_is_listed_is_missed(watched: Any) -> None:
    store = watched(written([1]))

    def forget(verb: str, key: str) -> None:
        store.inner._objects.clear()

    store.after = forget
    with pytest.raises(NotFound, match="was listed and is gone: restore the object"):
        log.newest(Records(store), "fraud")
