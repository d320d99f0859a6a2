"""Decisions: approved, rejected, or pending again."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from registry.changes import Approval, Decision
from registry.limits import Reason
from registry.names import VersionRef
from sluice.api import paging
from sluice.api.deps import VIEWS, Approver, Given, ModelPath, NumberPath
from sluice.api.idempotency import token_of

router = APIRouter(prefix="/v1/models/{model}/versions/{number}/decisions", tags=["decisions"])


class Verdict(BaseModel):
    """What to decide."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    approval: Approval
    reason: Reason = ""


@router.get("", response_model=paging.Page[Decision], dependencies=VIEWS)
def list_decisions(request: Request, parts: Given, model: ModelPath, number: NumberPath) -> Response:
    """The decisions on a version, newest first; the newest counts."""
    return paging.page(request, parts.registry.decisions(VersionRef(model=model, number=number)), None)


@router.post("", status_code=201)
def decide(
    request: Request, parts: Given, who: Approver, model: ModelPath, number: NumberPath, body: Verdict
) -> Decision:
    """Decide on a version. With an Idempotency-Key it may be sent again."""
    return parts.registry.decide(
        VersionRef(model=model, number=number),
        body.approval,
        actor=who.actor,
        reason=body.reason,
        token=token_of(request, who),
    )
