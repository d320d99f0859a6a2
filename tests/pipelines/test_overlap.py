"""Chunks that a thread makes ahead: the same, in order, with their end, and never a thread that stays."""

from __future__ import annotations

import signal
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.archive import Member, members_ahead
from pipelines.overlap import AHEAD, ahead
from registry.errors import Refused, Unavailable
from registry.store import CHUNK


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "ahead"] == []


class Source:
    """Chunks that tell what became of them."""

    def __init__(self, chunks: Iterable[bytes], error: BaseException | None = None) -> None:
        self._chunks, self._error = chunks, error
        self.given = 0
        self.closed_by = ""

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._chunks:
                self.given += len(chunk)
                yield chunk
            if self._error is not None:
                raise self._error
        finally:
            self.closed_by = threading.current_thread().name


SIZES = st.lists(st.sampled_from([0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK]), max_size=12)
LIMITS = st.sampled_from([1, CHUNK, 2 * CHUNK, AHEAD])


@given(SIZES, LIMITS)
def test_the_same_chunks_come_out(sizes: list[int], limit: int) -> None:
    chunks = [bytes([number]) * size for number, size in enumerate(sizes)]
    with ahead(chunks, limit) as made:
        assert list(made) == chunks
        assert list(made) == []


@given(SIZES, LIMITS, st.sampled_from([Refused("bad."), ValueError("x"), KeyboardInterrupt(), MemoryError()]))
def test_what_went_wrong_comes_after_what_went_well(sizes: list[int], limit: int, error: BaseException) -> None:
    source, seen = Source([b"x" * size for size in sizes], error), list[bytes]()
    with pytest.raises(type(error)) as caught, ahead(source, limit) as made:
        seen.extend(made)
    assert caught.value is error
    assert [len(chunk) for chunk in seen] == sizes
    assert source.closed_by == "ahead"


def test_what_is_no_iterable_is_told_where_it_is_used() -> None:
    class Broken:
        def __iter__(self) -> Iterator[bytes]:
            raise Unavailable("not today.")

    with pytest.raises(Unavailable, match="not today"), ahead(Broken()) as made:
        next(made)


@given(SIZES, LIMITS, st.integers(0, 12))
def test_who_stops_early_stops_the_thread_too(sizes: list[int], limit: int, count: int) -> None:
    """At the block's end nothing is read any more, and a thread that waits for room does not wait for ever."""
    source = Source([b"x" * size for size in sizes] * 3)
    with ahead(source, limit) as made:
        for _ in zip(range(count), made, strict=False):
            pass
    assert source.closed_by == "ahead"


def use_one(chunks: Iterable[bytes], error: BaseException) -> None:
    """Stop after one chunk, with an error."""
    with ahead(chunks) as made:
        next(made)
        raise error


@pytest.mark.parametrize("error", [Refused("stop."), KeyboardInterrupt(), GeneratorExit()])
def test_an_error_of_the_user_comes_through_and_stops_the_thread(error: BaseException) -> None:
    source = Source(b"x" * CHUNK for _ in range(10_000))
    with pytest.raises(type(error)) as caught:
        use_one(source, error)
    assert caught.value is error
    assert source.closed_by == "ahead"
    assert source.given <= AHEAD + 4 * CHUNK


def test_what_closing_says_does_not_hide_why_it_was_closed() -> None:
    def chunks() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * CHUNK
        finally:
            raise Unavailable("closing failed.")

    with pytest.raises(Refused, match="the user's"):
        use_one(chunks(), Refused("the user's reason."))


def test_chunks_that_are_read_after_the_end_are_no_end_of_file() -> None:
    with ahead([b"x" * CHUNK] * 20) as made:
        next(made)
    with pytest.raises(ValueError, match="closed before they were read"):
        list(made)


def test_it_works_ahead_and_not_too_far() -> None:
    enough = threading.Event()
    source = Source(b"x" * CHUNK for _ in range(1000))

    def watched() -> Iterator[bytes]:
        for chunk in source:
            if source.given >= AHEAD:
                enough.set()
            yield chunk

    with ahead(watched()) as made:
        assert enough.wait(30)
        assert sum(map(len, made)) == 1000 * CHUNK
        # what waits, what the thread holds, and what was just given
    small = Source(b"x" * CHUNK for _ in range(1000))
    with ahead(small, 2 * CHUNK) as made:
        for count, chunk in enumerate(made, start=1):
            assert small.given <= (count + 2 + 2) * len(chunk)


def test_stages_in_a_row_end_together() -> None:
    """An error in the first comes out of the last; one of the user stops all of them."""

    def passing(chunks: Iterable[bytes]) -> Iterator[bytes]:
        yield from chunks

    def use(source: Source, error: BaseException) -> None:
        with ahead(source) as one, ahead(passing(one)) as two:
            use_one(two, error)

    def use_all(source: Source) -> None:
        with ahead(source) as one, ahead(passing(one)) as two, ahead(two) as last:
            for _ in last:
                pass

    with pytest.raises(Refused, match="the first"):
        use_all(Source((b"x" * CHUNK for _ in range(50)), Refused("the first.")))
    endless = Source(iter(lambda: b"x" * CHUNK, b""))
    with pytest.raises(Refused, match="the user"):
        use(endless, Refused("the user."))
    assert endless.closed_by == "ahead"


@pytest.mark.parametrize("where", ["waiting for a chunk", "using one"])
def test_ctrl_c_ends_it(where: str) -> None:
    """The signal comes while the main thread waits in the queue, or while it works; both threads end."""
    go = threading.Event()

    def chunks() -> Iterator[bytes]:
        yield b"x" * CHUNK
        if where == "waiting for a chunk":
            signal.raise_signal(signal.SIGINT)  # the handler runs in the main thread, which waits
            go.wait(0.5)
        while True:
            yield b"x" * CHUNK

    def use(source: Source) -> None:
        with ahead(source) as made:
            for _ in made:
                if where == "using one":
                    signal.raise_signal(signal.SIGINT)

    source = Source(chunks())
    with pytest.raises(KeyboardInterrupt):
        use(source)
    assert source.closed_by == "ahead"


def test_the_thread_knows_what_its_starter_knows() -> None:
    name: ContextVar[str] = ContextVar("name", default="nobody")
    name.set("somebody")

    def chunks() -> Iterator[bytes]:
        yield name.get().encode()

    with ahead(chunks()) as made:
        assert list(made) == [b"somebody"]


@given(st.integers(0, 2**32), LIMITS)
def test_any_timing(seed: int, limit: int) -> None:
    """Whoever is faster, and wherever either stops."""
    slow_source, slow_user, stop = seed % 2, seed // 2 % 2, seed // 4 % 40

    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            if slow_source:
                time.sleep(0)
            yield b"x" * (CHUNK // 2)

    got = 0
    with ahead(chunks(), limit) as made:
        for chunk in made:
            got += len(chunk)
            if slow_user:
                time.sleep(0)
            if got >= stop * CHUNK // 2:
                break
    assert got == min(max(stop, 1), 30) * CHUNK // 2


FILES = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1, 1000, CHUNK])), max_size=8)
"""Chunks of each file, and their size."""


def member(number: int, count: int, size: int, error: Exception | None = None) -> Member:
    def chunks() -> Iterator[bytes]:
        yield from [bytes([number]) * size] * count
        if error is not None:
            raise error

    return Member(f"{number}", count * size, chunks())


@given(FILES, st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7)))
def test_members_come_out_as_they_went_in(files: list[tuple[int, int]], skipped: set[int], begun: set[int]) -> None:
    """Whole, or where the user skips them, or stops in their middle: the next one is right all the same."""
    given = (member(number, count, size) for number, (count, size) in enumerate(files))
    with members_ahead(given) as members:
        for number, (count, size) in enumerate(files):
            found = next(members)
            assert (found.path, found.size) == (f"{number}", count * size)
            if number in begun:
                next(found.chunks, b"")
            elif number not in skipped:
                assert b"".join(found.chunks) == bytes([number]) * size * count
        assert list(members) == []


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_error_at_a_members_end_comes_at_its_end(count: int) -> None:
    """So that what is made of its bytes is never taken for whole."""
    error, seen = Refused("other bytes."), list[bytes]()

    def use() -> None:
        with members_ahead([member(1, 1, 9), member(2, count, CHUNK, error), member(3, 1, 9)]) as members:
            next(members)
            seen.extend(next(members).chunks)

    with pytest.raises(Refused) as caught:
        use()
    assert caught.value is error
    assert len(seen) == count


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start(1)
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_what_it_may_be_ahead() -> None:
    def run(count: int) -> None:
        with ahead((bytes(CHUNK) for _ in range(count)), 4 * CHUNK) as made:
            for _ in made:
                pass

    assert peak(lambda: run(400)) < 8 * CHUNK
