"""Stand-ins for the base images, which are gigabytes: small, but real images that anything reading OCI accepts."""

from __future__ import annotations

from pathlib import Path

from gitops.release import Runtime
from pipelines.archive import Member
from pipelines.image.content import Data
from pipelines.image.layout import LayoutDestination
from pipelines.image.oci import CONFIG_TYPE, LAYER_TYPE, Descriptor, Manifest, canonical, dump
from pipelines.tarout import write_tar

_TAG = "demo"


def make_bases(folder: Path) -> dict[Runtime, str]:
    """Write one base image for each runtime into an OCI layout below `folder`; gives their names, `oci:folder:tag`."""
    return {runtime: _make(folder, runtime) for runtime in Runtime}


def _make(folder: Path, runtime: Runtime) -> str:
    layouts = LayoutDestination(folder)
    name = runtime.value
    release = f"ID=sluice-demo\nPRETTY_NAME=Stand-in for a {name} image\n".encode()
    layer = layouts.put(name, Data(b"".join(write_tar([Member("etc/os-release", len(release), iter((release,)))]))))
    config = layouts.put(
        name,
        Data(
            canonical(
                {
                    "architecture": "amd64",
                    "os": "linux",
                    "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
                    "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
                }
            )
        ),
    )
    manifest = Manifest(
        config=Descriptor(media_type=CONFIG_TYPE, digest=config.digest, size=config.size),
        layers=(Descriptor(media_type=LAYER_TYPE, digest=layer.digest, size=layer.size),),
    )
    layouts.tag(name, _TAG, layouts.push(name, dump(manifest)).digest)
    return f"oci:{layouts.folder(name)}:{_TAG}"
