"""What people say of the way into an environment: which router splits the traffic there, and how.

All of it ends in annotations and names that a controller acts on with an account's rights, so every text is matched
whole by a pattern that leaves no room for a comma, a blank or a line break.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WrapValidator, model_validator

from gitops.config.fields import DNS_LABEL, Certificate, ClassName, Group, Namespace, Section, pattern

_NETWORK = re.compile(r"[0-9A-Fa-f:.]{2,45}/[0-9]{1,3}", re.ASCII)


def _network(value: str) -> str:
    problem = f"{value[:80]!r} is not a network like 10.0.0.0/8"
    if not _NETWORK.fullmatch(value):
        raise ValueError(problem)
    try:
        ip_network(value)
    except ValueError:
        raise ValueError(problem) from None
    return value


Network = Annotated[str, AfterValidator(_network)]
Subnet = Annotated[str, pattern(r"subnet-[0-9a-f]{8,17}", "a subnet's id, like subnet-0123456789abcdef0")]
SecurityGroup = Annotated[str, pattern(r"sg-[0-9a-f]{8,17}", "a security group's id, like sg-0123456789abcdef0")]
WebAcl = Annotated[
    str,
    Field(max_length=400),
    pattern(
        r"arn:aws[a-z-]*:wafv2:[a-z0-9-]+:[0-9]{12}:regional/webacl/[\w-]{1,128}/[0-9a-f-]{1,36}",
        "a regional web ACL's ARN",
    ),
]
SslPolicy = Annotated[
    str, Field(max_length=80), pattern(r"ELBSecurityPolicy-[A-Za-z0-9-]+", "a security policy's name")
]
Bucket = Annotated[str, pattern(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "a bucket's name")]
Prefix = Annotated[
    str, Field(max_length=200), pattern(r"[A-Za-z0-9](?:[\w./-]*[\w-])?", "a prefix without a slash around it")
]
ObjectName = Annotated[
    str, Field(max_length=253), pattern(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", "the name of a Kubernetes object")
]
Listener = Annotated[
    str, Field(max_length=253), pattern(rf"{DNS_LABEL}(?:\.{DNS_LABEL})*", "the name of one of the Gateway's listeners")
]
Duration = Annotated[str, pattern(r"[1-9][0-9]{0,5}[smh]", "a duration like 90s, 10m or 2h")]
Seconds = Annotated[int, Field(strict=True, ge=1, le=604_800)]


class Stickiness(Section):
    """How long a client stays with the version that answered it first (ELB user guide, "Sticky sessions")."""

    duration_seconds: Seconds = Field(alias="durationSeconds")


class AccessLogs(Section):
    """Where the load balancer writes a line for each request; it needs a bucket policy that lets it."""

    bucket: Bucket
    prefix: Prefix | None = None


class LoadBalancer(Section):
    """An Application Load Balancer, as the AWS Load Balancer Controller makes it of an Ingress."""

    ingress_class_name: ClassName = Field("alb", alias="ingressClassName")
    scheme: Literal["internal", "internet-facing"] = "internal"
    group: Group | None = None
    """The IngressGroup; whoever is in it shares one load balancer."""
    group_order: Annotated[int, Field(strict=True, ge=-1000, le=1000)] | None = Field(None, alias="groupOrder")
    """Where all models of the environment stand among the others in the group."""
    certificate_arn: Certificate | None = Field(None, alias="certificateArn")
    ssl_policy: SslPolicy | None = Field(None, alias="sslPolicy")
    web_acl_arn: WebAcl | None = Field(None, alias="webAclArn")
    inbound_cidrs: tuple[Network, ...] = Field((), alias="inboundCidrs", max_length=50)
    """Who may connect; everybody who reaches the load balancer where it is left out."""
    security_groups: tuple[SecurityGroup, ...] = Field((), alias="securityGroups", max_length=5)
    subnets: tuple[Subnet, ...] = Field((), max_length=10)
    stickiness: Stickiness | None = None
    access_logs: AccessLogs | None = Field(None, alias="accessLogs")
    drop_invalid_header_fields: bool = Field(True, alias="dropInvalidHeaderFields", strict=True)
    idle_timeout_seconds: Annotated[int, Field(strict=True, ge=1, le=4000)] | None = Field(
        None, alias="idleTimeoutSeconds"
    )
    """How long an answer may take to begin; 60 seconds where it is left out, which is short for a large model."""

    @model_validator(mode="after")
    def _no_plain_text_on_the_internet(self) -> Self:
        if self.scheme == "internet-facing" and not self.certificate_arn:
            raise ValueError("an internet-facing load balancer needs a certificateArn, or make its scheme internal")
        return self

    @model_validator(mode="after")
    def _nothing_without_what_it_is_for(self) -> Self:
        if self.ssl_policy and not self.certificate_arn:
            raise ValueError("an sslPolicy is for HTTPS, which needs a certificateArn")
        if self.group_order is not None and not self.group:
            raise ValueError("a groupOrder is a place in a group, which has no name here")
        if self.inbound_cidrs and self.security_groups:
            raise ValueError("inboundCidrs do nothing beside securityGroups of your own, say them in those")
        if len(self.subnets) == 1:
            raise ValueError("a load balancer needs subnets in two zones or more")
        return self


class AlbSettings(LoadBalancer):
    """Two weighted target groups of an Application Load Balancer, with the weights in git.

    router:
      kind: alb                     # the usual one, where nothing is said
      ingressClassName: alb
      scheme: internal              # internet-facing needs a certificateArn
      group: prod                   # one load balancer for all models of this group; without it, one for each model
      groupOrder: 100               # behind what else is in the group with a lower one; -1000 to 1000
      certificateArn: arn:aws:acm:eu-west-1:123456789012:certificate/11111111-2222-3333-4444-555555555555
      sslPolicy: ELBSecurityPolicy-TLS13-1-2-2021-06
      webAclArn: arn:aws:wafv2:eu-west-1:123456789012:regional/webacl/models/11111111-2222-3333-4444-555555555555
      inboundCidrs: [10.0.0.0/8]    # who may connect; or securityGroups: [sg-0123456789abcdef0]
      subnets: [subnet-0123456789abcdef0, subnet-0123456789abcdef1]
      stickiness: {durationSeconds: 600}
      accessLogs: {bucket: acme-logs, prefix: prod}
      idleTimeoutSeconds: 300
    """

    kind: Literal["alb"] = "alb"


class GatewayReference(Section):
    """The Gateway that people keep; it has to allow routes from the environment's namespace."""

    name: ObjectName
    namespace: Namespace | None = None
    section_name: Listener | None = Field(None, alias="sectionName")
    """One of its listeners; all that fit the host where it is left out."""


class GatewaySettings(Section):
    """Two weighted backends of a route of the Gateway API, with the weights in git.

    router:
      kind: gateway
      gateway:
        name: public                # a Gateway that people keep; it says who gets in, and has the certificate
        namespace: gateways         # left out: that of the environment
        sectionName: https          # one of its listeners; left out: all that fit the host
      stickiness: {durationSeconds: 600}
    """

    kind: Literal["gateway"]
    gateway: GatewayReference
    stickiness: Stickiness | None = None


class Pause(Section):
    """A wait; without a duration, until a person goes on with `kubectl argo rollouts promote`."""

    duration: Duration | None = None


class Step(Section):
    """One step of a canary: a weight, or a pause."""

    set_weight: Annotated[int, Field(strict=True, ge=1, le=100)] | None = Field(None, alias="setWeight")
    pause: Pause | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.set_weight is None) == (self.pause is None):
            raise ValueError("a step is either a setWeight or a pause")
        return self


def _weight(percent: int) -> Step:
    return Step.model_validate({"setWeight": percent})


def _pause(duration: str) -> Step:
    return Step(pause=Pause(duration=duration))


class RolloutsSettings(LoadBalancer):
    """An Application Load Balancer whose weights Argo Rollouts sets, step by step; git has the steps.

    router:
      kind: rollouts                # and all that the ALB's router has but stickiness
      steps:                        # what a promotion goes through; --weight below 100 is refused here
      - setWeight: 10
      - pause: {duration: 10m}      # 90s, 10m or 2h
      - setWeight: 50
      - pause: {}                   # until `kubectl argo rollouts promote`
      abortScaleDownDelaySeconds: 60
    """

    kind: Literal["rollouts"]
    steps: tuple[Step, ...] = Field((_weight(10), _pause("10m"), _weight(50), _pause("10m")), max_length=50)
    abort_scale_down_delay_seconds: Annotated[int, Field(strict=True, ge=30, le=86_400)] = Field(
        60, alias="abortScaleDownDelaySeconds"
    )
    """How long the pods of a canary that was taken back stay, for the load balancer to let go or people to look."""

    @model_validator(mode="after")
    def _nobody_stays_behind(self) -> Self:
        # argo-rollouts, issue 2726: it stays on after a promotion, for the old version's target group, which is empty
        if self.stickiness:
            raise ValueError("stickiness would lead clients to pods that Argo Rollouts has taken away, leave it out")
        return self

    @model_validator(mode="after")
    def _only_upwards(self) -> Self:
        weights = [step.set_weight for step in self.steps if step.set_weight is not None]
        if not weights or weights != sorted(set(weights)):
            raise ValueError("each setWeight of the steps must be above the one before it, and there must be one")
        return self


class KserveSettings(Section):
    """An InferenceService, for clusters where KServe runs the models; the weight is in git.

    router:
      kind: kserve                  # v0.20 or newer, with enableGatewayApi; the address is of KServe's ingressDomain
    """

    kind: Literal["kserve"]


RouterKind = Literal["alb", "gateway", "rollouts", "kserve"]
AnyRouter = AlbSettings | GatewaySettings | RolloutsSettings | KserveSettings
_SETTINGS: Mapping[RouterKind, type[AnyRouter]] = {
    "alb": AlbSettings,
    "gateway": GatewaySettings,
    "rollouts": RolloutsSettings,
    "kserve": KserveSettings,
}


class _Kind(BaseModel):
    model_config = ConfigDict(extra="ignore")

    kind: RouterKind = "alb"


def _of_its_kind(value: Any, default: Any) -> Any:
    # Not pydantic's tagged union, which needs `kind` to be there, and puts it into the name of every field that it
    # reports.
    if isinstance(value, Section):
        return default(value)
    kind = _Kind.model_validate(value).kind if isinstance(value, dict) else "alb"
    return _SETTINGS[kind].model_validate(value)


RouterSettings = Annotated[AnyRouter, WrapValidator(_of_its_kind)]
"""The settings of whichever router `kind` names; of the ALB where it names none."""
