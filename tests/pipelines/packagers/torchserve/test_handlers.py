"""Telling handlers apart by their text."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.packagers.torchserve.handlers import (
    CODE_MAX,
    SAGEMAKER_HANDLER,
    SLUICE_HANDLER,
    Style,
    candidates,
    choose,
    handler_in,
    outline,
    shipped,
)
from registry.errors import InvalidInput

TORCHSERVE = [
    "def handle(data, context): ...",
    "async def handle(data, context): ...",
    "from mine import handle",
    "from mine import run as handle",
    "handle = Service().handle",
    "handle: object = run",
    "class A(BaseHandler): ...",
    "class A(ts.torch_handler.base_handler.BaseHandler): ...",
    "class A(ImageClassifierHandler, object): ...",
    "class A:\n    def initialize(self, context): ...\n    def handle(self, data, context): ...",
    "class A: ...\nclass B: ...\ndef handle(data, context): ...",
    "try:\n    import torch\nexcept ImportError:\n    torch = None\nelse:\n    def handle(data, context): ...",
    "if True:\n    with x:\n        def handle(data, context): ...",
    "# -*- coding: latin-1 -*-\nx = '\xe4'\ndef handle(data, context): ...".encode("latin-1"),
    b"\xef\xbb\xbfdef handle(data, context): ...",
    "x = '\\d'\ndef handle(data, context): ...",  # an escape of which Python warns
]
SAGEMAKER = [
    "def model_fn(model_dir): ...",
    "def predict_fn(data, model): ...",
    "def input_fn(body, content_type): ...\ndef output_fn(prediction, accept): ...",
    "def transform_fn(model, body, content_type, accept): ...",
    "from mine import model_fn",
    "class Net(nn.Module): ...\nclass Other: ...\ndef model_fn(model_dir): ...",
    "def model_fn(model_dir): ...\ndef handle(x): ...",
]
NEITHER = [
    "",
    "x = 1",
    "from mine import *",
    "class Net(nn.Module): ...",
    "class A:\n    def handle(self, data, context): ...",
    "def outer():\n    def handle(data, context): ...",
    "class A:\n    def model_fn(self): ...",
    "a.handle = 1",
]


def style(source: str | bytes) -> Style | None:
    found = handler_in("x.py", outline("x.py", source.encode() if isinstance(source, str) else source))
    return found.style if found else None


@pytest.mark.parametrize("source", TORCHSERVE)
def test_torchserve_handlers_are_known(source: str | bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert style(source) is Style.TORCHSERVE


@pytest.mark.parametrize("name", [SLUICE_HANDLER, SAGEMAKER_HANDLER])
def test_sluices_own_handlers_are_such_as_torchserve_takes(name: str) -> None:
    assert style(shipped(name)) is Style.TORCHSERVE


@pytest.mark.parametrize("source", SAGEMAKER)
def test_sagemaker_code_is_known(source: str) -> None:
    assert style(source) is Style.SAGEMAKER


@pytest.mark.parametrize("source", NEITHER)
def test_what_is_neither_is_no_handler(source: str) -> None:
    assert style(source) is None


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("class A(BaseHandler): ...\nclass B: ...", r"2 classes \(A, B\)"),
        ("def transform_fn(m, b, c, a): ...\ndef input_fn(b, c): ...", "transform_fn beside input_fn"),
    ],
)
def test_a_handler_that_could_not_be_loaded_is_told(source: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        style(source)


def test_the_first_handler_of_several_files_is_chosen() -> None:
    assert choose([("a.py", b""), ("b.py", b"def handle(d, c): 0"), ("c.py", b"(")]).path == "b.py"
    with pytest.raises(InvalidInput, match=r"a\.py and b\.py define no handler"):
        choose([("a.py", b""), ("b.py", b"")])


def test_handlers_under_code_come_before_those_at_the_top() -> None:
    paths = {"handler.py", "code/handler.py", "code/inference.py", "lib/handler.py"}
    assert candidates(paths) == ("code/inference.py", "code/handler.py")
    assert candidates({"handler.py", "inference.py"}) == ("inference.py", "handler.py")
    assert candidates({"lib/handler.py", "code/x.py"}) == ()


HOSTILE: dict[str, bytes] = {
    "too large": b"#" * (CODE_MAX + 1),
    "no Python": b"def (:\n",
    "a NUL": b"x = 1\0",
    "other bytes than text": b"\xff\xfe\xfd",
    "an unknown encoding": b"# coding: nosuch\nx = 1",
    "an encoding that is none of text": b"# coding: zlib\nx = 1",
    "parentheses": b"x=" + b"(" * 90_000 + b")" * 90_000,
    "minuses": b"x=" + b"-" * (CODE_MAX - 9) + b"1",
    "a sum": b"x=" + b"1+" * (CODE_MAX // 2 - 9) + b"1",
    "attributes": b"x=a" + b".a" * (CODE_MAX // 2 - 9),
    "calls": b"x=a" + b"()" * (CODE_MAX // 2 - 9),
    "powers": b"x=" + b"1**" * (CODE_MAX // 3 - 9) + b"1",
    "a chain of elif": b"if a: b\n" + b"elif a: b\n" * (CODE_MAX // 10 - 9),
    "a huge number": b"x=" + b"9" * 100_000,
    "deep blocks": b"".join(b" " * depth + b"if 1:\n" for depth in range(300)) + b" " * 300 + b"a",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_source_is_refused_in_one_sentence(case: str) -> None:
    with pytest.raises(InvalidInput, match=r"^x\.py .*: .*\.$") as caught:
        style(HOSTILE[case])
    assert str(caught.value).isprintable()


WORDS = st.sampled_from(
    [
        "def handle(a, b):",
        "class A(BaseHandler):",
        " 0",
        "\n",
        "    ",
        "if x:",
        "else:",
        "try:",
        "x = (",
        ")",
        "@a",
        "\\",
        "'",
    ]
)


@given(st.lists(WORDS | st.text(max_size=3), max_size=12).map("".join))
@settings(max_examples=300)
def test_any_text_is_looked_into_or_refused(source: str) -> None:
    try:
        outline("x.py", source.encode(errors="replace"))
    except InvalidInput as error:
        assert str(error).endswith(".")  # noqa: PT017  # either is right
        assert str(error).isprintable()  # noqa: PT017
