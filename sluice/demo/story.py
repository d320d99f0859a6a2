"""The story: four training jobs become versions, two models serve, one canary is finished and one is rolled back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from gitops.bare import make_bare, url_of
from gitops.decide import Rollback
from gitops.history import ReleaseCommit
from gitops.layout import release_dir
from gitops.message import Identity
from gitops.operations import init_in, roll_back_in
from gitops.release import Release
from gitops.state import all_releases
from pipelines.steps.commit import CommitInput, commit
from pipelines.steps.release import ReleaseInput, release
from registry.errors import SluiceError
from registry.names import VersionRef
from registry.progress import Progress
from sluice.demo.base import make_bases
from sluice.demo.endpoints import create_bucket, without_aws
from sluice.demo.examples import Example
from sluice.demo.stack import Endpoints
from sluice.settings import FILE
from sluice.wiring import Wiring

BUCKET = "sluice-registry"
STAGING, PROD = "staging", "prod"
_AUTHOR = Identity(name="Demo", email="demo@sluice.example")
_ACTOR = f"{_AUTHOR.name} <{_AUTHOR.email}>"


class Ending(BaseModel):
    """How things stand when the story is over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    releases: tuple[Release, ...]
    log: tuple[ReleaseCommit, ...]


def write_settings(folder: Path) -> Path:
    """Make the base images, and write the `sluice.toml` that the demo and whoever tries it afterwards go by."""
    said = {
        "bucket": BUCKET,
        "gitops": str(folder / "gitops.git"),
        "images": str(folder / "images"),
        "ecr_prefix": "sluice",
        "first_environment": STAGING,
        "actor": _ACTOR,
        "cache": str(folder / "cache"),
    }
    bases = {runtime.value: name for runtime, name in make_bases(folder / "bases").items()}
    # a TOML basic string has JSON's escapes (TOML 1.0, "String")
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in said.items()]
    lines += ["", "[bases]", *(f"{name} = {json.dumps(base, ensure_ascii=False)}" for name, base in bases.items())]
    path = folder / FILE
    path.write_text("\n".join(lines) + "\n")
    return path


def leave_outputs(endpoints: Endpoints, examples: Sequence[Example], progress: Progress) -> None:
    """Put the training outputs where their jobs say they are."""
    _chapter(progress, "Four training jobs have finished")
    create_bucket(endpoints, BUCKET)
    for bucket in sorted({example.key[0] for example in examples}):
        create_bucket(endpoints, bucket)
    s3 = endpoints.client("s3")
    try:
        for example in examples:
            bucket, key = example.key
            data = example.archive.read_bytes()
            s3.put_object(Bucket=bucket, Key=key, Body=data)
            progress.fact(f"{example.job} left {len(data)} bytes at s3://{bucket}/{key}")
    finally:
        s3.close()


def tell(parts: Wiring, examples: Sequence[Example], progress: Progress) -> Ending:
    """Live through the story, with `progress` hearing of every fact.

    Raises:
        SluiceError: a part of the story did not come out as it must.
    """
    gitops = parts.settings.gitops
    _chapter(progress, "A GitOps repository, with staging and prod")
    make_bare(gitops, parts.settings.branch)
    begun = init_in(
        parts.repository,
        [STAGING, PROD],
        url_of(gitops),
        _AUTHOR,
        progress,
    )
    progress.fact(f"{begun[:12]} the first commit of {gitops}")
    digits = [example for example in examples if example.model == "digits"]
    others = [example for example in examples if example.model != "digits"]
    for example in (digits[0], *others):
        _chapter(progress, f"{example.model}: its first training job, all the way to prod")
        ref = _release(parts, example, progress)
        _promote(parts, ref, 100, progress)
    _chapter(progress, "digits: version 2 takes prod in three steps")
    second = _release(parts, digits[1], progress)
    for weight in (10, 50, 100):
        _promote(parts, second, weight, progress)
    _chapter(progress, "digits: version 3 is tried on prod, and taken back")
    _canary_and_back(parts, digits[2], progress)
    head = parts.repository.head()
    return Ending(
        releases=tuple(all_releases(head)),
        log=tuple(ReleaseCommit.of(each) for each in head.commits([])),
    )


def _chapter(progress: Progress, title: str) -> None:
    progress.fact(f"\n{title}")


def _canary_and_back(parts: Wiring, example: Example, progress: Progress) -> None:
    ref = _release(parts, example, progress)
    folder = release_dir(ref.model, PROD)
    before = parts.repository.head()
    _promote(parts, ref, 25, progress)
    wanted = Rollback(
        model=ref.model, environment=PROD, version=ref.number, requested_by=_ACTOR, reason="the demo's canary did worse"
    )
    outcome = roll_back_in(parts.repository, wanted, _AUTHOR, progress)
    after = parts.repository.head()
    was, now = before.tree_id(folder), after.tree_id(folder)
    if was is None or was != now or before.tree_id() != after.tree_id():
        raise SluiceError(f"The rollback of {ref} left {folder} at tree {now}, not {was}: please report this.")
    progress.fact(f"{str(outcome.commit)[:12]} {outcome.subject}: the tree is {now} again, as it was before")


def _release(parts: Wiring, example: Example, progress: Progress) -> VersionRef:
    request = ReleaseInput(source=example.job, model=example.model, environment=STAGING, actor=_ACTOR)
    return release(request, parts, _AUTHOR, progress).ref


def _promote(parts: Wiring, ref: VersionRef, weight: int, progress: Progress) -> None:
    request = CommitInput(ref=ref, environment=PROD, weight=weight, requested_by=_ACTOR)
    commit(request, parts.registry, parts.repository, _AUTHOR, progress)


@contextmanager
def as_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Point this process at a stack and its settings, and at nothing else, for as long as the block runs."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update({name: value for name, value in without_aws(before).items() if not name.startswith("SLUICE_")})
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
