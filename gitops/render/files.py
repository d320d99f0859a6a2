"""The files that follow from people's settings for a server, as a ConfigMap."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256

from gitops.manifests import Manifest, Role, Wave, metadata, object_name
from gitops.release import Release


def files_name(model: str, role: Role, files: Mapping[str, str]) -> str:
    """The ConfigMap's name, another one for other files.

    A server reads them once, when it starts. So a change makes new pods, which read the new files, and those of before
    keep what they read, until Argo CD has taken it away after them (PruneLast).
    """
    told = json.dumps(dict(files), sort_keys=True)
    return f"{object_name(model, role)}-{sha256(told.encode()).hexdigest()[:10]}"


def config_map(release: Release, role: Role, files: Mapping[str, str]) -> Manifest:
    """The ConfigMap of these files."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**metadata(release, Wave.ADDRESSES, role), "name": files_name(release.model, role, files)},
        "immutable": True,
        "data": dict(sorted(files.items())),
    }
