"""Results for people as tables, and for programs as JSON; both to standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

from pydantic import BaseModel

from registry.text import plain


def as_json(value: BaseModel | Sequence[object] | dict[str, object]) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, default=_plain, ensure_ascii=False) + "\n")


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON form")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows under headings, or the sentence `empty` where there are none."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold", no_wrap=column != columns[-1])
    for row in rows:
        grid.add_row(*(Text(text(cell)) for cell in row))
    if not grid.row_count:
        line(empty)
        return
    console = Console(file=sys.stdout)
    # a pipe has no width: give each row one line, so that grep and cut work on it
    width = console.width if sys.stdout.isatty() else 1_000
    Console(file=sys.stdout, width=width).print(grid)


def fields(rows: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line; empty values are left out."""
    shown = [(name, text(value)) for name, value in rows if value not in (None, "", (), {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        line(f"{name:<{width}}  {value}")


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
