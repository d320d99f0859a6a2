"""A SavedModel's variables: which files its index says they are in, and how much of each.

`variables.index` is a table of key and value blocks (TensorFlow, tsl/lib/io/table_format.txt) with a header under the
empty key and an entry for each variable (tensor_bundle.proto).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pipelines.packagers.crc32c import masked_crc32c
from pipelines.packagers.protos.tensorflow import bundle
from registry.errors import InvalidInput

INDEX = "variables/variables.index"
INDEX_MAX = 32 << 20
"""Bytes of an index, which holds some hundred for each variable."""
_MAGIC = 0xDB4775248B80FB57
_FOOTER, _TRAILER = 48, 5
_UNCOMPRESSED = 0
_SHARDS_MAX = 100_000


class _Damaged(Exception):
    """The index is not as it should be."""


def check_variables(index: bytes | None, sizes: Mapping[str, int], needed: bool) -> None:
    """Compare the files under `variables/`, by path within the SavedModel and size, with what the index says.

    `needed` says whether the model has variables at all.

    Raises:
        InvalidInput: one is missing or cut short, or the index is damaged.
    """
    data = [path for path in sizes if path.startswith("variables/variables.data-")]
    if index is None:
        if needed or data:
            raise InvalidInput(
                f"The SavedModel has variables, and no {INDEX} that says where they are: copy the whole folder that"
                " tf.saved_model.save wrote."
            )
        return
    try:
        shards = _shards(index)
    except (_Damaged, struct.error) as error:
        raise InvalidInput(
            f"{INDEX} is damaged: copy the folder that tf.saved_model.save wrote again, or export the model again."
        ) from error
    wanted = _wanted(shards, data)
    for path, size in wanted.items():
        if sizes.get(path, -1) < size:
            is_now = f"has {sizes[path]} bytes of {size}" if path in sizes else "is missing"
            raise InvalidInput(
                f"{path} of the SavedModel {is_now}, and the model's variables are in it: copy the whole folder that"
                " tf.saved_model.save wrote."
            )


def _wanted(shards: Mapping[int, int] | None, data: list[str]) -> Mapping[str, int]:
    """The path and least size of each shard; where the index keeps that to itself, what one shard's name says."""
    if shards is not None:
        return {f"variables/variables.data-{n:05}-of-{len(shards):05}": size for n, size in shards.items()}
    total = data[0].rpartition("-")[2] if data else "1"
    count = int(total) if total.isdecimal() else 1
    return {f"variables/variables.data-{n:05}-of-{count:05}": 0 for n in range(min(count, _SHARDS_MAX))}


def _shards(index: bytes) -> Mapping[int, int] | None:
    """The least size of each shard by its number; None where the index is compressed, as TensorFlow never writes it."""
    from google.protobuf.message import DecodeError

    blocks = [_block(index, place) for place in _data_blocks(index)]
    if None in blocks:
        return None
    kinds = bundle()
    try:
        sizes: dict[int, int] = {}
        for key_size, value in (entry for block in blocks if block is not None for entry in _entries(block)):
            if key_size == 0:
                count = kinds["BundleHeaderProto"].FromString(value).num_shards
                sizes = dict.fromkeys(range(count if 0 < count <= _SHARDS_MAX else 0), 0)
                continue
            entry = kinds["BundleEntryProto"].FromString(value)
            if entry.shard_id not in sizes or entry.offset < 0 or entry.size < 0:
                raise _Damaged
            sizes[entry.shard_id] = max(sizes[entry.shard_id], entry.offset + entry.size)
    except DecodeError as error:
        raise _Damaged from error
    if not sizes:
        raise _Damaged
    return sizes


class _Place(NamedTuple):
    offset: int
    size: int


def _data_blocks(index: bytes) -> Iterator[_Place]:
    footer = index[-_FOOTER:]
    if len(footer) < _FOOTER or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise _Damaged
    _, at = _place(footer, 0)
    top = _block(index, _place(footer, at)[0])
    if top is None:
        raise _Damaged
    total = 0
    for _, value in _entries(top):
        place, _ = _place(value, 0)
        total += place.size
        if total > len(index):  # the same block again and again would be endless work
            raise _Damaged
        yield place


def _block(index: bytes, place: _Place) -> bytes | None:
    """A block's content without its trailer, which is how it is compressed and a checksum; None where compressed."""
    end = place.offset + place.size
    if end + _TRAILER > len(index):
        raise _Damaged
    (crc,) = struct.unpack_from("<I", index, end + 1)
    if masked_crc32c(index[place.offset : end + 1]) != crc:
        raise _Damaged
    return index[place.offset : end] if index[end] == _UNCOMPRESSED else None


def _entries(block: bytes) -> Iterator[tuple[int, bytes]]:
    """The size of each key, and its value."""
    (restarts,) = struct.unpack("<I", block[-4:])
    at, end = 0, len(block) - 4 * (restarts + 1)
    if end < 0:
        raise _Damaged
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        size, at = _varint(block, at)
        at += own + size
        if at > end:
            raise _Damaged
        yield shared + own, block[at - size : at]


def _place(data: bytes, at: int) -> tuple[_Place, int]:
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return _Place(offset, size), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for place in range(at, min(at + 10, len(data))):
        value |= (data[place] & 0x7F) << shift
        if data[place] < 0x80:
            return value, place + 1
        shift += 7
    raise _Damaged
