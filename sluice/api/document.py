"""The OpenAPI document: what FastAPI makes of the routes, with examples and with how to say who asks (OpenAPI 3.1).

An example is one of the registry's own records, so it cannot say what the registry would not.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from registry.changes import Alias, Approval, Decision, Model, ModelEdit, Move, Summary
from registry.facts import (
    Artifact,
    Channel,
    DType,
    FileFact,
    Format,
    Image,
    Scan,
    Signature,
    SignOff,
    Smoke,
    Source,
    SourceKind,
    Tensor,
    Training,
    Version,
)
from registry.names import VersionRef
from registry.rows import Row

_AT, _BY = datetime(2026, 3, 3, 9, 30, tzinfo=UTC), "ann@example.com"
_DIGEST = "sha256:" + "5f" * 32
_IMAGE = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/sluice/fraud@{_DIGEST}"
_JOB = "fraud-2026-03-01"
_URI = f"s3://training/output/{_JOB}/output/model.tar.gz"
_FILE = FileFact(path="model.pt", size=48_811, sha256=_DIGEST)
_TRAINING = Training(
    job=_JOB,
    arn=f"arn:aws:sagemaker:eu-west-1:123456789012:training-job/{_JOB}",
    image="123456789012.dkr.ecr.eu-west-1.amazonaws.com/training:2.3",
    hyperparameters={"lr": "0.1"},
    metrics={"auc": 0.93},
    inputs=(Channel(name="train", uri="s3://training/fraud/2026-03-01/"),),
    instance_type="ml.g5.xlarge",
    instance_count=1,
)
_VERSION = Version(
    model="fraud",
    number=7,
    source=Source(uri=_URI, etag='"9b2cf535f27731c974343645a3985328"', size=52_118, training=_TRAINING),
    output="outputs/0c1f6a6e8e5d4b0f9d5f3c1b2a394857",
    metrics={"auc": 0.93},
    tags={"team": "risk"},
    git_commit="4f0c1de",
    created_at=_AT,
    created_by=_BY,
)
_MODEL = Model(
    name="fraud", description="Finds fraud.", owner="risk", tags={"team": "risk"}, created_at=_AT, created_by=_BY
)
_MOVE = Move(number=7, previous=6, at=_AT, by=_BY, reason="better on March's data", token="1f6a6e8e5d4b")  # noqa: S106
_ALIAS = Alias(model="fraud", name="champion", moves=(_MOVE,))
_DECISION = Decision(
    sequence=1,
    approval=Approval.APPROVED,
    reason="checked",
    at=_AT,
    by="bob@example.com",
    token="9d5f3c1b2a39",  # noqa: S106
)
_ROW = Row(
    state="packaged",
    model="fraud",
    number=7,
    approval=Approval.APPROVED,
    facts=("artifact", "scan"),
    source=SourceKind.TRAINING_JOB,
    name=_JOB,
    uri=_URI,
    size=52_118,
    metrics={"auc": 0.93},
    tags={"team": "risk"},
    git_commit="4f0c1de",
    inputs=("s3://training/fraud/2026-03-01/",),
    created_at=_AT,
    created_by=_BY,
)
_SCAN = Scan(source=_DIGEST, size=52_118, format=Format.TORCHSCRIPT, root="model.pt", files=(_FILE,))
_SIGNATURE = Signature(
    inputs=(Tensor(name="instances", dtype=DType.FLOAT32, shape=(None, 30)),),
    outputs=(Tensor(name="predictions", dtype=DType.FLOAT32, shape=(None, 2)),),
    sample={"instances": [[0.0] * 30]},
    told_by="signature.json",
)
_ARTIFACT = Artifact(type="mar", source=_DIGEST, blob=_DIGEST, size=51_009, files=(_FILE,))
_BUILT = Image(reference=_IMAGE, artifact=_DIGEST, base=_DIGEST, runtime="torchserve", size=4_812_331_207)

_MODELS, _ONE = "/v1/models", "/v1/models/{model}"
_VERSIONS, _NUMBER = f"{_ONE}/versions", f"{_ONE}/versions/{{number}}"
_NAMED = f"{_ONE}/aliases/{{alias}}"

BODIES: dict[str, Any] = {
    f"PATCH {_ONE}": ModelEdit(owner="risk", tags={"team": "risk", "old": None}),
    f"POST {_VERSIONS}": {"source": _JOB, "metrics": {"auc": 0.93}, "tags": {"team": "risk"}},
    f"PUT {_NUMBER}/facts/scan": _SCAN,
    f"PUT {_NUMBER}/facts/signature": _SIGNATURE,
    f"PUT {_NUMBER}/facts/artifact": _ARTIFACT,
    f"PUT {_NUMBER}/facts/image": _BUILT,
    f"PUT {_NUMBER}/facts/smoke": {"image": _IMAGE, "passed": True, "detail": "200 in 41 ms"},
    f"PUT {_NUMBER}/facts/sign-off": {"note": "release board of 3 March"},
    f"POST {_NUMBER}/decisions": {"approval": "approved", "reason": "checked"},
    f"PUT {_NAMED}": {"version": 7, "expect": 6, "reason": "better on March's data"},
    "POST /v1/gc": {"grace_hours": 24, "dry_run": True},
    "POST /v1/sweeps": {"model": "fraud", "since": "2026-03-01T00:00:00Z", "name": "fraud-*"},
    "POST /v1/rebuild": {"model": "fraud"},
    f"POST {_ONE}/export": {"bucket": "other-registry"},
    "POST /v1/imports": {"model": "fraud", "from": "s3://other-registry"},
}
"""A request's body, by method and path."""

ANSWERS: dict[str, Any] = {
    f"GET {_MODELS}": {"items": [Summary(model=_MODEL, newest=7, updated_at=_AT)], "next": None},
    f"GET {_ONE}": _MODEL,
    f"POST {_VERSIONS}": _VERSION,
    f"GET {_VERSIONS}": {"items": [_ROW], "next": "Ng"},
    f"GET {_NUMBER}": _VERSION,
    f"GET {_ONE}/resolve/{{reference}}": VersionRef(model="fraud", number=7),
    f"GET {_NUMBER}/facts/scan": _SCAN,
    f"GET {_NUMBER}/facts/signature": _SIGNATURE,
    f"GET {_NUMBER}/facts/artifact": _ARTIFACT,
    f"GET {_NUMBER}/facts/image": _BUILT,
    f"GET {_NUMBER}/facts/smoke": Smoke(image=_IMAGE, passed=True, detail="200 in 41 ms", at=_AT, by=_BY),
    f"GET {_NUMBER}/facts/sign-off": SignOff(note="release board of 3 March", at=_AT, by=_BY),
    f"GET {_NUMBER}/decisions": {"items": [_DECISION], "next": None},
    f"GET {_ONE}/aliases": {"items": [_ALIAS], "next": None},
    f"GET {_NAMED}": _ALIAS,
    f"PUT {_NAMED}": _ALIAS,
    f"GET {_NAMED}/history": {"items": [_MOVE], "next": None},
    "PUT /v1/uploads": {"digest": _DIGEST, "size": 52_118},
}
"""A good answer, by method and path."""

PARAMETERS: dict[str, Any] = {
    "model": "fraud",
    "number": 7,
    "alias": "champion",
    "reference": "champion",
    "versions": "6,7",
    "tag": ["team=risk"],
    "trained_on": "s3://training/fraud/",
    "commit": "4f0c1de",
    "at": "2026-03-03T12:00:00Z",
}

_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of the configured OpenID Connect issuer, or a static one.",
}


def describe(app: FastAPI, *, authenticates: bool) -> None:
    """Add examples, and the bearer scheme where the service asks who calls, to what `/openapi.json` gives."""
    plain = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = plain()
            for path, operations in found["paths"].items():
                for method, operation in operations.items():
                    _add(operation, f"{method.upper()} {path}")
            if authenticates:
                found.setdefault("components", {})["securitySchemes"] = {"bearer": _SCHEME}
                found["security"] = [{"bearer": []}]
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's own documentation has it


def _add(operation: dict[str, Any], name: str) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in PARAMETERS:
            parameter["example"] = PARAMETERS[parameter["name"]]
    if name in BODIES:
        operation["requestBody"]["content"]["application/json"]["example"] = _plain(BODIES[name])
    if name in ANSWERS:
        for status, answer in operation["responses"].items():
            content = answer.get("content", {}).get("application/json")
            if status.startswith("2") and content is not None:
                content["example"] = _plain(ANSWERS[name])


def _plain(value: Any) -> Any:
    if isinstance(value, ModelEdit):
        return value.model_dump(mode="json", exclude_defaults=True)
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else to_jsonable_python(value)
