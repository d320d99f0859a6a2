"""Rendering: everything Sluice writes for one model in one environment, as a pure function of three settings.

Nothing but the arguments goes in (no clock, no network, no git), so `sluice render --check` can prove that a
repository holds just what it renders.
"""

from __future__ import annotations

from collections.abc import Sequence

from gitops.config import Environment, Model
from gitops.config.merged import settings_for
from gitops.layout import environment_file, manifests_dir, model_file, release_file
from gitops.manifests import WAVE, Manifest, file_name
from gitops.release import Release
from gitops.render.workload import workload
from gitops.routers import router_for
from gitops.state import release_yaml
from gitops.yamls import dump
from registry.errors import InvalidInput

__all__ = ["objects", "render"]


def render(release: Release, model: Model, environment: Environment) -> dict[str, bytes]:
    """Path in the repository to bytes: release.yaml and every manifest. The same arguments give the same bytes.

    Raises:
        InvalidInput: the settings are of another model or environment than the release, do not go together, or ask
            of a server what it does not have.
    """
    manifests = objects(release, model, environment)
    folder = manifests_dir(release.model, release.environment)
    header = (
        f"Rendered by Sluice from {release_file(release.model, release.environment)},\n"
        f"{model_file(release.model)} and {environment_file(release.environment)}: change those, not this file."
    )
    written = {f"{folder}/{file_name(manifest)}": dump(manifest, header) for manifest in manifests}
    written[f"{folder}/kustomization.yaml"] = dump(_kustomization(manifests, environment), header)
    written[release_file(release.model, release.environment)] = release_yaml(release)
    return dict(sorted(written.items()))


def objects(release: Release, model: Model, environment: Environment) -> Sequence[Manifest]:
    """The Kubernetes objects of a release, without a namespace, in the order in which they are to be applied.

    Raises:
        InvalidInput: the settings are of another model or environment than the release, do not go together, or ask
            of a server what it does not have.
    """
    if (model.name, environment.name) != (release.model, release.environment):
        raise InvalidInput(
            f"The release is of {release.model} in {release.environment}, but the settings are of {model.name}"
            f" in {environment.name}: read those of the release."
        )
    settings = settings_for(model, environment)
    # the router last: one whose controller runs the pods itself replaces the Deployments by what that controller reads
    found = router_for(environment).objects(release, workload(release, settings, environment.namespace))
    return sorted(found, key=lambda manifest: int(manifest["metadata"]["annotations"][WAVE]))


def _kustomization(manifests: Sequence[Manifest], environment: Environment) -> Manifest:
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": environment.namespace,
        "resources": [file_name(manifest) for manifest in manifests],
    }
