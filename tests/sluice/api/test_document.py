"""The OpenAPI document: an example for every body, and each one is what the document says it must be."""

from __future__ import annotations

from typing import Any, cast

import jsonschema_rs
import pytest

from sluice.api.app import create_app
from sluice.api.document import ANSWERS, BODIES
from sluice.api.parts import Parts
from sluice.settings import load


class Nobody:
    actor = "ann"

    def ready(self) -> None: ...
    def close(self) -> None: ...


def document_of(**serve: Any) -> dict[str, Any]:
    settings = load(bucket="registry", serve=serve)
    return create_app(cast("Parts", Nobody()), settings).openapi()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return document_of()


def operations(document: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_json_body_has_an_example_and_no_example_is_of_nothing(document: dict[str, Any]) -> None:
    there = operations(document)
    bodies = {
        name for name, one in there.items() if "application/json" in one.get("requestBody", {}).get("content", {})
    }
    assert bodies == BODIES.keys()
    assert ANSWERS.keys() <= there.keys()


def test_every_example_is_what_the_document_says(document: dict[str, Any]) -> None:
    count = 0
    for name, operation in operations(document).items():
        contents = [operation.get("requestBody", {}).get("content", {})]
        contents += [one.get("content", {}) for one in operation["responses"].values()]
        for content in contents:
            said = content.get("application/json", {})
            if "example" in said:
                schema = {**said["schema"], "components": document["components"]}
                problems = [str(one) for one in jsonschema_rs.validator_for(schema).iter_errors(said["example"])]
                assert problems == [], name
                count += 1
    assert count >= len(BODIES) + len(ANSWERS)


def test_every_model_in_a_path_has_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                assert "example" in parameter, (name, parameter["name"])


def test_it_says_how_to_say_who_asks_where_that_is_asked() -> None:
    assert "security" not in document_of()
    token = {"name": "ci", "hash": "sha256:" + "0" * 64}
    document = document_of(tokens=[token], grants=[{"who": "token:ci", "role": "viewer"}])
    assert document["security"] == [{"bearer": []}]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
