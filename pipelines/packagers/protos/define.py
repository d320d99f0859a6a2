"""Message classes from a few lines of text.

    message Shape.Dim
      1 size int64
      2 name string
    enum Kind
      0 KIND_NONE

`message` and `enum` open a type, nested ones with a dot after what they are nested in, which comes first. A field is
its number, its name and its type: a scalar's, or a message's or enum's as seen from there; `T*` is a list of `T`,
`map K V` a map, and `in group` at the end makes it one of a group of which only one can be set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import (
        DescriptorProto,
        EnumDescriptorProto,
        FieldDescriptorProto,
        FileDescriptorProto,
    )


_SCALARS = ("double", "float", "int64", "uint64", "int32", "bool", "string", "bytes", "uint32", "fixed32")


def define(package: str, told: str) -> Mapping[str, Any]:
    """The message classes that the text `told` describes, by their names without `package`; as in proto3.

    Fields that it does not name are kept as unknown when a message is read, and refused where it is written as text.
    """
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    known: dict[str, Any] = {}
    current: Any = None
    for line in told.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] in ("message", "enum"):
            current = known[words[1]] = _opened(file, known, *words)
        elif hasattr(current, "value"):
            current.value.add(number=int(words[0]), name=words[1])
        else:
            _add_field(current, words)
    pool = DescriptorPool()  # one of its own: the same names may be in use by the real thing in this process
    pool.Add(file)
    return {
        name: GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name, made in known.items()
        if not hasattr(made, "value")
    }


def _opened(
    file: FileDescriptorProto, known: Mapping[str, DescriptorProto], keyword: str, path: str
) -> DescriptorProto | EnumDescriptorProto:
    outer, _, name = path.rpartition(".")
    if keyword == "enum":
        return (known[outer] if outer else file).enum_type.add(name=name)
    return known[outer].nested_type.add(name=name) if outer else file.message_type.add(name=name)


def _add_field(message: DescriptorProto, words: Iterable[str]) -> None:
    number, name, *kind = words
    field = message.field.add(number=int(number), name=name)
    field.label = field.LABEL_OPTIONAL
    if kind[-2:-1] == ["in"]:
        field.oneof_index = _group(message, kind[-1])
        kind = kind[:-2]
    if kind[0] == "map":
        entry = message.nested_type.add(name=_entry_name(name))
        entry.options.map_entry = True
        _add_field(entry, ("1", "key", kind[1]))
        _add_field(entry, ("2", "value", kind[2]))
        kind = [f"{entry.name}*"]
    if kind[0].endswith("*"):
        field.label = field.LABEL_REPEATED
    _set_type(field, kind[0].removesuffix("*"))


def _set_type(field: FieldDescriptorProto, kind: str) -> None:
    if kind in _SCALARS:
        field.type = field.Type.Value(f"TYPE_{kind.upper()}")
    else:
        field.type_name = kind  # the pool finds out whether it is a message or an enum


def _group(message: DescriptorProto, name: str) -> int:
    names = [group.name for group in message.oneof_decl]
    if name not in names:
        message.oneof_decl.add(name=name)
        names.append(name)
    return names.index(name)


def _entry_name(name: str) -> str:
    """What protobuf calls the message of a map's entries (language guide, "Maps"): `input_map` has InputMapEntry."""
    return "".join(part.capitalize() for part in name.split("_")) + "Entry"
