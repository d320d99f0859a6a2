"""Freezes: times in which nothing is released."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from gitops.config.policy import Freeze


class Frozen(NamedTuple):
    """A freeze that is on."""

    freeze: Freeze
    until: datetime
    """In the freeze's time zone."""


def frozen(freezes: Iterable[Freeze], at: datetime) -> Frozen | None:
    """Of the freezes that are on at a moment, the one that ends last.

    Everything goes by the clock on a wall in the freeze's time zone. So an hour that the clock shows twice is frozen
    both times or neither, and a beginning that falls in an hour that is skipped counts all the same.
    """
    found = [on for freeze in freezes if (on := _on(freeze, at)) is not None]
    return max(found, key=lambda on: on.until, default=None)


def _on(freeze: Freeze, at: datetime) -> Frozen | None:
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

    zone = ZoneInfo(freeze.time_zone)
    wall = at.astimezone(zone).replace(tzinfo=None, microsecond=0)
    # without a time zone cronsim counts on the wall too; from a second ahead, so that this very second is looked at
    began = next(CronSim(freeze.cron, wall + timedelta(seconds=1), reverse=True), None)
    if began is None or began + freeze.duration <= wall:
        return None
    return Frozen(freeze, (began + freeze.duration).replace(tzinfo=zone))
