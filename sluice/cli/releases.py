"""Releases as people read them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sluice.cli.output import as_json, line, table

if TYPE_CHECKING:
    from gitops.operations import Outcome
    from gitops.release import Release


def _image(reference: str) -> str:
    """The whole reference for a pipe; on a terminal the start of its digest, which fits a line of 80."""
    return reference.rpartition(":")[2][:12] if sys.stdout.isatty() else reference


def show_releases(releases: Iterable[Release]) -> None:
    """Print what git wants to run: a row for each model in each environment."""
    rows = (
        (
            release.model,
            release.environment,
            f"v{release.stable.version}",
            f"v{release.canary.version} at {release.canary.weight} %" if release.canary else None,
            release.stable.runtime.value,
            _image(release.stable.model_image),
        )
        for release in releases
    )
    columns = ("model", "environment", "stable", "canary", "runtime", "stable image")
    table(columns, rows, empty="Nothing is released yet: `sluice release` releases a first version.")


def say_outcome(outcome: Outcome, json: bool, *, unchanged: str) -> None:
    """Print what an operation came to, or `unchanged` where it changed nothing."""
    if json:
        as_json(outcome)
    else:
        line(f"{outcome.commit} {outcome.subject}" if outcome.commit else unchanged)
