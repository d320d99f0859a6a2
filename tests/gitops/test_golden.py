"""Whole folders as they are committed, for people to read in a review.

Where a change of the output is meant, write them anew: SLUICE_GOLDEN=write python -m pytest tests/gitops/test_golden.py
"""

import os
import shutil
from pathlib import Path
from textwrap import indent

import pytest

from gitops.config import default_model_file, parse_environment, parse_model
from gitops.release import Canary, Deployed, Release, Runtime
from gitops.render import render
from gitops.scaffold import scaffold
from tests.gitops.routers.cases import FULL_ALB, FULL_GATEWAY, FULL_ROLLOUTS, KSERVE

_GOLDEN = Path(__file__).parent / "golden"
_ENVIRONMENT = b"name: prod\nnamespace: models-prod\ndomain: models.example.com\n"
_PUBLIC = b"""\
name: prod
namespace: models-prod
cluster: {server: "https://0123456789ABCDEF.gr7.eu-west-1.eks.amazonaws.com"}
domain: models.example.com
router:
  scheme: internet-facing
  group: models
  certificateArn: arn:aws:acm:eu-west-1:123456789012:certificate/11111111-2222-3333-4444-555555555555
"""
_SERVER = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/bases/torchserve@sha256:{'5' * 64}"
_CPU = b"name: wine\nresources: {gpu: 0, cpu: 500m, memory: 1Gi}\nenvironments: {prod: {scaling: {min: 2, max: 8}}}\n"


_SCALED = b"""\
name: ranker
resources: {gpuResource: nvidia.com/mig-1g.5gb}
scaling: {min: 2, metric: queue, queueDepth: 3, via: keda, scaleDownSeconds: 600}
node: {spot: canary, spread: [zone, host]}
server: {startupSeconds: 3600, env: {OMP_NUM_THREADS: 2}}
monitoring: {kind: podMonitor}
"""
_BATCHED = b"""\
name: wine
scaling: {metric: gpu, gpuUtilization: 60}
tensorflowServing: {batching: {maxBatchSize: 16, allowedBatchSizes: [4, 16]}}
"""


def _deployed(model: str, version: int, runtime: Runtime) -> Deployed:
    image = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/models/{model}@sha256:{version:064x}"
    return Deployed(version=version, image=image, runtime=runtime)


def _torchserve_canary() -> dict[str, bytes]:
    stable, canary = (_deployed("fraud", version, Runtime.TORCHSERVE) for version in (6, 7))
    trial = Canary(**canary.model_dump(), weight=10)
    release = Release(model="fraud", environment="prod", stable=stable, canary=trial)
    model = parse_model(default_model_file("fraud"), "models/fraud/model.yaml")
    return render(release, model, parse_environment(_ENVIRONMENT, "environments/prod.yaml"))


def _tensorflow_https_cpu() -> dict[str, bytes]:
    stable = _deployed("wine", 3, Runtime.TENSORFLOW_SERVING)
    release = Release(model="wine", environment="prod", stable=stable)
    model = parse_model(_CPU, "models/wine/model.yaml")
    return render(release, model, parse_environment(_PUBLIC, "environments/prod.yaml"))


def _triton() -> dict[str, bytes]:
    stable = _deployed("ranker", 4, Runtime.TRITON)
    release = Release(model="ranker", environment="prod", stable=stable)
    model = parse_model(default_model_file("ranker"), "models/ranker/model.yaml")
    return render(release, model, parse_environment(_ENVIRONMENT, "environments/prod.yaml"))


def _triton_scaled() -> dict[str, bytes]:
    """On slices of GPUs, the canary on spot nodes; KEDA scales it by how many requests wait."""
    stable, canary = (_deployed("ranker", version, Runtime.TRITON) for version in (4, 5))
    trial = Canary(**canary.model_dump(), weight=10)
    release = Release(model="ranker", environment="prod", stable=stable, canary=trial)
    model = parse_model(_SCALED, "models/ranker/model.yaml")
    return render(release, model, parse_environment(_ENVIRONMENT, "environments/prod.yaml"))


def _tensorflow_batched() -> dict[str, bytes]:
    """Requests joined to batches, and a HorizontalPodAutoscaler that asks how busy the GPUs are."""
    stable = _deployed("wine", 3, Runtime.TENSORFLOW_SERVING)
    release = Release(model="wine", environment="prod", stable=stable)
    model = parse_model(_BATCHED, "models/wine/model.yaml")
    return render(release, model, parse_environment(_ENVIRONMENT, "environments/prod.yaml"))


def _volume_canary() -> dict[str, bytes]:
    """A version that came in one image is stable; the next one is delivered as a volume."""
    stable, other = (_deployed("fraud", version, Runtime.TORCHSERVE) for version in (6, 7))
    canary = other.model_copy(update={"image": _SERVER, "volume": other.image})
    release = Release(model="fraud", environment="prod", stable=stable, canary=Canary(**canary.model_dump(), weight=10))
    model = parse_model(b"name: fraud\ndelivery: volume\n", "models/fraud/model.yaml")
    return render(release, model, parse_environment(_ENVIRONMENT, "environments/prod.yaml"))


def _behind(router: str, weight: int | None = 10) -> dict[str, bytes]:
    """A Triton model in an environment with that router."""
    stable, canary = (_deployed("fraud", version, Runtime.TRITON) for version in (6, 7))
    trial = Canary(**canary.model_dump(), weight=weight) if weight else None
    release = Release(model="fraud", environment="prod", stable=stable, canary=trial)
    model = parse_model(default_model_file("fraud"), "models/fraud/model.yaml")
    place = parse_environment(_ENVIRONMENT + f"router:\n{indent(router, '  ')}".encode(), "environments/prod.yaml")
    return render(release, model, place)


def _alb_canary() -> dict[str, bytes]:
    return _behind(FULL_ALB)


def _gateway_canary() -> dict[str, bytes]:
    return _behind(FULL_GATEWAY)


def _rollouts_steps() -> dict[str, bytes]:
    """Its canary is not in git."""
    return _behind(FULL_ROLLOUTS, weight=None)


def _kserve_canary() -> dict[str, bytes]:
    return _behind(KSERVE)


def _new_repository() -> dict[str, bytes]:
    return scaffold(["dev", "prod"], repo_url="https://git.example.com/acme/models.git")


_ROUTERS = [_alb_canary, _gateway_canary, _rollouts_steps, _kserve_canary]


_WORKLOADS = [
    _torchserve_canary,
    _tensorflow_https_cpu,
    _tensorflow_batched,
    _triton,
    _triton_scaled,
    _volume_canary,
]


@pytest.mark.parametrize("case", [*_WORKLOADS, *_ROUTERS, _new_repository])
def test_golden(case: object) -> None:
    assert callable(case)
    rendered: dict[str, bytes] = case()
    folder = _GOLDEN / case.__name__.removeprefix("_")
    if os.environ.get("SLUICE_GOLDEN") == "write":
        shutil.rmtree(folder, ignore_errors=True)
        for path, data in rendered.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
    found = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert found == rendered
