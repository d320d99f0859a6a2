"""What a version needs beyond its base image."""

from __future__ import annotations

from hashlib import sha256
from typing import Self

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from gitops.config import ImageSettings
from gitops.config.fields import PythonPackage, SystemPackage
from pipelines.buildkit.instructions import Instruction, parse_instructions
from pipelines.buildkit.requirements import REQUIREMENTS_MAX, parse_requirements
from pipelines.image.canonical import canonical
from pipelines.packagers import Packager
from pipelines.packagers.torchserve.manifest import MANIFEST, MANIFEST_MAX
from registry.errors import InvalidInput
from registry.facts import Artifact, FileFact
from registry.names import Digest
from registry.store import Reader

_MAKING = 1
"""Raised whenever the same needs make another Dockerfile than before."""


class Needs(BaseModel):
    """All that an extended base is made of, beside the base."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system_packages: tuple[SystemPackage, ...] = ()
    """Sorted, each once."""
    python_packages: tuple[PythonPackage, ...] = ()
    """Sorted, each once."""
    requirements: tuple[str, ...] = ()
    """Lines for pip, in their order."""
    instructions: tuple[Instruction, ...] = ()

    @classmethod
    def of(cls, settings: ImageSettings, requirements: tuple[str, ...] = ()) -> Self:
        """What people said of a model, and its requirements, as `requirements_of` reads them.

        Raises:
            InvalidInput: an instruction or a package cannot be taken.
        """
        packages = tuple(sorted(set(settings.python_packages)))
        parse_requirements("\n".join(packages).encode(), "image.pythonPackages in model.yaml")
        return cls(
            system_packages=tuple(sorted(set(settings.system_packages))),
            python_packages=packages,
            requirements=requirements if settings.requirements == "install" else (),
            instructions=parse_instructions(settings.dockerfile),
        )

    def __bool__(self) -> bool:
        return bool(self.system_packages or self.python_packages or self.requirements or self.instructions)

    def __str__(self) -> str:
        """What is needed, for a sentence."""
        told = {
            "system packages": self.system_packages,
            "Python packages": self.python_packages,
            "its requirements.txt": self.requirements,
            "its own Dockerfile instructions": self.instructions,
        }
        return ", ".join(what for what, there in told.items() if there)

    def recipe(self, base: Digest, platform: str, user: PositiveInt) -> str:
        """The name of what is made of these needs on a base: 64 hexadecimal digits, a sha256 of all of it."""
        return sha256(canonical([_MAKING, base, platform, user, self.model_dump(mode="json")])).hexdigest()


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    requirementsFile: str | None = None  # noqa: N815  # as the archiver spells it


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    model: _Model = _Model()


def requirements_of(artifact: Artifact, packager: Packager, reader: Reader) -> tuple[str, ...]:
    """The lines of the requirements.txt that an artifact brings; none where it brings none.

    A `.mar` names it in its manifest (TorchServe docs, "Torch Model archiver for TorchServe"); other servers know none.

    Raises:
        InvalidInput: it asks for what pip is not let do here.
        Refused: the artifact's bytes are not the recorded ones.
    """
    files = {file.path: file for file in artifact.files}
    if artifact.type != "mar" or MANIFEST not in files:
        return ()
    try:
        manifest = _Manifest.model_validate_json(_read(files[MANIFEST], MANIFEST_MAX, artifact, packager, reader))
    except ValidationError as error:
        raise InvalidInput(f"{MANIFEST} of the .mar cannot be read: pack the model again.") from error
    named = manifest.model.requirementsFile
    if not named:
        return ()
    if named not in files:
        raise InvalidInput(f"The .mar names {named[:80]!r} as its requirements, but does not hold it: pack it again.")
    return parse_requirements(_read(files[named], REQUIREMENTS_MAX, artifact, packager, reader), named[:80])


def _read(file: FileFact, most: int, artifact: Artifact, packager: Packager, reader: Reader) -> bytes:
    if file.size > most:
        raise InvalidInput(
            f"{file.path[:80]} has {file.size} bytes, and {most} are the most: leave out what is not used."
        )
    return b"".join(chunk for member in packager.unpack(reader, artifact, {file.path}) for chunk in member.chunks)
