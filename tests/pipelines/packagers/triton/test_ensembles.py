"""Ensembles: each step has to fit the next."""

from __future__ import annotations

import pytest

from registry.errors import InvalidInput
from tests.pipelines.packagers.triton.repositories import (
    ENSEMBLE,
    PYTHON,
    STEPS,
    pack,
)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (('"first"', '"third"'), "has a step 'third', and there is no such model: add its folder"),
        (("model_version: -1", "model_version: 2"), "wants version 2 of first, which is missing"),
        (('input_map { key: "X" value: "A" }', ""), "step first without input_map or output_map"),
        (('key: "X" value: "A"', 'key: "Z" value: "A"'), "maps the input 'Z' of first, which has none such"),
        (('key: "Y" value: "M"', 'key: "Z" value: "M"'), "maps the output 'Z' of first, which has none such"),
        (('value: "A"', 'value: "Q"'), "needs the tensor 'M', which no step makes in time|needs the tensor 'B'"),
        (('key: "Y" value: "M"', 'key: "Y" value: "B"'), "needs the tensor 'M', which no step makes in time"),
        (('key: "Y" value: "M"', 'key: "Y" value: "A"'), "makes the tensor 'A' twice"),
        (('"A" data_type: TYPE_FP32 dims: 2', '"A" data_type: TYPE_FP32 dims: 3'), "has 'A' with another"),
        (("max_batch_size: 4", "max_batch_size: 5"), "allows batches of 5, and its step first only of 4"),
        (
            ('"A" data_type: TYPE_FP32', '"A" data_type: TYPE_INT8'),
            "has 'A' with another data_type or other dims than 'X' of",
        ),
        ((ENSEMBLE[ENSEMBLE.index("ensemble_sch") :], ""), "is an ensemble without steps"),
        (('output { name: "B" data_type: TYPE_FP32 dims: 2 }', ""), "names no output, which its backend cannot"),
        (('output { name: "B"', 'output { name: "C" data_type: TYPE_FP32 dims: 1 } output { name: "B"'), "tensor 'C'"),
    ],
)
def test_an_ensemble_whose_steps_do_not_fit_is_refused(change: tuple[str, str], error: str) -> None:
    assert change[0] in ENSEMBLE
    with pytest.raises(InvalidInput, match=error) as caught:
        pack({**STEPS, "fraud/config.pbtxt": ENSEMBLE.replace(*change, 1)})
    assert str(caught.value).isprintable()


def test_an_input_that_a_step_needs_must_be_mapped_unless_it_is_optional() -> None:
    more = PYTHON.replace("input [", 'input [ { name: "Z", data_type: TYPE_FP32, dims: [ 2 ] },')
    with pytest.raises(InvalidInput, match="does not map the input 'Z' of first: add it to input_map"):
        pack({**STEPS, "e/config.pbtxt": ENSEMBLE, "first/config.pbtxt": more})
    pack({**STEPS, "e/config.pbtxt": ENSEMBLE, "first/config.pbtxt": more.replace('"Z",', '"Z", optional: true,')})


def test_ensembles_that_are_steps_of_each_other_are_refused() -> None:
    files = {
        "fraud/config.pbtxt": ENSEMBLE.replace('"second"', '"pipe"'),
        "pipe/config.pbtxt": ENSEMBLE.replace('"second"', '"fraud"'),
    }
    with pytest.raises(InvalidInput, match="The ensembles fraud, pipe are steps of each other: undo the circle"):
        pack({**STEPS, **files})
