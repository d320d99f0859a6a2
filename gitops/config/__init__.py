"""The two kinds of file that people write: what an environment is, and how a model is to run.

Keys are spelled as Kubernetes spells them (camelCase), so that a value can be copied over.
"""

from gitops.config.environment import IN_CLUSTER, Cluster, Environment, parse_environment
from gitops.config.model import ImageSettings, Model, default_model_file, parse_model
from gitops.config.routers import (
    AlbSettings,
    GatewaySettings,
    KserveSettings,
    LoadBalancer,
    RolloutsSettings,
    RouterSettings,
    Stickiness,
)
from gitops.config.running import Node, Resources, Settings, Toleration
from gitops.config.scaling import Scaling
from gitops.config.servers import Batching, Monitoring, Server, TensorflowServing

__all__ = [
    "IN_CLUSTER",
    "AlbSettings",
    "Batching",
    "Cluster",
    "Environment",
    "GatewaySettings",
    "ImageSettings",
    "KserveSettings",
    "LoadBalancer",
    "Model",
    "Monitoring",
    "Node",
    "Resources",
    "RolloutsSettings",
    "RouterSettings",
    "Scaling",
    "Server",
    "Settings",
    "Stickiness",
    "TensorflowServing",
    "Toleration",
    "default_model_file",
    "parse_environment",
    "parse_model",
]
