"""Where findings are gathered, and how much work looking for them may take."""

from __future__ import annotations

from collections import Counter

from registry.facts import SEVERITIES, Finding, Severity

FINDINGS_MAX = 200
_PATH_MAX = 400
_DETAIL_MAX = 300

INFLATED_MAX = 64 << 30
"""Bytes that all zips of one training output together may give."""
STEPS_MAX = 30_000_000
"""Opcodes in all of its pickles, and a few for each file in a zip: about a minute of work."""


class Exhausted(Exception):
    """The budget is spent."""


class Findings:
    """What was found in one training output; of too many the worst are kept."""

    def __init__(self) -> None:
        self._kept: dict[Severity, list[tuple[int, Finding]]] = {severity: [] for severity in SEVERITIES}
        self._counts: Counter[Severity] = Counter()
        self._once: set[str] = set()

    def add(self, path: str, rule: str, severity: Severity, detail: str) -> None:
        """Note one. Control characters in `path` and `detail`, which may be an attacker's, are written as escapes."""
        number = self._counts.total()
        self._counts[severity] += 1
        kept = self._kept[severity]
        if len(kept) < FINDINGS_MAX:
            finding = Finding(
                path=_plain(path, _PATH_MAX), rule=rule, severity=severity, detail=_plain(detail, _DETAIL_MAX)
            )
            kept.append((number, finding))

    def once(self, path: str, rule: str, severity: Severity, detail: str) -> None:
        """Note one, unless the rule has found something before."""
        if rule not in self._once:
            self._once.add(rule)
            self.add(path, rule, severity, detail)

    def all(self) -> tuple[Finding, ...]:
        """The findings in the order they were made: at most FINDINGS_MAX, and one that counts the others."""
        room, kept = FINDINGS_MAX, list[tuple[int, Finding]]()
        for severity in reversed(SEVERITIES):
            taken = self._kept[severity][:room]
            room -= len(taken)
            kept += taken
        findings = [finding for _, finding in sorted(kept, key=lambda item: item[0])]
        left = self._counts - Counter(finding.severity for finding in findings)
        if left:
            worst = max(left, key=SEVERITIES.index)
            detail = f"and {left.total()} more findings, the worst of them of severity {worst.value}"
            findings.append(Finding(path="", rule="more", severity=worst, detail=detail))
        return tuple(findings)


class Budget:
    """What may still be done for one training output, so that a small one cannot cost days."""

    def __init__(self, inflated: int = INFLATED_MAX, steps: int = STEPS_MAX) -> None:
        self._inflated, self._steps = inflated, steps

    def inflate(self, size: int) -> None:
        """Take account of `size` bytes out of a zip.

        Raises:
            Exhausted: they are more than there may be.
        """
        self._inflated -= size
        if self._inflated < 0:
            raise Exhausted

    def step(self, count: int = 1) -> None:
        """Take account of `count` steps of work, each of about a microsecond.

        Raises:
            Exhausted: they are more than there may be.
        """
        self._steps -= count
        if self._steps < 0:
            raise Exhausted


def _plain(text: str, most: int) -> str:
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in cut)
