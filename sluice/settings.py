"""Sluice's settings: flags over environment over file, read in this one place.

A file `sluice.toml` in the working folder, or the one that SLUICE_CONFIG names; environment variables SLUICE_BUCKET and
so on; flags of the command line. AWS endpoints, region and credentials are not here: the standard AWS environment has
them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from gitops.forges.place import ForgeKind
from gitops.release import Runtime
from gitops.signing import CommitSigning
from pipelines.image.compression import DEFAULT_COMPRESSION, Compression
from registry.errors import InvalidInput
from registry.names import EnvironmentName
from registry.roles import Role
from sluice.api.config import Serve
from sluice.argocd import ArgoCd, of_file
from sluice.building import BuildKit, Ecr, Policy, Signing

FILE = "sluice.toml"


class Settings(BaseSettings):
    """What a person configures."""

    model_config = SettingsConfigDict(env_prefix="SLUICE_", env_nested_delimiter="__", frozen=True, extra="forbid")

    bucket: str = Field(default="", description="the registry's bucket")
    gitops: str = Field(default="", description="the GitOps repository: a URL, or the path of a bare repository")
    branch: str = Field(default="main", description="the branch that Argo CD follows")
    forge: ForgeKind | None = Field(default=None, description="where it takes pull requests, for a host of your own")
    forge_api: str = Field(default="", description="base URL of the forge's API, where that is not the usual one")
    images: Path = Field(default=Path("images"), description="folder for images, an OCI layout for each model")
    registry: str = Field(default="", description="push images here instead, as host/prefix")
    ecr_prefix: str = Field(default="", description="enter images of the folder into ECR under this prefix")
    ecr: Ecr = Field(default=Ecr(), description="what an ECR repository is like that is made: see sluice.building")
    bases: dict[Runtime, str] = Field(
        default={}, description="base image for each runtime, as host/repository:tag or oci:folder:tag"
    )
    platform: str = Field(default="linux/amd64", description="which image of a base for several platforms")
    compression: Compression = Field(default=DEFAULT_COMPRESSION, description="of image layers: none, gzip or zstd")
    policy: Policy = Field(default=Policy(), description="what is let through: see sluice.building")
    signing: Signing = Field(default=Signing(), description="who signs images: see sluice.building")
    commit_signing: CommitSigning = Field(
        default=CommitSigning(), description="whose key signs commits: see gitops.signing"
    )
    argocd: ArgoCd = Field(default=ArgoCd(), description="where Argo CD is asked: see sluice.argocd")
    buildkit: BuildKit = Field(default=BuildKit(), description="what extends base images: see sluice.building")
    first_environment: EnvironmentName = Field(default="staging", description="where `release` commits to")
    actor: str = Field(default="", description="who asks, as commits and records name them")
    workflow: str = Field(default="", description="name of the Argo workflow that this runs in; commits say it")
    role: Role = Field(default=Role.RELEASER, description="role to act in here; a guard against slips")
    cache: Path = Field(default_factory=lambda: _cache(), description="folder for clones; safe to delete")
    serve: Serve = Field(default=Serve(), description="the HTTP API: see sluice.api.config")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic-settings calls by these names
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, then the environment, then the file."""
        assert isinstance(init_settings, InitSettingsSource)  # noqa: S101
        assert isinstance(env_settings, EnvSettingsSource)  # noqa: S101
        return init_settings, env_settings, _File(settings_cls)


class _File(TomlConfigSettingsSource):
    """The file's settings; paths in it are relative to its folder, a GitOps repository's if it begins with a dot."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        named = os.environ.get("SLUICE_CONFIG")
        path = Path(named or FILE)
        if named and not path.is_file():
            raise InvalidInput(f"SLUICE_CONFIG names {named}, which is not a file: correct or unset it.")
        super().__init__(settings_cls, path)
        self._folder = path.absolute().parent

    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        for name in ("images", "cache"):
            if isinstance(values.get(name), str):
                values[name] = self._folder / values[name]
        if str(values.get("gitops", "")).startswith("."):
            values["gitops"] = str(self._folder / values["gitops"])
        if isinstance(values.get("bases"), dict):
            values["bases"] = {runtime: self._base(name) for runtime, name in values["bases"].items()}
        if isinstance(values.get("signing"), dict):
            values["signing"] = self._signing(values["signing"])
        if isinstance(values.get("commit_signing"), dict):
            values["commit_signing"] = self._commit_signing(values["commit_signing"])
        if isinstance(values.get("argocd"), dict):
            values["argocd"] = of_file(values["argocd"], self._folder)
        return values

    def _commit_signing(self, said: dict[str, Any]) -> dict[str, Any]:
        try:
            file = CommitSigning(**said).file
        except ValidationError:  # which the settings will tell of
            return said
        return said if file is None else {**said, "key": str(self._folder / file)}

    def _signing(self, said: dict[str, Any]) -> dict[str, Any]:
        key, trusted = said.get("key"), said.get("trusted")
        if isinstance(key, str) and key and "://" not in key:
            said = {**said, "key": str(self._folder / key)}
        if isinstance(trusted, list):
            said = {**said, "trusted": [self._folder / name if isinstance(name, str) else name for name in trusted]}
        return said

    def _base(self, name: object) -> object:
        scheme, _, rest = str(name).partition(":")
        return f"oci:{self._folder / rest}" if scheme == "oci" and rest else name


def load(**flags: object) -> Settings:
    """Read the settings, with the flags that were given; None stands for a flag that was not.

    Raises:
        InvalidInput: a file or value is malformed, or a name unknown.
    """
    import tomllib

    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise InvalidInput(f"There is no setting {where}: see the README's example of {FILE}.") from error
        raise InvalidInput(f"The setting {where} does not fit ({first['msg']}): correct {FILE} or SLUICE_*.") from error
    except SettingsError as error:
        raise InvalidInput(
            f"A SLUICE_* variable is not JSON where it has to be ({error}): correct or unset it."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{os.environ.get('SLUICE_CONFIG', FILE)} is not TOML ({error}): correct it.") from error


def _cache() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache") / "sluice"
    except RuntimeError as error:  # a uid without a home
        raise InvalidInput("There is no home folder to keep clones in: set SLUICE_CACHE to a folder.") from error
