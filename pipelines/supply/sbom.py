"""What is in an image: an SBOM by CycloneDX 1.6 (ECMA-424).

The image is what it describes. In it are the model, with every file of the artifact and its digest; the base image, by
its digest; and what the model's requirements.txt asks for, with a version where one is pinned. What is inside the base
image is its own SBOM's to tell.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from pipelines.image.canonical import canonical
from pipelines.image.images import Reference
from pipelines.supply.purls import Requirement, image_package
from pipelines.supply.subject import Subject

if TYPE_CHECKING:
    from cyclonedx.model import HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component

    from registry.facts import FileFact

_PREFIX = "sluice:"
"""Of the names of properties (CycloneDX property taxonomy)."""


class Requirements(NamedTuple):
    """What a model's requirements.txt asks for."""

    found: tuple[Requirement, ...] = ()
    trouble: str = ""
    """Why it could not be read."""


def sbom(subject: Subject, requirements: Requirements) -> bytes:
    """The SBOM of an image as canonical JSON. It depends on the version's facts alone: there is no clock in it."""
    from cyclonedx.output.json import JsonV1Dot6

    told = JsonV1Dot6(_bom(subject, requirements)).output_as_string()
    return canonical(json.loads(told))  # whatever order and spaces a release of the library writes


def serial_number(digest: str) -> str:
    """The SBOM's serial number: a UUID of the image's digest (RFC 9562, version 5)."""
    return f"urn:uuid:{uuid5(NAMESPACE_URL, f'oci:{digest}')}"


def _bom(subject: Subject, requirements: Requirements) -> Bom:
    from uuid import UUID

    from cyclonedx.model.bom import Bom, BomMetaData

    image, model = _image(subject), _model(subject, requirements.trouble)
    base = [_base(subject)] if subject.on_base else []
    libraries = [_library(one, number) for number, one in enumerate(requirements.found)]
    bom = Bom(
        serial_number=UUID(serial_number(subject.digest)),
        metadata=BomMetaData(component=image, timestamp=subject.known.version.created_at),
        components=[model, *base, *libraries],
    )
    bom.register_dependency(image, [model, *base])
    bom.register_dependency(model, libraries)
    return bom


def _image(subject: Subject) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    known = subject.known
    return Component(
        type=ComponentType.CONTAINER,
        bom_ref="image",
        name=known.reference.repository,
        version=subject.digest,
        purl=image_package(known.reference, known.image.platform),
        hashes=[_hash(subject.digest)],
        properties=_properties(
            {
                "platform": known.image.platform,
                "delivery": known.image.delivery.value,
                "runtime": known.image.runtime,
                "server": known.image.server or "",
            }
        ),
    )


def _model(subject: Subject, trouble: str) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    version, artifact = subject.known.version, subject.known.artifact
    source = version.source
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        name=version.model,
        version=str(version.number),
        description=version.description or None,
        hashes=[_hash(artifact.blob)],
        components=[_file(file, number) for number, file in enumerate(artifact.files)],
        properties=_properties(
            {
                "artifact": artifact.type,
                "source": artifact.source,
                "source.uri": source.uri,
                "source.kind": source.kind.value,
                "training.job": source.training.arn if source.training else "",
                "training.package": source.package,
                "training.image": source.training.image if source.training else "",
                "git.commit": version.git_commit,
                "requirements.trouble": trouble,
            }
        ),
    )


def _file(file: FileFact, number: int) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.FILE,
        bom_ref=f"file-{number}",
        name=file.path,
        hashes=[_hash(file.sha256)],
        properties=_properties({"size": str(file.size)}),
    )


def _base(subject: Subject) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    # one in a folder has no name but that of what it runs
    base = Reference(subject.base.repository or subject.known.image.runtime, subject.base.digest)
    return Component(
        type=ComponentType.CONTAINER,
        bom_ref="base",
        name=base.repository,
        version=base.digest,
        purl=image_package(base, subject.known.image.platform),
        hashes=[_hash(base.digest)],
    )


def _library(wanted: Requirement, number: int) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.LIBRARY,
        bom_ref=f"requirement-{number}",
        name=wanted.name,
        version=wanted.version,
        purl=wanted.package,
        properties=_properties({"requirement": wanted.line}),
    )


def _hash(digest: str) -> HashType:
    from cyclonedx.model import HashAlgorithm, HashType

    return HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))


def _properties(told: dict[str, str]) -> Iterable[Property]:
    from cyclonedx.model import Property

    return [Property(name=f"{_PREFIX}{name}", value=value) for name, value in told.items() if value]
