"""Gates: what an environment asks before a version gets more of its traffic.

Pure functions of what people wrote in environments/<env>.yaml and of the evidence, which is gathered elsewhere. They
are asked inside the intent, so on the very head that the commit is made on. A rollback is never asked: the way back
is always open.
"""

from gitops.gates.asking import ensure_open, judge
from gitops.gates.evidence import Evidence, Gate, Known, Verdict, Way
from gitops.gates.refusing import GatesRefuse, passed_over
from gitops.gates.releasers import ensure_releaser
from gitops.gates.soaking import Soak, soak

__all__ = [
    "Evidence",
    "Gate",
    "GatesRefuse",
    "Known",
    "Soak",
    "Verdict",
    "Way",
    "ensure_open",
    "ensure_releaser",
    "judge",
    "passed_over",
    "soak",
]
