"""Where images are, by what people write: a folder, ECR, or any other registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipelines.image.ecr import EcrCredentials, EcrDestination, EcrRepositories, EcrTemplate
from pipelines.image.images import BaseImage, Destination
from pipelines.image.layout import LayoutDestination, LayoutImage
from pipelines.image.remote.credentials import Credentials, DockerConfig
from pipelines.image.remote.destination import RegistryDestination
from pipelines.image.remote.dialects import EcrHost
from pipelines.image.remote.image import RemoteImage
from pipelines.image.remote.names import ImageName, Place
from pipelines.image.remote.transport import Patience, Transport
from registry.aws import Clients

FOLDER = "oci:"
"""What begins the name of an image in a folder, or of a folder for images."""


def open_destination(
    place: str,
    clients: Callable[[str], Clients] = Clients,
    *,
    template: EcrTemplate | None = None,
    credentials: Credentials | None = None,
    patience: Patience | None = None,
) -> Destination:
    """Where images are pushed to: `oci:folder`, or `host/prefix`.

    `clients` makes AWS clients for a region; it is called for ECR alone, which gives the password itself. For another
    registry it is docker's configuration that tells who we are, unless `credentials` do.

    Raises:
        InvalidInput: no place can be called that.
    """
    if place.startswith(FOLDER):
        return LayoutDestination(Path(place.removeprefix(FOLDER)))
    where = Place.parse(place)
    host = EcrHost.of(where.host)
    if host is None:
        return RegistryDestination(
            where, Transport(where.host, credentials or DockerConfig.standard(), patience=patience)
        )
    ecr = clients(host.region).ecr()
    transport = Transport(where.host, credentials or EcrCredentials(ecr), patience=patience)
    repositories = EcrRepositories(ecr, template, host.account)
    return EcrDestination(RegistryDestination(where, transport), repositories, where.repository)


def open_image(
    text: str,
    platform: str = "linux/amd64",
    clients: Callable[[str], Clients] = Clients,
    *,
    credentials: Credentials | None = None,
    patience: Patience | None = None,
) -> BaseImage:
    """An image to build upon: `oci:folder[:tag]`, or its name in a registry; nothing is asked before it is read.

    Raises:
        InvalidInput: no image, or no platform, can be called that.
    """
    if text.startswith(FOLDER):
        return LayoutImage.parse(text)
    name = ImageName.parse(text)
    shown = credentials or credentials_for(name.host, clients)
    return RemoteImage(name, Transport(name.host, shown, patience=patience), platform)


def credentials_for(host: str, clients: Callable[[str], Clients] = Clients) -> Credentials:
    """Who we are to a registry: by our AWS credentials to ECR, by docker's configuration to any other."""
    ecr = EcrHost.of(host)
    return DockerConfig.standard() if ecr is None else EcrCredentials(clients(ecr.region).ecr())
