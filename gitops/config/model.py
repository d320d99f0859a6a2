"""models/<model>/model.yaml: how a model is packaged, and how it runs in each environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gitops.config.fields import Handler, PythonPackage, Section, SystemPackage, over
from gitops.config.running import Settings
from gitops.layout import model_file
from gitops.release import Runtime
from gitops.template import template
from gitops.yamls import read_as
from registry.errors import InvalidInput
from registry.facts import Delivery
from registry.names import EnvironmentName, ModelName, check_label


class ImageSettings(Section):
    """What a model's server needs beyond its base image; BuildKit adds it, once for each change of this."""

    dockerfile: Annotated[str, Field(max_length=20_000)] = ""
    """Instructions that are put behind `FROM`."""
    system_packages: tuple[SystemPackage, ...] = Field((), alias="systemPackages")
    """Debian packages, as apt-get takes them."""
    python_packages: tuple[PythonPackage, ...] = Field((), alias="pythonPackages")
    """Requirements, as pip takes them."""
    requirements: Literal["install", "in-base"] = "install"
    """Whether a requirements.txt of the training output has to be installed, or its packages are in the base."""


class Model(Settings):
    """models/<model>/model.yaml: how a model runs, and what is different in some environments."""

    name: ModelName
    runtime: Runtime | None = None
    """The model server; None for the usual one of the model's format."""
    delivery: Delivery = Delivery.IMAGE
    handler: Handler = ""
    """A handler of the model server's own, for a training output without one."""
    image: ImageSettings = ImageSettings()
    environments: Mapping[EnvironmentName, Settings] = {}

    def for_environment(self, environment: str) -> Settings:
        """The settings there: each single field that `environments.<environment>` sets replaces the common one."""
        common = Settings.model_construct(**{name: getattr(self, name) for name in Settings.model_fields})
        return over(common, self.environments.get(environment, Settings()))

    @model_validator(mode="after")
    def _makes_sense_everywhere(self) -> Self:
        # checked on what comes out of the merge: either half alone may well look wrong
        for environment in ("", *self.environments):
            contradiction = self.for_environment(environment).contradiction
            if contradiction:
                raise ValueError(f"{contradiction}{f' in {environment}' if environment else ''}")
        return self


def parse_model(data: bytes, path: str) -> Model:
    """A model's settings from the bytes of `models/<model>/model.yaml`.

    Raises:
        InvalidInput: one sentence with the file, the field and what is wrong with it.
    """
    model = read_as(Model, data, path)
    if path != model_file(model.name):
        raise InvalidInput(f"{path}: name is {model.name}, but the folder's name says otherwise, make them agree.")
    return model


def default_model_file(name: str) -> bytes:
    """The first `models/<name>/model.yaml`: every setting at its default, explained for who edits it.

    Raises:
        InvalidInput: `name` cannot name a model.
    """
    return template("model.yaml", name=check_label(name))
