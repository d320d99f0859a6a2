"""Each gate: what it lets through, what it refuses, and what it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.config import Environment, parse_environment
from gitops.gates import Evidence, Gate, GatesRefuse, Known, Soak, Verdict, Way, ensure_open, ensure_releaser, judge
from gitops.release import Canary, Deployed, Release, Runtime
from registry.changes import Approval
from registry.errors import InvalidInput, Refused
from registry.facts import Severity, Smoke
from registry.roles import Role

_NOW = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)
_GOOD = Known(at=_NOW, scanner="picklescan 1.0", approval=Approval.APPROVED)


def deployed(version: int) -> Deployed:
    return Deployed(version=version, image=f"registry.example/fraud@sha256:{version:064x}", runtime=Runtime.TORCHSERVE)


def prod(text: str) -> Environment:
    return parse_environment(
        f"name: prod\nnamespace: m\ndomain: a.example.com\n{text}".encode(), "environments/prod.yaml"
    )


def running(stable: int, canary: int | None = None, weight: int = 10) -> Release:
    trial = Canary(**deployed(canary).model_dump(), weight=weight) if canary else None
    return Release(model="fraud", environment="prod", stable=deployed(stable), canary=trial)


_BEFORE = running(6)


def evidence(weight: int = 10, before: Release | None = _BEFORE, known: Known = _GOOD, **more: Any) -> Evidence:
    said = {"requested_by": "Ann <ann@example.com>", **more}
    return Evidence(
        model="fraud", environment="prod", to=deployed(7), weight=weight, before=before, known=known, **said
    )


def verdict(environment: Environment, asked: Evidence) -> Verdict:
    (only,) = judge(environment, asked)
    return only


def smoke(passed: bool = True, version: int = 7, detail: str = "") -> Known:
    done = Smoke(image=deployed(version).image, passed=passed, detail=detail, at=_NOW, by="ci")
    return _GOOD.model_copy(update={"smoke": done})


def told(**known: Any) -> Known:
    return _GOOD.model_copy(update=known)


def soaked(hours: float | None, stable: int | None = 7, held: bool = False) -> Soak:
    since = None if hours is None else _NOW - timedelta(hours=hours)
    return Soak(environment="staging", since=since, stable=stable, held=held)


def test_without_gates_nothing_is_asked() -> None:
    assert judge(prod(""), evidence(known=Known(at=_NOW))) == []
    assert ensure_open(prod(""), evidence(), ()) == ()


@pytest.mark.parametrize(
    ("gates", "asked", "why"),
    [
        ("scanClean: none", evidence(), "the scan found nothing"),
        ("scanClean: note", evidence(known=told(worst=Severity.NOTE)), "its worst finding is note"),
        ("scanClean: warning", evidence(known=told(worst=Severity.WARNING)), "its worst finding is warning"),
        ("smokePassed: true", evidence(known=smoke()), "the smoke test passed"),
        ("approved: true", evidence(), "it is approved"),
        (
            "healthyIn: {environment: staging, hours: 24}",
            evidence(soak=soaked(24)),
            "staging has run it for 24 hours or longer",
        ),
        (
            "healthyIn: {environment: staging, hours: 1}",
            evidence(soak=soaked(30.5)),
            "staging has run it for 1 hour or longer",
        ),
        ("weights: [10, 100]", evidence(10), "10 % is one of 10 %, 100 %"),
        ("maxStep: 15", evidence(25, running(6, 7, 10)), "from 10 % to 25 % is a step of 15"),
        ("maxStep: 10", evidence(10), "from 0 % to 10 % is a step of 10"),
        ("freeze: [{cron: '0 13 * * *', duration: 1h}]", evidence(), "prod is not frozen now"),
        ("pullRequest: required", evidence(way=Way.REQUEST), "it is a pull request"),
    ],
)
def test_what_passes(gates: str, asked: Evidence, why: str) -> None:
    found = verdict(prod(f"gates: {{{gates}}}"), asked)
    assert found.passed
    assert found.gate.value == gates.partition(":")[0]
    assert found.why.startswith(why)
    assert found.how == ""


_STAGING = "healthyIn: {environment: staging, hours: 24}"


@pytest.mark.parametrize(
    ("gates", "asked", "why", "how"),
    [
        (
            "scanClean: none",
            evidence(known=told(worst=Severity.NOTE)),
            "its worst finding is note, and none is let through",
            "read `sluice show fraud@7` and register a version without it",
        ),
        (
            "scanClean: note",
            evidence(known=told(worst=Severity.DANGER)),
            "its worst finding is danger, and note is the worst that is let through",
            "read `sluice show fraud@7` and register a version without it",
        ),
        (
            "scanClean: warning",
            evidence(known=told(scanner="")),
            "nothing has looked for findings in it",
            "scan it with `sluice package fraud@7`",
        ),
        (
            "smokePassed: true",
            evidence(),
            "no smoke test is recorded",
            "run one and record it as the fact smoke",
        ),
        (
            "smokePassed: true",
            evidence(known=smoke(version=5)),
            "the smoke test was of another image",
            "register the version anew and test that",
        ),
        (
            "smokePassed: true",
            evidence(known=smoke(passed=False, detail="503\nlogs …")),
            "the smoke test failed (503)",
            "fix that in a new version",
        ),
        (
            "approved: true",
            evidence(known=told(approval=Approval.PENDING)),
            "it is pending",
            "an approver runs `sluice approve fraud@7 --reason TEXT`",
        ),
        (
            "approved: true",
            evidence(known=told(approval=Approval.REJECTED)),
            "it is rejected",
            "an approver runs `sluice approve fraud@7 --reason TEXT`",
        ),
        (
            _STAGING,
            evidence(soak=soaked(None, stable=6)),
            "staging does not run it, its stable version there is fraud@6",
            "promote it to staging with --weight 100 and leave it there for 24 hours",
        ),
        (
            _STAGING,
            evidence(soak=soaked(None, stable=None)),
            "staging does not run it",
            "promote it to staging with --weight 100 and leave it there for 24 hours",
        ),
        (
            _STAGING,
            evidence(soak=soaked(None, stable=7)),
            "staging does not run it, what is stable there is another image of fraud@7",
            "promote it to staging with --weight 100 and leave it there for 24 hours",
        ),
        (
            _STAGING,
            evidence(soak=soaked(23.75)),
            "staging has run it for 23 of 24 hours",
            "wait until 2026-11-25 12:45 UTC",
        ),
        (
            _STAGING,
            evidence(soak=soaked(-2)),  # a commit from the future, by somebody's clock
            "staging has run it for 0 of 24 hours",
            "wait until 2026-11-26 14:30 UTC",
        ),
        (
            _STAGING,
            evidence(soak=soaked(100, held=True)),
            "it is held in staging",
            "fix what was wrong in a new version, or `sluice unhold` it there",
        ),
        (
            "weights: [5, 50, 100]",
            evidence(10),
            "10 % is not one of 5 %, 50 %, 100 %",
            "give one of them as --weight",
        ),
        (
            "weights: [5, 50, 100]",
            evidence(10, running(6, 7, 50)),  # down, but not to a weight that is allowed
            "10 % is not one of 5 %, 50 %, 100 %",
            "give one of them as --weight",
        ),
        (
            "maxStep: 15",
            evidence(26, running(6, 7, 10)),
            "from 10 % to 26 % is a step of 16, and 15 is the most",
            "give --weight 25 or less first",
        ),
        (
            "maxStep: 50",
            evidence(100),
            "from 0 % to 100 % is a step of 100, and 50 is the most",
            "give --weight 50 or less first",
        ),
        (
            "freeze: [{cron: '0 12 * * *', duration: 1h}]",
            evidence(),
            "prod is frozen until 2026-11-25 13:00 UTC",
            "wait until then",
        ),
        (
            "freeze: [{cron: '0 13 * * *', duration: 1h, timeZone: Europe/Berlin, reason: lunch}]",
            evidence(),
            "prod is frozen until 2026-11-25 14:00 Europe/Berlin (lunch)",
            "wait until then",
        ),
        (
            "pullRequest: required",
            evidence(),
            "it would be a commit on the branch itself",
            "give --pull-request",
        ),
        ("pullRequest: never", evidence(way=Way.REQUEST), "prod takes no pull requests", "leave --pull-request out"),
    ],
)
def test_what_is_refused(gates: str, asked: Evidence, why: str, how: str) -> None:
    found = verdict(prod(f"gates: {{{gates}}}"), asked)
    assert not found.passed
    assert found.gate.value == gates.partition(":")[0]
    assert (found.why, found.how) == (why, how)


@pytest.mark.parametrize(
    ("releasers", "by", "role", "may"),
    [
        ("[]", "mallory@example.org", Role.RELEASER, True),
        ("[ann@example.com]", "ann@example.com", Role.RELEASER, True),
        ("[ann@example.com]", "Ann <ann@example.com>", Role.RELEASER, True),
        ("[ann@example.com]", "Ann <Ann@Example.com>", Role.RELEASER, True),
        ("[ann@example.com]", "joann@example.com", Role.RELEASER, False),
        ("[ann@example.com]", "ann@example.com.evil.org", Role.RELEASER, False),
        ("[ann@example.com]", "ann@example.com <mallory@example.org>", Role.ADMIN, False),
        ("['ann@*']", "ann@example.com <mallory@example.org>", Role.ADMIN, False),
        ("['*@ops.example.com']", "Bo <bo@ops.example.com>", Role.RELEASER, True),
        ("['*@ops.example.com']", "bo@notops.example.com", Role.RELEASER, False),
        ("['1+ci[bot]@example.com']", "CI <1+ci[bot]@example.com>", Role.RELEASER, True),
        ("['1+ci[bot]@example.com']", "CI <1+cib@example.com>", Role.RELEASER, False),
        ("[ci]", "ci", Role.RELEASER, True),
        ("[ci]", "<ci>", Role.RELEASER, True),
        ("['role:approver']", "bo@example.com", Role.RELEASER, False),
        ("['role:approver']", "bo@example.com", Role.APPROVER, True),
        ("['role:approver']", "bo@example.com", Role.ADMIN, True),
        ("['role:approver']", "role:approver", Role.RELEASER, False),
        ("['role:admin', ci]", "ci", Role.RELEASER, True),
    ],
)
def test_who_may_release(releasers: str, by: str, role: Role, may: bool) -> None:
    place = prod(f"releasers: {releasers}")
    found = judge(place, evidence(requested_by=by, known=told(role=role)))
    assert all(one.passed for one in found) is may
    if may:
        ensure_releaser(place, by, role)
    else:
        with pytest.raises(Refused, match="may not release to prod: ask one of "):
            ensure_releaser(place, by, role)


@given(st.text("ab*", min_size=1, max_size=6), st.text("ab", min_size=1, max_size=8))
def test_a_star_stands_for_anything(pattern: str, who: str) -> None:
    found = judge(prod(f"releasers: ['{pattern}']"), evidence(requested_by=who))
    assert found[0].passed is fnmatchcase(who, pattern)


_ALL = (
    "releasers: [bo@example.com]\n"
    "gates: {scanClean: none, smokePassed: true, approved: true, healthyIn: {environment: staging, hours: 1},"
    " weights: [50, 100], maxStep: 50, freeze: [{cron: '* * * * *', duration: 1h}], pullRequest: required}"
)
_NOTHING = Known(at=_NOW)


def test_all_gates_are_asked_in_their_order() -> None:
    found = judge(prod(_ALL), evidence(known=_NOTHING))
    assert [one.gate for one in found] == list(Gate)
    assert [one.gate for one in found if one.passed] == [Gate.MAX_STEP]


def test_a_retreat_needs_no_proof_but_the_right_to_release() -> None:
    found = judge(prod(_ALL), evidence(5, running(6, 7, 50), _NOTHING))
    assert [one.gate for one in found] == [Gate.RELEASERS, Gate.WEIGHTS, Gate.PULL_REQUEST]


def test_the_first_version_takes_all_whatever_the_steps() -> None:
    assert judge(prod("gates: {weights: [50, 100], maxStep: 50}"), evidence(100, None)) == []


def test_another_image_of_what_is_stable_is_no_retreat() -> None:
    assert evidence(100, running(7)).share == 100
    (found,) = judge(prod("gates: {smokePassed: true}"), evidence(100, running(7)))
    assert not found.passed


def test_another_image_of_the_canary_is_no_retreat() -> None:
    before = running(6, 7, 50)
    assert evidence(5, before).is_retreat
    assert before.canary
    other = before.canary.model_copy(update={"image": f"registry.example/fraud@sha256:{'f' * 64}"})
    asked = evidence(5, before.model_copy(update={"canary": other}), _NOTHING)
    assert not asked.is_retreat
    (found,) = judge(prod("gates: {smokePassed: true}"), asked)
    assert not found.passed


_TWO = prod("gates: {approved: true, freeze: [{cron: '0 12 * * *', duration: 1h}]}")


def test_the_refusal_names_every_gate_and_the_ways_past_it() -> None:
    with pytest.raises(GatesRefuse) as caught:
        ensure_open(_TWO, evidence(known=_NOTHING), ())
    assert str(caught.value) == (
        "2 gates of prod refuse fraud@7 at 10 %: approved: it is pending, an approver runs `sluice approve fraud@7"
        " --reason TEXT`; freeze: prod is frozen until 2026-11-25 13:00 UTC, wait until then; or an admin gives"
        " --override approved,freeze --reason TEXT."
    )
    assert [one.gate for one in caught.value.verdicts] == [Gate.APPROVED, Gate.FREEZE]


def test_an_override_passes_over_just_what_it_names() -> None:
    asked = evidence(known=_NOTHING.model_copy(update={"role": Role.ADMIN}))
    assert ensure_open(_TWO, asked, (Gate.FREEZE, Gate.APPROVED)) == (Gate.APPROVED, Gate.FREEZE)
    with pytest.raises(
        GatesRefuse, match=r"A gate of prod refuses .*: approved: .* --override approved,freeze "
    ) as left:
        ensure_open(_TWO, asked, (Gate.FREEZE,))
    assert [one.gate for one in left.value.verdicts] == [Gate.APPROVED]


def test_an_override_of_what_does_not_refuse_is_an_error() -> None:
    asked = evidence(known=told(role=Role.ADMIN))
    with pytest.raises(InvalidInput, match="prod does not refuse by approved: leave it out of --override"):
        ensure_open(_TWO, asked, (Gate.FREEZE, Gate.APPROVED))
    with pytest.raises(InvalidInput, match="does not refuse by smokePassed"):
        ensure_open(prod(""), asked, (Gate.SMOKE_PASSED,))


@pytest.mark.parametrize("role", [Role.RELEASER, Role.APPROVER])
def test_an_override_is_for_admins(role: Role) -> None:
    with pytest.raises(Refused, match=f"for an admin, and Ann <ann@example.com> acts as {role.value}: ask an admin"):
        ensure_open(_TWO, evidence(known=told(role=role)), (Gate.FREEZE,))


def test_nobody_overrides_who_may_release() -> None:
    place = prod("releasers: [bo@example.com]\ngates: {approved: true}")
    asked = evidence(known=_NOTHING.model_copy(update={"role": Role.ADMIN}))
    with pytest.raises(InvalidInput, match="releasers cannot be passed over"):
        ensure_open(place, asked, (Gate.RELEASERS,))
    with pytest.raises(GatesRefuse, match=r"ask one of bo@example\.com\.$"):
        ensure_open(place, asked, (Gate.APPROVED,))
