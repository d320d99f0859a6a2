"""Every combination of settings that changes what is rendered, as strategies, and how they are written."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

GPU_RESOURCES = ("nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-1g.5gb")


def written(said: dict[str, Any]) -> str:
    """As a person would write it into model.yaml: YAML takes JSON."""
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in said.items())


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


ANY: st.SearchStrategy[dict[str, Any]] = _some(
    resources=_some(gpu=st.integers(0, 2), gpuResource=st.sampled_from(GPU_RESOURCES), cpu=st.just("500m")),
    scaling=_some(
        min=st.integers(1, 3),
        max=st.integers(3, 9),
        metric=st.sampled_from(["cpu", "gpu", "queue"]),
        via=st.sampled_from(["hpa", "keda"]),
        queueDepth=st.integers(1, 9),
        scaleDownSeconds=st.integers(0, 3600),
    ),
    node=_some(
        spot=st.sampled_from(["never", "canary", "always"]),
        spread=st.sampled_from([[], ["zone"], ["host"], ["host", "zone"]]),
        tolerations=st.just([{"key": "own", "operator": "Exists"}]),
    ),
    server=_some(
        startupSeconds=st.integers(60, 7200),
        env=st.dictionaries(st.from_regex(r"[A-Z]{1,5}", fullmatch=True), st.text("ab $()'\"{}:#é\\", max_size=9)),
    ),
    monitoring=_some(
        kind=st.sampled_from(["annotations", "podMonitor", "none"]),
        labels=st.just({"release": "own", "sluicegate.dev/model": "not-this-one"}),
    ),
    tensorflowServing=_some(batching=st.one_of(st.none(), _some(maxBatchSize=st.integers(1, 64)))),
)
