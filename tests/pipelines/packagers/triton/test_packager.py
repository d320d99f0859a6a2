"""Which models Triton serves, and in which layer their files belong."""

from __future__ import annotations

import pytest

from gitops.release import Runtime
from pipelines.packagers import packager_for
from pipelines.packagers.base import Concern
from pipelines.packagers.triton import TritonPackager
from registry.errors import InvalidInput, Refused
from registry.facts import Format
from tests.pipelines.packagers.triton.repositories import (
    request_for,
)


def test_python_and_configs_are_code_and_the_rest_is_weights() -> None:
    paths = ("fraud/config.pbtxt", "fraud/1/model.py", "fraud/1/model.onnx", "fraud/labels.txt")
    concerns = [TritonPackager().concern(path) for path in paths]
    assert concerns == [Concern.CODE, Concern.CODE, Concern.WEIGHTS, Concern.WEIGHTS]


@pytest.mark.parametrize("form", [Format.ONNX, Format.TRITON])
def test_triton_is_what_serves_onnx_and_repositories(form: Format) -> None:
    scan = request_for(form, {}, "", "m@1").scan
    assert packager_for(scan).runtime is packager_for(scan, Runtime.TRITON).runtime is Runtime.TRITON
    with pytest.raises(InvalidInput, match=r"set runtime: triton in model\.yaml"):
        packager_for(scan, Runtime.TORCHSERVE)


def test_triton_serves_torchscript_where_it_is_asked_to() -> None:
    scan = request_for(Format.TORCHSCRIPT, {}, "model.pt", "m@1").scan
    assert packager_for(scan).runtime is Runtime.TORCHSERVE
    assert packager_for(scan, Runtime.TRITON).runtime is Runtime.TRITON


def test_a_saved_model_for_triton_is_refused_with_the_reason() -> None:
    with pytest.raises(Refused, match=r"TensorFlow backend was removed after release 25\.02"):
        packager_for(request_for(Format.SAVED_MODEL, {}, "", "m@1").scan, Runtime.TRITON)
