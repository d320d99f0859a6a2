"""Names and references: what may be called what, and how a reference is read.

A model's name becomes a Kubernetes name with a suffix (`fraud-canary`), a DNS label, an S3 key and an ECR
repository, so it is an RFC 1035 label (section 2.3.1) of at most 40 characters.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from registry.errors import InvalidInput

MODEL_NAME_MAX = 40
LATEST = "latest"
"""The alias that every model has and nobody moves: its newest version."""
_LABEL = re.compile(r"[a-z](?:-?[a-z0-9])*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_IMAGE = re.compile(
    r"(?:[a-z0-9][a-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)+@sha256:[0-9a-f]{64}"
)
_S3_URI = re.compile(r"s3://(?!(?:[0-9]+\.){3}[0-9]+/)(?![^/]*\.\.)([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.+)")


def check_label(value: str, what: str = "model") -> str:
    """Return `value` where it can name a model or an environment.

    Raises:
        InvalidInput: not lower-case letters, digits and hyphens between them, or longer than 40 characters.
    """
    if len(value) > MODEL_NAME_MAX or not _LABEL.fullmatch(value):
        article = "an" if what[0] in "aeiou" else "a"
        shown = value if len(value) <= MODEL_NAME_MAX else value[:MODEL_NAME_MAX] + "…"
        raise InvalidInput(
            f"{shown!r} cannot name {article} {what}: use at most {MODEL_NAME_MAX} lower-case letters, digits and"
            " single hyphens, starting with a letter and not ending with a hyphen."
        )
    return value


def check_alias(value: str) -> str:
    """Return `value` where it can name an alias: a label as a model's, but not `latest`, which always moves by itself.

    Raises:
        InvalidInput: it cannot.
    """
    if value == LATEST:
        raise InvalidInput(f"{LATEST} always names the newest version: give the alias another name.")
    return check_label(value, "alias")


def check_digest(value: str) -> str:
    """Return `value` where it is `sha256:` and 64 hexadecimal digits (OCI image spec, "Digests").

    Raises:
        InvalidInput: it is not.
    """
    if not _DIGEST.fullmatch(value):
        raise InvalidInput(f"{value[:80]!r} is not a digest: sha256: and 64 hexadecimal digits are needed.")
    return value


def check_image(value: str) -> str:
    """Return `value` where it is an image reference by digest, `registry/repository@sha256:…`.

    Raises:
        InvalidInput: no digest, a tag, or a part no registry accepts (OCI distribution spec, "Pulling manifests").
    """
    if not _IMAGE.fullmatch(value):
        raise InvalidInput(f"{value[:200]!r} is not an image by digest: registry/repository@sha256:… is needed.")
    return value


def check_bucket(value: str) -> str:
    """Return `value` where it can name a bucket (S3 user guide, "Bucket naming rules").

    Raises:
        InvalidInput: it cannot.
    """
    if "/" in value or not _S3_URI.fullmatch(f"s3://{value}/key"):
        raise InvalidInput(
            f"{value[:80]!r} cannot name a bucket: use 3 to 63 lower-case letters, digits, hyphens and dots."
        )
    return value


def _as_value_error(value: str, check: object) -> str:
    # pydantic turns ValueError, and no other error, into its own report of where a field is wrong
    try:
        return check(value)  # type: ignore[operator, no-any-return]
    except InvalidInput as error:
        raise ValueError(str(error)) from None


def _described(pattern: re.Pattern[str], most: int | None = None) -> Any:
    """For JSON schemas, which cannot tell what the check does."""
    return Field(json_schema_extra={"pattern": f"^(?:{pattern.pattern})$"} | ({"maxLength": most} if most else {}))


ModelName = Annotated[
    str, AfterValidator(lambda value: _as_value_error(value, check_label)), _described(_LABEL, MODEL_NAME_MAX)
]
EnvironmentName = Annotated[
    str,
    AfterValidator(lambda value: _as_value_error(value, lambda v: check_label(v, "environment"))),
    _described(_LABEL, MODEL_NAME_MAX),
]
AliasName = Annotated[
    str, AfterValidator(lambda value: _as_value_error(value, check_alias)), _described(_LABEL, MODEL_NAME_MAX)
]
Digest = Annotated[str, AfterValidator(lambda value: _as_value_error(value, check_digest)), _described(_DIGEST)]
ImageRef = Annotated[str, AfterValidator(lambda value: _as_value_error(value, check_image)), _described(_IMAGE)]
VersionNumber = Annotated[int, Field(ge=1, le=9_999_999_999)]


class VersionRef(BaseModel):
    """One version of one model, written `fraud@7`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName
    number: VersionNumber

    def __str__(self) -> str:
        return f"{self.model}@{self.number}"

    @classmethod
    def parse(cls, text: str) -> VersionRef:
        """Read `model@number`.

        Raises:
            InvalidInput: another shape, a bad model name, or a number below 1.
        """
        model, at, number = text.partition("@")
        check_label(model)
        if not at or not re.fullmatch(r"[1-9][0-9]{0,9}", number):
            raise InvalidInput(f"{text[:80]!r} is not a version: write it as {model}@7.")
        return cls(model=model, number=int(number))


class AliasRef(BaseModel):
    """A version by its alias, written `fraud@champion`; `fraud@latest` is the newest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName
    alias: str

    def __str__(self) -> str:
        return f"{self.model}@{self.alias}"


def parse_reference(text: str) -> VersionRef | AliasRef:
    """Read `fraud@7`, `fraud@champion` or `fraud@latest`.

    Raises:
        InvalidInput: another shape.
    """
    model, at, name = text.partition("@")
    if not at or not name[:1].isalpha():
        return VersionRef.parse(text)
    check_label(model)
    return AliasRef(model=model, alias=name if name == LATEST else check_alias(name))


class S3Uri(BaseModel):
    """An S3 object, written `s3://bucket/key`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @classmethod
    def parse(cls, text: str) -> S3Uri:
        """Read `s3://bucket/key`; the bucket follows the S3 user guide's "Bucket naming rules".

        Raises:
            InvalidInput: another scheme, no key, or a name no bucket can have.
        """
        match = _S3_URI.fullmatch(text)
        if not match:
            raise InvalidInput(f"{text[:200]!r} is not an S3 object: write it as s3://bucket/key.")
        return cls(bucket=match[1], key=match[2])
