"""environments/<env>.yaml: what an environment is."""

from __future__ import annotations

from gitops.config.fields import Domain, Namespace, Section, Server
from gitops.config.routers import AlbSettings
from gitops.layout import environment_file
from gitops.yamls import read_as
from registry.errors import InvalidInput
from registry.names import EnvironmentName

IN_CLUSTER = "https://kubernetes.default.svc"


class Cluster(Section):
    """Where Argo CD deploys to: its `destination`."""

    server: Server = IN_CLUSTER


class Environment(Section):
    """environments/<env>.yaml: one cluster and namespace, and the way into it."""

    name: EnvironmentName
    namespace: Namespace
    cluster: Cluster = Cluster()
    domain: Domain
    router: AlbSettings = AlbSettings()


def parse_environment(data: bytes, path: str) -> Environment:
    """An environment from the bytes of `environments/<env>.yaml`.

    Raises:
        InvalidInput: one sentence with the file, the field and what is wrong with it.
    """
    environment = read_as(Environment, data, path)
    if path != environment_file(environment.name):
        raise InvalidInput(f"{path}: name is {environment.name}, but the file's name says otherwise, make them agree.")
    return environment
