"""Versions side by side, as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from registry.compare import Comparison, Metric
from sluice.cli.output import line, size, table

_BESIDE = 3
"""Versions that a line of 80 holds."""


def show_comparison(found: Comparison) -> None:
    """Print a column for each version, a few at a time beside the first, and a row for each thing that can differ."""
    for start in range(1, len(found.versions), _BESIDE - 1):
        shown = [0, *range(start, min(start + _BESIDE - 1, len(found.versions)))]
        columns = ["", *(str(found.versions[column].ref) for column in shown)]
        # a table's columns are told apart by name, and a version may be compared with itself
        table(columns, _rows(found, shown), empty="", wrapped=columns)
    if found.same:
        line(f"Hyperparameters that are the same in all of them: {found.same}.")


def _rows(found: Comparison, shown: Sequence[int]) -> Iterator[Sequence[object]]:
    versions = [found.versions[column] for column in shown]
    yield "state", *(one.state for one in versions)
    for name, metric in found.metrics.items():
        yield name, *(_metric(metric, column) for column in shown)
    for name, values in found.hyperparameters.items():
        yield name, *(values[column] for column in shown)
    if any(one.git_commit for one in versions):
        yield "git commit", *(one.git_commit[:12] or None for one in versions)
    for name, sizes in (
        ("output", [one.source_size for one in versions]),
        ("artifact", [one.artifact_size for one in versions]),
        ("image", [one.image_size for one in versions]),
    ):
        if any(sizes):
            yield name, *(None if count is None else size(count) for count in sizes)


def _metric(metric: Metric, column: int) -> str | None:
    value, delta = metric.values[column], metric.deltas[column]
    if value is None:
        return None
    return f"{value:g} ({delta:+.4g})" if delta and column else f"{value:g}"
