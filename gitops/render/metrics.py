"""What servers are scaled by: for each measure its name, where Prometheus has it, and how much of it a pod has.

An autoscaler and whoever answers it have to agree on these. `adapter_rules` is what prometheus-adapter has to be told
for a HorizontalPodAutoscaler (its docs/config.md); `query` is what KEDA asks Prometheus itself.

GPUs are measured by dcgm-exporter, whose own pod is the `pod` of its series. Which pod uses the GPU is in the labels
`exported_namespace` and `exported_pod`, as long as Prometheus scrapes it with `honorLabels: false`, the default of both
(Prometheus, "Configuration", `honor_labels`; dcgm-exporter, issue 85). A HorizontalPodAutoscaler that asks for
`DCGM_FI_DEV_GPU_UTIL` of its own pods by the usual labels finds nothing and shows `<unknown>`.

How many requests wait is not among the metrics. But each request adds the time that it waited to a counter, and the
seconds of waiting that are added in a second are, in the mean, how many are waiting (Little's law).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gitops.config import Resources
from gitops.release import Runtime
from gitops.runtimes import RUNTIMES

_WINDOW = "2m"  # four times the 30 seconds between two looks of kube-prometheus-stack's Prometheus
# the letters and digits that Kubernetes makes parts of names of (apimachinery, pkg/util/rand): no word is among them
_RANDOM = "[bcdfghjklmnpqrstvwxz2456789]+"


class Measure(NamedTuple):
    """Something that each pod has more or less of."""

    name: str
    """In the custom metrics API, where a HorizontalPodAutoscaler asks for it."""
    series: str
    namespace_label: str
    """Which label of the series has the namespace of the measured pod, and which one its name."""
    pod_label: str
    amount: str
    """How much of it each pod has, in PromQL: `{series}`, matched by `{where}` and grouped `{by}` pods."""
    without: str = ""
    """What has to be there for a sum without any series to be 0, in the same way."""


GPU_UTILIZATION = Measure(
    name="sluice_gpu_utilization",
    series="DCGM_FI_DEV_GPU_UTIL",
    namespace_label="exported_namespace",
    pod_label="exported_pod",
    amount="avg by ({by}) ({series}{{{where}}})",
)
"""How many percent of the time a pod's GPUs are busy."""

MIG_UTILIZATION = GPU_UTILIZATION._replace(
    name="sluice_mig_utilization",
    series="DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    amount="100 * avg by ({by}) ({series}{{{where}}})",
)
"""The same of slices of a GPU, of which DCGM knows no utilization but how much of the time their engine is active."""


def _queue_depth(runtime: Runtime, counter: str) -> Measure:
    return Measure(
        name=f"sluice_{runtime.value.replace('-', '_')}_queue_depth",
        series=counter,
        namespace_label="namespace",
        pod_label="pod",
        amount=f"sum by ({{by}}) (rate({{series}}{{{{{{where}}}}}}[{_WINDOW}])) / 1000000",
        # a counter may begin with the first request; where pods are scraped and have none, nobody waits
        without="sum(up{{{where}}} == 1) * 0",
    )


QUEUE_DEPTHS: Mapping[Runtime, Measure] = {
    runtime: _queue_depth(runtime, spec.queue_counter) for runtime, spec in RUNTIMES.items() if spec.queue_counter
}
"""How many requests wait in a pod, by the server that runs there; not every server tells."""


def gpu_measure(resources: Resources) -> Measure:
    """How busy the GPUs are that these resources have."""
    return MIG_UTILIZATION if resources.has_mig_slices else GPU_UTILIZATION


def adapter_rules() -> Sequence[Mapping[str, Any]]:
    """prometheus-adapter's `rules` (`rules.custom` of its Helm chart), one for each measure."""
    return [_rule(measure) for measure in (GPU_UTILIZATION, MIG_UTILIZATION, *QUEUE_DEPTHS.values())]


def query(measure: Measure, namespace: str, model: str, role: str) -> str:
    """PromQL for the amount that all pods of a role have together, with no answer where they are not measured."""
    # KServe calls the stable version's Deployment `fraud-predictor`. A pod has its Deployment's name and two random
    # parts, between which a long name leaves no room for a hyphen.
    names = "(?:stable|predictor)" if role == "stable" else role
    pods = f"{model}-{names}(?:-{_RANDOM}){{1,2}}"
    where = f'{measure.namespace_label}="{namespace}",{measure.pod_label}=~"{pods}"'
    total = f"sum({measure.amount.format(by=measure.pod_label, series=measure.series, where=where)})"
    return f"{total} or {measure.without.format(where=where)}" if measure.without else total


def _rule(measure: Measure) -> Mapping[str, Any]:
    amount = measure.amount.format(by="<<.GroupBy>>", series="<<.Series>>", where="<<.LabelMatchers>>")
    found = f'{measure.series}{{{measure.namespace_label}!="",{measure.pod_label}!=""}}'
    labels = {measure.namespace_label: {"resource": "namespace"}, measure.pod_label: {"resource": "pod"}}
    return {
        "seriesQuery": found,
        "resources": {"overrides": labels},
        "name": {"as": measure.name},
        "metricsQuery": amount,
    }
