"""What MLflow allows and Sluice does not: names turned into labels, and mappings cut to `registry.limits`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict

from registry.errors import InvalidInput
from registry.limits import (
    ACTOR_MAX,
    DESCRIPTION_MAX,
    METRIC_NAME_MAX,
    METRICS_MAX,
    PARAMETER_MAX,
    PARAMETERS_MAX,
    TAG_KEY_MAX,
    TAG_VALUE_MAX,
    TAGS_MAX,
    URI_MAX,
)
from registry.names import MODEL_NAME_MAX, check_alias, check_label

if TYPE_CHECKING:
    from registry.mlflow.reader import MlflowModel, MlflowVersion

T = TypeVar("T")

_CUT = "…"
_NAMED = 3
"""Names that one line of what was left out tells at most."""
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})


class Fitted(BaseModel):
    """What is known of a version or a model, within the limits, and one line for each thing that is not as it was."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""
    tags: Mapping[str, str] = {}
    metrics: Mapping[str, float] = {}
    parameters: Mapping[str, str] = {}
    git_commit: str = ""
    actor: str = "mlflow"
    """Who made it: `mlflow` where MLflow does not know."""
    left_out: tuple[str, ...] = ()


def label(name: str) -> str:
    """Sluice's name for an MLflow model: `fraud-model-v2` for `Fraud Model v2`; `m-` before what starts with a digit.

    Two of MLflow's names may have the same label, which is for the caller to find out.

    Raises:
        InvalidInput: the name has no letter or digit that can be kept.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    kept = re.sub(r"[^a-z0-9]+", "-", re.sub(r"['`]", "", plain)).strip("-")
    if not kept:
        raise InvalidInput(f"{name[:80]!r} has no letters that a model's name may hold: say what to call it.")
    whole = kept if kept[0].isalpha() else f"m-{kept}"
    return check_label(whole[:MODEL_NAME_MAX].rstrip("-"))


def alias_label(name: str) -> str:
    """Sluice's name for an MLflow alias, made as a model's.

    Raises:
        InvalidInput: nothing is left of the name, or it is `latest`.
    """
    return check_alias(label(name))


def fit_version(version: MlflowVersion) -> Fitted:
    """All of a version that a Sluice version can hold."""
    left_out: list[str] = []
    return Fitted(
        description=_text("description", version.description, DESCRIPTION_MAX, left_out),
        tags=fit_tags(version.tags, left_out),
        metrics=fit_metrics(version.metrics, left_out),
        parameters=fit_parameters(version.parameters, left_out),
        git_commit=_cut("git commit", _one_line(version.git_commit), URI_MAX, left_out),
        actor=_cut("user", _one_line(version.user).strip(), ACTOR_MAX, left_out) or "mlflow",
        left_out=tuple(left_out),
    )


def fit_model(model: MlflowModel) -> Fitted:
    """All of a registered model that a Sluice model can hold."""
    left_out: list[str] = []
    return Fitted(
        description=_text("description", model.description, DESCRIPTION_MAX, left_out),
        tags=fit_tags(model.tags, left_out),
        left_out=tuple(left_out),
    )


def fit_tags(tags: Mapping[str, str], left_out: list[str]) -> dict[str, str]:
    """The first 50 tags by name; long values are cut, tags with long names left out, and `left_out` is told."""
    kept = _named("tag", tags, TAG_KEY_MAX, TAGS_MAX, left_out)
    return {key: _cut(f"tag {key!r}", _one_line(value), TAG_VALUE_MAX, left_out) for key, value in kept.items()}


def fit_metrics(metrics: Mapping[str, float], left_out: list[str]) -> dict[str, float]:
    """The first 500 metrics by name; those with long names are left out, and `left_out` is told."""
    return _named("metric", metrics, METRIC_NAME_MAX, METRICS_MAX, left_out)


def fit_parameters(parameters: Mapping[str, str], left_out: list[str]) -> dict[str, str]:
    """The first 500 parameters by name; long values are cut, those with long names left out; `left_out` is told."""
    kept = _named("parameter", parameters, METRIC_NAME_MAX, PARAMETERS_MAX, left_out)
    return {key: _text(f"parameter {key!r}", value, PARAMETER_MAX, left_out) for key, value in kept.items()}


def _named(what: str, given: Mapping[str, T], longest: int, most: int, left_out: list[str]) -> dict[str, T]:
    kept: dict[str, T] = {}
    dropped = []
    for given_name, value in sorted(given.items()):
        name = _one_line(given_name)
        if name in kept or not 0 < len(name) <= longest or len(kept) == most:
            dropped.append(name)
        else:
            kept[name] = value
    if dropped:
        shown = ", ".join(repr(name[:80]) for name in dropped[:_NAMED])
        more = f" and {len(dropped) - _NAMED} more" if len(dropped) > _NAMED else ""
        left_out.append(f"{what}s beyond {most}, or with names beyond {longest} characters: {shown}{more}")
    return kept


def _one_line(value: str) -> str:
    return "".join(" " if unicodedata.category(letter) in _CONTROLS else letter for letter in value)


def _text(what: str, value: str, most: int, left_out: list[str]) -> str:
    lines = value.replace("\r\n", "\n").split("\n")
    return _cut(what, "\n".join("\t".join(map(_one_line, line.split("\t"))) for line in lines), most, left_out)


def _cut(what: str, value: str, most: int, left_out: list[str]) -> str:
    if len(value) <= most:
        return value
    left_out.append(f"the {what} is cut to {most} characters")
    return value[: most - 1] + _CUT
