"""YAML from strangers is refused in one sentence; YAML for git is the same bytes every time."""

import contextlib
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

import gitops
from gitops.yamls import MAX_BYTES, dump, load
from registry.errors import InvalidInput

_BOMB = b"a: &a [x, x]\n" + b"".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n".encode() for i in range(24)
)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"name: [", "x.yaml is not YAML that Sluice reads: line 1:"),
        (b"name: a\n\tb: c", "line 2: .*tab|line 2: found character"),
        (b"a: 1\nb: 2\na: 3", "line 3: 'a' is there twice"),
        (b"a:\n  b: 1\n  b: 2", "line 3: 'b' is there twice"),
        (b"- a", "must hold one mapping"),
        (b"", "must hold one mapping"),
        (b"a: 1\n---\nb: 2", "expected a single document"),
        (b"a: &x 1\nb: *x", "line 2: aliases are not read"),
        (_BOMB, "line 2: aliases are not read"),
        (b"a: !!python/object/apply:os.system [id]", "line 1: tags are not read"),
        (b"a: !!bool x", "line 1: tags are not read"),
        (b"? [a, b]\n: c", "a key must be a word"),
        (b"a: 2020-13-45", "month must be in"),
        (b"a: " + b"[" * 5000, "nested too deeply"),
        (b"a: \xff\xfe\xff", "x.yaml is not YAML that Sluice reads"),
        (b"a: " + b"b" * MAX_BYTES, "larger than 256 KiB"),
    ],
)
def test_refused(data: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        load(data, "x.yaml")
    assert "\n" not in str(caught.value)


def test_a_bomb_costs_no_memory() -> None:
    tracemalloc.start()
    with pytest.raises(InvalidInput):
        load(_BOMB, "x.yaml")
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


@given(st.one_of(st.binary(max_size=200), st.text("ab:-[]{}&*!|>%@'\"#? \n\t01.e_=<~", max_size=60).map(str.encode)))
@example(b"a: =")
@example(b"<<: 1")
@example(b"a: 0b_")
def test_any_bytes_give_a_mapping_or_one_sentence(data: bytes) -> None:
    with contextlib.suppress(InvalidInput):
        assert isinstance(load(data, "x.yaml"), dict)


_words = st.one_of(
    st.text(max_size=30), st.sampled_from(["y", "no", "1e3", "0o7", "08", "1:30", "~", "", "on", "8Gi", "=", "<<"])
)
_values = st.recursive(
    st.one_of(_words, st.integers(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_words, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["a", "b"]), _values))
@example({"a": "\x85", "b": ["x\u2028y\n", "\u2029", "a\r\n"]})
def test_what_is_written_is_read_back(document: dict[str, object]) -> None:
    assert yaml.safe_load(dump(document, "two\nlines")) == document
    assert dump(document) == dump(dict(document))


@pytest.mark.parametrize("word", ["y", "n", "1e3", "0o17", "no", "1.", ".5"])
def test_a_go_parser_sees_a_string_too(word: str) -> None:
    assert dump({"name": word}) == f"name: '{word}'\n".encode()


def test_bytes_do_not_depend_on_the_process() -> None:
    # another process has other string hashes: nothing of the order may come from a set
    document = {"z": {"b": ["x", {"y": "1"}]}, "a": "two\nlines\n"}
    program = "import json, sys; from gitops.yamls import dump; sys.stdout.buffer.write(dump(json.load(sys.stdin)))"
    found = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(document).encode(),
        cwd=Path(gitops.__file__).parents[1],
        check=True,
        capture_output=True,
    )
    assert found.stdout == dump(document)
