"""The text of a request, in Markdown that GitHub, GitLab and CodeCommit show alike.

What people, jobs and models say is only ever shown as code. Inside a code span or a code block nobody is mentioned, no
issue is closed, no command is carried out (GitLab's lines that begin with a slash), no HTML, link, image or checkbox
comes about (CommonMark, sections 4.5 and 6.1; GitHub Flavored Markdown, "Tables").
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from registry.text import plain

_ROWS = 100
"""Rows of a table at most."""
_SPAN_MAX = 500
_DIFF_MIN = 500
"""What is left for the difference at least, else it is not begun."""
_NONE = "-"
_TICKS = re.compile(r"`+")


class Check(NamedTuple):
    """What one gate says."""

    name: str
    passed: bool
    how: str
    """What it found, or how to pass it."""


class Metric(NamedTuple):
    """One metric of the stable version and of the one that is proposed; None where it has none."""

    name: str
    stable: float | None
    proposed: float | None


class File(NamedTuple):
    """How many lines come and go in one file."""

    path: str
    added: int
    removed: int


class Telling(NamedTuple):
    """All that a request tells."""

    words: str
    """What changes, in a sentence without a full stop."""
    requested_by: str
    reason: str
    stable: int | None
    """The stable version's number now; None where there is none."""
    proposed: int
    metrics: Sequence[Metric]
    checks: Sequence[Check]
    files: Sequence[File]
    diff: str


def compared(stable: Mapping[str, float], proposed: Mapping[str, float]) -> Sequence[Metric]:
    """The metrics of two versions side by side, by name."""
    return [Metric(name, stable.get(name), proposed.get(name)) for name in sorted({*stable, *proposed})]


def describe(telling: Telling, most: int, folds: bool) -> str:
    """The text, of at most `most` characters; with the whole difference only where the forge can fold it."""
    parts = [span(telling.words), f"Asked for by {span(telling.requested_by)}."]
    if telling.reason.strip():
        parts.append(f"Reason: {span(telling.reason)}")
    parts += [_metrics(telling), _checks(telling.checks), _files(telling.files), _FOOT]
    text = "\n\n".join(part for part in parts if part)
    room = most - len(text) - 200
    if folds and room >= _DIFF_MIN and telling.diff:
        text += f"\n\n{_folded(telling.diff, room)}"
    return text if len(text) <= most else text[: most - 2].rpartition("\n")[0] + "\n…"


def span(text: str, most: int = _SPAN_MAX) -> str:
    """A code span of one line that shows `text`, of which at most `most` characters."""
    line = " ".join(plain(text).split())
    line = line if len(line) <= most else line[: most - 1] + "…"
    if not line:
        return f"`{_NONE}`"
    ticks = "`" * (max((len(run) for run in _TICKS.findall(line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def block(text: str, language: str = "") -> str:
    """A code block that shows `text`, which cannot end it."""
    ticks = "`" * max(3, max((len(run) for run in _TICKS.findall(text)), default=0) + 1)
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"


_FOOT = (
    "Merging this releases it. Keep the commit's message, its last paragraph above all, whichever way you merge: Sluice"
    " reads there what was released."
)


def _cell(text: str) -> str:
    """A code span for a table, where a bar ends the cell even inside of it, and no escape is the same everywhere."""
    return span(text.replace("|", "¦"), 200)


def _metrics(telling: Telling) -> str:
    if not telling.metrics:
        return ""
    stable = f"v{telling.stable}, stable" if telling.stable is not None else "stable"
    head = f"### Metrics\n\n| Metric | {stable} | v{telling.proposed} | Difference |\n| --- | ---: | ---: | ---: |"
    rows = [
        f"| {_cell(one.name)} | {_number(one.stable)} | {_number(one.proposed)} | {_difference(one)} |"
        for one in telling.metrics[:_ROWS]
    ]
    return "\n".join([head, *rows]) + _more(len(telling.metrics), "metrics")


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:g}"


def _difference(metric: Metric) -> str:
    if metric.stable is None or metric.proposed is None:
        return _NONE
    delta = metric.proposed - metric.stable
    return _NONE if math.isnan(delta) else f"{delta:+.4g}"


def _checks(checks: Sequence[Check]) -> str:
    if not checks:
        return ""
    rows = [f"- [{'x' if one.passed else ' '}] {span(one.name)}: {span(one.how)}" for one in checks[:_ROWS]]
    return "### Gates\n\n" + "\n".join(rows) + _more(len(checks), "gates")


def _files(files: Sequence[File]) -> str:
    rows = [f"| {_cell(one.path)} | +{one.added} | -{one.removed} |" for one in files[:_ROWS]]
    head = "### Files\n\n| File | Added | Removed |\n| --- | ---: | ---: |"
    return "\n".join([head, *rows]) + _more(len(files), "files") if rows else ""


def _more(count: int, what: str) -> str:
    return f"\n\n… and {count - _ROWS} more {what}." if count > _ROWS else ""


def _folded(diff: str, room: int) -> str:
    shown = plain(diff)
    left_out = ""
    if len(block(shown, "diff")) > room:
        kept = shown[: room - 2 * len(block("", "diff")) - 50].rpartition("\n")[0]
        left_out = f"\n\n… and {shown.count(chr(10)) - kept.count(chr(10))} more lines."
        shown = kept
    return f"<details>\n<summary>The whole difference</summary>\n\n{block(shown, 'diff')}{left_out}\n\n</details>"
