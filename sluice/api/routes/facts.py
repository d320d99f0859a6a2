"""Facts: what was learnt of a version, each written once.

Who wrote a smoke test's outcome or a sign-off, and when, is for the server to say, so their bodies do not hold it.
A sign-off is a person's word for the version and takes an approver, as a decision does.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from registry.errors import NotFound
from registry.facts import FACTS, Artifact, Facts, Image, Scan, Signature, SignOff, Smoke
from registry.limits import Reason
from registry.names import ImageRef, VersionRef
from sluice.api.caching import immutable, revalidated
from sluice.api.deps import VIEWS, Approver, Given, ModelPath, NumberPath, Releaser
from sluice.api.parts import Parts

F = TypeVar("F", Scan, Signature, Artifact, Image, Smoke, SignOff)

router = APIRouter(prefix="/v1/models/{model}/versions/{number}/facts", tags=["facts"])


class SmokeOutcome(BaseModel):
    """What came of one request to a server that runs the image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: ImageRef
    passed: bool
    detail: Reason = ""


class SignedOff(BaseModel):
    """What a person vouches for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    note: Reason = ""


@router.get("", response_model=Facts, dependencies=VIEWS)
def get_facts(request: Request, parts: Given, model: ModelPath, number: NumberPath) -> Response:
    """All that is known of a version by now; null what is not known yet."""
    return revalidated(request, parts.registry.facts(VersionRef(model=model, number=number)))


def _add_getter(kind: type[F]) -> None:
    # a route each: one for all of them would say GET of paths that take PUT, and PUT of none
    def get_fact(request: Request, parts: Given, model: ModelPath, number: NumberPath) -> Response:
        ref = VersionRef(model=model, number=number)
        found = parts.registry.fact(ref, kind)
        if found is None:
            parts.registry.version(ref)
            raise NotFound(f"{ref} has no {kind.kind} yet: wait for the step that makes it.")
        return immutable(request, found)

    name = kind.kind.replace("-", "_")
    router.add_api_route(
        f"/{kind.kind}",
        get_fact,
        response_model=kind,
        dependencies=VIEWS,
        name=f"get_{name}",
        description="One fact, which never changes.",
    )


for _kind in FACTS.values():
    _add_getter(_kind)  # type: ignore[type-var]  # one of the union


@router.put("/scan", response_model=Scan)
def put_scan(
    request: Request, parts: Given, who: Releaser, model: ModelPath, number: NumberPath, fact: Scan
) -> Response:
    """Record what is inside the training output."""
    return _record(request, parts, who.actor, VersionRef(model=model, number=number), fact)


@router.put("/signature", response_model=Signature)
def put_signature(
    request: Request, parts: Given, who: Releaser, model: ModelPath, number: NumberPath, fact: Signature
) -> Response:
    """Record what the model takes and gives."""
    return _record(request, parts, who.actor, VersionRef(model=model, number=number), fact)


@router.put("/artifact", response_model=Artifact)
def put_artifact(
    request: Request, parts: Given, who: Releaser, model: ModelPath, number: NumberPath, fact: Artifact
) -> Response:
    """Record the packaged model, whose blob is there already."""
    return _record(request, parts, who.actor, VersionRef(model=model, number=number), fact)


@router.put("/image", response_model=Image)
def put_image(
    request: Request, parts: Given, who: Releaser, model: ModelPath, number: NumberPath, fact: Image
) -> Response:
    """Record the serving image."""
    return _record(request, parts, who.actor, VersionRef(model=model, number=number), fact)


@router.put("/smoke", response_model=Smoke)
def put_smoke(
    request: Request, parts: Given, who: Releaser, model: ModelPath, number: NumberPath, outcome: SmokeOutcome
) -> Response:
    """Record what came of a request to the image."""
    ref = VersionRef(model=model, number=number)
    known = parts.registry.fact(ref, Smoke)
    fact = Smoke(**dict(outcome), at=datetime.now(UTC), by=who.actor)
    return _record(request, parts, who.actor, ref, _as_before(fact, known))


@router.put("/sign-off", response_model=SignOff)
def put_sign_off(
    request: Request, parts: Given, who: Approver, model: ModelPath, number: NumberPath, signed: SignedOff
) -> Response:
    """Vouch for the version."""
    ref = VersionRef(model=model, number=number)
    known = parts.registry.fact(ref, SignOff)
    fact = SignOff(note=signed.note, at=datetime.now(UTC), by=who.actor)
    return _record(request, parts, who.actor, ref, _as_before(fact, known))


def _as_before(fact: F, known: F | None) -> F:
    """The fact that is there where this one says the same, but later: so it may be sent again."""
    later = {"at": None}
    same = known is not None and known.model_copy(update=later) == fact.model_copy(update=later)
    return known if same and known is not None else fact


def _record(request: Request, parts: Parts, actor: str, ref: VersionRef, fact: F) -> Response:
    return immutable(request, parts.registry.record(ref, fact, actor=actor))
