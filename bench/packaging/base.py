"""A base image of any size that is made as it is read: layers of one file each, that nobody can compress."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from bench.packaging.model import BLOCK, MIB, Kind, block
from pipelines.archive import Member
from pipelines.image.content import Content, Data, Kept
from pipelines.image.images import Destination, Reference
from pipelines.image.oci import CONFIG_TYPE, LAYER_TYPE, Descriptor, Manifest, canonical, dump
from pipelines.tarout import write_tar


def digest_of(data: bytes) -> str:
    """`sha256:…`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _layer(number: int, size: int) -> Iterator[bytes]:
    raw = block(Kind.RANDOM).raw
    pieces = (raw[at : at + MIB] for _ in range(size // BLOCK) for at in range(0, BLOCK, MIB))
    return write_tar([Member(f"opt/base/{number}.bin", size, pieces)], folders=("opt/", "opt/base/"))


class SyntheticBase:
    """`count` layers of `size` bytes each, a multiple of 8 MiB; an image that is nowhere but here."""

    def __init__(self, count: int, size: int) -> None:
        self._size = size
        self._numbers: dict[str, int] = {}
        layers = []
        for number in range(count):
            digest, length = hashlib.sha256(), 0
            for chunk in _layer(number, size):
                digest.update(chunk)
                length += len(chunk)
            name = "sha256:" + digest.hexdigest()
            self._numbers[name] = number
            layers.append(Descriptor(media_type=LAYER_TYPE, digest=name, size=length))
        self.layers = tuple(layers)
        self.config = canonical(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
                "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
            }
        )
        config = Descriptor(media_type=CONFIG_TYPE, digest=digest_of(self.config), size=len(self.config))
        self._manifest = dump(Manifest(config=config, layers=self.layers))

    @property
    def reference(self) -> Reference | None:
        """None: it lies in no registry."""
        return None

    def manifest(self) -> bytes:
        """The manifest."""
        return self._manifest

    def content(self, descriptor: Descriptor) -> Content:
        """The config or a layer."""
        if descriptor.digest not in self._numbers:
            return Data(self.config)
        return Kept(descriptor.digest, descriptor.size, lambda start: self._from(descriptor, start))

    def _from(self, descriptor: Descriptor, start: int) -> Iterator[bytes]:
        for chunk in _layer(self._numbers[descriptor.digest], self._size):
            if start < len(chunk):
                yield chunk[start:] if start else chunk
            start = max(0, start - len(chunk))

    def push(self, destination: Destination, model: str, tag: str) -> Reference:
        """Put the image into a registry, as what is there before anything is measured."""
        for layer in self.layers:
            destination.put(model, self.content(layer))
        destination.put(model, Data(self.config))
        reference = destination.push(model, self._manifest)
        destination.tag(model, tag, reference.digest)
        return reference
