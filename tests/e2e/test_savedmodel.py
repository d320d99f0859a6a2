"""What Sluice packages for TensorFlow Serving, loaded and asked by TensorFlow as that server does it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

PREDICT = """
import json, sys
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1], tags=["serve"])
signature = model.signatures["serving_default"]
(name,) = signature.structured_input_signature[1]
instances = json.load(sys.stdin)["instances"]
(output,) = signature(**{name: tf.constant(instances, tf.float32)}).values()
print(json.dumps(output.numpy().tolist()))
"""


@pytest.fixture
def python() -> str:
    """An interpreter that has TensorFlow."""
    told = os.environ.get("SLUICE_TENSORFLOW_PYTHON")
    if not told:
        pytest.skip("Set SLUICE_TENSORFLOW_PYTHON to a Python interpreter that has tensorflow or tensorflow-cpu.")
    found = subprocess.run(
        [told, "-c", "import importlib.util as u, sys; sys.exit(u.find_spec('tensorflow') is None)"], check=False
    )
    if found.returncode:
        pytest.fail(f"SLUICE_TENSORFLOW_PYTHON says {told}, which has no TensorFlow.")
    return told


def test_an_image_holds_a_model_that_tensorflow_serves(packaged: Any, python: str, tmp_path: Path) -> None:
    wine = packaged("wine", "wine-2026-11-10")
    wine.unpack(tmp_path)
    (base,) = (
        argument.removeprefix("--model_base_path=/")
        for argument in wine.layout.entrypoint
        if argument.startswith("--model_base_path=")
    )

    # The server serves the highest number it finds, so there must be one, and it the version's.
    assert [folder.name for folder in (tmp_path / base).iterdir()] == [str(wine.ref.number)]
    answer = subprocess.run(
        [python, "-c", PREDICT, str(tmp_path / base / str(wine.ref.number))],
        input=wine.sample,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr.decode()
    (scores,) = json.loads(answer.stdout.splitlines()[-1])
    assert sum(scores) == pytest.approx(1)
    assert scores.index(max(scores)) == wine.expected
