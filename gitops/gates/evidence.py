"""What gates look at, and what they say."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from gitops.gates.soaking import Soak
from gitops.release import Deployed, Release
from registry.changes import Approval
from registry.facts import Severity, Smoke
from registry.names import EnvironmentName, ModelName
from registry.records import utc_now
from registry.roles import Role


class Gate(StrEnum):
    """The gates, by the names that they have in environments/<env>.yaml and in the trailer `Override`."""

    RELEASERS = "releasers"
    SCAN_CLEAN = "scanClean"
    SMOKE_PASSED = "smokePassed"
    APPROVED = "approved"
    HEALTHY_IN = "healthyIn"
    WEIGHTS = "weights"
    MAX_STEP = "maxStep"
    FREEZE = "freeze"
    PULL_REQUEST = "pullRequest"


class Way(StrEnum):
    """How a change gets to the branch."""

    COMMIT = "commit"
    REQUEST = "request"
    """Through a pull request."""


class Known(BaseModel):
    """What is known outside of git: of the version in the registry, and of who asks. Nothing, where nobody told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scanner: str = ""
    """What looked for findings; empty where nothing did."""
    worst: Severity | None = None
    """The worst finding's severity."""
    smoke: Smoke | None = None
    approval: Approval = Approval.PENDING
    role: Role = Role.RELEASER
    """The role that whoever asks acts in."""
    at: datetime = Field(default_factory=utc_now)
    """When this was known, which is the time that gates go by."""


class Evidence(BaseModel):
    """All that the gates of one environment look at for one promotion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName
    environment: EnvironmentName
    to: Deployed
    weight: int
    """The share that is asked for."""
    before: Release | None
    """What runs there now."""
    requested_by: str
    way: Way = Way.COMMIT
    known: Known
    soak: Soak | None = None
    """How the version does in the environment before; None where no gate asks."""

    @property
    def ref(self) -> str:
        """The version, as people write it."""
        return f"{self.model}@{self.to.version}"

    @property
    def share(self) -> int:
        """The percentage of the traffic that the version has now."""
        if self.before is None:
            return 0
        canary = self.before.canary
        if canary is not None and canary.version == self.to.version:
            return canary.weight
        if self.before.stable.version == self.to.version:
            return 100 - (canary.weight if canary else 0)
        return 0

    @property
    def is_retreat(self) -> bool:
        """Whether the share of what runs only shrinks, which needs no proof of anything; another image of it does."""
        return self.before is not None and self.to in self.before.shares and self.weight < self.share


class Verdict(BaseModel):
    """What one gate says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gate: Gate
    passed: bool
    why: str
    """What it found, without a full stop: `staging has run it for 3 of 24 hours`."""
    how: str = ""
    """How to pass it; empty where it is passed."""
