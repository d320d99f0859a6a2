"""Releases as people read them, and what follows a change of one."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from registry.errors import SluiceError
from sluice.cli.output import as_json, line, table

if TYPE_CHECKING:
    from gitops.argocd.looking import Standing
    from gitops.operations import Outcome
    from gitops.release import Release
    from registry.progress import Progress
    from sluice.wiring import Wiring

_COLUMNS = ("model", "environment", "stable", "canary", "runtime", "stable image")
_EMPTY = "Nothing is released yet: `sluice release` releases a first version."


def _image(reference: str) -> str:
    """The whole reference for a pipe; on a terminal the start of its digest, which fits a line of 80."""
    return reference.rpartition(":")[2][:12] if sys.stdout.isatty() else reference


def _row(release: Release) -> tuple[object, ...]:
    return (
        release.model,
        release.environment,
        f"v{release.stable.version}",
        f"v{release.canary.version} at {release.canary.weight} %" if release.canary else None,
        release.stable.runtime.value,
        _image(release.stable.model_image),
    )


def show_releases(releases: Iterable[Release]) -> None:
    """Print what git wants to run: a row for each model in each environment."""
    table(_COLUMNS, map(_row, releases), empty=_EMPTY)


def show_standings(standings: Iterable[Standing]) -> None:
    """Print what git wants to run beside how the clusters stand: for each release, the worst of its clusters."""
    from gitops.argocd.truth import worst

    rows = []
    for standing in standings:
        answer = worst(standing.clusters)
        *wanted, _, _ = _row(standing.release)
        rows.append((*wanted, answer.state.value, answer.since, answer.why or None))
    table((*_COLUMNS[:-2], "cluster", "since", "why"), rows, empty=_EMPTY)


def standing_json(standing: Standing) -> Mapping[str, object]:
    """A release as JSON, with how it stands in each cluster by name; the only one of an environment has none."""
    clusters = {name: answer.model_dump(mode="json", exclude={"refresh"}) for name, answer in standing.clusters.items()}
    return {**standing.release.model_dump(mode="json"), "clusters": clusters}


def say_outcome(outcome: Outcome, json: bool, *, unchanged: str) -> None:
    """Print what an operation came to, or `unchanged` where it changed nothing."""
    if json:
        as_json(outcome)
    else:
        line(f"{outcome.commit} {outcome.subject}" if outcome.commit else unchanged)


def refresh_after(parts: Wiring, outcome: Outcome, progress: Progress) -> None:
    """Have Argo CD look at a commit now, where it is set up; it finds the commit by itself as well, only later.

    So nothing that goes wrong here is a failure of what was done: it is told, and the commit stands.
    """
    from gitops.argocd.applications import application_names
    from gitops.state import read_environment

    if outcome.commit is None:
        return
    try:
        if parts.applications is None:
            return
        environment = read_environment(parts.repository.head(), outcome.environment)
        for name in application_names(outcome.model, environment).values():
            parts.applications.refresh(name)
    except SluiceError as error:
        progress.fact(f"The commit is there, and Argo CD could not be told of it: {error}")
