"""What the API's own description leads a machine to send: no answer is a 500, and each is as described."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from registry.aws import Clients
from registry.names import VersionRef
from registry.sagemaker import SageMakerSources
from sluice.api.tokens import hash_of, new_token

pytestmark = pytest.mark.slow

CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
NEVER = {
    "DELETE /v1/models/{model}",
    "DELETE /v1/models/{model}/versions/{number}",
    "POST /v1/imports",
    "GET /v1/models/{model}/versions/{number}/facts/artifact",
    "PUT /v1/models/{model}/versions/{number}/facts/artifact",
}
"""What is not done for a made-up bucket or digest, or while an alias names it."""


@pytest.fixture
def api(start, clients: Clients, examples):
    """The description that a running server gives of itself; SageMaker is moto's, the records are in memory."""
    token = new_token()
    server = start(tokens=[{"name": "admin", "hash": hash_of(token)}], grants=[{"who": "token:admin", "role": "admin"}])
    for number in range(1, 4):
        server.parts.registry.register("a", server.parts.sources.find(f"job-{number}"), actor="me")
    server.parts.registry.set_alias(VersionRef(model="a", number=1), "a", actor="me")
    server.parts.sources = SageMakerSources(clients)
    config = SchemathesisConfig.from_dict(
        {
            "generation": {
                "max-examples": 25,
                "deterministic": True,
                "allow-extra-parameters": False,
                "database": "none",
            },
            "headers": {"Authorization": f"Bearer {token}"},
        }
    )
    found = schemathesis.openapi.from_url(
        f"{server.url}/openapi.json", config=config, headers={"Authorization": f"Bearer {token}"}
    )
    found.server, found.mode = server, GenerationMode.POSITIVE
    _name_what_is_there(found, next(examples.glob("*/jobs/*/job.json")).parent.name)
    return found


def _name_what_is_there(api, job):
    """Two times of three; made-up names alone would find nothing."""
    chance = random.Random(0)
    path = {"model": "a", "number": 2, "alias": "a", "reference": "latest"}
    query = {"versions": "1,2", "source": job, "trained_on": "s3://data", "cursor": ""}
    body = {"source": job, "parameters": {}, "version": 2, "expect": None}

    def named(given, there):
        if given and isinstance(given, dict) and api.mode is GenerationMode.POSITIVE and chance.random() < 0.7:
            return {**given, **{name: value for name, value in there.items() if name in given}}
        return given

    @api.hook
    def map_path_parameters(context, path_parameters):
        return named(path_parameters, path)

    @api.hook
    def map_query(context, query_):
        return named(query_, query)

    @api.hook
    def map_body(context, body_):
        return named(body_, body)


def _asked(operation, mode, count, seen):
    """Send what fits the description, or, in the negative mode, what does not."""

    @seed(0)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case):
        seen[operation.label, case.call_and_validate(checks=CHECKS, timeout=20).status_code] += 1

    ask()


def test_answers_are_as_described(api):
    wrong, seen = [], Counter()
    operations = [result.ok() for result in api.get_all_operations() if not result.ok().path.startswith("/t/")]
    assert len(operations) > 30
    operations.sort(key=lambda operation: ("PUT", "POST", "PATCH", "GET", "DELETE").index(operation.method.upper()))
    for operation in operations:
        for mode, count in ((GenerationMode.POSITIVE, 18), (GenerationMode.NEGATIVE, 8)):
            api.mode = mode
            try:
                _asked(operation, mode, count, seen)
            except Unsatisfiable:
                continue  # everything fits
            except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  # all of them are shown
                wrong.append(f"{operation.label}, {mode}: {error}")
    assert not wrong, "\n\n".join(wrong)
    done = {label for label, status in seen if status < 300}
    assert {operation.label for operation in operations} - done <= NEVER


def test_other_methods_are_refused_with_those_there_are(api):
    """RFC 9110, section 15.5.6."""
    for path, described in api.raw_schema["paths"].items():
        there = {method.upper() for method in described}
        address = path.format(model="a", number=1, alias="a", reference="latest", how="NotFound")
        for method in {"GET", "PUT", "POST", "PATCH", "DELETE"} - there:
            answer = api.server.client.request(method, address, headers=api.config.headers)
            assert answer.status_code == 405, (method, path)
            assert set(answer.headers["allow"].split(", ")) == there, path
