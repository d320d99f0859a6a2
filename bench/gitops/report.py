"""Results as a table in Markdown, and that table kept in docs/benchmarks.md."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

from bench.page import Row, as_table, keep_table, reach


def rows(results: dict[str, Any]) -> Iterator[Row]:
    """What was measured, Sluice, its peer, the ratio, and what was to be reached."""
    if "sizes" in results:
        yield from _sizes(results["sizes"])
    for part in ("writers", "machines"):
        if part in results:
            yield from _writers(results[part])
    if "status" in results:
        yield from _status(results["status"])


def _sizes(one: dict[str, Any]) -> Iterator[Row]:
    what = f"a promotion over HTTP, {one['models']:,} models x 2 environments, {one['large files']:,} files"
    ratio = one["large"] / one["small"]
    small = f"the same, {one['small files']} files {_ms(one['small'])}"
    yield what, _ms(one["large"]), small, f"{ratio:.2f} x", reach("≤ 1.5 x", ratio <= 1.5)
    ratio = one["peer"] / one["large"]
    peer = f"shallow clone, edit, commit, push {_ms(one['peer'])}"
    yield "the same", _ms(one["large"]), peer, f"1/{ratio:.1f}", reach("≤ 1/5", ratio >= 5)
    ratio = one["peer"] / one["large cold"]
    yield "the same, with an empty cache", _ms(one["large cold"]), peer, f"1/{ratio:.1f}", "-"


def _writers(one: dict[str, Any]) -> Iterator[Row]:
    where = "one cache" if one["machines"] == 1 else f"{one['machines']} caches, as on so many machines"
    what = f"{one['writers']} processes, {one['promotions']} promotions, one remote over HTTP, {where}"
    times = f"{_ms(one['median'])} the median, {_ms(one['slowest'])} the slowest"
    rate = f"{one['promotions'] / one['wall']:.1f} commits/s, {times}"
    yield what, rate, "-", f"{one['retries']} retries", "-"
    told = f"{one['lost']} lost, {one['doubled']} doubled, history {'linear' if one['linear'] else 'not linear'}"
    right = not one["lost"] and not one["doubled"] and one["linear"]
    yield "the same", told, "-", "-", reach("none lost, none doubled, linear", right)


def _status(one: dict[str, Any]) -> Iterator[Row]:
    what = f"`sluice status` of {one['releases']:,} releases, in process"
    yield what, f"{one['again']:.2f} s, {one['requests']:.0f} requests", "-", "-", reach("≤ 2 s", one["again"] <= 2)
    yield "the same, with an empty cache", f"{one['first']:.2f} s", "-", "-", "-"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def table(results: dict[str, Any]) -> str:
    """The table, with a line above it that says where and when."""
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{git}. {as_table(rows(results), ('GitPython',))}"


def keep(results: dict[str, Any]) -> None:
    """Put the table where the last one was."""
    keep_table(table(results), "gitops")
