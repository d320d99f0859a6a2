"""How an image was made: SLSA provenance 1.0 (slsa.dev/spec/v1.0/provenance) in an in-toto statement 1.0
(in-toto/attestation, spec/v1/statement.md).

The build type `https://sluicegate.dev/build/model-image/v1` means: Sluice packaged a training output as an artifact and
appended it, in layers, to a base image, or put it into an image of its own. Its external parameters are

- `model` and `version`: which version of which model;
- `runtime`: the model server that it was packaged for;
- `delivery`: `image`, in one with its server, or `volume`, alone;
- `compression`: of the layers that were made;
- `platform`: of the image.

Its resolved dependencies are `training-output`, `artifact` and `base`; its by-product `sbom`. There is no clock in it:
the same version, built again, has the same provenance.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from pipelines.image.canonical import canonical
from pipelines.supply.attach import SBOM_TYPE
from pipelines.supply.envelope import ENVELOPE_MAX
from pipelines.supply.purls import image_purl
from pipelines.supply.subject import Known, Subject
from registry.errors import Refused

PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://sluicegate.dev/build/model-image/v1"
BUILDER = "https://sluicegate.dev/builder"
_MANY = 1_000
_Hex = Annotated[str, Field(max_length=1_000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Resource(_Part):
    """Something by its digests (in-toto/attestation, spec/v1/resource_descriptor.md)."""

    name: str | None = None
    uri: str | None = None
    digest: Mapping[str, _Hex]
    media_type: str | None = Field(default=None, alias="mediaType")
    annotations: Mapping[str, JsonValue] | None = None

    @property
    def sha256(self) -> str:
        """The digest as it is written here, `sha256:…`; "" where it has none."""
        told = self.digest.get("sha256", "")
        return f"sha256:{told}" if told else ""


_Resources = Annotated[tuple[Resource, ...], Field(max_length=_MANY)]


class _Build(_Part):
    build_type: str = Field(alias="buildType")
    external_parameters: Mapping[str, JsonValue] = Field(alias="externalParameters")
    resolved_dependencies: _Resources = Field(default=(), alias="resolvedDependencies")


class _Builder(_Part):
    id: str
    version: Mapping[str, str] = {}


class _Run(_Part):
    builder: _Builder
    byproducts: _Resources = ()


class _Predicate(_Part):
    build_definition: _Build = Field(alias="buildDefinition")
    run_details: _Run = Field(alias="runDetails")


class Statement(_Part):
    """A provenance, and what it is of."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(default="https://in-toto.io/Statement/v1", alias="_type")
    subject: _Resources
    predicate_type: Literal["https://slsa.dev/provenance/v1"] = Field(default=PREDICATE_TYPE, alias="predicateType")
    predicate: _Predicate

    @classmethod
    def parse(cls, data: bytes) -> Statement:
        """Read a statement.

        Raises:
            Refused: it is none, or none of a provenance.
        """
        try:
            if len(data) <= ENVELOPE_MAX:
                return cls.model_validate_json(data)
        except ValidationError as error:
            raise _no_provenance() from error
        raise _no_provenance()

    def to_bytes(self) -> bytes:
        """The statement as canonical JSON."""
        return canonical(self.model_dump(mode="json", by_alias=True, exclude_none=True))

    def same(self, other: Statement) -> bool:
        """Whether both tell the same, whichever release of Sluice tells it."""
        return self._unversioned() == other._unversioned()

    def sboms(self) -> frozenset[str]:
        """The digests of the SBOMs that were made with the image."""
        return frozenset(one.sha256 for one in self.predicate.run_details.byproducts if one.name == "sbom")

    def check_subject(self, digest: str) -> None:
        """Compare the statement with the image that it was attached to.

        Raises:
            Refused: it is of another one, or somebody else made that.
        """
        if digest not in {one.sha256 for one in self.subject}:
            raise Refused("The provenance is of another image: delete it, and attest this one.")
        build, run = self.predicate.build_definition, self.predicate.run_details
        if (build.build_type, run.builder.id) != (BUILD_TYPE, BUILDER):
            raise Refused(f"The image was built by {run.builder.id[:200]!r}, not by Sluice: build it from its version.")

    def check_facts(self, known: Known) -> None:
        """Compare the statement with what the registry knows of the version.

        Raises:
            Refused: it tells of another version, artifact or base.
        """
        build, image = self.predicate.build_definition, known.image
        wanted = {
            "model": known.version.model,
            "version": known.version.number,
            "runtime": image.runtime,
            "delivery": image.delivery.value,
            "platform": image.platform,
        }
        wrong = [name for name, value in wanted.items() if build.external_parameters.get(name) != value]
        made_of = {one.name: one.sha256 for one in build.resolved_dependencies}
        digests = {"training-output": known.artifact.source, "artifact": known.artifact.blob, "base": image.base}
        wrong += [name for name, value in digests.items() if made_of.get(name) != value]
        if wrong:
            raise Refused(
                f"The provenance tells of another {' and '.join(wrong)} than the registry: delete it, and attest the"
                " image."
            )

    def _unversioned(self) -> object:
        told = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        del told["predicate"]["runDetails"]["builder"]["version"]
        return told


def provenance(subject: Subject, sbom: str) -> Statement:
    """How an image was made; `sbom` is the digest of its SBOM, which whoever trusts this can trust too."""
    known = subject.known
    build = _Build(
        build_type=BUILD_TYPE,
        external_parameters={
            "model": known.version.model,
            "version": known.version.number,
            "runtime": known.image.runtime,
            "delivery": known.image.delivery.value,
            "compression": subject.compression.value,
            "platform": known.image.platform,
        },
        resolved_dependencies=(_training_output(known), _named("artifact", known.artifact.blob), _base(subject)),
    )
    run = _Run(
        builder=_Builder(id=BUILDER, version={"sluicegate": version("sluicegate")}),
        byproducts=(Resource(name="sbom", digest=_digest(sbom), media_type=SBOM_TYPE),),
    )
    image = Resource(name=known.reference.repository, digest=_digest(subject.digest))
    return Statement(subject=(image,), predicate=_Predicate(build_definition=build, run_details=run))


def _training_output(known: Known) -> Resource:
    source = known.version.source
    job = source.training.arn if source.training else source.package
    told = {"job": job, "gitCommit": known.version.git_commit}
    annotations: dict[str, JsonValue] = {name: value for name, value in told.items() if value}
    return Resource(
        name="training-output",
        uri=source.uri,
        digest=_digest(known.artifact.source),
        annotations=annotations or None,
    )


def _base(subject: Subject) -> Resource:
    uri = image_purl(subject.base) if subject.base.repository else None
    return Resource(name="base", uri=uri, digest=_digest(subject.base.digest))


def _named(name: str, digest: str) -> Resource:
    return Resource(name=name, digest=_digest(digest))


def _digest(digest: str) -> dict[str, str]:
    algorithm, _, told = digest.partition(":")
    return {algorithm: told}


def _no_provenance() -> Refused:
    return Refused("An attestation is no provenance that can be read: delete it, and attest the image again.")
