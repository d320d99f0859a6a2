"""A refusal in words, and the way past it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gitops.gates.evidence import Evidence, Gate, Verdict
from registry.errors import InvalidInput, Refused
from registry.roles import Role

_NEVER_PASSED_OVER = (Gate.RELEASERS,)
"""Who is not allowed to release is not allowed to override either."""


class GatesRefuse(Refused):
    """Gates refuse a promotion; `verdicts` are those that do."""

    def __init__(self, evidence: Evidence, verdicts: Sequence[Verdict], override: Collection[Gate] = ()) -> None:
        """Say what each of `verdicts` found and how to pass it; the gates in `override` would be passed over."""
        self.verdicts = tuple(verdicts)
        said = "; ".join(f"{verdict.gate.value}: {verdict.why}, {verdict.how}" for verdict in verdicts)
        gates = {verdict.gate for verdict in verdicts} | set(override)
        over = ",".join(gate.value for gate in Gate if gate in gates)
        barred = any(gate in _NEVER_PASSED_OVER for gate in gates)
        admin = "" if barred else f"; or an admin gives --override {over} --reason TEXT"
        count = "A gate" if len(verdicts) == 1 else f"{len(verdicts)} gates"
        verb = "refuses" if len(verdicts) == 1 else "refuse"
        super().__init__(
            f"{count} of {evidence.environment} {verb} {evidence.ref} at {evidence.weight} %: {said}{admin}."
        )


def passed_over(evidence: Evidence, refused: Sequence[Verdict], override: Collection[Gate]) -> tuple[Gate, ...]:
    """The gates in `override`, where they are just what refuses.

    Raises:
        GatesRefuse: another gate refuses.
        Refused: who asks is no admin.
        InvalidInput: a gate in `override` does not refuse, or may not be passed over.
    """
    if override and not evidence.known.role.allows(Role.ADMIN):
        raise Refused(
            f"To pass over gates is for an admin, and {evidence.requested_by} acts as {evidence.known.role.value}: ask"
            " an admin."
        )
    barred = [gate for gate in override if gate in _NEVER_PASSED_OVER]
    if barred:
        raise InvalidInput(f"{barred[0].value} cannot be passed over: let somebody release who may.")
    left = [verdict for verdict in refused if verdict.gate not in override]
    if left:
        raise GatesRefuse(evidence, left, override)
    idle = [gate.value for gate in Gate if gate in override and gate not in {verdict.gate for verdict in refused}]
    if idle:
        raise InvalidInput(
            f"Nothing is to be passed over, {evidence.environment} does not refuse by {', '.join(idle)}: leave it out"
            " of --override."
        )
    return tuple(verdict.gate for verdict in refused)
