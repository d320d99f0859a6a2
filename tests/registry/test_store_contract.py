"""What every store must do: in memory, on SeaweedFS, on moto's S3, and on S3 itself where there are credentials."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from registry import keys
from registry.aws import Clients
from registry.errors import Conflict, Refused, SluiceError
from registry.facts import Format, Scan, Source
from registry.names import VersionRef
from registry.registry import Registry
from registry.s3 import S3Store
from registry.storage import Storage
from registry.store import AlreadyExists, Changed, Store

NO_ETAG = '"00000000000000000000000000000000"'
ODD = ["a b", "ä/ö", "日本語/鍵", "plus+and&=", "100%", "%2F", "q?x=1#y", "z'\"<>", "~", "\U0001f600"]


@pytest.fixture(params=["memory", "s3", "moto", "amazon"])
def store(request: pytest.FixtureRequest) -> Store:
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture(params=["memory", "s3", "moto", "amazon"])
def atomic_store(request: pytest.FixtureRequest) -> Store:
    if request.param == "moto":
        pytest.skip("moto checks a condition and then writes, without a lock: races cannot be judged there")
    return request.getfixturevalue(f"{request.param}_store")


def filled(store: Store, keys: list[str]) -> Store:
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(lambda key: store.create(key, key.encode()), keys))) == len(keys)
    return store


def test_get_gives_what_was_created_and_none_for_nothing(store: Store) -> None:
    assert store.get("a") is None
    etag = store.create("a", b"one")
    assert store.get("a") == (b"one", etag)
    assert store.get("a/") is None
    assert store.get("A") is None


@pytest.mark.parametrize("data", [b"", b"\0\xff\r\n", bytes(300_000)], ids=["empty", "binary", "large"])
def test_bytes_come_back_as_they_were(store: Store, data: bytes) -> None:
    store.create("k", data)
    stored = store.get("k")
    assert stored
    assert stored.data == data


def test_create_never_writes_over_other_bytes_and_shows_them(store: Store) -> None:
    etag = store.create("k", b"first")
    with pytest.raises(AlreadyExists) as caught:
        store.create("k", b"second")
    assert caught.value.stored == (b"first", etag)
    assert caught.value.key == "k"
    assert isinstance(caught.value, Conflict)
    assert store.get("k") == (b"first", etag)


def test_create_of_the_same_bytes_again_is_done_already(store: Store) -> None:
    assert store.create("k", b"same") == store.create("k", b"same")


def test_replace_writes_only_over_the_etag_it_was_given(store: Store) -> None:
    first = store.create("k", b"1")
    second = store.replace("k", b"2", first)
    assert second != first
    assert store.get("k") == (b"2", second)
    for stale in (first, NO_ETAG):
        with pytest.raises(Changed) as caught:
            store.replace("k", b"3", stale)
        assert caught.value.key == "k"
    assert store.get("k") == (b"2", second)


def test_replace_sent_again_is_done_already(store: Store) -> None:
    first = store.create("k", b"1")
    assert store.replace("k", b"2", first) == store.replace("k", b"2", first)


@pytest.mark.parametrize("etag", [NO_ETAG, '"c4ca4238a0b923820dcc509a6f75849b"'])
def test_replace_of_nothing_is_changed_and_writes_nothing(store: Store, etag: str) -> None:
    with pytest.raises(Changed):
        store.replace("k", b"1", etag)
    assert store.get("k") is None
    assert list(store.list("")) == []


def test_list_is_in_order_of_bytes(store: Store) -> None:
    keys = ["b", "a/2", "a/10", "a/!", "B", "ab", "é", "z", "\U0001f600", "\uffe6", "a/b/c", "0-1/x", "1-0/x"]
    filled(store, keys)
    assert list(store.list("")) == sorted(keys, key=str.encode)
    assert list(store.list("a/")) == ["a/!", "a/10", "a/2", "a/b/c"]


def test_list_keeps_to_prefix_after_and_limit(store: Store) -> None:
    filled(store, ["m/1", "m/2", "m/2x", "m/3", "l", "n/1"])
    assert list(store.list("m/")) == ["m/1", "m/2", "m/2x", "m/3"]
    assert list(store.list("m/2")) == ["m/2", "m/2x"]
    assert list(store.list("m/", after="m/2")) == ["m/2x", "m/3"]
    assert list(store.list("m/", after="m/20")) == ["m/2x", "m/3"]
    assert list(store.list("m/", after="m/3")) == []
    assert list(store.list("m/", after="m/", limit=2)) == ["m/1", "m/2"]
    assert list(store.list("m/", after="a", limit=1)) == ["m/1"]
    assert list(store.list("m/", limit=0)) == []
    assert list(store.list("m/", limit=99)) == ["m/1", "m/2", "m/2x", "m/3"]
    assert list(store.list("none/")) == []


def test_folders_are_the_distinct_next_parts(store: Store) -> None:
    filled(store, ["m/b/1", "m/b/2/3", "m/a/1", "m/c d/x", "m/file", "other/x"])
    assert list(store.folders("m/")) == ["m/a/", "m/b/", "m/c d/"]
    assert list(store.folders("")) == ["m/", "other/"]
    assert list(store.folders("m/b/")) == ["m/b/2/"]
    assert list(store.folders("none/")) == []


def test_more_than_a_page(store: Store) -> None:
    keys = [f"p/{n:04}/v" for n in range(1003)]
    filled(store, keys)
    assert list(store.list("p/")) == keys
    assert list(store.list("p/", limit=1001)) == keys[:1001]
    assert list(store.list("p/", limit=1000)) == keys[:1000]
    assert list(store.list("p/", after=keys[1], limit=1001)) == keys[2:1003]
    assert list(store.folders("p/")) == [key.removesuffix("v") for key in keys]


def test_odd_keys(store: Store) -> None:
    filled(store, [f"odd/{key}" for key in ODD])
    for key in ODD:
        stored = store.get(f"odd/{key}")
        assert stored, key
        assert stored.data.decode() == f"odd/{key}"
    listed = sorted((f"odd/{key}" for key in ODD), key=str.encode)
    assert list(store.list("odd/")) == listed
    for n, key in enumerate(listed):
        assert list(store.list("odd/", after=key, limit=1)) == listed[n + 1 : n + 2]
    assert list(store.folders("odd/")) == ["odd/ä/", "odd/日本語/"]


def race(writers: int, write: Callable[[int], Any]) -> list[Any]:
    """What each of the writers, let go at once, got."""
    gate = threading.Barrier(writers)

    def run(n: int) -> Any:
        gate.wait()
        return write(n)

    with ThreadPoolExecutor(writers) as pool:
        return list(pool.map(run, range(writers)))


def test_of_racing_creates_exactly_one_wins(atomic_store: Store) -> None:
    for number in range(4):  # few: SeaweedFS lets each loser of a key's lock wait a whole second
        key = f"race/{number}"

        def write(n: int, key: str = key) -> bytes | None:
            mine = f"writer {n}".encode()
            try:
                atomic_store.create(key, mine)
            except AlreadyExists as error:
                return error.stored.data
            return None

        seen = race(6, write)
        assert seen.count(None) == 1, seen
        stored = atomic_store.get(key)
        assert stored
        assert {data for data in seen if data is not None} == {stored.data}
        assert stored.data == f"writer {seen.index(None)}".encode()


def test_racing_replaces_lose_no_update(atomic_store: Store) -> None:
    atomic_store.create("counter", b"")

    def append(n: int) -> int:
        lost = 0
        for turn in range(5):
            while True:
                stored = atomic_store.get("counter")
                assert stored
                try:
                    atomic_store.replace("counter", stored.data + f"{n}:{turn} ".encode(), stored.etag)
                    break
                except Changed:
                    lost += 1
        return lost

    race(6, append)
    stored = atomic_store.get("counter")
    assert stored
    assert sorted(stored.data.decode().split()) == sorted(f"{n}:{turn}" for n in range(6) for turn in range(5))


@pytest.mark.parametrize("fault", ["lost request", "lost answer"])
def test_a_create_whose_answer_was_lost_is_sent_again(
    proxy: Any, proxied: Clients, once: Any, s3_store: S3Store, fault: str
) -> None:
    store = S3Store(proxied, s3_store.bucket)
    proxy.fault = once(fault)
    etag = store.create("k", b"mine")
    assert store.get("k") == (b"mine", etag)
    puts = [request for request in proxy.requests if request.method == "PUT"]
    assert len(puts) == 2


def test_a_lost_create_that_another_writer_won_is_theirs(
    proxy: Any, proxied: Clients, once: Any, s3_store: S3Store
) -> None:
    through = S3Store(proxied, s3_store.bucket)

    def lose(_: Any) -> str:
        if len(proxy.requests) == 1:
            s3_store.create("k", b"theirs")
            return "lost request"
        return ""

    proxy.fault = lose
    with pytest.raises(AlreadyExists) as caught:
        through.create("k", b"mine")
    assert caught.value.stored.data == b"theirs"


def test_a_replace_whose_answer_was_lost_is_sent_again(
    proxy: Any, proxied: Clients, once: Any, s3_store: S3Store
) -> None:
    store = S3Store(proxied, s3_store.bucket)
    first = store.create("k", b"1")
    proxy.fault = once("lost answer")
    second = store.replace("k", b"2", first)
    assert store.get("k") == (b"2", second)


@pytest.mark.parametrize("fault", ["lost answer", "half answer"])
def test_reads_whose_answer_was_lost_are_sent_again(
    proxy: Any, proxied: Clients, once: Any, s3_store: S3Store, fault: str
) -> None:
    store = S3Store(proxied, s3_store.bucket)
    etag = store.create("a/k", bytes(100_000))
    proxy.fault = once(fault)
    assert store.get("a/k") == (bytes(100_000), etag)
    proxy.fault = once(fault)
    assert list(store.list("")) == ["a/k"]
    proxy.fault = once(fault)
    assert list(store.folders("")) == ["a/"]


SCAN = Scan(source="sha256:" + "0" * 64, size=1, format=Format.TORCHSCRIPT, root="model.pt", files=())


@pytest.mark.parametrize("strip", [{"if-none-match"}, {"if-match"}, {"if-none-match", "if-match"}])
@pytest.mark.parametrize("used", [False, True], ids=["empty bucket", "bucket with a marker"])
def test_a_store_that_ignores_conditions_is_refused_before_anything_is_written(
    proxy: Any, proxied: Clients, s3_store: S3Store, source: Callable[..., Source], strip: set[str], used: bool
) -> None:
    if used:
        s3_store.create("sluice.json", b"{}")
    proxy.strip = frozenset(strip)
    registry = Registry(Storage.s3(proxied, s3_store.bucket))
    condition = "If-None-Match" if "if-none-match" in strip else "If-Match"
    for _ in range(2):
        with pytest.raises(Refused, match=f"ignores the {condition} condition.*: use S3, or"):
            registry.register("fraud", source("j1"), actor="ann")
        with pytest.raises(Refused, match=condition):
            registry.records.create(keys.fact(VersionRef(model="fraud", number=1), SCAN.kind), SCAN)
    assert list(s3_store.list("")) == ["sluice.json"]


@pytest.mark.parametrize("code", ["NotImplemented", "Unsupported"])
def test_a_store_that_does_not_know_conditions_is_refused(
    proxy: Any, proxied: Clients, s3_store: S3Store, source: Callable[..., Source], code: str
) -> None:
    sentence = f"<Error><Code>{code}</Code><Message>A header implies what is not implemented</Message></Error>"
    proxy.fault = lambda request: f"answer 501 {sentence}" if request.method == "PUT" else ""
    with pytest.raises(Refused, match="NotImplemented"):
        Registry(Storage.s3(proxied, s3_store.bucket)).register("fraud", source("j1"), actor="ann")
    assert list(s3_store.list("")) == []


def test_a_store_that_answers_what_nobody_knows_is_one_sentence(
    proxy: Any, proxied: Clients, s3_store: S3Store
) -> None:
    store = S3Store(proxied, s3_store.bucket)
    proxy.fault = lambda _: "answer 400 <Error><Code>Weird</Code><Message>never heard of it</Message></Error>"
    for request in (
        lambda: store.get("k"),
        lambda: store.create("k", b""),
        lambda: store.replace("k", b"", NO_ETAG),
        lambda: list(store.list("")),
        lambda: list(store.folders("")),
    ):
        with pytest.raises(SluiceError, match="Weird"):
            request()


def test_a_store_where_a_taken_key_is_never_there_does_not_hang(
    proxy: Any, proxied: Clients, s3_store: S3Store
) -> None:
    store = S3Store(proxied, s3_store.bucket)
    gone = "answer 412 <Error><Code>PreconditionFailed</Code><Message>no</Message></Error>"
    proxy.fault = lambda request: gone if request.method == "PUT" else ""
    with pytest.raises(Conflict):
        store.create("k", b"mine")
