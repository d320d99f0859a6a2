from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter

from registry.errors import InvalidInput
from registry.limits import Actor, Description, Line, Metrics, Parameters, Tags
from registry.mlflow.limits import alias_label, fit_model, fit_version, label
from registry.mlflow.reader import MlflowModel, MlflowVersion

NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Fraud Model v2", "fraud-model-v2"),
        ("fraud", "fraud"),
        ("prod.schema.model_name", "prod-schema-model-name"),
        ("O'Brien", "obrien"),
        ("2024-fraud", "m-2024-fraud"),
        ("--Über__Modell--", "uber-modell"),
        ("x" * 39 + "-yz", "x" * 39),
        ("9" * 50, "m-" + "9" * 38),
        ("a--b", "a-b"),
    ],
)
def test_a_name_becomes_a_label(name: str, expected: str) -> None:
    assert label(name) == expected


@pytest.mark.parametrize("name", ["", "模型", "--", "\n", "🦊"])
def test_a_name_without_letters_is_told(name: str) -> None:
    with pytest.raises(InvalidInput, match="say what to call it"):
        label(name)


def test_an_alias_is_a_label_but_latest() -> None:
    assert alias_label("Champion_EU") == "champion-eu"
    with pytest.raises(InvalidInput, match="latest"):
        alias_label("Latest")


def test_what_fits_stays_as_it_is() -> None:
    version = MlflowVersion(
        name="m", number=1, created_at=NOW, user="ann", description="a\n\tb", tags={"k": "v"}, metrics={"auc": 0.9}
    )
    fitted = fit_version(version)
    assert (fitted.description, fitted.tags, fitted.metrics) == ("a\n\tb", {"k": "v"}, {"auc": 0.9})
    assert (fitted.actor, fitted.left_out) == ("ann", ())


def test_what_is_too_long_is_cut_or_left_out_and_told() -> None:
    version = MlflowVersion(
        name="m",
        number=1,
        created_at=NOW,
        user="\x00",
        description="d" * 6000,
        tags={"long": "v" * 300, "k" * 200: "v", "bell\x07": "a\nb", "bell\x08": "c", "": "e"}
        | {f"z{n:02}": "" for n in range(60)},
        metrics={f"m{n:03}": float(n) for n in range(600)},
        parameters={"big": "p" * 7000, "lines": "a\r\nb\x00"},
        git_commit="c" * 3000,
    )
    fitted = fit_version(version)
    for kind, value in (
        (Description, fitted.description),
        (Tags, fitted.tags),
        (Metrics, fitted.metrics),
        (Parameters, fitted.parameters),
        (Line, fitted.git_commit),
        (Actor, fitted.actor),
    ):
        TypeAdapter(kind).validate_python(value)
    assert fitted.tags["long"] == "v" * 255 + "…"
    assert fitted.tags["bell "] == "a b"
    assert (len(fitted.tags), len(fitted.metrics), fitted.actor) == (50, 500, "mlflow")
    assert fitted.parameters["lines"] == "a\nb "
    told = "\n".join(fitted.left_out)
    assert "the description is cut to 5000 characters" in told
    assert "the tag 'long' is cut to 256 characters" in told
    assert "metrics beyond 500" in told
    assert "'m500', 'm501', 'm502' and 97 more" in told
    assert "the parameter 'big' is cut to 6000 characters" in told


def test_a_model_is_fitted_too() -> None:
    fitted = fit_model(MlflowModel(name="m", description="d" * 6000, tags={"k": "v"}, created_at=NOW))
    assert (len(fitted.description), fitted.tags, len(fitted.left_out)) == (5000, {"k": "v"}, 1)
