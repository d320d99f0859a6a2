"""What Sluice knows of each model server: its ports, and how to ask it whether this model is ready."""

from __future__ import annotations

from collections.abc import Mapping

from gitops.release import Runtime
from gitops.runtimes.spec import (
    DEREGISTRATION_SECONDS,
    MODEL_ROOT,
    SETTINGS_ROOT,
    Configured,
    Metrics,
    Probe,
    RuntimeSpec,
)
from gitops.runtimes.tensorflow import TENSORFLOW_SERVING
from gitops.runtimes.torchserve import TORCHSERVE, TORCHSERVE_MANAGEMENT_PORT, worker_ready_script
from gitops.runtimes.triton import TRITON

__all__ = [
    "DEREGISTRATION_SECONDS",
    "MODEL_ROOT",
    "RUNTIMES",
    "SETTINGS_ROOT",
    "TORCHSERVE_MANAGEMENT_PORT",
    "Configured",
    "Metrics",
    "Probe",
    "RuntimeSpec",
    "health_path",
    "worker_ready_script",
]

RUNTIMES: Mapping[Runtime, RuntimeSpec] = {
    Runtime.TORCHSERVE: TORCHSERVE,
    Runtime.TENSORFLOW_SERVING: TENSORFLOW_SERVING,
    Runtime.TRITON: TRITON,
}


def health_path(runtime: Runtime, model: str) -> str:
    """The path on the inference port that answers 200 while the server lives."""
    return RUNTIMES[runtime].health_path.format(model=model)
