"""What a server asks for in `WWW-Authenticate` (RFC 9110, sections 11.2 to 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_LONGEST = 16 << 10
"""Letters of a header that are read; a challenge is far shorter."""
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a grammar
_GAP = re.compile(r"[\s,]*")
_SCHEME = re.compile(rf"({_TOKEN})(?:[ \t]+|(?=,|$))")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")
_PARAM = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))[ \t]*(?=,|$)', re.DOTALL)


class Challenge(NamedTuple):
    """One way in."""

    scheme: str
    """In lower case: `bearer`, `basic`."""
    params: Mapping[str, str]
    """By their names in lower case."""


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Read the headers of an answer, however they are split; nothing after a part that fits no grammar is read.

    A challenge that says one thing twice is left out: whichever were taken, another reader would take the other.
    """
    text = ", ".join(headers)[:_LONGEST]
    found: list[Challenge] = []
    at = _skip(text, 0)
    while match := _SCHEME.match(text, at):
        read = _params(text, match.end())
        if read is None:
            break
        pairs, at = read
        params = dict(pairs)
        if len(params) == len(pairs):
            found.append(Challenge(match[1].lower(), params))
    return tuple(found)


def _params(text: str, at: int) -> tuple[list[tuple[str, str]], int] | None:
    """The parameters from `at` on and the place of the next challenge; None where neither can be told."""
    single = _TOKEN68.match(text, at)
    if single and not _PARAM.match(text, at) and single.end() > at:
        return [], _skip(text, single.end())
    pairs: list[tuple[str, str]] = []
    while match := _PARAM.match(text, at):
        quoted = match[2]
        pairs.append((match[1].lower(), match[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.S)))
        at = _skip(text, match.end())
    rest = _skip(text, at)
    return (pairs, rest) if rest == len(text) or _SCHEME.match(text, rest) else None


def _skip(text: str, at: int) -> int:
    match = _GAP.match(text, at)
    return match.end() if match else at
