"""Traffic split by KServe, for clusters where it runs the models already.

What KServe has for a canary, by its source:

- `spec.predictor.canaryTrafficPercent`, for as long as v1beta1 exists and in serverless mode alone: the percentage of
  the newest revision, while the rest goes to whichever revision had all of it last. Which that was is known to the
  cluster only. A cluster made anew from git would run the canary as the one version, so it is not used here.
- `spec.canary`, since v0.20 and in Standard mode (once called RawDeployment) alone: a list of predictors beside the
  stable one, each with a `trafficPercent` (pull requests 5672 for the field, 5912 for the weights of the HTTPRoutes,
  5984, which keeps traffic from a canary that is not ready). Both versions are in the object, so git says all of it.

The weights are those of HTTPRoutes: KServe's configuration has to have `enableGatewayApi: true`, and with an Ingress
they would be nothing. A model's address is that of KServe's own `ingressDomain`, not of the environment's domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from gitops.manifests import Manifest, Role, Wave, metadata
from gitops.release import Release
from gitops.routers.base import Kind, weights
from gitops.routers.pods import deployment_of, is_autoscaler, pod_spec, role_of, scaling

_PREFIX = "serving.kserve.io"
_CONTAINER = "kserve-container"  # by this name, KServe knows the one that serves


class KserveRouter:
    """An InferenceService in the place of both Deployments, with the weight in git.

    KServe makes a Deployment and a Service of each predictor: `fraud-predictor` and `fraud-canary-predictor`. It could
    make a canary stable without a restart, where predictors are named by their version and the stable one takes the
    canary's name. But then a version that goes there in one step, as a rollback does, is a Deployment of a new name,
    and what becomes of the old one until that is ready is not ours to say. Under one name, it is a rolling update.

    KServe's own autoscaler is off: ours scales the stable Deployment as it does under other routers. That of a canary
    has a fixed number of replicas (pull request 5672), and gets its share of as many as there may be.
    """

    KINDS: ClassVar[Sequence[Kind]] = (Kind(_PREFIX, "InferenceService"),)
    OWNS_WEIGHT: ClassVar[bool] = False
    IGNORED: ClassVar[Sequence[Mapping[str, Any]]] = ()

    def objects(self, release: Release, workload: Sequence[Manifest]) -> Sequence[Manifest]:
        """The InferenceService, and of the workload what is not replaced by it."""
        found = [_instead(release, manifest) for manifest in workload if not _is_kserves(manifest)]
        return [*found, _inference_service(release, workload)]


def _is_kserves(manifest: Manifest) -> bool:
    return manifest["kind"] == "Deployment" or (is_autoscaler(manifest) and role_of(manifest) == Role.CANARY)


def _instead(release: Release, manifest: Manifest) -> Manifest:
    if is_autoscaler(manifest):
        return scaling(manifest, "apps/v1", "Deployment", f"{release.model}-predictor")
    return manifest


def _inference_service(release: Release, workload: Sequence[Manifest]) -> Manifest:
    annotations = {f"{_PREFIX}/deploymentMode": "Standard", f"{_PREFIX}/autoscalerClass": "external"}
    least, most = _replicas(workload)
    bounds = {"minReplicas": least, "maxReplicas": most}
    spec: dict[str, Any] = {"predictor": {**bounds, **_predictor(deployment_of(workload, Role.STABLE))}}
    if release.canary:
        percent = weights(release)[Role.CANARY]
        enough = {"name": str(Role.CANARY), "minReplicas": -(-most * percent // 100)}
        predictor = {**enough, **_predictor(deployment_of(workload, Role.CANARY))}
        spec["canary"] = [{"trafficPercent": percent, "predictor": predictor}]
    return {
        "apiVersion": f"{_PREFIX}/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata(release, Wave.SERVERS, annotations=annotations),
        "spec": spec,
    }


def _predictor(deployment: Manifest) -> dict[str, Any]:
    """The pods of a Deployment as KServe takes them: the metadata is fields beside those of the pods' spec."""
    pod = pod_spec(deployment)
    server, *others = pod.pop("containers")
    return {
        "deploymentStrategy": deployment["spec"]["strategy"],
        **deployment["spec"]["template"]["metadata"],
        **pod,
        "containers": [{**server, "name": _CONTAINER, "resources": _limited(server["resources"])}, *others],
    }


def _limited(resources: Mapping[str, Any]) -> dict[str, Any]:
    """With a limit of the CPU, which other routers go without.

    Where there is none, KServe's webhook puts in that of its configuration, one CPU unless somebody changed it: below
    what is requested, which no API server takes, and a difference from git at every look (kserve, issue 3947).
    """
    cpu = {"cpu": resources["requests"]["cpu"]}
    return {**resources, "limits": {**cpu, **resources["limits"]}}


def _replicas(workload: Sequence[Manifest]) -> tuple[int, int]:
    """The fewest and the most of the stable version, by whichever kind of autoscaler it has."""
    for manifest in workload:
        if is_autoscaler(manifest) and role_of(manifest) == Role.STABLE:
            spec = manifest["spec"]
            if "minReplicaCount" in spec:  # KEDA's
                return spec["minReplicaCount"], spec["maxReplicaCount"]
            return spec["minReplicas"], spec["maxReplicas"]
    return 1, 1
