"""A table of results in Markdown, and that table kept in docs/benchmarks.md between two marks."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/benchmarks.md"
Row = tuple[str, str, str, str, str]
"""What was measured, Sluice, its peer, the ratio, and what was to be reached."""


def as_table(rows: Iterable[Row], packages: Sequence[str]) -> str:
    """The table, with a line above it that says where, when, and with which releases of `packages`."""
    head = ("measured", "Sluice", "peer", "ratio", "to reach")
    lines = ["| " + " | ".join(row) + " |" for row in (head, ("---",) * 5, *rows)]
    when = f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}"
    told = ", ".join(f"{name} {version(name)}" for name in packages)
    return "\n".join([f"One run on {when}, {told}.", "", *lines])


def keep_table(table: str, name: str) -> None:
    """Put the table where the last one of this name was."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = PAGE.read_text().partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(f"{before}{begin}\n{table}\n{end}{after}")


def reach(what: str, reached: bool) -> str:
    """A goal, and whether it was reached."""
    return f"{what}: {'reached' if reached else 'missed'}"
