"""Copies in threads: all of them or an error, and nothing that goes on in vain."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pipelines.image.content import Content, Data, Made
from pipelines.image.copying import Shared, copying
from registry.errors import Refused, SluiceError, Unavailable


class Putting:
    """Uses contents up, and counts how many it does at once."""

    def __init__(self) -> None:
        self.begun = self.at_once = self.most = 0
        self.done: list[bytes] = []
        self._lock = threading.Lock()

    def put(self, content: Content) -> None:
        with self._lock:
            self.begun += 1
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        try:
            data = b"".join(content.chunks())
        finally:
            with self._lock:
                self.at_once -= 1
        self.done.append(data)


def test_all_are_there_at_the_end_and_two_go_at_a_time() -> None:
    putting, meet = Putting(), threading.Barrier(2)

    def chunks() -> Iterator[bytes]:
        meet.wait(30)  # so there are two of them
        yield b"x"

    with copying((Made(chunks) for _ in range(6)), putting.put):
        pass
    assert putting.done == [b"x"] * 6
    assert putting.most == 2


def test_what_a_content_says_of_itself_is_passed_on() -> None:
    seen: list[tuple[object, ...]] = []
    with copying(
        [Data(b"abc")], lambda content: seen.append((content.digest, content.size, content.origin))
    ) as stoppable:
        kept = stoppable(Data(b"abc"))
        assert list(kept.chunks(1)) == [b"bc"]
    assert seen == [(Data(b"abc").digest, 3, None)]


@pytest.mark.parametrize("kind", [Refused, Unavailable, OSError])
def test_a_copy_that_fails_stops_all_the_rest(kind: type[Exception]) -> None:
    putting, failed = Putting(), threading.Event()

    def failing() -> Iterator[bytes]:
        yield b""
        failed.set()
        raise kind("the copy")

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x"

    def body() -> Iterator[bytes]:
        yield b"x"
        assert failed.wait(30)
        yield from endless()

    contents = [Made(failing), Made(endless), *(Made(endless) for _ in range(20))]
    with pytest.raises(kind, match=r"^the copy$"), copying(contents, putting.put) as stoppable:
        putting.put(stoppable(Made(body)))
    assert putting.done == []
    assert putting.at_once == 0
    assert putting.begun <= 5


@pytest.mark.parametrize("kind", [Refused, KeyboardInterrupt])
def test_where_the_body_fails_the_copies_stop(kind: type[BaseException]) -> None:
    putting, going = Putting(), threading.Event()

    def endless() -> Iterator[bytes]:
        while True:
            going.set()
            yield b"x"

    def body() -> None:
        with copying((Made(endless) for _ in range(20)), putting.put):
            assert going.wait(30)
            raise kind("the body")

    with pytest.raises(kind, match=r"^the body$"):
        body()
    assert putting.done == []
    assert putting.at_once == 0
    assert putting.begun <= 3


def test_what_was_stopped_says_so() -> None:
    kept: list[Content] = []

    def body() -> None:
        with copying([], kept.append) as stoppable:
            kept.append(stoppable(Data(b"abc")))
            raise Refused("the body")

    with pytest.raises(Refused):
        body()
    with pytest.raises(SluiceError, match="stopped, since something else failed"):
        list(kept[0].chunks())


def test_progress_is_told_of_one_at_a_time() -> None:
    inside = threading.Lock()
    told: list[str] = []

    class Alone:
        def bytes(self, what: str, done: int, total: int | None) -> None:
            self.fact(what)

        def fact(self, text: str) -> None:
            assert inside.acquire(blocking=False)
            told.append(text)
            inside.release()

    shared = Shared(Alone())
    threads = [
        threading.Thread(target=lambda: [(shared.bytes("b", 1, 2), shared.fact("f")) for _ in range(500)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(told) == ["b"] * 2_000 + ["f"] * 2_000
