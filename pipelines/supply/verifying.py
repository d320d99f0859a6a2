"""Whether an image is what the registry says, and who vouches for it.

Closed by default: what no trusted key vouches for is not good. Whatever a registry answers, it is read up to a limit,
and believed as far as its digest, or a trusted key, goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.digests import Hashed, watched
from pipelines.image.assembly import FILES_LABEL, files_label
from pipelines.image.images import Destination
from pipelines.image.oci import ANNOTATIONS, Descriptor, Manifest
from pipelines.supply.attach import SBOM_TYPE, referring
from pipelines.supply.cosign import valid_signatures
from pipelines.supply.envelope import ENVELOPE_MAX, ENVELOPE_TYPE, STATEMENT_TYPE, unseal
from pipelines.supply.keys import PublicKey
from pipelines.supply.layers import Layers
from pipelines.supply.provenance import Statement
from pipelines.supply.reading import read_blob, read_manifest
from pipelines.supply.subject import Known
from registry.errors import NotFound, Refused
from registry.names import ImageRef, VersionRef
from registry.progress import Progress, Silent

_CONFIG_MAX = 8 << 20
_NO_KEY = "no key is trusted: set `trusted` under [signing] in sluice.toml"


class ImageVerdict(StrEnum):
    """What came of looking at one thing."""

    GOOD = "good"
    BAD = "bad"
    MISSING = "missing"
    UNCHECKED = "unchecked"
    """It is there, and nobody vouches for it."""


class ImageCheck(BaseModel):
    """One thing that was looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    verdict: ImageVerdict
    detail: str = ""


class Verified(BaseModel):
    """All that was looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: VersionRef
    image: ImageRef
    good: bool
    """Whether all of it is good; what is unchecked is not."""
    checks: tuple[ImageCheck, ...]


class _Run(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    labels: Mapping[str, str] | None = Field(default=None, alias="Labels")


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    config: _Run = _Run()


class _Looking(NamedTuple):
    """What each look needs."""

    destination: Destination
    known: Known
    keys: Sequence[PublicKey]

    @property
    def model(self) -> str:
        return self.known.version.model

    @property
    def digest(self) -> str:
        return self.known.reference.digest


class _Vouched(NamedTuple):
    """What the provenance says, and the SBOMs that it names."""

    check: ImageCheck
    sboms: frozenset[str] = frozenset()


def verify_image(
    destination: Destination, known: Known, keys: Sequence[PublicKey], layers: Layers, progress: Progress
) -> Verified:
    """Look at a version's image: manifest, config, layers, labels, signature, provenance and SBOM.

    Raises:
        Refused: the registry gives a list of referrers that cannot be read.
        Unavailable: it does not answer.
    """
    looking = _Looking(destination, known, keys)
    checks = tuple(_checks(looking, layers, progress))
    good = all(check.verdict is ImageVerdict.GOOD for check in checks)
    return Verified(ref=known.version.ref, image=known.image.reference, good=good, checks=checks)


def _checks(looking: _Looking, layers: Layers, progress: Progress) -> Iterator[ImageCheck]:
    try:
        _, manifest = read_manifest(looking.destination, looking.model, looking.digest)
    except (NotFound, Refused) as error:
        yield _failed("manifest", error)
        return
    yield _good("manifest")
    yield from _config(looking, manifest)
    yield _layers(looking, manifest, layers, progress)
    yield _signature(looking)
    vouched = _provenance(looking)
    yield vouched.check
    yield _sbom(looking, vouched)


def _config(looking: _Looking, manifest: Manifest) -> Iterator[ImageCheck]:
    try:
        data = read_blob(looking.destination, looking.model, manifest.config, _CONFIG_MAX)
        labels = _Config.model_validate_json(data).config.labels or {}
    except (NotFound, Refused) as error:
        yield _failed("config", error)
    except ValidationError:
        yield _bad("config", "it is no image's config")
    else:
        yield _good("config")
        wrong = [name for name, value in _labels(looking.known).items() if labels.get(name) != value]
        yield _bad("labels", f"{', '.join(wrong)}: other than in the registry") if wrong else _good("labels")


def _labels(known: Known) -> Mapping[str, str]:
    version, artifact = known.version, known.artifact
    return {
        f"{ANNOTATIONS}title": version.model,
        f"{ANNOTATIONS}version": str(version.number),
        "dev.sluicegate.artifact": artifact.blob,
        "dev.sluicegate.source": artifact.source,
        FILES_LABEL: files_label(artifact),
    }


def _layers(looking: _Looking, manifest: Manifest, layers: Layers, progress: Progress) -> ImageCheck:
    for layer in manifest.layers:
        try:
            if layers is Layers.READ:
                _read_layer(looking, layer, progress)
            elif not looking.destination.has(looking.model, layer.digest):
                return _missing("layers", f"{layer.digest} is not there")
        except (NotFound, Refused) as error:
            return _failed("layers", error)
    return _good("layers", f"{len(manifest.layers)} {layers.value}")


def _read_layer(looking: _Looking, layer: Descriptor, progress: Progress) -> None:
    content = looking.destination.content(looking.model, layer)
    hashed = Hashed(content.chunks())
    for _ in watched(hashed, f"verify layer of {looking.model}", layer.size, progress):
        if hashed.size > layer.size:
            break
    if (hashed.digest, hashed.size) != (layer.digest, layer.size):
        raise Refused(f"Other bytes are in the place of {layer.digest}: build the image again.")


def _signature(looking: _Looking) -> ImageCheck:
    if not looking.keys:
        return ImageCheck(what="signature", verdict=ImageVerdict.UNCHECKED, detail=_NO_KEY)
    found = next(valid_signatures(looking.destination, looking.model, looking.digest, looking.keys), None)
    if found is None:
        return _missing("signature", "no trusted key has signed the image")
    return _good("signature", f"by the key {found.key.name}")


def _provenance(looking: _Looking) -> _Vouched:
    """The first provenance that a trusted key signed and that agrees with the registry, else why there is none."""
    trouble = _missing("provenance", "none is attached to the image")
    for attached in referring(looking.destination, looking.model, looking.digest, (ENVELOPE_TYPE, STATEMENT_TYPE)):
        for layer in attached.manifest.layers[:1]:
            try:
                statement = _statement(looking, layer)
                statement.check_subject(looking.digest)
                statement.check_facts(looking.known)
            except (NotFound, Refused) as error:
                trouble = _failed("provenance", error)
                continue
            if layer.media_type == ENVELOPE_TYPE:
                return _Vouched(_good("provenance", "signed by a trusted key"), statement.sboms())
            if not looking.keys:
                trouble = ImageCheck(
                    what="provenance", verdict=ImageVerdict.UNCHECKED, detail=f"not signed, and {_NO_KEY}"
                )
    return _Vouched(trouble)


def _statement(looking: _Looking, layer: Descriptor) -> Statement:
    """What an attestation says, where it may be listened to.

    Raises:
        NotFound: it is gone.
        Refused: no trusted key has signed it, though there are some, or it is no provenance.
    """
    data = read_blob(looking.destination, looking.model, layer, ENVELOPE_MAX)
    if layer.media_type == ENVELOPE_TYPE:
        return Statement.parse(unseal(data, looking.keys))
    if looking.keys:
        raise Refused("The provenance is not signed: attest the image again, with a key.")
    return Statement.parse(data)


def _sbom(looking: _Looking, vouched: _Vouched) -> ImageCheck:
    there = [
        layer
        for attached in referring(looking.destination, looking.model, looking.digest, (SBOM_TYPE,))
        for layer in attached.manifest.layers[:1]
    ]
    if not there:
        return _missing("sbom", "none is attached to the image")
    for layer in there:
        with suppress(NotFound, Refused):
            if layer.digest in vouched.sboms:
                _read_layer(looking, layer, Silent())
                return _good("sbom", "named by the provenance")
    return ImageCheck(
        what="sbom", verdict=ImageVerdict.UNCHECKED, detail="no provenance that a trusted key signed names it"
    )


def _good(what: str, detail: str = "") -> ImageCheck:
    return ImageCheck(what=what, verdict=ImageVerdict.GOOD, detail=detail)


def _bad(what: str, detail: str) -> ImageCheck:
    return ImageCheck(what=what, verdict=ImageVerdict.BAD, detail=detail)


def _missing(what: str, detail: str) -> ImageCheck:
    return ImageCheck(what=what, verdict=ImageVerdict.MISSING, detail=detail)


def _failed(what: str, error: NotFound | Refused) -> ImageCheck:
    verdict = ImageVerdict.MISSING if isinstance(error, NotFound) else ImageVerdict.BAD
    return ImageCheck(what=what, verdict=verdict, detail=str(error))
