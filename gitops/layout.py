"""Where things lie in a GitOps repository. People own two kinds of file, Sluice the rest."""

from __future__ import annotations

from registry.names import check_label

README = "README.md"
ENVIRONMENTS = "environments"
MODELS = "models"
ARGOCD = "argocd"
HOLDS = "holds-"
"""How the name of a file of holds begins; no environment's folder has a dot in its name, so none is taken for one."""


def environment_file(environment: str) -> str:
    """The path of an environment's settings, which people edit."""
    return f"{ENVIRONMENTS}/{check_label(environment, 'environment')}.yaml"


def model_file(model: str) -> str:
    """The path of a model's settings, which people edit."""
    return f"{MODELS}/{check_label(model)}/model.yaml"


def release_dir(model: str, environment: str) -> str:
    """The folder that Sluice alone writes for one model in one environment."""
    return f"{MODELS}/{check_label(model)}/{check_label(environment, 'environment')}"


def release_file(model: str, environment: str) -> str:
    """The path of the release: which versions run there, and at what weight."""
    return f"{release_dir(model, environment)}/release.yaml"


def holds_file(model: str, environment: str) -> str:
    """The path of what people held and let come back by hand; beside the release folder, which a rollback restores."""
    return f"{MODELS}/{check_label(model)}/{HOLDS}{check_label(environment, 'environment')}.yaml"


def manifests_dir(model: str, environment: str) -> str:
    """The folder that Argo CD syncs."""
    return f"{release_dir(model, environment)}/manifests"
