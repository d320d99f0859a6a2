"""Commands on images that were built: what is in one, who vouches for it, and whether that holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from registry.errors import InvalidInput, Refused
from registry.roles import Role
from sluice.cli.common import AsJson, Bucket, VersionArgument, add, progressing, resolved, wired
from sluice.cli.output import as_json, dumped, fields, line, table

if TYPE_CHECKING:
    from pipelines.supply.layers import Layers

_PANEL = "Release"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, attest, "sluice attest fraud@7")
    add(app, _PANEL, sbom, "sluice sbom fraud@7")
    add(app, _PANEL, public_key, "sluice public-key > sluice.pub", name="public-key")


def attest(ref: VersionArgument, bucket: Bucket = None, json: AsJson = False) -> None:
    """Attach SBOM and provenance to a version's image and sign it, as `release` does; again, nothing changes.

    The key is `key` under [signing] in sluice.toml; without one nothing is signed.
    """
    from pipelines.steps.attest import attest as step

    with wired(bucket, needs=Role.RELEASER) as parts, progressing() as progress:
        version, signer = resolved(parts, ref), parts.signer
        done = step(version, parts.registry, parts.blobs, parts.destination, signer, progress)
    if json:
        as_json(done)
    else:
        told = (("image", done.image), ("sbom", done.sbom), ("provenance", done.provenance))
        fields((*told, ("signature", done.signature or "none: no key is set under [signing]")))


def sbom(ref: VersionArgument, bucket: Bucket = None) -> None:
    """Print the SBOM of a version's image, as CycloneDX JSON."""
    from json import loads

    from pipelines.steps.attest import bill_of
    from pipelines.supply.subject import known_of, subject_of

    with wired(bucket) as parts:
        known = known_of(parts.registry, resolved(parts, ref))
        told = bill_of(subject_of(parts.destination, known), parts.blobs)
    as_json(loads(told))


def public_key() -> None:
    """Print the public half of the key that signs images, in PEM, for whoever verifies them."""
    with wired() as parts:
        signer = parts.signer
    if signer is None:
        raise InvalidInput("No key signs images: set `key` under [signing] in sluice.toml.")
    line(signer.public.pem.decode().strip())


def show_verified(ref: str, layers: Layers, bucket: str | None, *, json: bool) -> None:
    """What `verify --image` does: look at a version's image, and tell what came of it.

    Raises:
        Refused: not all of it is good.
    """
    from pipelines.supply.subject import known_of
    from pipelines.supply.verifying import ImageVerdict, verify_image

    with wired(bucket) as parts, progressing() as progress:
        known = known_of(parts.registry, resolved(parts, ref))
        found = verify_image(parts.destination, known, parts.trusted, layers, progress)
    if json:
        as_json(dumped(found))
    else:
        rows = ((found.ref, check.what, check.verdict.value, check.detail) for check in found.checks)
        table(("version", "what", "verdict", "detail"), rows, empty="There is nothing to look at.")
    wrong = [check.what for check in found.checks if check.verdict is not ImageVerdict.GOOD]
    if wrong:
        raise Refused(f"The image of {found.ref} is not to be trusted as it is: see {', '.join(wrong)}.")
