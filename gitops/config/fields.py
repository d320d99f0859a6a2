"""What people may write into single fields, and the class that all parts of their files have in common."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_Part = TypeVar("_Part", bound=BaseModel)


class Section(BaseModel):
    """A part of a file that people write: a field that nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def over(below: _Part, above: BaseModel) -> _Part:
    """`below` with every field that was written in `above`, as far as `below` has fields of that name.

    A section within both is put together in the same way; a list or a mapping is replaced as a whole.
    """
    written: dict[str, Any] = {}
    for name in above.model_fields_set & set(type(below).model_fields):
        under, value = getattr(below, name), getattr(above, name)
        both = isinstance(under, BaseModel) and type(under) is type(value)
        written[name] = over(under, value) if both else value
    return below.model_copy(update=written)


def pattern(expression: str, wanted: str) -> AfterValidator:
    """A check that all of a text matches, which says what is `wanted` where it does not."""
    compiled = re.compile(expression, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            shown = "it" if "://" in value and "@" in value else repr(value[:80])  # a password may be in it
            raise ValueError(f"{shown} is not {wanted}")
        return value

    return AfterValidator(check)


def _number_as_text(value: object) -> object:
    # people write `cpu: 2` as well as `cpu: "2"`, and so does Kubernetes
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _no_secret(name: str) -> str:
    if _SECRET.search(name):
        raise ValueError(
            "it sounds like a secret, which everybody who reads the repository would see; let the server read it where"
            " it is kept, by the rights of the model's ServiceAccount"
        )
    if name == "NVIDIA_VISIBLE_DEVICES":
        # NVIDIA's container runtime goes by it in its default mode, whatever the device plugin gave to whom
        raise ValueError("it would give the server GPUs that are not its own; say how many in resources.gpu")
    return name


def _one_plain_line(value: str) -> str:
    # the value is not shown: what looks odd here may be a key that somebody pasted
    if len(value) > 4096 or not value.isprintable():
        raise ValueError("it must be one line of at most 4096 characters")
    if re.search(r"://[^/@\s]*:[^/@\s]+@", value):
        raise ValueError("it is an address with a password, which everybody who reads the repository would see")
    return value


# whole words of a name, so that TOKENIZERS_PARALLELISM and MAX_TOKENS are none of them
_SECRET = re.compile(
    r"(?:^|_)(?:SECRETS?|PASSWORD|PASSWD|PASSPHRASE|TOKEN|CREDENTIALS?|(?:API|ACCESS|PRIVATE|SIGNING)_?KEY)(?:_|$)",
    re.IGNORECASE,
)

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
# the device plugin's names: whole GPUs, shared ones (its README, "With CUDA Time-Slicing") and MIG slices ("mixed"
# strategy), which may be shared as well
GpuResource = Annotated[
    str,
    pattern(
        r"nvidia\.com/(?:gpu|mig-[1-9]g\.[0-9]{1,3}gb(?:\.me)?)(?:\.shared)?",
        "a GPU's resource like nvidia.com/gpu, nvidia.com/gpu.shared or nvidia.com/mig-1g.5gb",
    ),
]
EnvName = Annotated[
    str,
    pattern(r"[A-Za-z_][A-Za-z0-9_]{0,127}", "an environment variable's name, like OMP_NUM_THREADS"),
    AfterValidator(_no_secret),
]
EnvValue = Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_one_plain_line)]
PrometheusAddress = Annotated[
    str,
    pattern(
        r"https?://[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?(?:/[\w./-]{0,200})?",
        "Prometheus' http:// or https:// address without a password",
    ),
]
Handler = Annotated[str, pattern(r"[a-z][a-z0-9_]{0,63}|", "a handler's name, like image_classifier")]
SystemPackage = Annotated[
    str, pattern(r"[a-z0-9][a-z0-9+.-]{0,99}(?:=[A-Za-z0-9.+~:-]{1,99})?", "a Debian package like libgomp1=12.2.0-14")
]
PythonPackage = Annotated[
    str, pattern(r"[A-Za-z0-9][\w.\[\],<>=!~ ;'\"-]{0,199}", "a requirement like scikit-learn==1.7.2")
]
Count = Annotated[int, Field(strict=True, ge=1, le=1000)]
