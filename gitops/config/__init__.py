"""The two kinds of file that people write: what an environment is, and how a model is to run.

Keys are spelled as Kubernetes spells them (camelCase), so that a value can be copied over.
"""

from gitops.config.environment import IN_CLUSTER, Cluster, Environment, parse_environment
from gitops.config.model import ImageSettings, Model, default_model_file, parse_model
from gitops.config.routers import AlbSettings
from gitops.config.running import Node, Resources, Scaling, Settings, Toleration

__all__ = [
    "IN_CLUSTER",
    "AlbSettings",
    "Cluster",
    "Environment",
    "ImageSettings",
    "Model",
    "Node",
    "Resources",
    "Scaling",
    "Settings",
    "Toleration",
    "default_model_file",
    "parse_environment",
    "parse_model",
]
