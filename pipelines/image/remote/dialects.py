"""What registries do differently from the specification, known by their names."""

from __future__ import annotations

import re
from typing import NamedTuple

_ECR = re.compile(r"([0-9]{12})\.dkr\.ecr(?:-fips)?\.([a-z]{2}(?:-[a-z]+)+-[0-9])\.amazonaws\.com(?:\.cn)?")


class Dialect(NamedTuple):
    """How a registry is spoken to."""

    resumes: bool
    """Whether an upload that broke can go on in its session."""

    @classmethod
    def of(cls, host: str) -> Dialect:
        """The dialect of a host.

        ECR takes a second PATCH to a session with 201 and drops what is in it, so an upload that broke is sent again.
        """
        return ECR if _ECR.fullmatch(host) else OCI


OCI = Dialect(resumes=True)
ECR = Dialect(resumes=False)


class EcrHost(NamedTuple):
    """A private registry of ECR."""

    account: str
    region: str

    @classmethod
    def of(cls, host: str) -> EcrHost | None:
        """Whose registry a host is, None where it is not one of ECR (Amazon ECR User Guide, "Private registry")."""
        match = _ECR.fullmatch(host)
        return cls(match[1], match[2]) if match else None
