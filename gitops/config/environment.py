"""environments/<env>.yaml: what an environment is."""

from __future__ import annotations

from typing import Annotated, NamedTuple, Self

from pydantic import Field, model_validator

from gitops.config.fields import DNS_LABEL, Domain, Namespace, Section, Server, pattern
from gitops.config.policy import Gates, Releaser
from gitops.config.routers import AlbSettings, RolloutsSettings, RouterSettings
from gitops.config.running import Settings
from gitops.layout import environment_file
from gitops.yamls import read_as
from registry.errors import InvalidInput
from registry.names import EnvironmentName

IN_CLUSTER = "https://kubernetes.default.svc"
# in the name of an Argo CD Application, beside those of a model and an environment
ClusterName = Annotated[
    str, Field(max_length=40), pattern(DNS_LABEL, "a cluster's name: lower-case letters, digits and hyphens")
]


class Cluster(Section):
    """Where Argo CD deploys to: its `destination`."""

    server: Server = IN_CLUSTER


class NamedCluster(Section):
    """One of several clusters that run the same releases."""

    name: ClusterName
    """Tells its Argo CD Applications from those of the others."""
    server: Server
    domain: Domain | None = None
    """Where its load balancer is reached, if not at the environment's domain."""


class Place(NamedTuple):
    """A cluster that runs an environment's releases, however it was written."""

    name: str
    """Empty where the environment has this cluster only."""
    server: str
    domain: str


class Environment(Section):
    """environments/<env>.yaml: where an environment is, the way into it, and what it asks of a release."""

    name: EnvironmentName
    namespace: Namespace
    cluster: Cluster = Cluster()
    clusters: Annotated[tuple[NamedCluster, ...], Field(max_length=50)] = ()
    """In place of `cluster` where there are several."""
    domain: Domain
    router: RouterSettings = AlbSettings()
    defaults: Settings = Settings()
    """How models run here, where their own files do not say."""
    releasers: Annotated[tuple[Releaser, ...], Field(max_length=200)] = ()
    """Who may release here: roles, addresses and patterns of them; none listed stands for every releaser."""
    gates: Gates = Gates()

    @property
    def all_clusters(self) -> tuple[Place, ...]:
        """Every cluster that runs what is released here, at least one."""
        if not self.clusters:
            return (Place("", self.cluster.server, self.domain),)
        return tuple(Place(each.name, each.server, each.domain or self.domain) for each in self.clusters)

    @model_validator(mode="after")
    def _clusters_are_told_apart(self) -> Self:
        if self.clusters and "cluster" in self.model_fields_set:
            raise ValueError("cluster and clusters are both given, keep one of them")
        for what in ("name", "server"):
            values = [getattr(each, what) for each in self.clusters]
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"two clusters have the {what} {twice}, change one")
        return self

    @model_validator(mode="after")
    def _one_says_the_weights(self) -> Self:
        if isinstance(self.router, RolloutsSettings) and (self.gates.weights or self.gates.max_step):
            raise ValueError("gates.weights and gates.maxStep do nothing beside router.steps, say the weights in those")
        return self

    @model_validator(mode="after")
    def _waits_for_another(self) -> Self:
        soaking = self.gates.healthy_in
        if soaking is not None and soaking.environment == self.name:
            raise ValueError(f"gates.healthyIn.environment is {self.name} itself, name the one before it")
        return self


def parse_environment(data: bytes, path: str) -> Environment:
    """An environment from the bytes of `environments/<env>.yaml`.

    Raises:
        InvalidInput: one sentence with the file, the field and what is wrong with it.
    """
    environment = read_as(Environment, data, path)
    if path != environment_file(environment.name):
        raise InvalidInput(f"{path}: name is {environment.name}, but the file's name says otherwise, make them agree.")
    return environment
