"""The adaptor that serves SageMaker's inference code, called as TorchServe calls it."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[4] / "pipelines/packagers/handlers/sluice_sagemaker_handler.py"


class Context:
    """TorchServe's context (ts/context.py), as far as a handler needs it."""

    def __init__(self, model_dir: Path, code: str, headers: list[Mapping[str, object]]) -> None:
        self.system_properties = {"model_dir": str(model_dir), "gpu_id": None}
        self.manifest = {"model": {"serializedFile": "model.pt", "extensions": {"code": code}}}
        self.headers = headers
        self.types: dict[int, str] = {}
        self.statuses: dict[int, tuple[int, str]] = {}

    def get_all_request_header(self, at: int) -> Mapping[str, object]:
        return self.headers[at]

    def set_response_content_type(self, at: int, value: str) -> None:
        assert value.isascii()  # another one kills TorchServe's worker
        self.types[at] = value

    def set_response_status(self, code: int, phrase: str, at: int) -> None:
        assert phrase.isascii()
        self.statuses[at] = (code, phrase)


class Served:
    """The adaptor with some code loaded."""

    def __init__(self, module: Any, folder: Path, code: str) -> None:
        self._handler, self._folder, self._code = module.SageMakerHandler(), folder, code
        self._handler.initialize(Context(folder, code, []))

    def ask(self, body: object, **headers: object) -> tuple[object, str, int]:
        """One answer: the body, its type and its status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        context = Context(self._folder, self._code, [named])
        (answer,) = self._handler.handle([{"body": body}], context)
        return answer, context.types[0], context.statuses.get(0, (200, ""))[0]

    def ask_all(self, *bodies: object) -> tuple[list[object], Context]:
        context = Context(self._folder, self._code, [{}] * len(bodies))
        return self._handler.handle([{"body": body} for body in bodies], context), context


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """`serve(source)` loads the source as the user's `code/inference.py`."""
    path, before = list(sys.path), set(sys.modules)

    def run(source: str, code: str = "code/inference.py", **others: str) -> Served:
        for name, text in {code: source, **{f"code/{name}.py": text for name, text in others.items()}}.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        spec = importlib.util.spec_from_file_location("adaptor", SOURCE)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return Served(module, tmp_path, code)

    yield run
    sys.path[:] = path
    for name in set(sys.modules) - before:
        del sys.modules[name]


PARTS = """
import json
def model_fn(model_dir): return model_dir
def input_fn(body, content_type): return [type(body).__name__, body, content_type]
def predict_fn(data, model): return [*data, model]
def output_fn(prediction, accept): return json.dumps([*prediction, accept])
"""


@pytest.mark.parametrize(
    ("body", "headers", "found"),
    [
        ({"a": 1}, {}, ["str", '{"a": 1}', "application/json"]),
        ([1], {"Content_Type": "application/json"}, ["str", "[1]", "application/json"]),
        (bytearray(b"{nope"), {"content_type": "application/json"}, ["str", "{nope", "application/json"]),
        ("1,2", {"CONTENT_TYPE": "text/csv; charset=utf-8"}, ["str", "1,2", "text/csv"]),
        (bytearray(b"\xff"), {"content_type": "text/csv"}, ["str", "\ufffd", "text/csv"]),
    ],
)
def test_the_functions_are_called_in_turn(
    body: object, headers: dict[str, str], found: list[object], serve: Callable[..., Served], tmp_path: Path
) -> None:
    answer, kind, status = serve(PARTS).ask(body, **headers)
    assert isinstance(answer, str)
    assert json.loads(answer) == [*found, str(tmp_path), "application/json"]
    assert (kind, status) == ("application/json", 200)


def test_bytes_stay_bytes(serve: Callable[..., Served]) -> None:
    served = serve(
        "def model_fn(d): 0\ndef input_fn(b, t): return b\ndef predict_fn(d, m): return d\n"
        "def output_fn(p, a): return p, 'image/png'"
    )
    assert served.ask(bytearray(b"\x89\xff"), Content_Type="image/png") == (b"\x89\xff", "image/png", 200)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("text/csv;q=0.5, */*", "text/csv"),
        ("Text/CSV", "text/csv"),
        ("", "application/json"),
        ("text/ä", "application/json"),
        ("x" * 5000, "application/json"),
        ({"content-type": "a part of a form"}, "application/json"),
    ],
)
def test_the_answer_is_of_the_type_that_was_asked_for(accept: object, kind: str, serve: Callable[..., Served]) -> None:
    assert serve(PARTS).ask("x", accept=accept)[1] == kind


def test_a_type_that_would_kill_the_worker_is_not_passed_on(serve: Callable[..., Served]) -> None:
    assert (
        serve("def model_fn(d): 0\ndef transform_fn(m, b, c, a): return 'x', 'text/ä'").ask("")[1] == "application/json"
    )


def test_one_function_may_do_it_all(serve: Callable[..., Served]) -> None:
    served = serve("def model_fn(d): return 3\ndef transform_fn(m, b, c, a): return [m, b, c, a]")
    answer, _, _ = served.ask("x", content_type="text/plain")
    assert json.loads(str(answer)) == [3, "x", "text/plain", "application/json"]


def test_functions_may_take_the_context(serve: Callable[..., Served]) -> None:
    served = serve(
        "def model_fn(d, context): return context.manifest['model']['serializedFile']\n"
        "def input_fn(b, t, context): return b\ndef predict_fn(d, m, context): return m\n"
        "def output_fn(p, a, context): return [p, len(context.headers)]"
    )
    assert json.loads(str(served.ask("")[0])) == ["model.pt", 1]


def test_functions_before_and_after_loading_are_called(serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve(
        "seen = []\ndef pre_model_fn(d): seen.append(d)\ndef model_fn(d): return 5\n"
        "def model_warmup_fn(d, m): seen.append(m)\ndef input_fn(b, t): 0\ndef predict_fn(d, m): return seen\n"
        "def output_fn(p, a): return p"
    )
    assert json.loads(str(served.ask("")[0])) == [str(tmp_path), 5]


def test_the_users_other_modules_are_found(serve: Callable[..., Served]) -> None:
    mine = "def model_fn(d): 1\ndef transform_fn(*a): return a[1]"
    served = serve("from mine_too import model_fn, transform_fn", mine_too=mine)
    assert served.ask("x")[0] == "x"


def test_code_may_lie_at_the_top(serve: Callable[..., Served]) -> None:
    assert serve("def model_fn(d): 0\ndef transform_fn(m, b, c, a): return b", "handler.py").ask("x")[0] == "x"


def test_what_cannot_be_read_is_the_callers_fault(serve: Callable[..., Served]) -> None:
    served = serve(
        "class Odd(Exception):\n    status_code = 415\nclass Wrong(Exception):\n    status_code = 500\n"
        "def model_fn(d): 0\ndef input_fn(b, t):\n    raise {'1': ValueError('ä'), '2': Odd(), '3': Wrong()}[b]\n"
        "def predict_fn(d, m): 0"
    )
    answers, context = served.ask_all("1", "2", "3", "4")
    assert context.statuses == {
        0: (400, "Bad Request"),
        1: (415, "Unsupported Media Type"),
        2: (400, "Bad Request"),
        3: (400, "Bad Request"),
    }
    assert [list(json.loads(str(answer))) for answer in answers] == [["error"]] * 4


@pytest.mark.parametrize("function", ["predict_fn(d, m)", "output_fn(p, a)"])
def test_what_the_model_raises_is_the_models_fault(function: str, serve: Callable[..., Served]) -> None:
    parts = {"input_fn(b, t)": "return b", "predict_fn(d, m)": "return d", "output_fn(p, a)": "return p"}
    parts[function] = "raise ValueError('x')"
    source = "\n".join(f"def {name}: {body}" for name, body in parts.items())
    with pytest.raises(ValueError, match="x"):  # TorchServe makes 503 of it
        serve("def model_fn(d): 0\n" + source).ask("")


def test_an_answer_that_json_cannot_hold_is_the_models_fault(serve: Callable[..., Served]) -> None:
    served = serve("def model_fn(d): 0\ndef transform_fn(m, b, c, a): return [float('nan')]")
    with pytest.raises(ValueError, match="JSON compliant"):
        served.ask("")


def test_arrays_are_written_as_lists(serve: Callable[..., Served]) -> None:
    arrays = "class A:\n    def tolist(self): return [1]\n"
    served = serve(arrays + "def model_fn(d): 0\ndef transform_fn(m, b, c, a): return {'p': A()}")
    assert served.ask("")[0] == '{"p": [1]}'
