"""Results as a table in Markdown, and that table kept in docs/benchmarks.md."""

from __future__ import annotations

from typing import Any

from bench.page import as_table, keep_table, reach


def rows(results: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """What was measured, Sluice, its peer, the ratio, and what was to be reached."""
    http = results["http"]
    found = []
    for name, one in results["in process"].items():
        ratio = one["sluice"] / one["floor"]
        what = f"register in process, {name}, {one['requests']:.0f} requests"
        found.append(
            (
                what,
                f"{one['sluice']:.0f}/s",
                f"boto3 {one['floor']:.0f}/s",
                f"{ratio:.0%}",
                reach("≥ 80 %", ratio >= 0.8),
            )
        )
    register, resolve, listed = http["register"], http["resolve"], http["list"]
    ratio = register["sluice"].per_second / register["mlflow"].per_second
    found.append(
        ("register over HTTP, 8 clients, one model", *_rates(register), f"{ratio:.1f} x", reach("≥ 3 x", ratio >= 3))
    )
    found.append(
        (
            f"conflicts in that, {register['versions']} versions in {register['entries']} entries",
            str(register["conflicts"]),
            "-",
            "-",
            reach("0", register["conflicts"] == 0),
        )
    )
    ratio = resolve["sluice"].per_second / resolve["mlflow"].per_second
    found.append(("resolve an alias over HTTP, warm", *_rates(resolve), f"{ratio:.1f} x", reach("≥ 5 x", ratio >= 5)))
    ratio = listed["mlflow"] / listed["sluice"]
    pair = f"{listed['sluice'] * 1000:.0f} ms", f"{listed['mlflow'] * 1000:.0f} ms"
    found.append(("list 10,000 versions, whole, warm", *pair, f"1/{ratio:.0f}", reach("≤ 1/20", ratio >= 20)))
    ratio = listed["mlflow"] / listed["first"]
    pair = f"{listed['first'] * 1000:.0f} ms", f"{listed['mlflow'] * 1000:.0f} ms"
    found.append(("the same, the first time", *pair, f"1/{ratio:.0f}", "-"))
    found += _pages(http["first pages"])
    memory = results["memory"]["rss"]
    found.append(
        (
            f"memory, {results['memory']['models']:,} models x 100 versions shown",
            f"{memory / 1e6:.0f} MB",
            f"MLflow with none of them {http['rss']['mlflow'] / 1e6:.0f} MB",
            "-",
            reach("≤ 250 MB", memory <= 250e6),
        )
    )
    seconds = results["import"]
    found.append(
        (
            "`import registry.registry`, CPU beyond boto3's",
            f"{seconds['registry']:.3f} s",
            f"boto3 {seconds['boto3']:.3f} s",
            "-",
            reach("≤ 0.15 s", seconds["registry"] <= 0.15),
        )
    )
    return found


def _pages(pages: dict[int, tuple[float, float]]) -> list[tuple[str, str, str, str, str]]:
    smallest, largest = min(pages), max(pages)
    ratio = pages[largest][1] / pages[smallest][1]
    cells = [
        (f"first page of 100 of {size:,} versions", f"{warm:.1f} ms warm, {cold:.0f} ms cold", "-", "-", "-")
        for size, (cold, warm) in sorted(pages.items())
    ]
    last = (*cells[-1][:3], f"{ratio:.1f} x the smallest", reach("flat", ratio <= 1.5))
    return [*cells[:-1], last]


def _rates(one: dict[str, Any]) -> tuple[str, str]:
    ours, theirs = one["sluice"], one["mlflow"]
    return f"{ours.per_second:.0f}/s, p50 {ours.p50:.1f} ms", f"{theirs.per_second:.0f}/s, p50 {theirs.p50:.1f} ms"


def table(results: dict[str, Any]) -> str:
    """The table, with a line above it that says where and when."""
    return as_table(rows(results), ("boto3", "fastapi", "uvicorn"))


def keep(results: dict[str, Any]) -> None:
    """Put the table where the last one was."""
    keep_table(table(results), "registry")
