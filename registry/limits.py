"""What may be how long: the limits of everything people write into the registry, and the types that keep them.

Tags are SageMaker's and S3's (SageMaker API reference, "Tag": 50 of at most 128 and 256 characters), so that a job's
own tags always fit.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

TAGS_MAX, TAG_KEY_MAX, TAG_VALUE_MAX = 50, 128, 256
METRICS_MAX, METRIC_NAME_MAX = 500, 255
PARAMETERS_MAX, PARAMETER_MAX = 500, 6_000
LINKS_MAX, LINK_MAX = 20, 2_000
DESCRIPTION_MAX, REASON_MAX, ACTOR_MAX = 5_000, 1_000, 200
INPUTS_MAX, URI_MAX = 100, 2_048
TENSORS_MAX = 1_000
"""Inputs, or outputs, of one model."""
PAGE_MAX = 10_000
"""Versions, models or events in one page."""
COMPARE_MAX = 20
RECORD_MAX = 1 << 20
"""Bytes of one record, and so of one request's body."""


def one_line(value: str) -> str:
    """`value` where it is one line without control characters.

    Raises:
        ValueError: it is not.
    """
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in value):
        raise ValueError("must be one line without control characters")
    return value


def no_controls(value: str) -> str:
    """`value` where it has no control characters but tabs and line feeds.

    Raises:
        ValueError: it has.
    """
    for line in value.split("\n"):
        one_line(line.replace("\t", " "))
    return value


_ONE_LINE = Field(json_schema_extra={"pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"})
_LINES = Field(json_schema_extra={"pattern": r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029]*$"})
"""For JSON schemas, which cannot tell what the checks do."""
Line = Annotated[str, StringConstraints(max_length=URI_MAX), AfterValidator(one_line), _ONE_LINE]
TagKey = Annotated[str, StringConstraints(min_length=1, max_length=TAG_KEY_MAX), AfterValidator(one_line), _ONE_LINE]
TagValue = Annotated[str, StringConstraints(max_length=TAG_VALUE_MAX), AfterValidator(one_line), _ONE_LINE]
Tags = Annotated[Mapping[TagKey, TagValue], Field(max_length=TAGS_MAX)]
MetricName = Annotated[
    str, StringConstraints(min_length=1, max_length=METRIC_NAME_MAX), AfterValidator(one_line), _ONE_LINE
]
Metrics = Annotated[Mapping[MetricName, float], Field(max_length=METRICS_MAX)]
Parameters = Annotated[
    Mapping[
        MetricName, Annotated[str, StringConstraints(max_length=PARAMETER_MAX), AfterValidator(no_controls), _LINES]
    ],
    Field(max_length=PARAMETERS_MAX),
]
Link = Annotated[
    str, StringConstraints(min_length=8, max_length=LINK_MAX, pattern=r"^https?://[^\s]+$"), AfterValidator(one_line)
]
Links = Annotated[Mapping[TagKey, Link], Field(max_length=LINKS_MAX)]
Description = Annotated[str, StringConstraints(max_length=DESCRIPTION_MAX), AfterValidator(no_controls), _LINES]
Reason = Annotated[str, StringConstraints(max_length=REASON_MAX), AfterValidator(no_controls), _LINES]
Actor = Annotated[str, StringConstraints(min_length=1, max_length=ACTOR_MAX), AfterValidator(one_line), _ONE_LINE]
Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""Tells one request's writing from another's: a UUID, or the hash of an Idempotency-Key."""
