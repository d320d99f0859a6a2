"""Work side by side: hashing, inflating and sockets let other threads run, so that each may have one of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from contextvars import copy_context
from queue import Empty, Queue
from threading import Event, Thread
from typing import TypeVar

from registry.store import CHUNK

T = TypeVar("T", bound=Sized)

AHEAD = 2 * CHUNK
"""Bytes that are made before they are asked for; more of them would fall out of the processors' cache meanwhile."""


class _End:
    """Comes after the last chunk."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


_Waiting = Queue[list[T] | _End]


@contextmanager
def ahead(chunks: Iterable[T], limit: int = AHEAD) -> Iterator[Iterator[T]]:
    """The same chunks, made by a thread of their own up to `limit` bytes ahead of who uses them.

    An exception comes after the chunks before it, as it was raised. The block's end, whatever ends it, waits until the
    thread has closed the chunks, which it does at the next chunk; what is left unread then cannot be read any more.
    """
    waiting: _Waiting[T] = Queue(max(1, limit // CHUNK))
    stopped = Event()
    thread = Thread(target=copy_context().run, args=(_make, chunks, waiting, stopped), name="ahead", daemon=True)
    taken = _taken(waiting)
    try:
        thread.start()
        yield taken
    finally:
        stopped.set()
        _drain(waiting)  # so that there is room for the one batch that the thread may still hold
        if thread.ident is not None:
            thread.join()
        _drain(waiting)
        waiting.put(_End(ValueError("these chunks were closed before they were read")))


def _make(chunks: Iterable[T], waiting: _Waiting[T], stopped: Event) -> None:
    """Put the chunks in, 1 MiB or a little more together so that passing them on costs nothing, and what ended them.

    After `stopped` it is at most one more batch, or else that end.
    """
    batch: list[T] = []
    size, error = 0, None
    try:
        each = iter(chunks)
        for chunk in each:
            batch.append(chunk)
            size += len(chunk)
            if size >= CHUNK:
                waiting.put(batch)
                batch, size = [], 0
            if stopped.is_set():
                _close(each)
                return
    except BaseException as caught:  # noqa: BLE001  # it is raised where the chunks are used
        error = caught
    if stopped.is_set():
        return
    if batch:
        waiting.put(batch)
    if not stopped.is_set():
        waiting.put(_End(error))


def _close(chunks: Iterator[object]) -> None:
    if isinstance(chunks, Generator):
        with suppress(Exception):  # whoever stopped early has a reason of his own
            chunks.close()


def _taken(waiting: _Waiting[T]) -> Iterator[T]:
    while not isinstance(batch := waiting.get(), _End):
        batch.reverse()  # each is let go of as it is given
        while batch:
            yield batch.pop()
    try:
        if batch.error is not None:
            raise batch.error
    finally:
        del batch  # else the error and what it was raised through would hold each other in memory


def _drain(waiting: _Waiting[T]) -> None:
    with suppress(Empty):
        while True:
            waiting.get_nowait()
