"""What people may write into single fields, and the class that all parts of their files have in common."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


class Section(BaseModel):
    """A part of a file that people write: a field that nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def pattern(expression: str, wanted: str) -> AfterValidator:
    """A check that all of a text matches, which says what is `wanted` where it does not."""
    compiled = re.compile(expression, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"{value[:80]!r} is not {wanted}")
        return value

    return AfterValidator(check)


def _number_as_text(value: object) -> object:
    # people write `cpu: 2` as well as `cpu: "2"`, and so does Kubernetes
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


DNS_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
Namespace = Annotated[str, pattern(DNS_LABEL, "a namespace: lower-case letters, digits and hyphens")]
# room for `<model>.` before it in the 253 characters of a host name (RFC 1035, section 2.3.4)
Domain = Annotated[
    str, Field(max_length=200), pattern(rf"(?:{DNS_LABEL}\.)+{DNS_LABEL}", "a domain like models.example.com")
]
Server = Annotated[
    str,
    pattern(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[\w./-]*)?", "a cluster's https:// address without a password"),
]
Certificate = Annotated[
    str,
    pattern(
        r"arn:aws[a-z-]*:(?:acm|iam):[a-z0-9-]*:[0-9]{12}:(?:server-)?certificate/[\w/+=.@-]+", "a certificate's ARN"
    ),
]
Group = Annotated[str, Field(max_length=63), pattern(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", "an IngressGroup's name")]
ClassName = Annotated[
    str, Field(max_length=253), pattern(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", "an IngressClass's name")
]
Cpu = Annotated[
    str,
    BeforeValidator(_number_as_text),
    pattern(r"(?!0+(?:\.0+)?m?$)(?:[0-9]+(?:\.[0-9]{1,3})?|[0-9]+m)", "an amount of CPU like 2 or 500m"),
]
Memory = Annotated[
    str,
    BeforeValidator(_number_as_text),
    pattern(r"(?!0+[A-Za-z]*$)[0-9]+(?:[KMGT]i|[kMGT])?", "an amount of memory like 8Gi"),
]
LabelKey = Annotated[
    str, pattern(rf"(?:(?:{DNS_LABEL}\.)*{DNS_LABEL}/)?[A-Za-z0-9](?:[\w.-]{{0,61}}[A-Za-z0-9])?", "a label's name")
]
LabelValue = Annotated[str, pattern(r"(?:[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?)?", "a label's value")]
Handler = Annotated[str, pattern(r"[a-z][a-z0-9_]{0,63}|", "a handler's name, like image_classifier")]
SystemPackage = Annotated[
    str, pattern(r"[a-z0-9][a-z0-9+.-]{0,99}(?:=[A-Za-z0-9.+~:-]{1,99})?", "a Debian package like libgomp1=12.2.0-14")
]
PythonPackage = Annotated[
    str, pattern(r"[A-Za-z0-9][\w.\[\],<>=!~ ;'\"-]{0,199}", "a requirement like scikit-learn==1.7.2")
]
Count = Annotated[int, Field(strict=True, ge=1, le=1000)]
