"""Sample requests for Triton: kept where they fit, and made where zeros would do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from registry.errors import InvalidInput
from tests.pipelines.packagers.triton.repositories import (
    PYTHON,
    pack,
    told,
)

V2 = {"inputs": [{"name": "X", "shape": [1, 2], "datatype": "FP32", "data": [1, 2.5]}]}


@pytest.mark.parametrize(
    ("given", "sample"),
    [
        (V2, V2),
        ({"inputs": [{**V2["inputs"][0], "data": [[1, 2.5]]}]}, ...),
        ({"instances": [[1, 2.5]]}, V2),
        ({"inputs": {"X": [[1, 2.5]]}}, V2),
        ({"inputs": [[1, 2.5]]}, V2),
    ],
)
def test_a_sample_that_came_with_the_model_is_the_sample(given: Any, sample: Any) -> None:
    _, signature = pack({**told(PYTHON), "sample.json": json.dumps(given)})
    assert signature.sample == (given if sample is ... else sample)
    assert signature.told_by == "config.pbtxt and sample.json"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"name": "Q"}, "has the input 'Q', which the model has not"),
        ({"datatype": "FP64"}, "sample's X needs the datatype FP32"),
        ({"shape": [1, 3]}, r"sample's X needs a shape that fits \[any, 2\]"),
        ({"shape": [True, 2]}, "needs a shape that fits"),
        ({"shape": None}, "needs a shape that fits"),
        ({"shape": [2, 2]}, "needs 4 values in data, as its shape says"),
        ({"data": ["a", "b"]}, "holds 'a', which is no float32"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(changes: dict[str, Any], error: str) -> None:
    sample = {"inputs": [{**V2["inputs"][0], **changes}]}
    with pytest.raises(InvalidInput, match=error):
        pack({**told(PYTHON), "sample.json": json.dumps(sample)})


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (("TYPE_FP32, dims: [ 2 ] } ]\noutput", "TYPE_FP16, dims: [ 2 ] } ]\noutput"), None),
        (("TYPE_FP32, dims: [ 2 ] } ]\noutput", "TYPE_STRING, dims: [ 2 ] } ]\noutput"), None),
        (("dims: [ 2 ] } ]\noutput", "dims: [ -1 ] } ]\noutput"), None),
        (("max_batch_size: 4", "model_transaction_policy { decoupled: true }"), None),
        (("max_batch_size: 4", "max_batch_size: 4 sequence_batching {}"), None),
        (("input [ ", 'input [ { name: "O", data_type: TYPE_STRING, dims: 1, optional: true }, '), ["X"]),
    ],
)
def test_a_request_is_made_only_where_zeros_would_do(change: tuple[str, str], names: list[str] | None) -> None:
    assert change[0] in PYTHON
    _, signature = pack(told(PYTHON.replace(*change, 1)))
    sample: Any = signature.sample
    assert (sample and [one["name"] for one in sample["inputs"]]) == names


def test_names_that_contradict_the_config_are_refused() -> None:
    other = '{"inputs": [{"name": "Q", "dtype": "float32", "shape": [1]}]}'
    with pytest.raises(InvalidInput, match=r"signature.json tells of inputs Q, and fraud/config.pbtxt of X"):
        pack({**told(PYTHON), "signature.json": other})
