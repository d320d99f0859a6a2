"""The two kinds of file that people write: what an environment is, and how a model is to run.

Keys are spelled as Kubernetes spells them (camelCase), so that a value can be copied over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gitops.layout import environment_file, model_file
from gitops.release import Runtime
from gitops.yamls import read_as
from registry.errors import InvalidInput
from registry.facts import Delivery
from registry.names import EnvironmentName, ModelName, check_label

IN_CLUSTER = "https://kubernetes.default.svc"
_Section = TypeVar("_Section", bound=BaseModel)


def _pattern(pattern: str, wanted: str) -> AfterValidator:
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"{value[:80]!r} is not {wanted}")
        return value

    return AfterValidator(check)


def _number_as_text(value: object) -> object:
    # people write `cpu: 2` as well as `cpu: "2"`, and so does Kubernetes
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


_DNS_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
Namespace = Annotated[str, _pattern(_DNS_LABEL, "a namespace: lower-case letters, digits and hyphens")]
# room for `<model>.` before it in the 253 characters of a host name (RFC 1035, section 2.3.4)
Domain = Annotated[
    str, Field(max_length=200), _pattern(rf"(?:{_DNS_LABEL}\.)+{_DNS_LABEL}", "a domain like models.example.com")
]
Server = Annotated[
    str,
    _pattern(
        r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[\w./-]*)?", "a cluster's https:// address without a password"
    ),
]
Certificate = Annotated[
    str,
    _pattern(
        r"arn:aws[a-z-]*:(?:acm|iam):[a-z0-9-]*:[0-9]{12}:(?:server-)?certificate/[\w/+=.@-]+", "a certificate's ARN"
    ),
]
Group = Annotated[str, Field(max_length=63), _pattern(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", "an IngressGroup's name")]
ClassName = Annotated[
    str, Field(max_length=253), _pattern(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", "an IngressClass's name")
]
Cpu = Annotated[
    str,
    BeforeValidator(_number_as_text),
    _pattern(r"(?!0+(?:\.0+)?m?$)(?:[0-9]+(?:\.[0-9]{1,3})?|[0-9]+m)", "an amount of CPU like 2 or 500m"),
]
Memory = Annotated[
    str,
    BeforeValidator(_number_as_text),
    _pattern(r"(?!0+[A-Za-z]*$)[0-9]+(?:[KMGT]i|[kMGT])?", "an amount of memory like 8Gi"),
]
LabelKey = Annotated[
    str, _pattern(rf"(?:(?:{_DNS_LABEL}\.)*{_DNS_LABEL}/)?[A-Za-z0-9](?:[\w.-]{{0,61}}[A-Za-z0-9])?", "a label's name")
]
LabelValue = Annotated[str, _pattern(r"(?:[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?)?", "a label's value")]
Handler = Annotated[str, _pattern(r"[a-z][a-z0-9_]{0,63}|", "a handler's name, like image_classifier")]
SystemPackage = Annotated[
    str, _pattern(r"[a-z0-9][a-z0-9+.-]{0,99}(?:=[A-Za-z0-9.+~:-]{1,99})?", "a Debian package like libgomp1=12.2.0-14")
]
PythonPackage = Annotated[
    str, _pattern(r"[A-Za-z0-9][\w.\[\],<>=!~ ;'\"-]{0,199}", "a requirement like scikit-learn==1.7.2")
]
Count = Annotated[int, Field(strict=True, ge=1, le=1000)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cluster(_Settings):
    """Where Argo CD deploys to: its `destination`."""

    server: Server = IN_CLUSTER


class AlbSettings(_Settings):
    """The Application Load Balancer in front of an environment's models."""

    kind: Literal["alb"] = "alb"
    ingress_class_name: ClassName = Field("alb", alias="ingressClassName")
    scheme: Literal["internal", "internet-facing"] = "internal"
    group: Group | None = None
    certificate_arn: Certificate | None = Field(None, alias="certificateArn")

    @model_validator(mode="after")
    def _no_plain_text_on_the_internet(self) -> Self:
        if self.scheme == "internet-facing" and not self.certificate_arn:
            raise ValueError("an internet-facing load balancer needs a certificateArn, or make its scheme internal")
        return self


class Environment(_Settings):
    """environments/<env>.yaml: one cluster and namespace, and the way into it."""

    name: EnvironmentName
    namespace: Namespace
    cluster: Cluster = Cluster()
    domain: Domain
    router: AlbSettings = AlbSettings()


class Resources(_Settings):
    """What one replica gets. GPUs are whole devices (`nvidia.com/gpu`)."""

    gpu: Annotated[int, Field(strict=True, ge=0, le=64)] = 1
    cpu: Cpu = "2"
    memory: Memory = "8Gi"


class Scaling(_Settings):
    """Replicas, and the percentage of requested CPU at which there is one more."""

    min: Count = 1
    max: Count = 4
    cpu_utilization: Annotated[int, Field(strict=True, ge=1, le=100)] = Field(70, alias="cpuUtilization")


class Toleration(_Settings):
    """A taint that the pods put up with (Kubernetes API, core/v1 Toleration)."""

    key: LabelKey | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _value_where_it_means_something(self) -> Self:
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("a toleration with operator Exists takes no value")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("a toleration needs a key, unless its operator is Exists")
        return self


class Node(_Settings):
    """Which nodes the pods run on; what is left out follows from whether they need a GPU."""

    selector: Mapping[LabelKey, LabelValue] | None = None
    tolerations: Sequence[Toleration] | None = None


class Settings(_Settings):
    """How a model runs in one environment."""

    resources: Resources = Resources()
    scaling: Scaling = Scaling()
    node: Node = Node()

    @property
    def node_selector(self) -> Mapping[str, str]:
        """The nodes' labels: the GPU pool, unless people chose others or no GPU is needed."""
        if self.node.selector is not None:
            return self.node.selector
        return {"sluicegate.dev/pool": "gpu"} if self.resources.gpu else {}

    @property
    def tolerations(self) -> Sequence[Toleration]:
        """The taints put up with: that of GPU nodes, unless people chose others or no GPU is needed."""
        if self.node.tolerations is not None:
            return self.node.tolerations
        gpu_only = Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
        return (gpu_only,) if self.resources.gpu else ()


class ImageSettings(_Settings):
    """What a model's server needs beyond its base image; BuildKit adds it, once for each change of this."""

    dockerfile: Annotated[str, Field(max_length=20_000)] = ""
    """Instructions that are put behind `FROM`."""
    system_packages: tuple[SystemPackage, ...] = Field((), alias="systemPackages")
    """Debian packages, as apt-get takes them."""
    python_packages: tuple[PythonPackage, ...] = Field((), alias="pythonPackages")
    """Requirements, as pip takes them."""
    requirements: Literal["install", "in-base"] = "install"
    """Whether a requirements.txt of the training output has to be installed, or its packages are in the base."""


class Model(Settings):
    """models/<model>/model.yaml: how a model runs, and what is different in some environments."""

    name: ModelName
    runtime: Runtime | None = None
    """The model server; None for the usual one of the model's format."""
    delivery: Delivery = Delivery.IMAGE
    handler: Handler = ""
    """A handler of the model server's own, for a training output without one."""
    image: ImageSettings = ImageSettings()
    environments: Mapping[EnvironmentName, Settings] = {}

    def for_environment(self, environment: str) -> Settings:
        """The settings there: each single field that `environments.<environment>` sets replaces the common one."""
        own = self.environments.get(environment, Settings())
        return Settings(
            resources=_replaced(self.resources, own.resources),
            scaling=_replaced(self.scaling, own.scaling),
            node=_replaced(self.node, own.node),
        )

    @model_validator(mode="after")
    def _scaling_makes_sense_everywhere(self) -> Self:
        # checked on what comes out of the merge: either half alone may well look wrong
        for environment in ("", *self.environments):
            scaling = self.for_environment(environment).scaling
            if scaling.min > scaling.max:
                where = f"in {environment} " if environment else ""
                raise ValueError(f"scaling.min {scaling.min} is above scaling.max {scaling.max} {where}".rstrip())
        return self


def parse_environment(data: bytes, path: str) -> Environment:
    """An environment from the bytes of `environments/<env>.yaml`.

    Raises:
        InvalidInput: one sentence with the file, the field and what is wrong with it.
    """
    environment = read_as(Environment, data, path)
    if path != environment_file(environment.name):
        raise InvalidInput(f"{path}: name is {environment.name}, but the file's name says otherwise, make them agree.")
    return environment


def parse_model(data: bytes, path: str) -> Model:
    """A model's settings from the bytes of `models/<model>/model.yaml`.

    Raises:
        InvalidInput: one sentence with the file, the field and what is wrong with it.
    """
    model = read_as(Model, data, path)
    if path != model_file(model.name):
        raise InvalidInput(f"{path}: name is {model.name}, but the folder's name says otherwise, make them agree.")
    return model


def default_model_file(name: str) -> bytes:
    """The first `models/<name>/model.yaml`: every setting at its default, explained for who edits it.

    Raises:
        InvalidInput: `name` cannot name a model.
    """
    return template("model.yaml", name=check_label(name))


def template(file: str, **values: str) -> bytes:
    """A file of gitops/templates with each `$name` in it replaced."""
    text = (files("gitops") / "templates" / file).read_text(encoding="utf-8")
    return Template(text).substitute(values).encode()


def _replaced(common: _Section, own: _Section) -> _Section:
    return common.model_copy(update={field: getattr(own, field) for field in own.model_fields_set})
