"""YAML as Sluice reads and writes it: strict and small on the way in, the same bytes every time on the way out.

People and their tools write what is read here, so it is treated as hostile: bounded in size, no aliases (a few
lines of them can stand for gigabytes), no tags, no duplicate keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from registry.errors import InvalidInput

MAX_BYTES = 256 * 1024
_Model = TypeVar("_Model", bound=BaseModel)
# Argo CD reads these files with a Go parser that sees a boolean or a number in some words PyYAML takes for strings.
_AMBIGUOUS = re.compile(r"[yYnN]|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|0o[0-7]+")

# line breaks of YAML 1.1 (section 5.4), which only double quotes bring back as they were
_OTHER_BREAKS = re.compile("[\\r\\x85\\u2028\\u2029]")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, without aliases, tags and duplicate keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases are not read, repeat the value", problem_mark=mark)
        if getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(problem="tags are not read, remove the !", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, without aliases, with long text as blocks."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    if _OTHER_BREAKS.search(value):
        style: str | None = '"'
    else:
        style = "|" if "\n" in value else "'" if _AMBIGUOUS.fullmatch(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def load(data: bytes, path: str) -> dict[str, object]:
    """The one mapping in a YAML file; `path` is only for messages.

    Raises:
        InvalidInput: over 256 KiB, not YAML, not a mapping, or with an alias, a tag or a duplicate key.
    """
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"{path} is larger than {MAX_BYTES // 1024} KiB: settings are small, check the file.")
    try:
        document = yaml.load(data, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except RecursionError:
        raise InvalidInput(f"{path} is not YAML that Sluice reads: it is nested too deeply.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidInput(f"{path} is not YAML that Sluice reads: {_where(error)}.") from None
    if not isinstance(document, dict):
        raise InvalidInput(f"{path} must hold one mapping of settings, `name: value` on each line.")
    return document


def read_as(kind: type[_Model], data: bytes, path: str) -> _Model:
    """The file's settings as `kind`; the message names the file, the field and what is wrong with it.

    Raises:
        InvalidInput: what `load` refuses, or an unknown, missing or wrong field.
    """
    document = load(data, path)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(f"{path}: {_first(error)}") from None


def dump(document: Mapping[str, Any], header: str = "") -> bytes:
    """One document as block-style YAML in the order given; each line of `header` becomes a comment above it."""
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    text = yaml.dump(
        dict(document), Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=4096
    )
    return (comment + text).encode()


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = " ".join(str(getattr(error, "problem", None) or error).split()).rstrip(".")
    if problem.startswith("but "):  # PyYAML says what it expected as the context
        problem = f"{getattr(error, 'context', None) or 'YAML was expected'}, {problem}"
    return f"line {mark.line + 1}: {problem}" if mark else problem


def _first(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    problem, more = problems[0], len(problems) - 1
    field = ".".join(str(part) for part in problem["loc"] if part != "[key]") or "the file"
    others = f" (and {more} more)" if more else ""
    if problem["type"] == "extra_forbidden":
        return f"{field} is not a setting here, correct its spelling or remove it{others}."
    if problem["type"] == "missing":
        return f"{field} is missing, add it{others}."
    reason = problem["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{field} is wrong: {reason[:1].lower()}{reason[1:]}{others}."
