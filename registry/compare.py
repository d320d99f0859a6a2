"""Two or more versions side by side: what the metrics gained, which hyperparameters differ, how large they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from registry.errors import InvalidInput
from registry.facts import Facts, Record, Version
from registry.limits import COMPARE_MAX
from registry.names import VersionRef


class Compared(Record):
    """One version's column. Sizes are bytes, None where not known yet."""

    ref: VersionRef
    state: str
    source_size: int
    artifact_size: int | None
    image_size: int | None
    git_commit: str


class Metric(Record):
    """One metric in every version's column; `deltas` are against the first version, None where either has none."""

    values: tuple[float | None, ...]
    deltas: tuple[float | None, ...]


class Comparison(Record):
    """Columns in the order asked for; metrics and hyperparameters by name, in order of name."""

    versions: tuple[Compared, ...]
    metrics: Mapping[str, Metric]
    hyperparameters: Mapping[str, tuple[str | None, ...]]
    """Those that are not the same in all of them."""
    same: int
    """How many hyperparameters are the same in all of them."""


def compare(columns: Sequence[tuple[Version, Facts]]) -> Comparison:
    """Put versions side by side; the first is what the others are measured against.

    Raises:
        InvalidInput: fewer than two, or more than `limits.COMPARE_MAX`.
    """
    if not 2 <= len(columns) <= COMPARE_MAX:
        raise InvalidInput(f"2 to {COMPARE_MAX} versions can be compared, not {len(columns)}: name some others.")
    versions = [version for version, _ in columns]
    parameters = {
        name: tuple(version.source.hyperparameters.get(name) for version in versions)
        for name in sorted({name for version in versions for name in version.source.hyperparameters})
    }
    differing = {name: values for name, values in parameters.items() if len(set(values)) > 1}
    names = sorted({name for version in versions for name in version.metrics})
    return Comparison(
        versions=tuple(_column(version, facts) for version, facts in columns),
        metrics={name: _metric([version.metrics.get(name) for version in versions]) for name in names},
        hyperparameters=differing,
        same=len(parameters) - len(differing),
    )


def _column(version: Version, facts: Facts) -> Compared:
    return Compared(
        ref=version.ref,
        state=facts.state,
        source_size=version.source.size,
        artifact_size=facts.artifact.size if facts.artifact else None,
        image_size=facts.image.size if facts.image else None,
        git_commit=version.git_commit,
    )


def _metric(values: Sequence[float | None]) -> Metric:
    first = values[0]
    deltas = tuple(None if first is None or value is None else _delta(value, first) for value in values)
    return Metric(values=tuple(values), deltas=deltas)


def _delta(value: float, first: float) -> float | None:
    delta = value - first
    return None if math.isnan(delta) else delta
