"""What people say of the way into an environment: which router splits the traffic there, and how."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from gitops.config.fields import Certificate, ClassName, Group, Section


class AlbSettings(Section):
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
