"""Progress for people: bars on a terminal, lines in a log. Both go to standard error, so that output can be piped."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from registry.progress import Progress
from registry.text import plain

if TYPE_CHECKING:
    from rich.progress import TaskID


class ShownProgress(Progress, Protocol):
    """Progress that ends: a bar has to leave the terminal as it found it."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing."""


def shown() -> ShownProgress:
    """Bars where standard error is a terminal, else lines."""
    return Bars() if sys.stderr.isatty() else Lines()


class Lines:
    """A line for each fact; bytes are not worth a line."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left to do."""

    def bytes(self, what: str, done: int, total: int | None) -> None:
        """Drop it."""

    def fact(self, text: str) -> None:
        """Write one line."""
        sys.stderr.write(plain(text) + "\n")
        sys.stderr.flush()


class Bars:
    """A bar for each thing that moves, above which facts scroll by."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
        from rich.progress import Progress as RichProgress

        self._bars = RichProgress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def bytes(self, what: str, done: int, total: int | None) -> None:
        """Move the bar of `what`; one that is full goes away."""
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)
        if done == total:
            self._bars.refresh()
            self._bars.remove_task(self._tasks.pop(what))

    def fact(self, text: str) -> None:
        """Write one line above the bars."""
        self._bars.console.print(plain(text), markup=False, highlight=False, soft_wrap=True)
