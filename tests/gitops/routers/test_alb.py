"""An Ingress for the AWS Load Balancer Controller, with the weights in git."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gitops.release import Runtime
from tests.gitops.routers.cases import ALL, CERTIFICATE, FULL_ALB, deployed, release, rendered

_PREFIX = "alb.ingress.kubernetes.io/"


def annotations(manifest: Any) -> dict[str, str]:
    found = manifest["metadata"]["annotations"]
    return {key.removeprefix(_PREFIX): value for key, value in found.items() if key.startswith(_PREFIX)}


def ingress(router: str, weight: int | None = 10) -> Any:
    return rendered(release(weight), router)["Ingress", "fraud"]


def test_the_least_that_people_say() -> None:
    found = annotations(ingress(ALL["alb"]))
    del found["actions.weights"]
    assert found == {
        "scheme": "internal",
        "target-type": "ip",
        "load-balancer-attributes": "routing.http.drop_invalid_header_fields.enabled=true",
        "listen-ports": '[{"HTTP": 80}]',
    }


def test_all_that_people_can_say() -> None:
    found = annotations(ingress(FULL_ALB))
    assert json.loads(found.pop("actions.weights"))["forwardConfig"]["targetGroupStickinessConfig"] == {
        "enabled": True,
        "durationSeconds": 600,
    }
    assert found == {
        "scheme": "internet-facing",
        "target-type": "ip",
        "group.name": "models",
        "group.order": "10",
        "subnets": "subnet-01234567,subnet-0123456789abcdef0",
        "load-balancer-attributes": (
            "routing.http.drop_invalid_header_fields.enabled=true,idle_timeout.timeout_seconds=300,"
            "access_logs.s3.enabled=true,access_logs.s3.bucket=acme-logs,access_logs.s3.prefix=models/prod"
        ),
        "listen-ports": '[{"HTTP": 80}, {"HTTPS": 443}]',
        "ssl-redirect": "443",
        "certificate-arn": CERTIFICATE,
        "ssl-policy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
        "inbound-cidrs": "10.0.0.0/8,2001:db8::/32",
        "wafv2-acl-arn": (
            "arn:aws:wafv2:eu-west-1:123456789012:regional/webacl/models/11111111-2222-3333-4444-555555555555"
        ),
    }


def test_nobody_stays_with_a_canary_that_is_gone() -> None:
    # where stickiness outlives the canary, who had it is led to a target group without targets
    action = json.loads(annotations(ingress(FULL_ALB, None))["actions.weights"])
    assert action["forwardConfig"]["targetGroupStickinessConfig"] == {"enabled": False}


def test_security_groups_of_ones_own_still_open_the_pods() -> None:
    found = annotations(ingress("securityGroups: [sg-01234567, sg-89abcdef]"))
    assert found["security-groups"] == "sg-01234567,sg-89abcdef"
    assert found["manage-backend-security-group-rules"] == "true"


def test_header_fields_that_make_no_sense_may_be_kept() -> None:
    found = annotations(ingress("dropInvalidHeaderFields: false"))
    assert found["load-balancer-attributes"] == "routing.http.drop_invalid_header_fields.enabled=false"


def test_a_group_of_many_models_has_no_two_rules_for_one_request() -> None:
    rules = [
        rendered(release(name=name), FULL_ALB)["Ingress", name]["spec"]["rules"] for name in ("a", "fraud", "zebra")
    ]
    hosts = [rule["host"] for (rule,) in rules]
    assert hosts == ["a.models.example.com", "fraud.models.example.com", "zebra.models.example.com"]


@pytest.mark.parametrize("runtime", Runtime)
def test_a_change_of_the_model_server_leaves_old_pods_healthy(runtime: Runtime) -> None:
    # the target group asks for the new server's path before the old server's pods are gone, which answer 404 or, where
    # they are Triton's, 400
    found = rendered(release(stable=deployed(2, runtime)), ALL["alb"])
    assert annotations(found["Service", "fraud-stable"])["success-codes"] == "200,400,404"


def test_a_canarys_target_group_asks_for_what_its_server_knows() -> None:
    found = rendered(release(10, trial=deployed(2, Runtime.TENSORFLOW_SERVING)), ALL["alb"])
    paths = [annotations(found["Service", f"fraud-{role}"])["healthcheck-path"] for role in ("stable", "canary")]
    assert paths == ["/ping", "/v1/models/fraud"]
