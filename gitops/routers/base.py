"""What every traffic router is, and what most of them render alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from gitops.config import Environment
from gitops.manifests import HTTP_PORT, Manifest, Role, deployed_as
from gitops.release import Release
from gitops.runtimes import health_path

HEALTH_INTERVAL_SECONDS = 10
HEALTHY_AFTER = 2
HEALTHY_CODES = "200,400,404"
"""What counts as healthy where a load balancer asks.

Not 200 alone: when a release changes the model server, the target group asks for the new one's path before the pods of
the old one are gone, and these do not know it: Triton then answers 400 (src/http_server.cc, at the end of `Handle`),
the others 404. A server that is not well answers none of these, and whether this model is loaded is what the pod's own
probes ask.
"""


class Kind(NamedTuple):
    """A kind of Kubernetes object, as an AppProject allows it."""

    group: str
    kind: str


SERVICE = Kind("", "Service")
INGRESS = Kind("networking.k8s.io", "Ingress")


class Router(Protocol):
    """One way of splitting traffic between stable and canary.

    Services are rendered whatever the release: whichever order a controller applies a commit in, a Service is there
    before a rule names it, and still is after no rule does. Where people change an environment's router, what the old
    one rendered goes in any order, once all of the new one is there: by then, clients have to be led to the new one.
    """

    KINDS: ClassVar[Sequence[Kind]]
    """What it may render beside the workload."""
    OWNS_WEIGHT: ClassVar[bool]
    """Whether its controller sets the weights in the cluster, so that git must not name any."""
    IGNORED: ClassVar[Sequence[Mapping[str, Any]]]
    """What its controller writes into objects that are in git: Argo CD's `ignoreDifferences`."""

    def objects(self, release: Release, workload: Sequence[Manifest]) -> Sequence[Manifest]:
        """All that is applied: `workload`, or what a router's controller reads instead of it, Services, and rules.

        Raises:
            InvalidInput: this router cannot run what the release says.
        """


def weights(release: Release) -> dict[Role, int]:
    """The percentage of traffic of each role; they add to 100."""
    canary = release.canary.weight if release.canary else 0
    return {Role.STABLE: 100 - canary, Role.CANARY: canary}


def asked_path(release: Release, role: Role) -> str:
    """What a load balancer asks a role's server to learn whether it is well.

    Per role, because stable and canary may run different servers; before there is a canary, as for stable.
    """
    return health_path((deployed_as(release, role) or release.stable).runtime, release.model)


def hosts(release: Release, environment: Environment) -> Sequence[str]:
    """The names at which clients reach the model: one for each domain of the environment's clusters."""
    return tuple(dict.fromkeys(f"{release.model}.{place.domain}" for place in environment.all_clusters))


def service(metadata: Mapping[str, Any], selector: Mapping[str, str]) -> Manifest:
    """A Service in front of the pods that `selector` matches; it has nothing that changes from release to release."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "ClusterIP",
            "selector": dict(selector),
            "ports": [{"name": "http", "port": HTTP_PORT, "targetPort": "http"}],
        },
    }
