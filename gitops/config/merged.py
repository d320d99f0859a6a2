"""How a model runs in one environment, put together from all that people say of it."""

from __future__ import annotations

from gitops.config.environment import Environment
from gitops.config.fields import over
from gitops.config.model import Model
from gitops.config.running import Settings
from gitops.layout import environment_file, model_file
from registry.errors import InvalidInput


def settings_for(model: Model, environment: Environment) -> Settings:
    """The settings there: the environment's defaults, over them the model's own, over them the model's for there.

    Raises:
        InvalidInput: each file may be right, but what they come to together is not.
    """
    own = model.environments.get(environment.name, Settings())
    settings = over(over(environment.defaults, model), own)
    if settings.contradiction:
        raise InvalidInput(
            f"{model_file(model.name)} does not go together with the defaults in {environment_file(environment.name)}:"
            f" {settings.contradiction}, change one of them."
        )
    return settings
