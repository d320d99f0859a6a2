"""How long work tells that it moves: a callback, so that no step prints."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on; a face decides whether that is a bar, a line or nothing."""

    def bytes(self, what: str, done: int, total: int | None) -> None:
        """Say that `done` of `total` bytes of `what` have moved; `total` is None where it is not known."""

    def fact(self, text: str) -> None:
        """Say one thing that is now true, as one line."""


class Silent:
    """Progress that nobody watches."""

    def bytes(self, what: str, done: int, total: int | None) -> None:
        """Drop it."""

    def fact(self, text: str) -> None:
        """Drop it."""
