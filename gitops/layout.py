"""Where things lie in a GitOps repository. People own two kinds of file, Sluice the rest."""

from __future__ import annotations

from registry.names import check_label

README = "README.md"
ENVIRONMENTS = "environments"
MODELS = "models"
ARGOCD = "argocd"


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


def manifests_dir(model: str, environment: str) -> str:
    """The folder that Argo CD syncs."""
    return f"{release_dir(model, environment)}/manifests"
