"""Results for people as tables, and for programs as JSON; both to standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import BaseModel

from registry.text import plain


def as_json(value: BaseModel | Sequence[object] | dict[str, object]) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, default=_plain, ensure_ascii=False) + "\n")


def as_json_line(value: Mapping[str, object]) -> None:
    """Print one JSON document in one line, now."""
    sys.stdout.write(json.dumps(value, default=_plain, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def dumped(value: BaseModel) -> dict[str, Any]:
    """A record as JSON has it. Numbers that JSON has no word for are strings, as in the bucket."""
    found: dict[str, Any] = json.loads(value.model_dump_json())
    return found


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return dumped(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    empty: str,
    wrapped: Collection[str] = (),
    cut: str | None = None,
) -> None:
    """Print rows under headings, or the sentence `empty` where there are none.

    On a terminal that is too narrow the last column is wrapped, and those that are `wrapped`; one to `cut` ends in an
    ellipsis instead.
    """
    shown = [[text(cell) for cell in row] for row in rows]
    if not shown:
        line(empty)
    elif sys.stdout.isatty():
        _on_a_terminal(columns, shown, wrapped, cut)
    else:
        _in_a_pipe([list(columns), *shown])


def _in_a_pipe(rows: Sequence[Sequence[str]]) -> None:
    """A pipe has no width: each row gets one line, so that grep and cut work on it."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("   ".join(cells).rstrip() + "\n")


def _on_a_terminal(
    columns: Sequence[str], rows: Sequence[Sequence[str]], wrapped: Collection[str], cut: str | None
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold", no_wrap=column != columns[-1] and column not in wrapped)
    whole, short = Text, partial(Text, no_wrap=True, overflow="ellipsis")
    shapes = [short if column == cut else whole for column in columns]
    for row in rows:
        grid.add_row(*(shape(cell) for shape, cell in zip(shapes, row, strict=True)))
    Console(file=sys.stdout).print(grid)


def width() -> int | None:
    """Columns of the terminal, None for a pipe."""
    from rich.console import Console

    return Console(file=sys.stdout).width if sys.stdout.isatty() else None


def fields(rows: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line; empty values are left out."""
    shown = [(name, text(value)) for name, value in rows if value not in (None, "", (), {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        line(f"{name:<{width}}  {value}")


def pairs(values: Mapping[str, object], most: int | None = None) -> str:
    """Names and values in one line; at most so many of them, and how many more there are."""
    shown = [f"{name}={text(value)}" for name, value in list(values.items())[:most]]
    return ", ".join([*shown, f"+{len(values) - len(shown)}"] if len(shown) < len(values) else shown)


def day(moment: datetime) -> str:
    """The whole time for a pipe; on a terminal the day, which fits a line of 80 beside other things."""
    return f"{moment:%Y-%m-%d}" if sys.stdout.isatty() else text(moment)


def who(actor: str) -> str:
    """`Name <email>` for a pipe; on a terminal the name."""
    name = actor.partition(" <")[0]
    return name if name and sys.stdout.isatty() else actor


def size(count: int) -> str:
    """A number of bytes as a person reads it."""
    from rich.filesize import decimal

    return decimal(count)


def text(value: object) -> str:
    """A value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, float):
        return f"{value:g}"
    return plain(str(value)).replace("\n", "\N{SYMBOL FOR NEWLINE}")


def line(value: str) -> None:
    """Print one line, or several."""
    sys.stdout.write(plain(value) + "\n")
