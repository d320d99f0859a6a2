"""What an environment asks of a release before it takes traffic there: who may release, and which gates refuse.

Only what people may write is here; gitops/gates says what it means.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from gitops.config.fields import Section
from registry.limits import one_line
from registry.names import EnvironmentName
from registry.roles import Role

ROLE = "role:"
"""Before a role's name, where whoever acts in it may release."""
_DURATION = re.compile(r"(?:([0-9]{1,3})d)?(?:([0-9]{1,4})h)?(?:([0-9]{1,5})m)?")
_LONGEST = timedelta(days=366)


class Worst(StrEnum):
    """The worst finding of the scan that is let through."""

    NONE = "none"
    NOTE = "note"
    WARNING = "warning"


class PullRequest(StrEnum):
    """Whether a release goes to the branch through a pull request."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NEVER = "never"


def _releaser(value: str) -> str:
    if value.startswith(ROLE) and value.removeprefix(ROLE) not in set(Role):
        roles = ", ".join(f"{ROLE}{role.value}" for role in Role)
        raise ValueError(f"{value[:80]!r} is not a role: write one of {roles}")
    return one_line(value)


def _cron(value: str) -> str:
    from cronsim import CronSim, CronSimError

    wanted = f"{value[:80]!r} is not a cron expression of five fields, like 0 17 * * FRI"
    if len(value.split()) != 5:
        raise ValueError(wanted)
    try:
        CronSim(value, datetime(2026, 1, 1))  # noqa: DTZ001  # only whether it can be read
    except CronSimError as error:
        raise ValueError(f"{wanted} ({str(error)[:1].lower()}{str(error)[1:]})") from None
    return value


def _time_zone(value: str) -> str:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):  # unknown, outside of the folder of zones, or that of several
        raise ValueError(
            f"{value[:80]!r} is no time zone known here: write it as in the IANA list, like Europe/Berlin"
        ) from None
    return value


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match or not any(match.groups()):
        raise ValueError(f"{str(value)[:80]!r} is not a duration: write days, hours and minutes like 2d12h or 90m")
    days, hours, minutes = (int(part or 0) for part in match.groups())
    found = timedelta(days=days, hours=hours, minutes=minutes)
    if not timedelta(minutes=1) <= found <= _LONGEST:
        raise ValueError(f"{value} is not between a minute and {_LONGEST.days} days")
    return found


Releaser = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_releaser)]
Cron = Annotated[str, Field(max_length=100), AfterValidator(_cron)]
TimeZone = Annotated[str, Field(max_length=64), AfterValidator(_time_zone)]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(lambda value: f"{value // timedelta(minutes=1)}m", return_type=str, when_used="json"),
]
Share = Annotated[int, Field(strict=True, ge=1, le=100)]


class Soaking(Section):
    """Another environment that must have run the version before, and for how long."""

    environment: EnvironmentName
    hours: Annotated[int, Field(strict=True, ge=1, le=8760)]

    @property
    def length(self) -> timedelta:
        """How long it must have run."""
        return timedelta(hours=self.hours)


class Freeze(Section):
    """A time in which nothing is released, that comes again and again.

    It begins whenever the clock on a wall there shows a time that `cron` names, and ends when that clock has gone on
    by `duration`: a freeze from Friday 17:00 for 63 hours ends on Monday at 08:00, also where clocks change on Sunday.
    """

    cron: Cron
    """Five fields, as crontab(5) has them; the syntax is that of the library cronsim."""
    time_zone: TimeZone = Field("UTC", alias="timeZone")
    duration: Duration
    reason: Annotated[str, Field(max_length=200), AfterValidator(one_line)] = ""


class Gates(Section):
    """What a version must have shown, and how its share may grow. What is left out is not asked."""

    scan_clean: Worst | None = Field(None, alias="scanClean")
    smoke_passed: Annotated[bool, Field(strict=True)] = Field(False, alias="smokePassed")
    approved: Annotated[bool, Field(strict=True)] = False
    healthy_in: Soaking | None = Field(None, alias="healthyIn")
    weights: Annotated[tuple[Share, ...], Field(max_length=100)] = ()
    """The shares a version may have; none listed stands for any."""
    max_step: Share | None = Field(None, alias="maxStep")
    """By how many percent a share may grow at once."""
    freeze: Annotated[tuple[Freeze, ...], Field(max_length=50)] = ()
    pull_request: PullRequest = Field(PullRequest.OPTIONAL, alias="pullRequest")

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_left_open(cls, told: object) -> object:
        empty = next((name for name, value in told.items() if value is None), None) if isinstance(told, dict) else None
        if empty is not None:
            raise ValueError(f"{empty} has no value, say what it asks for or take the line out")
        return told

    @model_validator(mode="after")
    def _every_release_can_be_finished(self) -> Self:
        ladder = sorted(set(self.weights))
        if ladder and ladder[-1] != 100:
            raise ValueError("weights must hold 100, else no release can be finished")
        for below, above in zip([0, *ladder], ladder, strict=False):
            if self.max_step is not None and above - below > self.max_step:
                raise ValueError(
                    f"no weight is allowed between {below} and {above}, which maxStep {self.max_step} forbids"
                )
        return self
