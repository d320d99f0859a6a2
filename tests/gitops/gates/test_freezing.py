"""Freezes, above all where clocks change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gitops.config.policy import Freeze
from gitops.gates.freezing import frozen

_MINUTE = timedelta(minutes=1)
# Lord Howe Island moves its clocks by half an hour, Havana at midnight, Kolkata never
_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kolkata")
# 2026, in UTC: when the clocks of one of these zones change
_CHANGES = (
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 3, 8, 7, tzinfo=UTC),
    datetime(2026, 11, 1, 6, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
)


def freeze(cron: str, duration: str, zone: str = "Europe/Berlin") -> Freeze:
    return Freeze.model_validate({"cron": cron, "duration": duration, "timeZone": zone})


def is_on(one: Freeze, at: datetime) -> bool:
    return frozen([one], at) is not None


@st.composite
def moments(draw: st.DrawFn) -> datetime:
    """A time within a day and a half of a change of clocks."""
    return draw(st.sampled_from(_CHANGES)) + timedelta(seconds=draw(st.integers(-130_000, 130_000)))


@given(
    at=moments(),
    zone=st.sampled_from(_ZONES),
    minute=st.integers(0, 59),
    hours=st.none() | st.lists(st.integers(0, 23), min_size=1, max_size=3, unique=True),
    weekdays=st.none() | st.lists(st.integers(0, 6), min_size=1, max_size=3, unique=True),
    minutes=st.integers(1, 2000),
)
def test_it_is_on_from_a_time_that_cron_names_until_the_clock_has_gone_on_by_the_duration(
    at: datetime, zone: str, minute: int, hours: Sequence[int] | None, weekdays: Sequence[int] | None, minutes: int
) -> None:
    def named(wall: datetime) -> bool:
        day_fits = weekdays is None or wall.isoweekday() % 7 in weekdays
        return wall.minute == minute and (hours is None or wall.hour in hours) and day_fits

    fields = [",".join(map(str, field)) if field else "*" for field in (hours, weekdays)]
    wall = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None, second=0)
    expected = any(named(wall - back * _MINUTE) for back in range(minutes))
    assert is_on(freeze(f"{minute} {fields[0]} * * {fields[1]}", f"{minutes}m", zone), at) is expected


@given(at=moments(), zone=st.sampled_from(_ZONES), hour=st.integers(0, 23), minutes=st.integers(1, 3000))
def test_it_ends_when_it_says(at: datetime, zone: str, hour: int, minutes: int) -> None:
    one = freeze(f"0 {hour} 1-7,20-31 * *", f"{minutes}m", zone)
    on = frozen([one], at)
    if on is not None:
        wall, until = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None), on.until.replace(tzinfo=None)
        assert wall < until <= wall + minutes * _MINUTE
        assert (until - minutes * _MINUTE).hour == hour


@pytest.mark.parametrize(
    ("friday", "hours"),
    [
        (datetime(2026, 3, 27, 16, tzinfo=UTC), 62),  # clocks go forward on Sunday
        (datetime(2026, 10, 23, 15, tzinfo=UTC), 64),  # and back
        (datetime(2026, 7, 3, 15, tzinfo=UTC), 63),
    ],
)
def test_a_weekend_ends_at_eight_whatever_the_clocks_did(friday: datetime, hours: int) -> None:
    weekend = freeze("0 17 * * FRI", "63h")
    end = friday + timedelta(hours=hours)
    assert not is_on(weekend, friday - timedelta(seconds=1))
    assert all(is_on(weekend, friday + hour * timedelta(hours=1)) for hour in range(hours))
    assert is_on(weekend, end - timedelta(microseconds=1))
    assert not is_on(weekend, end)
    on = frozen([weekend], friday)
    assert on is not None
    assert f"{on.until:%A %H:%M}" == "Monday 08:00"


def test_an_hour_that_comes_twice_is_frozen_twice() -> None:
    night = freeze("10 2 * * *", "20m")
    first, second = (datetime(2026, 10, 25, hour, 15, tzinfo=UTC) for hour in (0, 1))
    assert is_on(night, first)
    assert is_on(night, second)
    assert not is_on(night, first - timedelta(minutes=6))
    assert not is_on(night, second + timedelta(minutes=16))


def test_a_beginning_in_an_hour_that_is_skipped_counts() -> None:
    night = freeze("30 2 * * *", "1h")
    three = datetime(2026, 3, 29, 1, tzinfo=UTC)  # the clock goes from 02:00 to 03:00
    assert not is_on(night, three - timedelta(seconds=1))
    assert is_on(night, three)
    assert not is_on(night, three + timedelta(minutes=30))


def test_of_several_the_one_that_ends_last() -> None:
    short, long = freeze("0 8 * * *", "1h"), freeze("0 7 * * *", "4h", "UTC")
    at = datetime(2026, 7, 1, 7, 30, tzinfo=UTC)  # half past nine in Berlin
    assert is_on(long, at)
    assert not is_on(short, at)
    at -= timedelta(hours=1)
    assert frozen([short, long], at) == (short, datetime(2026, 7, 1, 9, tzinfo=ZoneInfo("Europe/Berlin")))
    at += timedelta(minutes=29)
    on = frozen([long, short], at + timedelta(minutes=1))
    assert on is not None
    assert on.freeze is long
    assert frozen([], at) is None


@given(st.text("0123456789*/,-#LWMONSUJA? ", max_size=40) | st.text(max_size=12))
def test_any_text_is_refused_or_can_be_asked(cron: str) -> None:
    try:
        one = freeze(cron, "1h")
    except ValidationError as error:
        assert "is not a cron expression of five fields" in str(error)  # noqa: PT017
        return
    is_on(one, datetime(2026, 7, 1, tzinfo=UTC))
