"""What small files beside a model say of its inputs and outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive import Member
from pipelines.packagers.signatures import FILE_MAX, SignatureFiles
from registry.errors import InvalidInput
from registry.facts import DType, Signature, Tensor
from registry.limits import RECORD_MAX


def told(files: Mapping[str, bytes], root: str = "", step: int = 7) -> Signature | None:
    watcher = SignatureFiles(root)
    for path, data in files.items():
        chunks = (data[at : at + step] for at in range(0, len(data), step))
        member = watcher.watch(Member(path, len(data), chunks))
        assert b"".join(member.chunks) == data
    return watcher.signature()


OWN = json.dumps(
    {
        "inputs": [{"name": "x", "dtype": "float32", "shape": [None, 28, 28]}],
        "outputs": [
            {"name": "scores", "dtype": "int64", "shape": [-1]},
            {"name": "any", "dtype": "bool", "shape": None},
        ],
        "sample": {"instances": [[1, 2.5]]},
    }
).encode()
ML_MODEL = b"""artifact_path: model
flavors:
  pytorch: {}
signature:
  inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 28]}}]'
  outputs: '[{"name": "label", "type": "tensor", "tensor-spec": {"dtype": "object", "shape": [-1]}}]'
  params: null
"""


def test_sluices_own_file_says_it_all() -> None:
    assert told({"signature.json": OWN}) == Signature(
        inputs=(Tensor(name="x", dtype=DType.FLOAT32, shape=(None, 28, 28)),),
        outputs=(
            Tensor(name="scores", dtype=DType.INT64, shape=(None,)),
            Tensor(name="any", dtype=DType.BOOL, shape=None),
        ),
        sample={"instances": [[1, 2.5]]},
        told_by="signature.json",
    )


def test_a_sample_alone_is_a_signature_too() -> None:
    assert told({"sample.json": b'{"instances": [1]}'}) == Signature(sample={"instances": [1]}, told_by="sample.json")


def test_mlflows_tensors_are_read() -> None:
    assert told({"MLmodel": ML_MODEL}) == Signature(
        inputs=(Tensor(name="input", dtype=DType.FLOAT32, shape=(None, 28)),),
        outputs=(Tensor(name="label", dtype=DType.STRING, shape=(None,)),),
        told_by="MLmodel",
    )


def test_one_file_adds_to_another() -> None:
    both = told({"sample.json": b"[3]", "MLmodel": ML_MODEL})
    assert both is not None
    assert (both.sample, both.inputs[0].name, both.told_by) == ([3], "input", "MLmodel and sample.json")
    own = told({"sample.json": b"[3]", "signature.json": OWN, "MLmodel": ML_MODEL})
    assert own == told({"signature.json": OWN})


@pytest.mark.parametrize(
    ("path", "root", "found"),
    [
        ("sample.json", "", True),
        ("code/sample.json", "", True),
        ("export/sample.json", "export", True),
        ("export/sample.json", "export/model.pt", True),
        ("other/sample.json", "export/model.pt", False),
        ("export/sample.json", "", False),
        ("sample.jsonl", "", False),
    ],
)
def test_only_files_near_the_model_count(path: str, root: str, found: bool) -> None:
    assert (told({path: b"[1]"}, root) is not None) is found


def test_the_top_comes_first() -> None:
    for files in (
        {"code/sample.json": b"[2]", "sample.json": b"[1]"},
        {"sample.json": b"[1]", "code/sample.json": b"["},
    ):
        signature = told(files)
        assert signature is not None
        assert signature.sample == [1]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("float", "float32"), ("double", "float64"), ("half", "float16"), ("long", "int64"), ("str", "string")],
)
def test_others_names_of_types_are_known(theirs: str, ours: str) -> None:
    files = {"signature.json": json.dumps({"inputs": [{"name": "x", "dtype": theirs, "shape": []}]}).encode()}
    signature = told(files)
    assert signature is not None
    assert signature.inputs[0].dtype == ours


COLUMNS = b"""signature:
  inputs: '[{"type": "double", "name": "a"}]'
  outputs: null
"""


@pytest.mark.parametrize(
    "data",
    [
        b"flavors: {}\n",
        b"signature: null\n",
        b"signature: []\n",
        COLUMNS,
        ML_MODEL.replace(b"tensor-spec", b"spec"),
        ML_MODEL.replace(b"float32", b"datetime64").replace(b"object", b"datetime64"),
    ],
)
def test_what_mlflow_knows_that_is_no_tensor_is_left_alone(data: bytes) -> None:
    assert told({"MLmodel": data}) is None


BAD = [
    ("signature.json", b""),
    ("signature.json", b"[]"),
    ("signature.json", b"{"),
    ("signature.json", b'{"input": []}'),
    ("signature.json", b'{"inputs": {}}'),
    ("signature.json", b'{"inputs": [1]}'),
    ("signature.json", b'{"inputs": [{"name": "x"}]}'),
    ("signature.json", b'{"inputs": [{"name": "x", "dtype": "f", "shape": []}]}'),
    ("signature.json", b'{"inputs": [{"name": "x", "dtype": ["bool"], "shape": []}]}'),
    ("signature.json", b'{"inputs": [{"name": "x", "dtype": "bool", "shape": [-2]}]}'),
    ("signature.json", b'{"inputs": [{"name": "x\\n", "dtype": "bool", "shape": []}]}'),
    ("signature.json", json.dumps({"inputs": [{"name": "x", "dtype": "bool", "shape": []}] * 1001}).encode()),
    ("sample.json", b""),
    ("sample.json", b"\xff"),
    ("sample.json", b"[NaN]"),
    ("sample.json", b"[Infinity]"),
    ("sample.json", b'"\\ud800"'),
    ("sample.json", b"[" * 40 + b"]" * 40),
    ("sample.json", b"[" * 100_000),
    ("sample.json", b"9" * 5000),
    ("sample.json", b" " * (FILE_MAX + 1)),
    ("sample.json", b"[" * 30 + b"1," * 50_000 + b"1" + b"]" * 30),
    ("MLmodel", b"a: ["),
    ("MLmodel", b"a: &x [1]\nb: *x\n"),
    ("MLmodel", ML_MODEL.replace(b"28", b'"many"')),
    ("MLmodel", ML_MODEL.replace(b"[{", b"[")),
]


@pytest.mark.parametrize(("path", "data"), BAD, ids=range(len(BAD)))
def test_a_file_that_is_wrong_is_told_in_one_sentence(path: str, data: bytes) -> None:
    with pytest.raises(InvalidInput, match=rf"^{path} ") as caught:
        told({path: data}, step=1 << 20)
    message = str(caught.value)
    assert ": " in message
    assert message.endswith(".")
    assert message.isprintable()
    assert len(message) < 600


PIECES = st.sampled_from([OWN, ML_MODEL, b'{"inputs": ', b"[", b"]", b"}", b"null", b'"x"', b"1e999", b"\x00", b"- a"])


@given(
    st.dictionaries(
        st.sampled_from(["signature.json", "sample.json", "MLmodel"]),
        st.lists(PIECES | st.binary(max_size=5), max_size=5).map(b"".join),
    )
)
@settings(max_examples=400)
def test_any_files_tell_something_or_are_refused(files: dict[str, bytes]) -> None:
    try:
        signature = told(files)
    except InvalidInput as error:
        assert str(error).endswith(".")  # noqa: PT017  # either is right
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert signature is None or len(signature.to_bytes()) <= RECORD_MAX
