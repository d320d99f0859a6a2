"""The gates, one function each: from what people wrote and the evidence to a verdict."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta

from gitops.config import Environment
from gitops.config.policy import PullRequest, Worst
from gitops.gates.evidence import Evidence, Gate, Verdict, Way
from gitops.gates.freezing import frozen
from gitops.gates.refusing import passed_over
from gitops.gates.releasers import address, ask_one, may_release, not_allowed
from registry.changes import Approval
from registry.facts import SEVERITIES

_HOUR = timedelta(hours=1)
Question = Callable[[Environment, Evidence], Verdict | None]


def judge(environment: Environment, evidence: Evidence) -> list[Verdict]:
    """What each gate says that the environment has, in the order of `Gate`; gates that it does not have say nothing.

    Where the version's share only shrinks, no proof is asked of it, but who may do so, through a pull request or
    not, and to which weights.
    """
    asked = _ALWAYS if evidence.is_retreat else _QUESTIONS
    said = (_QUESTIONS[gate](environment, evidence) for gate in Gate if gate in asked)
    return [verdict for verdict in said if verdict is not None]


def ensure_open(environment: Environment, evidence: Evidence, override: Collection[Gate]) -> tuple[Gate, ...]:
    """Let a promotion pass that every gate lets pass, but for those in `override`, which are returned.

    Raises:
        GatesRefuse: a gate refuses.
        Refused: there is an override, and who asks is no admin.
        InvalidInput: there is an override of a gate that does not refuse, or that nobody may pass over.
    """
    refused = [verdict for verdict in judge(environment, evidence) if not verdict.passed]
    return passed_over(evidence, refused, override)


def _releasers(environment: Environment, evidence: Evidence) -> Verdict | None:
    if not environment.releasers:
        return None
    who, role = evidence.requested_by, evidence.known.role
    if may_release(environment, who, role):
        return _yes(Gate.RELEASERS, f"{address(who)} may release to {environment.name}")
    return _no(Gate.RELEASERS, not_allowed(environment, who, role), ask_one(environment))


def _scan_clean(environment: Environment, evidence: Evidence) -> Verdict | None:
    allowed, known = environment.gates.scan_clean, evidence.known
    if allowed is None:
        return None
    if not known.scanner:
        return _no(
            Gate.SCAN_CLEAN, "nothing has looked for findings in it", f"scan it with `sluice package {evidence.ref}`"
        )
    worst = known.worst
    limit = -1 if allowed is Worst.NONE else [severity.value for severity in SEVERITIES].index(allowed.value)
    if worst is None or SEVERITIES.index(worst) <= limit:
        return _yes(Gate.SCAN_CLEAN, f"its worst finding is {worst.value}" if worst else "the scan found nothing")
    least = "none is let through" if allowed is Worst.NONE else f"{allowed.value} is the worst that is let through"
    return _no(
        Gate.SCAN_CLEAN,
        f"its worst finding is {worst.value}, and {least}",
        f"read `sluice show {evidence.ref}` and register a version without it",
    )


def _smoke_passed(environment: Environment, evidence: Evidence) -> Verdict | None:
    if not environment.gates.smoke_passed:
        return None
    smoke = evidence.known.smoke
    if smoke is None:
        return _no(Gate.SMOKE_PASSED, "no smoke test is recorded", "run one and record it as the fact smoke")
    if smoke.image != evidence.to.model_image:
        return _no(Gate.SMOKE_PASSED, "the smoke test was of another image", "register the version anew and test that")
    if not smoke.passed:
        detail = f" ({smoke.detail.splitlines()[0][:80]})" if smoke.detail.strip() else ""
        return _no(Gate.SMOKE_PASSED, f"the smoke test failed{detail}", "fix that in a new version")
    return _yes(Gate.SMOKE_PASSED, "the smoke test passed")


def _approved(environment: Environment, evidence: Evidence) -> Verdict | None:
    if not environment.gates.approved:
        return None
    if evidence.known.approval is Approval.APPROVED:
        return _yes(Gate.APPROVED, "it is approved")
    how = f"an approver runs `sluice approve {evidence.ref} --reason TEXT`"
    return _no(Gate.APPROVED, f"it is {evidence.known.approval.value}", how)


def _healthy_in(environment: Environment, evidence: Evidence) -> Verdict | None:
    wanted, soak = environment.gates.healthy_in, evidence.soak
    if wanted is None:
        return None
    if soak is None or soak.since is None:
        other = soak.stable if soak else None
        runs = (
            "its stable version there is"
            if other != evidence.to.version
            else "what is stable there is another image of"
        )
        why = f"{wanted.environment} does not run it" + (f", {runs} {evidence.model}@{other}" if other else "")
        how = f"promote it to {wanted.environment} with --weight 100 and leave it there for {_hours(wanted.hours)}"
        return _no(Gate.HEALTHY_IN, why, how)
    if soak.held:
        how = "fix what was wrong in a new version, or `sluice unhold` it there"
        return _no(Gate.HEALTHY_IN, f"it is held in {wanted.environment}", how)
    done, due = evidence.known.at - soak.since, soak.since + wanted.length
    why = f"{wanted.environment} has run it for {max(done // _HOUR, 0)} of {_hours(wanted.hours)}"
    if done >= wanted.length:
        return _yes(Gate.HEALTHY_IN, f"{wanted.environment} has run it for {_hours(wanted.hours)} or longer")
    return _no(Gate.HEALTHY_IN, why, f"wait until {due:%Y-%m-%d %H:%M %Z}")


def _weights(environment: Environment, evidence: Evidence) -> Verdict | None:
    allowed = sorted(set(environment.gates.weights))
    if not allowed or evidence.before is None:  # what is first takes all there is
        return None
    shown = ", ".join(f"{weight} %" for weight in allowed)
    if evidence.weight in allowed:
        return _yes(Gate.WEIGHTS, f"{evidence.weight} % is one of {shown}")
    return _no(Gate.WEIGHTS, f"{evidence.weight} % is not one of {shown}", "give one of them as --weight")


def _max_step(environment: Environment, evidence: Evidence) -> Verdict | None:
    most = environment.gates.max_step
    if most is None or evidence.before is None:
        return None
    step = evidence.weight - evidence.share
    why = f"from {evidence.share} % to {evidence.weight} % is a step of {step}"
    if step <= most:
        return _yes(Gate.MAX_STEP, why)
    return _no(Gate.MAX_STEP, f"{why}, and {most} is the most", f"give --weight {evidence.share + most} or less first")


def _freeze(environment: Environment, evidence: Evidence) -> Verdict | None:
    if not environment.gates.freeze:
        return None
    on = frozen(environment.gates.freeze, evidence.known.at)
    if on is None:
        return _yes(Gate.FREEZE, f"{environment.name} is not frozen now")
    until = f"{on.until:%Y-%m-%d %H:%M} {on.freeze.time_zone}"
    reason = f" ({on.freeze.reason})" if on.freeze.reason else ""
    return _no(Gate.FREEZE, f"{environment.name} is frozen until {until}{reason}", "wait until then")


def _pull_request(environment: Environment, evidence: Evidence) -> Verdict | None:
    wanted, way = environment.gates.pull_request, evidence.way
    if wanted is PullRequest.REQUIRED:
        if way is Way.REQUEST:
            return _yes(Gate.PULL_REQUEST, "it is a pull request")
        return _no(Gate.PULL_REQUEST, "it would be a commit on the branch itself", "give --pull-request")
    if wanted is PullRequest.NEVER and way is Way.REQUEST:
        return _no(Gate.PULL_REQUEST, f"{environment.name} takes no pull requests", "leave --pull-request out")
    return None


def _yes(gate: Gate, why: str) -> Verdict:
    return Verdict(gate=gate, passed=True, why=why)


def _no(gate: Gate, why: str, how: str) -> Verdict:
    return Verdict(gate=gate, passed=False, why=why, how=how)


def _hours(count: int) -> str:
    return f"{count} hour" + ("s" if count != 1 else "")


_QUESTIONS: dict[Gate, Question] = {
    Gate.RELEASERS: _releasers,
    Gate.SCAN_CLEAN: _scan_clean,
    Gate.SMOKE_PASSED: _smoke_passed,
    Gate.APPROVED: _approved,
    Gate.HEALTHY_IN: _healthy_in,
    Gate.WEIGHTS: _weights,
    Gate.MAX_STEP: _max_step,
    Gate.FREEZE: _freeze,
    Gate.PULL_REQUEST: _pull_request,
}
_ALWAYS = (Gate.RELEASERS, Gate.WEIGHTS, Gate.PULL_REQUEST)
