"""`sluice doctor`: is this bucket fit for a registry, and is the registry in it well?"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.common import AsJson, Bucket, add, progressing, wired
from sluice.cli.output import as_json, line

_PANEL = "Registry"


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    add(app, _PANEL, doctor, "sluice doctor --torture --seconds 60")


def doctor(
    torture: Annotated[
        bool, typer.Option("--torture", help="First work on a model of its own with processes that are killed.")
    ] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=1, max=3600, help="How long the torture lasts.")] = 30.0,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="How many processes take part.")] = 8,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Look the registry over: conditional writes, numbers, sources, bytes, aliases, and the caches against the records.

    --torture leaves one model in the bucket, named torture-…, and touches no other.
    """
    from registry.audit import audit
    from registry.errors import Refused
    from registry.probe import probe
    from sluice.doctor.torture import Plan
    from sluice.doctor.torture import torture as plague

    with wired(bucket) as parts, progressing() as progress:
        storage = parts.storage
        probe(storage.store)
        if torture:
            plan = Plan(model=_name(), seconds=seconds, workers=workers)
            with tempfile.TemporaryDirectory(prefix="sluice-doctor-") as folder:
                outcome = plague(storage, parts.bucket, Path(folder), plan, progress)
            shown, findings = outcome.model_dump(mode="json"), outcome.findings
            said = ", ".join(f"{count} {what}" for what, count in outcome.acknowledged.items())
            good = f"{outcome.versions} versions, {said}, {outcome.kills} processes killed: nothing is lost."
        else:
            result = audit(storage, progress=progress)
            shown, findings = result.model_dump(mode="json"), result.findings
            good = f"{result.models} models with {result.versions} versions: all is well."
    if json:
        as_json(shown)
    else:
        line("\n".join(findings) or good)
    if findings:
        raise Refused(f"{len(findings)} findings: restore what is damaged from a copy, and rebuild what is only wrong.")


def _name() -> str:
    from datetime import UTC, datetime

    return f"torture-{datetime.now(UTC):%Y%m%d-%H%M%S}"
