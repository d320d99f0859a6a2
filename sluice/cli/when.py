"""Times as people give them: `7d` for a while, `2026-11-01` for a day, `2026-11-01T08:30Z` for a moment."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from registry.errors import InvalidInput

_WHILE = re.compile(r"([0-9]{1,6})([smhdw])")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """Read `90s`, `30m`, `24h`, `7d` or `2w`.

    Raises:
        InvalidInput: another shape.
    """
    match = _WHILE.fullmatch(text)
    if not match:
        raise InvalidInput(f"{text[:40]!r} is no length of time: write it as 30m, 24h, 7d or 2w.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def since(text: str) -> datetime:
    """Read a while ago, a day, of which the beginning is meant, or a moment; without a zone it is UTC.

    Raises:
        InvalidInput: another shape.
    """
    if not _WHILE.fullmatch(text):
        return span(text)[0]
    try:
        return datetime.now(UTC) - duration(text)
    except OverflowError as error:
        raise InvalidInput(f"{text[:40]!r} is before all times: give a shorter while.") from error


def span(text: str) -> tuple[datetime, datetime]:
    """Read a day, from its first moment to its last, or a moment, which is both; without a zone it is UTC.

    Raises:
        InvalidInput: another shape.
    """
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        last = moment + timedelta(days=1) - timedelta(microseconds=1) if _DAY.fullmatch(text) else moment
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{text[:40]!r} is no time: write it as 7d, 2026-11-01 or 2026-11-01T08:30Z.") from error
    return moment, last
