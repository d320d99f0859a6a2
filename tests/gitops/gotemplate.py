"""As much of Go's text/template, with the functions of sprig, as an ApplicationSet of ours uses.

By golang.org/pkg/text/template ("Actions", "Pipelines") and masterminds.github.io/sprig, with the option
`missingkey=error`, as Argo CD fills in an ApplicationSet that has `goTemplate: true`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|\|(?!\|)|\(|\)|:=|,|-?\d+|\$?[\w.]+|\$)')


class MissingKey(Exception):
    """A template names what is not there."""


def filled(text: str, values: Mapping[str, Any]) -> str:
    """`text` with each action done on `values`."""
    parts = _ACTION.split(text)  # text, action, text, action, ..., text
    out: list[str] = []
    rest = _block(parts, 0, {".": values, "$": values}, out, live=True)
    assert rest == len(parts), f"{text!r} ends too early"
    return "".join(out)


def _block(parts: list[str], at: int, names: dict[str, Any], out: list[str], *, live: bool) -> int:
    """Do what is there up to an `end` or `else`, and give its place; or that after the last part."""
    while at < len(parts):
        if live:
            out.append(parts[at])
        if at + 1 == len(parts):
            return at + 1
        action = parts[at + 1]
        if action in ("end", "else"):
            return at + 1
        at = _action(parts, at + 1, action, names, out, live=live)
    raise AssertionError("no end")


def _action(parts: list[str], at: int, action: str, names: dict[str, Any], out: list[str], *, live: bool) -> int:
    if action.startswith("if "):
        holds = live and bool(_value(action[3:], names))
        after = _block(parts, at + 1, names, out, live=holds)
        if parts[after] == "else":
            after = _block(parts, after + 1, names, out, live=live and not holds)
        return after + 1
    if action.startswith("range "):
        return _range(parts, at, action, names, out, live=live)
    if assigned := re.match(r"(\$\w+) := ", action):
        if live:
            names[assigned[1]] = _value(action[assigned.end() :], names)
    elif live:
        out.append(_shown(_value(action, names)))
    return at + 1


def _range(parts: list[str], at: int, action: str, names: dict[str, Any], out: list[str], *, live: bool) -> int:
    index, each, pipeline = re.fullmatch(r"range (\$\w+), (\$\w+) := (.*)", action).groups()
    after = _block(parts, at + 1, dict(names), [], live=False)
    assert parts[after] == "end"
    for number, one in enumerate(_value(pipeline, names) if live else ()):
        _block(parts, at + 1, {**names, ".": one, index: number, each: one}, out, live=True)
    return after + 1


def _value(text: str, names: Mapping[str, Any]) -> Any:
    tokens = [match[1] for match in _TOKEN.finditer(text)]
    assert "".join(tokens).replace(" ", "") == re.sub(r"\s", "", text), text
    iterator = iter([*tokens, ")"])
    value = _pipeline(iterator, names)
    assert next(iterator, None) is None, text
    return value


def _pipeline(tokens: Iterator[str], names: Mapping[str, Any]) -> Any:
    """Everything up to the parenthesis that closes it; what is before a `|` is the last argument of what follows."""
    terms: list[Any] = []
    for token in tokens:
        if token in ("|", ")"):
            head, *arguments = terms
            value = head(*arguments) if callable(head) else head
            assert callable(head) or not arguments, terms
            if token == ")":
                return value
            function = _FUNCTIONS[next(tokens)]
            terms = [lambda *given, _function=function, _last=value: _function(*given, _last)]
        else:
            terms.append(_pipeline(tokens, names) if token == "(" else _operand(token, names))
    raise AssertionError("no closing parenthesis")


def _operand(token: str, names: Mapping[str, Any]) -> Any:
    if token[0] == '"':
        return json.loads(token)
    if re.fullmatch(r"-?\d+", token):
        return int(token)
    if token[0] in ".$":
        name, *path = token.split(".")
        found = names[name or "."]
        for key in filter(None, path):
            if not isinstance(found, Mapping) or key not in found:
                raise MissingKey(token)
            found = found[key]
        return found
    return _FUNCTIONS[token]


def _dig(*arguments: Any) -> Any:
    *keys, default, found = arguments
    for key in keys:
        assert isinstance(found, Mapping), f"dig {key} in what is no map"
        if key not in found:
            return default
        found = found[key]
    return found


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "dig": _dig,
    "dict": lambda *pairs: dict(zip(pairs[::2], pairs[1::2], strict=True)),
    "list": lambda *each: list(each),
    "default": lambda default, value: value or default,
    "pick": lambda found, *keys: {key: found[key] for key in keys if key in found},
    "hasKey": lambda found, key: key in found,
    "toJson": lambda value: json.dumps(value, sort_keys=True),
    "int64": int,
}


def _shown(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= 1e6 and value == float(value):
        return f"{value:e}" if isinstance(value, float) else str(value)
    return str(value)
